// The rules, run natively.

import assert from "node:assert/strict";
import { test } from "node:test";
import { withHost } from "pomona";
import { compliance, measure, order } from "../src/plugin.js";

const device = (osVersion, passcode, supervised) => /** @type {any} */ ({
  osVersion,
  supervised,
  factsJson: JSON.stringify(
    passcode === undefined ? {} : { "security.passcode-present": { value: passcode, source: "device", "observed-ms": 1 } },
  ),
});

test("what is not known never passes", () => {
  for (const [given, verdicts] of [
    [device("27.1", true, true), ["pass", "pass", "pass"]],
    [device("25.9.9", false, false), ["fail", "fail", "fail"]],
    [device("", undefined, null), ["unknown", "unknown", "unknown"]],
    [device("26", "yes", null), ["pass", "unknown", "unknown"]],
  ]) {
    const found = measure({}, given);
    assert.deepEqual(
      found.map((finding) => finding.verdict),
      verdicts,
    );
  }
});

test("a missing passcode has its evidence and a remedy, an old system has none", () => {
  const [os, passcode] = withHost({ settings: { minimum_os: "28" } }, () =>
    compliance.evaluate(/** @type {any} */ ({}), device("27.1", false, true)),
  );
  assert.deepEqual([os.verdict, os.remedies], ["fail", []]);
  assert.equal(passcode.evidence[0].valueJson, "false");
  assert.deepEqual(
    passcode.remedies.map((remedy) => [remedy.label, remedy.command.requestType, remedy.automatic]),
    [["Ask the device again", "SecurityInfo", false]],
  );
});

test("there is a finding for each rule", () => {
  const found = measure({}, device("", undefined, null));
  assert.deepEqual(
    found.map((finding) => finding.rule),
    compliance.rules().map((rule) => rule.id),
  );
});

test("versions are compared as numbers", () => {
  assert.ok(order("9.3", "10") < 0);
  assert.equal(order("26", "26.0.0"), 0);
  assert.ok(order("26.10", "26.9") > 0);
});
