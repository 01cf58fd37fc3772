"""The rule, run by Python as it is."""

import unittest

import pomona
from plugin import Enrollment


class Supervision(unittest.TestCase):
    def test_only_what_is_not_supervised_waits(self):
        def decide(supervised):
            request = pomona.EnrollmentRequest(pomona.Snapshot(supervised=supervised))
            return Enrollment().decide(pomona.CallContext(), request)

        self.assertEqual(decide(None), pomona.admit())
        self.assertEqual(decide(False).case, "hold")


if __name__ == "__main__":
    unittest.main()
