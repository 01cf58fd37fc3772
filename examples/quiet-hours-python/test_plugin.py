"""The rule of Quiet hours, run natively."""

import unittest
from datetime import datetime

import pomona
from plugin import CommandValidate, Settings, judge

RULES = {"windows": [{"from": "22:00", "to": "05:00"}, {"group": "labs", "from": "12:00", "to": "13:00"}]}


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1000)


def verdict(now: str, zone=None, groups=()) -> pomona.Verdict:
    return judge(RULES, at(now), pomona.Snapshot(time_zone=zone, groups=list(groups)))


class QuietHours(unittest.TestCase):
    def test_an_open_window_lets_it_go_until_it_closes(self):
        self.assertEqual(verdict("2026-11-24T23:00:00Z"), pomona.allow_until(at("2026-11-25T05:00:00Z")))
        berlin = verdict("2026-11-25T03:59:59Z", "Europe/Berlin")
        self.assertEqual(berlin, pomona.allow_until(at("2026-11-25T04:00:00Z")))
        labs = verdict("2026-11-24T12:30:00Z", groups=["labs"])
        self.assertEqual(labs, pomona.allow_until(at("2026-11-24T13:00:00Z")))

    def test_outside_of_it_the_command_waits_for_the_next_in_the_devices_zone(self):
        tokyo = verdict("2026-11-24T12:30:00Z", "Asia/Tokyo")
        self.assertEqual(tokyo, pomona.defer(at("2026-11-24T13:00:00Z"), "quiet hours until 2026-11-24T13:00:00Z"))

    def test_the_night_in_which_clocks_change_is_an_hour_longer(self):
        # On 25 October 2026 Berlin goes from 3:00 back to 2:00.
        night = verdict("2026-10-24T20:00:00Z", "Europe/Berlin")
        self.assertEqual(night, pomona.allow_until(at("2026-10-25T04:00:00Z")))

    def test_the_hook_reads_the_tenants_settings(self):
        nobody = {"windows": [{"group": "nobody", "from": "00:00", "to": "01:00"}]}
        with pomona.FakeHost(settings=nobody):
            judged = CommandValidate().validate(pomona.CallContext(), "enqueue", pomona.Snapshot(), pomona.Draft())
        self.assertEqual(judged, pomona.veto("no window is set for this device's groups"))

    def test_what_a_schema_cannot_say_is_looked_at(self):
        remarks = Settings().validate('{"time_zone": "Atlantis", "windows": [{"from": "29:99", "to": "07:00"}]}')
        self.assertEqual([remark.path for remark in remarks], ["/time_zone", "/windows/0/from"])


if __name__ == "__main__":
    unittest.main()
