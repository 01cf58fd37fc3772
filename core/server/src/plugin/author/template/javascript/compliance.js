// A passcode is set.

// @ts-check
import { fact, finding, rule } from "pomona";

/** @type {import("pomona").Compliance} */
export const compliance = {
  rules: () => [rule("passcode", "A passcode is set", "high", "As the device has said.")],
  evaluate: (_context, device) => [passcode(fact(device, "security.passcode-present"))],
};

/** @param {boolean | undefined} present */
function passcode(present) {
  if (present === true) return finding("passcode", "pass", "a passcode is set");
  if (present === false) return finding("passcode", "fail", "no passcode is set");
  // What is not known is never a pass.
  return finding("passcode", "unknown", "nobody has said whether a passcode is set");
}
