// What is known of a device.

import assert from "node:assert/strict";
import { test } from "node:test";
import { fact, facts, known } from "../index.js";

const knowing = (all) => ({ factsJson: JSON.stringify(all) });

test("a fact is found by its key, with what it rests on", () => {
  const device = knowing({ "a.b": { value: [true], source: "device", "observed-ms": 7 }, c: { value: null } });
  assert.deepEqual(fact(device, "a.b"), [true]);
  assert.equal(fact(device, "c"), null);
  assert.equal(fact(device, "d"), undefined);
  assert.deepEqual(known(device, "a.b"), { key: "a.b", valueJson: "[true]", source: "device", observedMs: 7 });
  assert.deepEqual(known(device, "c"), { key: "c", valueJson: "null", source: "", observedMs: 0 });
  assert.equal(known(device, "d"), undefined);
  assert.deepEqual(Object.keys(facts(device)), ["a.b", "c"]);
});

test("what every object has is no fact, and a text that is none has none", () => {
  assert.equal(fact(knowing({}), "toString"), undefined);
  assert.equal(fact(knowing({}), "__proto__"), undefined);
  for (const factsJson of ["", "[", undefined]) assert.equal(fact({ factsJson }, "a"), undefined);
});

test("a device that a test changes is read again", () => {
  const device = knowing({ a: { value: 1 } });
  assert.equal(fact(device, "a"), 1);
  device.factsJson = JSON.stringify({ a: { value: 2 } });
  assert.equal(fact(device, "a"), 2);
});
