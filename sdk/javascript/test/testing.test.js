// Values for tests are values of the contract.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { body, fact, known, payload } from "../index.js";
import { context, device, draft, event, factsJson } from "../testing.js";

/** The members of an interface of the types. */
function members(name) {
  const types = readFileSync(new URL("../index.d.ts", import.meta.url), "utf8");
  const text = new RegExp(`interface ${name} \\{([^}]*)\\}`).exec(types)[1];
  return [...text.matchAll(/(\w+): /g)].map(([, member]) => member).sort();
}

test("each has the members that the contract has", () => {
  for (const [name, value] of [
    ["Snapshot", device()],
    ["CallContext", context()],
    ["Draft", draft("DeviceLock")],
    ["Event", event("enrolled")],
  ]) {
    assert.deepEqual(Object.keys(value).sort(), members(name), name);
  }
});

test("what a test needs is put into them", () => {
  const ipad = device({ groups: ["Kitchen"], factsJson: factsJson({ "a.b": [1] }) });
  assert.deepEqual(ipad.groups, ["Kitchen"]);
  assert.deepEqual(fact(ipad, "a.b"), [1]);
  assert.equal(known(ipad, "a.b").source, "device");
  assert.equal(context(7).nowMs, 7);
  assert.equal(payload(draft("DeviceLock", { Message: "x" }), "Message"), "x");
  assert.deepEqual(body(event("enrolled", { n: 1 }, { id: "e/2" })), { n: 1 });
});
