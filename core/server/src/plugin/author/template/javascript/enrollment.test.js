// The rule, run by Node as it is.

import assert from "node:assert/strict";
import { test } from "node:test";
import { admit } from "pomona";
import { context, device } from "pomona/testing";
import { enrollment } from "../src/plugin.js";

test("only what is not supervised waits", () => {
  const decide = (supervised) =>
    enrollment.decide(context(), { device: device({ supervised }), quarantine: false });
  assert.deepEqual(decide(null), admit());
  assert.equal(decide(false).tag, "hold");
});
