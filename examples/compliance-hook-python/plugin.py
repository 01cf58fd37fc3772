"""House rules: a recent operating system, a passcode, supervision.

Shows how an own rule becomes a finding with its evidence and a remedy. What is not known is `unknown`, never a pass.
"""

import pomona
from pomona import Finding, RuleInfo


class Compliance(pomona.Compliance):
    def rules(self):
        return [
            RuleInfo("os-current", "The operating system is recent", "medium", "At least the version of the settings."),
            RuleInfo("passcode", "A passcode is set", "high", "As the device or somebody who looked has said."),
            RuleInfo("supervised", "The device is supervised", "low", "As the device has said."),
        ]

    def evaluate(self, context, device):
        return measure(pomona.settings(), device)


def measure(rules: dict, device: pomona.Snapshot) -> list[Finding]:
    return [
        os_current(rules.get("minimum_os", "26.0"), device.os_version),
        passcode(device),
        supervised(device.supervised),
    ]


def os_current(minimum: str, version: str) -> Finding:
    if version == "":
        return Finding("os-current", "unknown", "the version is not known")
    if parts(version) < parts(minimum):
        return Finding("os-current", "fail", f"{version} is older than {minimum}")
    return Finding("os-current", "pass", f"{version} is {minimum} or newer")


def passcode(device: pomona.Snapshot) -> Finding:
    told = device.known("security.passcode-present")
    evidence = [] if told is None else [told]
    known = device.fact("security.passcode-present")
    if known is True:
        return Finding("passcode", "pass", "a passcode is set", evidence)
    if known is False:
        ask = pomona.command("SecurityInfo", {"Queries": ["PasscodePresent"]}, "the passcode rule failed")
        remedy = pomona.Remedy("Ask the device again", ask)
        return Finding("passcode", "fail", "no passcode is set", evidence, [remedy])
    return Finding("passcode", "unknown", "nobody has said whether a passcode is set", evidence)


def supervised(known: bool | None) -> Finding:
    if known is None:
        return Finding("supervised", "unknown", "nobody has said whether it is supervised")
    if known:
        return Finding("supervised", "pass", "it is supervised")
    return Finding("supervised", "fail", "it is not supervised")


def parts(version: str) -> list[int]:
    """The parts of a version as numbers, three or more; one that is missing or no number counts as 0."""
    numbers = [int(part) if part.isdecimal() else 0 for part in version.split(".")]
    return numbers + [0] * (3 - len(numbers))
