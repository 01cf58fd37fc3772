// What stands between a plugin and its host inside the sandbox. Used by `pomona plugin build` alone.
//
// Owns: the frame around every call (errors become errors of the contract, anything else that is thrown is told to the host
// with its trace), and the globals that scripts expect and the engine lacks: console, the time of day, random numbers.

import { AccessError, attach, HookError, refuse } from "./index.js";
import { RESULTS, shown } from "./check.js";

/** Hooks in which no time passes. */
const DETERMINISTIC = ["compliance", "declarations"];
/** Bytes of a random number, and of the numbers that are drawn at once; the host gives 1,024 bytes a call. */
const NUMBER = 6;
const DRAWN = 170 * NUMBER;

/** Wraps the hooks of a plugin. `imports` are the host's interfaces, `places` tells where lines of the bundle come from. */
export function frame(plugin, hooks, imports, places) {
  const { log, config, clock, random } = imports;
  attach({
    settings: () => config.getJson(),
    random: (count) => Uint8Array.from(random.bytes(count)),
    elapsedMs: () => clock.elapsedMs(),
    log: (level, message, fields) => log.write(level, message, fields),
    ask: (name, what, parts) => ask(imports, name, what, parts),
  });
  const call = {};
  begin(call, null, false);
  globals(call, log, clock, random);
  const wrapped = {};
  for (const hook of hooks) {
    wrapped[hook] = {};
    for (const [name, check] of Object.entries(RESULTS[hook])) {
      wrapped[hook][name] = framed(plugin[hook], hook, name, check, call, log, places);
    }
  }
  return wrapped;
}

/** A function of the host behind a right. */
function ask(imports, name, what, parts) {
  if (imports[name] === undefined) throw new Error(`plugin.toml asks for no right that opens ${name}`);
  try {
    return imports[name][what](...parts);
  } catch (error) {
    // The engine wraps what the host refuses into an error of its own.
    const refusal = error?.payload ?? error;
    throw typeof refusal?.tag === "string" ? new AccessError(refusal.tag, refusal.val) : error;
  }
}

/** Nothing of one call reaches the next: with the same seed a call draws the same numbers. */
function begin(call, nowMs, still) {
  Object.assign(call, { nowMs, still, drawn: [], next: 0 });
}

function framed(hook, hookName, name, check, call, log, places) {
  const at = `${hookName}.${name}`;
  return (...given) => {
    begin(call, given[0]?.nowMs ?? null, DETERMINISTIC.includes(hookName));
    try {
      if (typeof hook?.[name] !== "function") {
        if (at === "settings.migrate") return given[1];
        throw new TypeError(`the plugin has no function ${at}`);
      }
      const answer = hook[name](...given);
      if (typeof answer?.then === "function") {
        throw new TypeError(`${at} returned a promise; hooks answer at once and cannot be async`);
      }
      return check(answer, at);
    } catch (error) {
      if (error instanceof HookError) {
        if (at === "settings.validate") return [refuse("", error.message)];
        if (at === "settings.migrate") throw error.message;
        if (at !== "compliance.rules") throw { tag: error.tag, val: error.message };
      }
      log.panic(trace(error, places));
      throw error;
    }
  };
}

/** The message of what was thrown and where, on one line, since the host's log has lines. */
function trace(error, places) {
  if (!(error instanceof Error)) return `thrown: ${shown(error)}`;
  const frames = String(error.stack ?? "")
    .split("\n")
    .map((line) => /^\s*at (.*?) \(?[^()]*?:(\d+)(?::\d+)?\)?$/.exec(line))
    .filter((found) => found !== null)
    .map(([, name, line]) => [name, places[line - 1] ?? ""])
    // The frame of the SDK around a call is nobody's fault.
    .filter(([, place]) => place !== "" && !place.startsWith("pomona/"))
    .map(([name, place]) => `at ${name} (${place})`);
  return [shown(error), ...frames.slice(0, 12)].join("; ");
}

function globals(call, log, clock, random) {
  const write = (level) => (...values) => log.write(level, values.map(shown).join(" "), "");
  globalThis.console = {
    log: write("info"),
    info: write("info"),
    debug: write("debug"),
    warn: write("warn"),
    error: write("error"),
  };
  const System = Date;
  const now = () => {
    if (call.nowMs === null) throw new Error("the time of day is known only in hooks that get a context");
    return call.still ? call.nowMs : call.nowMs + clock.elapsedMs();
  };
  globalThis.Date = class Date extends System {
    constructor(...given) {
      super(...(given.length === 0 ? [now()] : given));
    }
    static now() {
      return now();
    }
  };
  // 48 bits; the engine's own generator would begin at the same place in every call.
  Math.random = () => {
    if (call.next >= call.drawn.length) Object.assign(call, { drawn: random.bytes(DRAWN), next: 0 });
    let sum = 0;
    for (const end = call.next + NUMBER; call.next < end; call.next += 1) sum = sum * 256 + call.drawn[call.next];
    return sum / 2 ** (8 * NUMBER);
  };
}
