// The frame around calls, with a host that is made up.

import assert from "node:assert/strict";
import { test } from "node:test";
import { frame } from "../guest.js";
import { HookError, permanent } from "../index.js";

const context = { nowMs: 1_000 };

/** Calls `work` as the hook `at` (`events.onEvents`) so many times; what the host heard, and what came back or was thrown. */
function called(at, work, times = 1) {
  const [hook, name] = at.split(".");
  const told = { lines: [], panics: [], draws: [], clock: 0, answers: [], thrown: [] };
  const imports = {
    log: { write: (level, message) => told.lines.push([level, message]), panic: (message) => told.panics.push(message) },
    config: { getJson: () => "{}" },
    clock: { elapsedMs: () => (told.clock += 1) },
    random: {
      bytes: (count) => {
        told.draws.push(count);
        // The stream of a call begins anew with each call, as with the same seed.
        return Uint8Array.from({ length: count }, (_, n) => (n * 7 + told.draws.length * 31) % 256);
      },
    },
  };
  const before = [globalThis.console, globalThis.Date, Math.random];
  try {
    const framed = frame({ [hook]: { [name]: work } }, [hook], imports, []);
    for (let n = 0; n < times; n += 1) {
      told.draws = [];
      try {
        told.answers.push(framed[hook][name](context));
      } catch (error) {
        told.thrown.push(error);
      }
    }
  } finally {
    [globalThis.console, globalThis.Date, Math.random] = before;
  }
  return told;
}

test("whatever is logged is one line and ends no hook", () => {
  const circle = {};
  circle.self = circle;
  const unreadable = {
    toJSON: () => {
      throw new Error("no");
    },
    toString: () => {
      throw new Error("no");
    },
  };
  for (const [value, wanted] of [
    ["as it is", "as it is"],
    [new RangeError("too far"), "RangeError: too far"],
    [{ error: new Error("within"), size: 5n }, '{"error":"Error: within","size":"5"}'],
    [7n, "7"],
    [NaN, "NaN"],
    [undefined, "undefined"],
    [null, "null"],
    [Symbol("s"), "Symbol(s)"],
    [{ a: [1] }, '{"a":[1]}'],
    [circle, "[object Object]"],
    [unreadable, "(object)"],
  ]) {
    const { lines, thrown } = called("events.onEvents", () => {
      console.error("failed", value);
      return [];
    });
    assert.deepEqual([lines, thrown], [[["error", `failed ${wanted}`]], []]);
  }
});

test("what is thrown and is no error is told, too", () => {
  for (const [value, wanted] of [
    [{ code: 5 }, 'thrown: {"code":5}'],
    [Object.create(null), "thrown: {}"],
    ["a word", "thrown: a word"],
    [new TypeError("mine"), "TypeError: mine"],
  ]) {
    const { panics } = called("events.onEvents", () => {
      throw value;
    });
    assert.deepEqual(panics, [wanted]);
  }
});

test("a long shuffle asks the host for few random bytes at a time, and the same in each call", () => {
  const numbers = [];
  const { draws, thrown } = called(
    "events.onEvents",
    () => {
      numbers.push(Array.from({ length: 3_001 }, () => Math.random()));
      return [];
    },
    2,
  );
  assert.deepEqual(thrown, []);
  assert.deepEqual(draws, Array(18).fill(1_020));
  assert.deepEqual(numbers[0], numbers[1]);
  assert.ok(numbers[0].every((number) => number >= 0 && number < 1));
  // The bytes 31, 38, 45, 52, 59 and 66 of the stream.
  assert.equal(numbers[0][0], 0x1f262d343b42 / 2 ** 48);
  assert.notEqual(numbers[0][0], numbers[0][170]);
});

test("time passes, but not in deterministic hooks, which do not ask for it", () => {
  for (const [at, wanted, asked] of [
    ["events.onEvents", [1_001, 1_002], 2],
    ["compliance.evaluate", [1_000, 1_000], 0],
    ["declarations.contribute", [1_000, 1_000], 0],
  ]) {
    const seen = [];
    const { clock } = called(at, () => {
      seen.push(Date.now(), new Date().getTime());
      return [];
    });
    assert.deepEqual([seen, clock], [wanted, asked]);
  }
});

test("an error of a hook is one of the contract's", () => {
  const { thrown } = called("events.onEvents", () => {
    throw permanent("never");
  });
  assert.deepEqual(thrown, [{ tag: "permanent", val: "never" }]);
  const strange = called("events.onEvents", () => {
    throw new HookError("anything", "never");
  });
  const wanted = "TypeError: HookError: anything is not one of retryable, permanent, misconfigured, other";
  assert.deepEqual(strange.panics, [wanted]);
  const changed = called("events.onEvents", () => {
    throw Object.assign(permanent("never"), { tag: "anything" });
  });
  assert.match(changed.panics[0], /^TypeError: .*tag/);
});
