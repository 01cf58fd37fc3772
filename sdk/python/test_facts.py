"""What is known of a device."""

import unittest

import pomona


class Facts(unittest.TestCase):
    def test_a_fact_is_found_by_its_key_with_what_it_rests_on(self):
        told = pomona.Fact("a.b", "[true]", "device", 7)
        device = pomona.Snapshot(facts_json=pomona.facts_json(told, pomona.Fact("c", "null")))
        self.assertEqual(device.fact("a.b"), [True])
        self.assertIsNone(device.fact("c", "otherwise"))
        self.assertEqual(device.fact("d", "otherwise"), "otherwise")
        self.assertEqual(device.known("a.b"), told)
        self.assertIsNone(device.known("d"))
        self.assertEqual([fact.key for fact in device.facts()], ["a.b", "c"])

    def test_a_text_that_holds_no_facts_has_none(self):
        for text in ["", "[", "{}"]:
            device = pomona.Snapshot(facts_json=text)
            self.assertIsNone(device.fact("a"))
            self.assertEqual(device.facts(), [])

    def test_a_device_that_a_test_changes_is_read_again(self):
        device = pomona.Snapshot(facts_json=pomona.facts_json(pomona.Fact("a", "1")))
        self.assertEqual(device.fact("a"), 1)
        device.facts_json = pomona.facts_json(pomona.Fact("a", "2"))
        self.assertEqual(device.fact("a"), 2)


if __name__ == "__main__":
    unittest.main()
