// What the catalogue is asked about a device.

import assert from "node:assert/strict";
import { test } from "node:test";
import { catalogue, subject, withHost } from "../index.js";
import { device, factsJson } from "../testing.js";

test("a subject says what the snapshot tells and no more", () => {
  assert.deepEqual(subject(device()), {
    platform: { tag: "ipados" },
    osVersion: "27.0",
    userChannel: false,
    userEnrollment: false,
    supervised: null,
    automated: null,
    userApproved: null,
    sharedIpad: null,
    accessRights: null,
  });
  const status = { EnrolledViaDEP: false, UserApprovedEnrollment: true };
  const mac = device({ channel: { tag: "user", val: "ada" }, factsJson: factsJson({ "security.management-status": status }) });
  const told = subject(mac);
  assert.deepEqual([told.automated, told.userApproved, told.userChannel], [false, true, true]);
  assert.equal(subject({ ...mac, kind: { tag: "automated" } }).automated, true);
  assert.equal(subject(device({ kind: { tag: "account-driven-user" } })).userEnrollment, true);
  const odd = device({ factsJson: factsJson({ "security.management-status": "yes" }) });
  assert.equal(subject(odd).automated, null);
});

test("the catalogue is asked of the host", () => {
  const asked = [];
  const preflight = (...parts) => {
    asked.push(parts);
    return { verdict: "refused", objections: [] };
  };
  const told = withHost({ catalogue: { preflight } }, () =>
    catalogue.preflight(subject(device()), "command", "EraseDevice", "{}"),
  );
  assert.equal(told.verdict, "refused");
  assert.deepEqual(asked[0].slice(1), ["command", "EraseDevice", "{}"]);
});
