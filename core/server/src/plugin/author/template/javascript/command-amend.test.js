// The rule, run by Node as it is.

import assert from "node:assert/strict";
import { test } from "node:test";
import { context, draft } from "pomona/testing";
import { commandAmend } from "../src/plugin.js";

test("a message that is there stays", () => {
  const without = commandAmend.amend(context(), draft("DeviceLock"));
  assert.deepEqual(without.map((change) => change.val[0]), ["/Message"]);
  assert.deepEqual(commandAmend.amend(context(), draft("DeviceLock", { Message: "Hello" })), []);
});
