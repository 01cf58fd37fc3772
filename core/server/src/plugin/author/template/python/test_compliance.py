"""The rule, run by Python as it is."""

import json
import unittest

import pomona
from plugin import Compliance


def findings(*facts):
    device = pomona.Snapshot(facts_json=pomona.facts_json(*facts))
    return Compliance().evaluate(pomona.CallContext(), device)


class Passcode(unittest.TestCase):
    def test_what_is_not_known_is_no_pass(self):
        self.assertEqual(findings()[0].verdict, "unknown")
        present = pomona.Fact("security.passcode-present", json.dumps(True))
        self.assertEqual(findings(present)[0].verdict, "pass")

    def test_there_is_a_finding_for_each_rule(self):
        rules = [rule.id for rule in Compliance().rules()]
        self.assertEqual([finding.rule for finding in findings()], rules)


if __name__ == "__main__":
    unittest.main()
