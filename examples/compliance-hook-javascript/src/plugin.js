// House rules: a recent operating system, a passcode, supervision.
//
// Shows how an own rule becomes a finding with its evidence and a remedy. What is not known is `unknown`, never a pass.

// @ts-check
import { command, finding, known, remedy, rule, settings } from "pomona";

/** @type {import("pomona").Compliance} */
export const compliance = {
  rules: () => [
    rule("os-current", "The operating system is recent", "medium", "At least the version of the settings."),
    rule("passcode", "A passcode is set", "high", "As the device or somebody who looked has said."),
    rule("supervised", "The device is supervised", "low", "As the device has said."),
  ],
  evaluate: (_context, device) => measure(settings(), device),
};

/**
 * @param {{ minimum_os?: string }} rules
 * @param {import("pomona").Snapshot} device
 */
export function measure(rules, device) {
  return [osCurrent(rules.minimum_os ?? "26.0", device.osVersion), passcode(device), supervised(device.supervised)];
}

/** @param {string} minimum @param {string} version */
function osCurrent(minimum, version) {
  if (version === "") return finding("os-current", "unknown", "the version is not known");
  return order(version, minimum) < 0
    ? finding("os-current", "fail", `${version} is older than ${minimum}`)
    : finding("os-current", "pass", `${version} is ${minimum} or newer`);
}

/** @param {import("pomona").Snapshot} device */
function passcode(device) {
  const told = known(device, "security.passcode-present");
  const evidence = told === undefined ? [] : [told];
  switch (told?.valueJson) {
    case "true":
      return finding("passcode", "pass", "a passcode is set", { evidence });
    case "false": {
      const ask = command("SecurityInfo", { Queries: ["PasscodePresent"] }, "the passcode rule failed");
      return finding("passcode", "fail", "no passcode is set", {
        evidence,
        remedies: [remedy("Ask the device again", ask)],
      });
    }
    default:
      return finding("passcode", "unknown", "nobody has said whether a passcode is set", { evidence });
  }
}

/** @param {boolean | null} known */
function supervised(known) {
  if (known === null) return finding("supervised", "unknown", "nobody has said whether it is supervised");
  return known
    ? finding("supervised", "pass", "it is supervised")
    : finding("supervised", "fail", "it is not supervised");
}

/**
 * Compares versions part by part, as numbers; a part that is missing counts as 0.
 * @param {string} left @param {string} right
 */
export function order(left, right) {
  const parts = (/** @type {string} */ version) => version.split(".").map((part) => Number.parseInt(part, 10) || 0);
  const [one, other] = [parts(left), parts(right)];
  for (let n = 0; n < Math.max(one.length, other.length); n += 1) {
    const difference = (one[n] ?? 0) - (other[n] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}
