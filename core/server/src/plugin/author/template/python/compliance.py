"""A passcode is set."""

import pomona
from pomona import Finding, RuleInfo


class Compliance(pomona.Compliance):
    def rules(self):
        return [RuleInfo("passcode", "A passcode is set", "high", "As the device has said.")]

    def evaluate(self, context, device):
        return [passcode(device.fact("security.passcode-present"))]


def passcode(present):
    if present is True:
        return Finding("passcode", "pass", "a passcode is set")
    if present is False:
        return Finding("passcode", "fail", "no passcode is set")
    # What is not known is never a pass.
    return Finding("passcode", "unknown", "nobody has said whether a passcode is set")
