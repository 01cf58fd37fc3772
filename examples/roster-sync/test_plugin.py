"""The job, run natively against a roster that is made up."""

import json
import unittest

import pomona
from plugin import Jobs

PAGES = {
    "https://roster.example.org/v1/devices": {
        "devices": [{"serial": "A", "class": "7a"}, {"serial": "B", "class": "7b"}],
        "next": "two",
    },
    "https://roster.example.org/v1/devices?cursor=two": {"devices": [{"serial": "Z", "class": "8c"}]},
}


class Host:
    """The host's functions that the job asks."""

    def __init__(self, status=200, values=()):
        self.status = status
        self.values = dict(values)
        self.asked = []

    def send(self, message):
        self.asked.append(message)
        return pomona.Reply(self.status, [], json.dumps(PAGES[message.url]).encode())

    def get(self, key):
        return self.values.get(key)

    def search(self, group, after, limit):
        devices = [pomona.Snapshot(id="1", serial="A"), pomona.Snapshot(id="2", serial="B")]
        return pomona.Page([devices[0]], "1") if after is None else pomona.Page([devices[1]])


def step(host, cursor=None):
    with pomona.FakeHost(http=host, kv=host, devices=host):
        return Jobs().run(pomona.CallContext(call_id="c"), "sync", cursor)


class Roster(unittest.TestCase):
    def test_a_page_sets_facts_keeps_what_it_set_and_names_the_next(self):
        host = Host()
        told = step(host)
        self.assertEqual([effect.key for effect in told.effects], ["c/A/fact", "c/A/keep", "c/B/fact", "c/B/keep"])
        self.assertEqual((told.cursor, told.again_in_ms), ("two", 1_000))
        self.assertEqual(host.asked[0].headers, [("authorization", "secret:roster-token")])

    def test_what_is_the_same_as_last_time_is_left_alone(self):
        told = step(Host(values={"class/A": b"7a", "class/B": b"6b"}))
        self.assertEqual([effect.key for effect in told.effects], ["c/B/fact", "c/B/keep"])

    def test_the_last_page_ends_the_run_and_a_stranger_is_nobodys_device(self):
        told = step(Host(), "two")
        self.assertEqual([effect.key for effect in told.effects], ["first"])
        self.assertEqual((told.cursor, told.again_in_ms), (None, None))

    def test_a_roster_that_nobody_reaches_is_asked_again_and_one_that_may_not_be_asked_is_told(self):
        for case, raised in [
            ("unavailable", pomona.Retryable),
            ("quota", pomona.Retryable),
            ("denied", pomona.Misconfigured),
            ("not-found", pomona.Misconfigured),
        ]:

            class Closed(Host):
                def send(self, message):
                    raise pomona.AccessError(case, "why")

            with self.assertRaises(raised):
                step(Closed())

    def test_a_roster_that_is_down_is_asked_again_later(self):
        with self.assertRaises(pomona.Retryable):
            step(Host(status=503))


if __name__ == "__main__":
    unittest.main()
