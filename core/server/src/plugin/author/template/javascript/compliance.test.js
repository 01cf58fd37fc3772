// The rule, run by Node as it is.

import assert from "node:assert/strict";
import { test } from "node:test";
import { context, device, factsJson } from "pomona/testing";
import { compliance } from "../src/plugin.js";

test("what is not known is no pass", () => {
  const verdict = (values) => compliance.evaluate(context(), device({ factsJson: factsJson(values) }))[0].verdict;
  assert.equal(verdict({}), "unknown");
  assert.equal(verdict({ "security.passcode-present": true }), "pass");
});

test("there is a finding for each rule", () => {
  const found = compliance.evaluate(context(), device()).map((finding) => finding.rule);
  assert.deepEqual(found, compliance.rules().map((rule) => rule.id));
});
