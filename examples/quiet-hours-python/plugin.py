"""Quiet hours: a command that interrupts people waits for a window of time, in the device's own time zone.

Judged while it is queued, and again before it is sent when the window has closed since, so that a device that comes back late
waits for the next one.
"""

import re
from datetime import datetime, time, timedelta, timezone

import pomona
from zones import zone

# Here, and not where it is used: what a module does at its top is done once, while the plugin is built.
CLOCK = re.compile(r"([01][0-9]|2[0-3]):[0-5][0-9]")


class CommandValidate(pomona.CommandValidate):
    def validate(self, context, stage, device, command):
        return judge(pomona.settings(), context.now_ms, device)


def judge(rules: dict, now_ms: int, device: pomona.Snapshot) -> pomona.Verdict:
    """The window that is open now lets the command go until it closes; else the command waits for the next to open."""
    name = device.time_zone or rules.get("time_zone", "UTC")
    try:
        local = zone(name)
    except KeyError:
        raise pomona.Misconfigured(f"no time zone is named {name}") from None
    now = datetime.fromtimestamp(now_ms / 1000, timezone.utc)
    today = now.astimezone(local).date()
    coming = []
    for window in rules["windows"]:
        if window.get("group") is not None and window["group"] not in device.groups:
            continue
        begins, ends = clock(window["from"]), clock(window["to"])
        # Yesterday's window may reach into today; tomorrow's is the next when today's is over.
        for day in (-1, 0, 1):
            opening = today + timedelta(days=day)
            closing = opening if ends > begins else opening + timedelta(days=1)
            opens, closes = millis(opening, begins, local), millis(closing, ends, local)
            if opens <= now_ms < closes:
                return pomona.allow_until(closes)
            if opens > now_ms:
                coming.append(opens)
    if not coming:
        return pomona.veto("no window is set for this device's groups")
    until = datetime.fromtimestamp(min(coming) / 1000, timezone.utc)
    return pomona.defer(min(coming), f"quiet hours until {until:%Y-%m-%dT%H:%M:%SZ}")


def millis(date, at: time, local) -> int:
    return int(datetime.combine(date, at, tzinfo=local).timestamp() * 1000)


def clock(text: str) -> time:
    if not CLOCK.fullmatch(text):
        raise pomona.Misconfigured(f"{text} is no time such as 07:30")
    return time(int(text[:2]), int(text[3:]))


class Settings(pomona.Settings):
    def validate(self, json):
        rules = pomona.read_settings(json)
        remarks = []
        try:
            zone(rules.get("time_zone", "UTC"))
        except KeyError:
            remarks.append(pomona.refuse("/time_zone", "use an IANA name such as Europe/Berlin"))
        for n, window in enumerate(rules["windows"]):
            for key in ("from", "to"):
                try:
                    clock(window[key])
                except pomona.Misconfigured:
                    remarks.append(pomona.refuse(f"/windows/{n}/{key}", "use a time such as 07:30"))
        return remarks
