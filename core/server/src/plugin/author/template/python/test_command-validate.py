"""The rule, run by Python as it is."""

import unittest

import pomona
from plugin import CommandValidate


class Kitchen(unittest.TestCase):
    def test_only_the_kitchen_is_spared(self):
        def judge(*groups):
            device, erase = pomona.Snapshot(groups=list(groups)), pomona.Draft("EraseDevice")
            return CommandValidate().validate(pomona.CallContext(), "enqueue", device, erase)

        self.assertEqual(judge("Office"), pomona.allow())
        self.assertEqual(judge("Kitchen").case, "veto")


if __name__ == "__main__":
    unittest.main()
