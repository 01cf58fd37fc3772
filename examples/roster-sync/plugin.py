"""Roster sync: once an hour the school's roster is read, page by page, and each pupil's device is told its class.

Shows a job with a cursor, values that are kept between runs, and requests to the outside. A step reads one page; what it
returns and where the next page begins are committed together, so that a server that dies in between loses no page and does none
twice.

A page of the roster is `{"devices": [{"serial": "…", "class": "7a"}], "next": "CURSOR or absent"}`.
"""

import json

import pomona
from pomona import AccessError, Effect, Keyed, Message, Misconfigured, Retryable, Step

SECOND_MS = 1_000


class Jobs(pomona.Jobs):
    def run(self, context, job, cursor):
        url = pomona.settings().get("url", "https://roster.example.org/v1/devices")
        page = read(url if cursor is None else f"{url}?cursor={cursor}")
        effects = changes(context, page["devices"])
        following = page.get("next")
        if following is None:
            # Done once, for its key: the first time that the whole roster has been read.
            effects.append(Keyed("first", Effect("notify", ("info", "the roster was read for the first time"))))
        return Step(effects, following, SECOND_MS if following else None)


def read(url: str) -> dict:
    """A page of the roster."""
    try:
        reply = pomona.http.send(Message("GET", url, [("authorization", "secret:roster-token")], b"", 5_000))
    except AccessError as error:
        # A right, an address or a secret that is not good stays so until somebody mends it; all else may be better later.
        if error.case == "not-found":
            raise Misconfigured("the secret roster-token is not set") from error
        if error.case in ("denied", "invalid"):
            raise Misconfigured(str(error)) from error
        raise Retryable(f"the roster cannot be reached: {error}") from error
    if reply.status != 200:
        raise Retryable(f"the roster answers {reply.status}")
    try:
        return json.loads(reply.body)
    except ValueError as error:
        raise Retryable(f"the roster is no JSON: {error}") from error


def changes(context: pomona.CallContext, rows: list[dict]) -> list[Keyed]:
    """What a page changes: nothing, where a class is the one of the last run. A page has at most 100 rows."""
    news = [(row["serial"], row["class"]) for row in rows if kept(row["serial"]) != row["class"]]
    devices = known() if news else {}
    effects = []
    for serial, room in news:
        device = devices.get(serial)
        if device is not None:
            key = f"{context.call_id}/{serial}"
            effects.append(pomona.set_fact(f"{key}/fact", pomona.target(device), "class", room))
            effects.append(Keyed(f"{key}/keep", Effect("kv-put", (f"class/{serial}", room.encode()))))
    return effects


def kept(serial: str) -> str | None:
    """The class that was noted for a serial number."""
    value = pomona.kv.get(f"class/{serial}")
    return None if value is None else bytes(value).decode()


def known() -> dict[str, str]:
    """Ids of devices by serial number."""
    found, after = {}, None
    while True:
        page = pomona.devices.search(None, after, 100)
        found.update({device.serial: device.id for device in page.items if device.serial})
        after = page.next
        if after is None:
            return found
