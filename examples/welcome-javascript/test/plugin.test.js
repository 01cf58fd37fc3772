// The rule of Welcome, run natively.

import assert from "node:assert/strict";
import { test } from "node:test";
import { events } from "../src/plugin.js";

const event = (kind, user = null) => ({
  id: "d/2",
  device: "d",
  user,
  seq: 2,
  atMs: 7,
  kind,
  bodyJson: "{}",
  depth: 0,
});

test("only a device that enrolls is welcomed", () => {
  const batch = [event("enrolled"), event("enrolled", "ada"), event("renewed")];
  const effects = events.onEvents(/** @type {any} */ ({}), batch);
  assert.deepEqual(
    effects.map((effect) => effect.key),
    ["ask/d/2", "note/d/2"],
  );
});

test("it is asked what it is, and the fact tells when it came", () => {
  const [asked, noted] = events.onEvents(/** @type {any} */ ({}), [event("enrolled")]);
  const device = { device: "d", channel: { tag: "device" } };
  assert.equal(asked.item.tag, "enqueue");
  assert.deepEqual(JSON.parse(asked.item.val[1].payloadJson).Queries, ["DeviceName", "OSVersion", "IsSupervised"]);
  assert.deepEqual(noted.item, { tag: "set-fact", val: [device, "since-ms", "7"] });
});
