// The rule, run by Node as it is.

import assert from "node:assert/strict";
import { test } from "node:test";
import { allow } from "pomona";
import { context, device, draft } from "pomona/testing";
import { commandValidate } from "../src/plugin.js";

test("only the kitchen is spared", () => {
  const judge = (ipad) => commandValidate.validate(context(), "enqueue", ipad, draft("EraseDevice"));
  assert.deepEqual(judge(device()), allow());
  assert.equal(judge(device({ groups: ["Kitchen"] })).tag, "veto");
});
