"""The rule, run by Python as it is."""

import unittest

import pomona
from plugin import Events


class Names(unittest.TestCase):
    def test_each_event_asks_once(self):
        event = pomona.Event("e", "d", kind="enrolled")
        effects = Events().on_events(pomona.CallContext(), [event])
        self.assertEqual([effect.key for effect in effects], ["name/e"])


if __name__ == "__main__":
    unittest.main()
