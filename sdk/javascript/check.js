// What a hook may return, checked before it crosses the border.
//
// Owns the shapes of the contract's results, and how a value is told to a person. The engine under a plugin ends without a word
// on a value that does not fit, and turns some silently into others (5.5 into 5, NaN into 0); here the value is named. Changes
// nothing but BigInt into number.

/** A value as text: strings as they are, errors as `name: message`, objects as JSON where they have one. Never throws. */
export function shown(value) {
  try {
    if (typeof value === "string") return value;
    if (value instanceof Error) return Error.prototype.toString.call(value);
    const json = typeof value === "object" ? JSON.stringify(value, plain) : undefined;
    return json ?? String(value);
  } catch {
    // A circle, or an object that does not let itself be read.
  }
  try {
    return String(value);
  } catch {
    return `(${typeof value})`;
  }
}

/** What JSON would leave out of an object or refuse. */
function plain(_, value) {
  if (value instanceof Error) return Error.prototype.toString.call(value);
  return typeof value === "bigint" ? String(value) : value;
}

const told = (value) => {
  const text = typeof value === "string" ? JSON.stringify(value) : shown(value);
  return text.length > 80 ? `${text.slice(0, 80)}…` : text;
};
const wrong = (at, value, wanted) => {
  throw new TypeError(`${at}: ${told(value)} is not ${wanted}`);
};
const object = (value) => value !== null && typeof value === "object" && !Array.isArray(value);

const text = (value, at) => (typeof value === "string" ? value : wrong(at, value, "a string"));
const bool = (value, at) => (typeof value === "boolean" ? value : wrong(at, value, "true or false"));
const whole = (largest) => (value, at) => {
  const number = typeof value === "bigint" ? Number(value) : value;
  const fits = Number.isSafeInteger(number) && number >= 0 && number <= largest;
  return fits ? number : wrong(at, value, `a whole number from 0 to ${largest}`);
};
const u64 = whole(Number.MAX_SAFE_INTEGER);
const option = (inner) => (value, at) => (value === null || value === undefined ? null : inner(value, at));
const list = (inner, wanted = "an array") => (value, at) =>
  // Unlike `map`, this sees the holes of an array.
  Array.isArray(value) ? Array.from(value, (one, n) => inner(one, `${at}[${n}]`)) : wrong(at, value, wanted);
const byteList = list(whole(0xff), "bytes (a Uint8Array)");
const bytes = (value, at) => (value instanceof Uint8Array ? value : byteList(value, at));
const tuple = (...inner) => (value, at) =>
  Array.isArray(value) && value.length === inner.length
    ? inner.map((check, n) => check(value[n], `${at}[${n}]`))
    : wrong(at, value, `an array of ${inner.length}`);
const record = (fields) => (value, at) => {
  if (!object(value)) wrong(at, value, `an object with ${Object.keys(fields).join(", ")}`);
  const checked = Object.entries(fields).map(([name, check]) => [name, check(value[name], `${at}.${name}`)]);
  return Object.fromEntries(checked);
};
const words = (...all) => (value, at) => (all.includes(value) ? value : wrong(at, value, `one of ${all.join(", ")}`));
const variant = (cases) => (value, at) => {
  const inner = object(value) && Object.hasOwn(cases, value.tag) ? cases[value.tag] : undefined;
  if (inner === undefined) wrong(at, value, `{ tag, val } with a tag of ${Object.keys(cases).join(", ")}`);
  return inner === null ? { tag: value.tag } : { tag: value.tag, val: inner(value.val, `${at}.val`) };
};

const channel = variant({ device: null, user: text, other: text });
const target = record({ device: text, channel });
const request = record({ requestType: text, payloadJson: text, notAfterMs: option(u64), reason: text });
const fact = record({ key: text, valueJson: text, source: text, observedMs: u64 });
const keyed = record({
  key: text,
  item: variant({
    enqueue: tuple(target, request),
    emit: tuple(text, text, text),
    "set-fact": tuple(target, text, text),
    "kv-put": tuple(text, bytes),
    "kv-delete": text,
    notify: tuple(text, text),
    wake: target,
    schedule: tuple(text, u64),
    other: text,
  }),
});
const remedy = record({ label: text, command: request, automatic: bool });
const u32 = whole(0xffffffff);

/** The results of the functions of each hook. */
export const RESULTS = {
  settings: { validate: list(record({ path: text, message: text, fatal: bool })), migrate: text },
  enrollment: { decide: variant({ allow: null, hold: text, deny: text, other: text }) },
  commandAmend: { amend: list(variant({ set: tuple(text, text), remove: text, other: text })) },
  commandValidate: {
    validate: variant({ allow: option(u64), veto: text, defer: tuple(u64, text), other: text }),
  },
  events: { onEvents: list(keyed) },
  compliance: {
    rules: list(
      record({
        id: text,
        title: text,
        severity: words("info", "low", "medium", "high", "critical"),
        description: text,
        reference: option(text),
      }),
    ),
    evaluate: list(
      record({
        rule: text,
        verdict: words("pass", "fail", "unknown", "not-applicable"),
        message: text,
        evidence: list(fact),
        remedies: list(remedy),
        graceMs: option(u64),
      }),
    ),
  },
  declarations: { contribute: list(record({ identifier: text, kind: text, payloadJson: text })) },
  jobs: { run: record({ effects: list(keyed), cursor: option(text), againInMs: option(u32) }) },
  routes: {
    handle: record({ status: whole(0xffff), headers: list(tuple(text, text)), body: bytes, effects: list(keyed) }),
  },
  panels: { render: text },
};
