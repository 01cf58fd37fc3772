// Values that a test changes where it needs to. Imported from "pomona/testing"; never a part of a plugin.
//
// Owns plain values of the contract, each of a device of which little is known. What stands in for the host is `withHost`.

/** An iPad of which nothing more is known, with `more` members. */
export const device = (more = {}) => ({
  id: "d",
  channel: { tag: "device" },
  udid: null,
  serial: null,
  platform: { tag: "ipados" },
  model: "iPad13,18",
  osVersion: "27.0",
  osBuild: "",
  supervised: null,
  sharedIpad: null,
  kind: { tag: "profile" },
  timeZone: null,
  groups: [],
  seenMs: 0,
  revision: 1,
  factsJson: "{}",
  ...more,
});

/** Facts as the text in which a device has them: `factsJson({ "security.passcode-present": true })`. */
export const factsJson = (values) => {
  const told = Object.entries(values).map(([key, value]) => [key, { value, source: "device", "observed-ms": 1 }]);
  return JSON.stringify(Object.fromEntries(told));
};

/** The context of a first call, at this time in milliseconds since 1970 UTC. */
export const context = (nowMs = 0) => ({
  tenant: "t",
  plugin: "org.example.plugin",
  version: "1.0.0",
  hook: "",
  callId: "call",
  attempt: 1,
  nowMs,
  seed: 1,
  dryRun: false,
  cause: null,
  depth: 0,
});

/** A command that an administrator asks for. */
export const draft = (requestType, payload = {}) => ({
  requestType,
  payloadJson: JSON.stringify(payload),
  actor: { tag: "person" },
});

/** An event of the device of `device`, with `more` members. */
export const event = (kind, body = {}, more = {}) => ({
  id: "e",
  device: "d",
  user: null,
  seq: 1,
  atMs: 1,
  kind,
  bodyJson: JSON.stringify(body),
  depth: 0,
  ...more,
});
