"""The rules, run natively."""

import unittest

import pomona
from plugin import Compliance, measure, parts


def device(os_version="", passcode=None, supervised=None) -> pomona.Snapshot:
    facts = [] if passcode is None else [pomona.Fact("security.passcode-present", passcode, "device", 1)]
    return pomona.Snapshot(os_version=os_version, supervised=supervised, facts_json=pomona.facts_json(*facts))


class HouseRules(unittest.TestCase):
    def test_what_is_not_known_never_passes(self):
        for given, verdicts in [
            (device("27.1", "true", True), ["pass", "pass", "pass"]),
            (device("25.9.9", "false", False), ["fail", "fail", "fail"]),
            (device(), ["unknown", "unknown", "unknown"]),
            (device("26", '"yes"'), ["pass", "unknown", "unknown"]),
        ]:
            self.assertEqual([finding.verdict for finding in measure({}, given)], verdicts)

    def test_a_missing_passcode_has_its_evidence_and_a_remedy_and_an_old_system_has_none(self):
        with pomona.FakeHost(settings={"minimum_os": "28"}):
            found = Compliance().evaluate(pomona.CallContext(), device("27.1", "false", True))
        system, passcode = found[0], found[1]
        self.assertEqual((system.verdict, system.remedies), ("fail", []))
        self.assertEqual(passcode.evidence[0].value_json, "false")
        [remedy] = passcode.remedies
        told = (remedy.label, remedy.command.request_type, remedy.automatic)
        self.assertEqual(told, ("Ask the device again", "SecurityInfo", False))

    def test_there_is_a_finding_for_each_rule(self):
        rules = [rule.id for rule in Compliance().rules()]
        self.assertEqual([finding.rule for finding in measure({}, device())], rules)

    def test_versions_are_compared_as_numbers(self):
        self.assertLess(parts("9.3"), parts("10"))
        self.assertEqual(parts("26"), parts("26.0.0"))
        self.assertGreater(parts("26.10"), parts("26.9"))


if __name__ == "__main__":
    unittest.main()
