// Write plugins for Pomona in JavaScript: the words in which a plugin answers, and what it may ask of the host.
//
// Owns the JavaScript face of the contract `pomona:hooks@0.9.0`. Every function here makes plain values of the contract, so
// that they can be compared in tests; those that ask the host need one, which `withHost` stands in for. Holds no policy.

let host = null;

/** Connects the plugin with its host. Called by the build, never by a plugin. */
export function attach(given) {
  host = given;
}

/** Runs `work` with a host made of `given` (`settings`, `random`, `elapsedMs`, `log`, `devices`, …), for tests; returns what it returns. */
export function withHost(given, work) {
  const before = host;
  host = {
    settings: () => JSON.stringify(given.settings ?? {}),
    random: given.random ?? ((count) => new Uint8Array(count)),
    elapsedMs: given.elapsedMs ?? (() => 0),
    log: given.log ?? (() => {}),
    ask: (name, what, parts) => given[name][what](...parts),
  };
  try {
    return work();
  } finally {
    host = before;
  }
}

function asked(what) {
  if (host === null) {
    throw new Error(`${what} needs a host: there is one in a call on the server, and within withHost in a test`);
  }
  return host;
}

const REASONS = ["retryable", "permanent", "misconfigured", "other"];

/** Why a hook gives no answer; thrown. The host then applies the failure policy of the hook. `tag` is a case of the contract. */
export class HookError extends Error {
  constructor(tag, message) {
    if (!REASONS.includes(tag)) throw new TypeError(`HookError: ${String(tag)} is not one of ${REASONS.join(", ")}`);
    super(message);
    this.name = "HookError";
    // Stays as it was looked at: the engine ends without a word on any other.
    Object.defineProperty(this, "tag", { value: tag, enumerable: true });
  }
}

/** Later may be better. */
export const retryable = (message) => new HookError("retryable", message);
/** Trying again will not help. */
export const permanent = (message) => new HookError("permanent", message);
/** The settings or rights do not let the plugin work; shown to the administrator. */
export const misconfigured = (message) => new HookError("misconfigured", message);

/** The tenant's settings; throws `misconfigured` when they are no JSON. */
export const settings = () => readSettings(asked("settings()").settings());

/** As `settings`, from a text at hand. */
export function readSettings(json) {
  try {
    return JSON.parse(json);
  } catch (error) {
    throw misconfigured(`settings: ${error.message}`);
  }
}

/** Random bytes, at most 1,024 a call; the same for the same `seed` of the context. */
export const random = (count) => asked("random()").random(count);
/** Milliseconds since the call began; 0 in deterministic hooks. */
export const elapsedMs = () => asked("elapsedMs()").elapsedMs();

const line = (level) => (message, fields) =>
  asked("log").log(level, String(message), fields === undefined ? "" : JSON.stringify(fields));

/** Lines for the operator's log: 64 of 2 KiB a call. */
export const log = { debug: line("debug"), info: line("info"), warn: line("warn"), error: line("error") };

/** The refusal of a host function, thrown: `denied`, `quota`, `not-found`, `unavailable`, `invalid`. */
export class AccessError extends Error {
  constructor(tag, message) {
    super(message ?? tag);
    this.name = "AccessError";
    this.tag = tag;
  }
}

/** What of a device decides what it takes, for `catalogue.preflight`. How a Mac came to be managed it tells in the fact `security.management-status`,
 * which plugin.toml has to ask for. What is not known is null. */
export function subject(device) {
  const status = fact(device, "security.management-status");
  const said = (name) => (typeof status?.[name] === "boolean" ? status[name] : null);
  return {
    platform: device.platform,
    osVersion: device.osVersion,
    userChannel: device.channel.tag !== "device",
    userEnrollment: device.kind.tag === "account-driven-user",
    supervised: device.supervised,
    automated: device.kind.tag === "automated" ? true : said("EnrolledViaDEP"),
    userApproved: said("UserApprovedEnrollment"),
    sharedIpad: device.sharedIpad,
    accessRights: null,
  };
}

// Functions of the contract behind rights: what plugin.toml does not ask for is not there.
const behind = (name) =>
  new Proxy({}, { get: (_, what) => (...parts) => asked(`${name}.${String(what)}()`).ask(name, what, parts) });
/** `preflight(subject, class, name, bodyJson)`, `lookup(class, name)`, `names(class)`: always there, in every hook. */
export const catalogue = behind("catalogue");
/** `kinds()`: in `commandAmend`, the kinds of devices that the command is for. */
export const recipients = behind("recipients");
/** `get(id)`, `getFact(id, key)`, `search(group, after, limit)`, `history(id, topic, limit)`. */
export const devices = behind("devices");
/** `get(key)`, `scan(prefix, after, limit)`. */
export const kv = behind("kv");
/** `send({ method, url, headers, body, timeoutMs })`. */
export const httpOut = behind("httpOut");
/** `names()`, `hmacSha256(name, data)`. */
export const secrets = behind("secrets");
/** `add(name, delta)`. */
export const metrics = behind("metrics");

/** A remark about settings that keeps them from being saved. */
export const refuse = (path, message) => ({ path, message, fatal: true });
/** A remark about settings that does not. */
export const remark = (path, message) => ({ path, message, fatal: false });

/** Verdicts on a command. Times are milliseconds since 1970 UTC. */
export const allow = () => ({ tag: "allow", val: null });
export const allowUntil = (untilMs) => ({ tag: "allow", val: millis(untilMs) });
export const veto = (reason) => ({ tag: "veto", val: reason });
export const defer = (untilMs, reason) => ({ tag: "defer", val: [millis(untilMs), reason] });

/** Decisions about an enrollment. */
export const admit = () => ({ tag: "allow" });
export const hold = (reason) => ({ tag: "hold", val: reason });
export const deny = (reason) => ({ tag: "deny", val: reason });

/** Changes of a command: a value (any JSON) at a JSON pointer into the payload, or none. */
export const set = (pointer, value) => ({ tag: "set", val: [pointer, JSON.stringify(value)] });
export const remove = (pointer) => ({ tag: "remove", val: pointer });

/** The channel of a device itself, or of one of its users. */
export const target = (device, user) => ({
  device,
  channel: user == null ? { tag: "device" } : { tag: "user", val: user },
});

/** A command that an effect or a remedy asks for. `notAfterMs`: not sent after this time. */
export const command = (requestType, payload, reason, notAfterMs = null) => ({
  requestType,
  payloadJson: JSON.stringify(payload),
  notAfterMs: notAfterMs === null ? null : millis(notAfterMs),
  reason,
});

/** Effects. The key makes what is returned twice be done once: put the event's id into it. */
export const enqueue = (key, to, what) => ({ key, item: { tag: "enqueue", val: [to, what] } });
export const setFact = (key, of, name, value) => ({
  key,
  item: { tag: "set-fact", val: [of, name, JSON.stringify(value)] },
});
export const emit = (key, device, topic, body) => ({
  key,
  item: { tag: "emit", val: [device, topic, JSON.stringify(body)] },
});
export const wake = (key, to) => ({ key, item: { tag: "wake", val: to } });

/** The value of a fact of a snapshot; undefined when it is not known. */
export const fact = (device, key) => facts(device)[key]?.value;
/** A fact of a snapshot with its source and time, as evidence of a finding; undefined when it is not known. */
export function known(device, key) {
  const told = facts(device)[key];
  if (told === undefined) return undefined;
  return {
    key,
    valueJson: JSON.stringify(told.value),
    source: told.source ?? "",
    observedMs: told["observed-ms"] ?? 0,
  };
}
/** Everything that is known of a device, by key: `{ value, source, "observed-ms" }` each. */
export function facts(device) {
  let read = READ.get(device);
  if (read === undefined || read.from !== device.factsJson) {
    read = { from: device.factsJson, all: Object.assign(Object.create(null), value(device.factsJson)) };
    READ.set(device, read);
  }
  return read.all;
}
/** What was read of the facts of each device; they are one text. */
const READ = new WeakMap();
/** A key of a command's payload, or the whole payload; undefined when it is absent. */
export const payload = (draft, key) => (key === undefined ? value(draft.payloadJson) : value(draft.payloadJson)?.[key]);
/** What belongs to an event. */
export const body = (event) => value(event.bodyJson);

/** A finding of a compliance rule; `more` adds `evidence`, `remedies` and `graceMs`. */
export const finding = (rule, verdict, message, more = {}) => ({
  rule,
  verdict,
  message,
  evidence: more.evidence ?? [],
  remedies: more.remedies ?? [],
  graceMs: more.graceMs ?? null,
});
/** A compliance rule, for lists and reports. */
export const rule = (id, title, severity, description, reference = null) => ({
  id,
  title,
  severity,
  description,
  reference,
});
/** Something that would mend a finding; `automatic`: the host may send it without asking a person. */
export const remedy = (label, what, automatic = false) => ({ label, command: what, automatic });

function value(json) {
  try {
    return json === undefined ? undefined : JSON.parse(json);
  } catch {
    return undefined;
  }
}

function millis(time) {
  const number = typeof time === "bigint" ? Number(time) : time;
  if (!Number.isSafeInteger(number) || number < 0) {
    throw new TypeError(`${String(time)} is no time in whole milliseconds since 1970 UTC`);
  }
  return number;
}
