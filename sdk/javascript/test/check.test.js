// What a hook may return.

import assert from "node:assert/strict";
import { test } from "node:test";
import { RESULTS } from "../check.js";

const response = (body, headers = []) => ({ status: 200, headers, body, effects: [] });
const handled = (given) => RESULTS.routes.handle(given, "routes.handle");

test("bytes are bytes", () => {
  const bytes = Uint8Array.of(0, 255);
  assert.equal(handled(response(bytes)).body, bytes);
  assert.deepEqual(handled(response([0, 255n])).body, [0, 255]);
  for (const [body, wanted] of [
    [[1, 300], "routes.handle.body[1]: 300 is not a whole number from 0 to 255"],
    [["x"], 'routes.handle.body[0]: "x" is not a whole number from 0 to 255'],
    [[-1], "routes.handle.body[0]: -1 is not a whole number from 0 to 255"],
    [[, 1], "routes.handle.body[0]: undefined is not a whole number from 0 to 255"],
    ["text", 'routes.handle.body: "text" is not bytes (a Uint8Array)'],
  ]) {
    assert.throws(() => handled(response(body)), { name: "TypeError", message: wanted });
  }
  const put = (value) => RESULTS.events.onEvents([{ key: "k", item: { tag: "kv-put", val: ["a", value] } }], "events");
  assert.throws(() => put([300, "x"]), { message: "events[0].item.val[1][0]: 300 is not a whole number from 0 to 255" });
});

test("a value that does not fit is named, whatever it is", () => {
  const circle = {};
  circle.self = circle;
  for (const [headers, wanted] of [
    [5n, "routes.handle.headers: 5 is not an array"],
    [{ size: 5n }, 'routes.handle.headers: {"size":"5"} is not an array'],
    [circle, "routes.handle.headers: [object Object] is not an array"],
    [new Error("mine"), "routes.handle.headers: Error: mine is not an array"],
    [[["a", 1]], "routes.handle.headers[0][1]: 1 is not a string"],
  ]) {
    assert.throws(() => handled(response([], headers)), { name: "TypeError", message: wanted });
  }
});
