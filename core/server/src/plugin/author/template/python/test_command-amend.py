"""The rule, run by Python as it is."""

import json
import unittest

import pomona
from plugin import CommandAmend


class Messages(unittest.TestCase):
    def test_a_message_that_is_there_stays(self):
        def amend(payload):
            command = pomona.Draft("DeviceLock", json.dumps(payload))
            return CommandAmend().amend(pomona.CallContext(), command)

        self.assertEqual(amend({}), [pomona.set_value("/Message", "Please bring me back to the library")])
        self.assertEqual(amend({"Message": "Hello"}), [])


if __name__ == "__main__":
    unittest.main()
