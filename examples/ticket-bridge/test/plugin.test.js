// The bridge with a desk that is made up.

import assert from "node:assert/strict";
import { test } from "node:test";
import { AccessError, withHost } from "pomona";
import { events } from "../src/plugin.js";

const event = (verdict, severity) => ({
  id: "d/9",
  device: "d",
  user: null,
  seq: 9,
  atMs: 7,
  kind: "finding_changed",
  bodyJson: JSON.stringify({ rule: "passcode", title: "A passcode is set", message: "keiner: ä", verdict, severity }),
  depth: 1,
});

/** Runs the hook; what was sent, and what came of it. */
function run(status, batch, given = {}) {
  const sent = [];
  const httpOut = {
    send(message) {
      sent.push(message);
      return { status, headers: [], body: new Uint8Array() };
    },
  };
  const work = () => events.onEvents(/** @type {any} */ ({}), batch);
  return { sent, effects: withHost({ httpOut, settings: given, log() {} }, work) };
}

test("a failure that is grave enough becomes one ticket", () => {
  const batch = [event("fail", "high"), event("pass", "high"), event("fail", "low")];
  const { sent, effects } = run(201, batch);
  assert.equal(sent.length, 1);
  const ticket = JSON.parse(new TextDecoder().decode(sent[0].body));
  assert.deepEqual(ticket, {
    key: "d/9",
    title: "A passcode is set: keiner: ä",
    device: "d",
    severity: "high",
  });
  assert.deepEqual(sent[0].headers[1], ["authorization", "secret:desk-token"]);
  assert.deepEqual(effects.map((effect) => effect.key), ["ticket/d/9"]);
});

test("the settings say which failures and where", () => {
  const { sent } = run(201, [event("fail", "low")], { url: "https://other.example/t", severities: ["low"] });
  assert.equal(sent[0].url, "https://other.example/t");
});

test("a desk that is down is asked again later, one that refuses is not", () => {
  for (const status of [429, 500, 503]) {
    assert.throws(() => run(status, [event("fail", "high")]), { tag: "retryable" });
  }
  assert.deepEqual(run(422, [event("fail", "high")]).effects, []);
});

test("a desk that nobody reaches is asked again later, one that may not be asked is told", () => {
  for (const [refused, tag] of [
    ["unavailable", "retryable"],
    ["quota", "retryable"],
    ["denied", "misconfigured"],
    ["invalid", "misconfigured"],
    ["not-found", "misconfigured"],
  ]) {
    const send = () => {
      throw new AccessError(refused, "why");
    };
    const work = () => events.onEvents(/** @type {any} */ ({}), [event("fail", "high")]);
    assert.throws(() => withHost({ httpOut: { send }, log() {} }, work), { tag });
  }
});
