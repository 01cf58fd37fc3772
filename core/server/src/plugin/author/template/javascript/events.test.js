// The rule, run by Node as it is.

import assert from "node:assert/strict";
import { test } from "node:test";
import { context, event } from "pomona/testing";
import { events } from "../src/plugin.js";

test("each event asks once", () => {
  const effects = events.onEvents(context(), [event("enrolled")]);
  assert.deepEqual(effects.map((effect) => effect.key), ["name/e"]);
});
