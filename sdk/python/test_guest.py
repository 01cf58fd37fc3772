"""The border between a plugin and its host, with bindings that are made up."""

import enum
import sys
import types
import unittest
from dataclasses import make_dataclass

import pomona

DAY_MS = 24 * 3600 * 1000


class Err(Exception):
    """As the bindings tell an error of the contract."""

    def __init__(self, value):
        super().__init__(value)
        self.value = value


def module(name, **content):
    made = types.ModuleType(name)
    made.__dict__.update(content)
    sys.modules[name] = made
    return made


def bindings():
    """Those of a world with the hooks jobs and events, and some rights."""
    record = make_dataclass
    asked = []

    def send(message):
        asked.append(message)
        return types.SimpleNamespace()

    def search(group, after, limit):
        raise Err(refusals["AccessError_Other" if after else "AccessError_NotFound"](*([after] if after else [])))

    refusals = {
        "AccessError_NotFound": record("AccessError_NotFound", []),
        "AccessError_Other": record("AccessError_Other", ["value"]),
    }
    panics, logged = [], []
    module("componentize_py_types", Err=Err)
    module("wit_world")
    module("wit_world.exports")
    module(
        "wit_world.imports",
        clock=module("wit_world.imports.clock", elapsed_ms=lambda: 0),
        config=module("wit_world.imports.config", get_json=lambda: "{}"),
        log=module("wit_world.imports.log", panic=panics.append, write=lambda *line: logged.append(line)),
        random=module("wit_world.imports.random", bytes=bytes),
    )
    module("wit_world.imports.http_out", Message=record("Message", "method url headers body timeout_ms".split()), send=send)
    module("wit_world.imports.devices", search=search)
    module("wit_world.imports.metrics", add=lambda name, delta: None)
    module("wit_world.imports.command", Request=record("Request", "request_type payload_json not_after_ms reason".split()))
    module(
        "wit_world.imports.device",
        Target=record("Target", ["device", "channel"]),
        Channel_Device=record("Channel_Device", []),
        Channel_User=record("Channel_User", ["value"]),
        Platform_Ipados=record("Platform_Ipados", []),
        Platform_Other=record("Platform_Other", ["value"]),
    )
    subject = "platform os_version user_channel user_enrollment supervised automated user_approved shared_ipad access_rights"
    verdict = enum.Enum("Verdict", "ALLOWED ALLOWED_WITH_WARNING", module="wit_world.imports.catalogue")
    weight = enum.Enum("Weight", "WARNS", module="wit_world.imports.catalogue")
    objection = record("Objection", "cause weight key message fix ask alternative".split())
    judgement = record("Judgement", "verdict objections".split())

    def preflight(*question):
        asked.append(question)
        told = objection("version", weight.WARNS, "A", "it does nothing", None, None, "B")
        return judgement(verdict.ALLOWED_WITH_WARNING, [told])

    module("wit_world.imports.catalogue", Subject=record("Subject", subject.split()), preflight=preflight, Verdict=verdict)
    cases = ("Item_Enqueue", "Item_KvPut", "Item_Notify", "Item_Schedule", "Item_Wake")
    module(
        "wit_world.imports.effect",
        Keyed=record("Keyed", ["key", "item"]),
        **{case: record(case, ["value"]) for case in cases},
    )
    module("wit_world.exports.jobs", Step=record("Step", "effects cursor again_in_ms".split()))
    request, response = "method path query headers body actor roles", "status headers body effects"
    module(
        "wit_world.exports.routes",
        Request=record("Request", request.split(), namespace={"__module__": "wit_world.exports.routes"}),
        Response=record("Response", response.split()),
    )
    return asked, panics, logged


ASKED, PANICS, LOGGED = bindings()
from pomona import guest  # noqa: E402


def answered(hook, function, answer):
    """What crosses the border when a hook answers so."""
    plugin = types.SimpleNamespace(**{hook: lambda: types.SimpleNamespace(**{function: lambda *_: answer})})
    return guest.call(plugin, hook, function)


class Border(unittest.TestCase):
    def setUp(self):
        ASKED.clear()
        PANICS.clear()
        pomona.host._attach(guest._Host)
        self.addCleanup(pomona.host._attach, None)

    def refused(self, told, work, *given):
        with self.assertRaises(TypeError) as caught:
            work(*given)
        self.assertIn(told, str(caught.exception))

    def test_a_number_of_32_bits_is_no_larger(self):
        largest = 2**32 - 1
        self.assertEqual(answered("Jobs", "run", pomona.Step(again_in_ms=largest)).again_in_ms, largest)
        self.assertIsNone(answered("Jobs", "run", pomona.Step()).again_in_ms)
        for wrong in (60 * DAY_MS, 2**32, -1, True, 1.5, "5"):
            told = f"Jobs.run.again_in_ms: {wrong!r} is no "
            self.refused(told, answered, "Jobs", "run", pomona.Step(again_in_ms=wrong))
        self.assertIn("range(0, 4294967296)", PANICS[0])

    def test_a_request_to_the_outside_is_looked_at_whole(self):
        pomona.http.send(pomona.Message("GET", "https://x.example", [("accept", "*/*")], b"", 5_000))
        self.assertEqual(ASKED[0].headers, [("accept", "*/*")])
        for more, told in [
            ({"timeout_ms": 60 * DAY_MS}, "http.send.timeout_ms: 5184000000 is no "),
            ({"headers": [("a", 1)]}, "http.send.headers: [('a', 1)] is no "),
            ({"headers": [("a",)]}, "http.send.headers: [('a',)] is no "),
            ({"headers": ["ab"]}, "http.send.headers: ['ab'] is no "),
            ({"headers": {"a": "b"}}, "http.send.headers: {'a': 'b'} is no List[Tuple[str, str]]"),
            ({"body": "text"}, "http.send.body: 'text' is no bytes"),
        ]:
            self.refused(told, pomona.http.send, pomona.Message("GET", "https://x.example", **more))
        self.assertEqual(len(ASKED), 1)

    def test_the_catalogue_is_asked_about_a_subject_and_answers_in_words(self):
        told = pomona.catalogue.preflight(pomona.Subject("ipados", "17.4", supervised=False), "command", "Settings", "{}")
        asked = ASKED[0][0]
        self.assertEqual(type(asked.platform).__name__, "Platform_Ipados")
        self.assertEqual((asked.os_version, asked.supervised, asked.automated), ("17.4", False, None))
        objection = pomona.Objection("version", "warns", "A", "it does nothing", None, None, "B")
        self.assertEqual(told, pomona.Judgement("allowed-with-warning", [objection]))
        pomona.catalogue.preflight(pomona.Subject("Car1,1"), "command", "Settings", "{}")
        self.assertEqual(ASKED[1][0].platform.value, "Car1,1")
        strange = pomona.Subject(access_rights=2**16)
        self.refused("catalogue.preflight.access_rights: 65536 is no ", pomona.catalogue.preflight, strange, "command", "A", "{}")

    def test_what_the_host_is_asked_with_is_looked_at(self):
        self.refused("devices.search: 4294967296 is no ", pomona.devices.search, None, None, 2**32)
        self.refused("devices.search takes 3 arguments, and was given 1", pomona.devices.search, None)
        self.refused("metrics.add: -1 is no ", pomona.metrics.add, "seen", -1)
        self.refused("http.send: 'GET' is no Message", pomona.http.send, "GET")
        self.refused("random_bytes: -1 is no ", pomona.random_bytes, -1)
        with self.assertRaisesRegex(AttributeError, "the host has no devices.all"):
            pomona.devices.all()

    def test_the_values_of_effects_are_looked_at(self):
        to, what = pomona.target("d"), pomona.command("RestartDevice", {}, "why")
        step = answered("Jobs", "run", pomona.Step([pomona.enqueue("k", to, what)]))
        self.assertEqual(step.effects[0].item.value[1].request_type, "RestartDevice")
        for case, value in [
            ("kv-put", ("a", "text")),
            ("kv-put", ["a", b""]),
            ("schedule", ("sync", -1)),
            ("notify", ("info",)),
            ("enqueue", (to, None)),
        ]:
            effect = pomona.Keyed("k", pomona.Effect(case, value))
            self.refused(f"does not fit {case}", answered, "Jobs", "run", pomona.Step([effect]))
        self.refused("Jobs.run.effects: ['x'] is no List[pomona.Keyed]", answered, "Jobs", "run", pomona.Step(["x"]))
        self.refused("Jobs.run must return Step", answered, "Jobs", "run", None)

    def test_a_request_of_a_page_comes_and_its_reply_is_looked_at(self):
        bound = sys.modules["wit_world.exports.routes"].Request
        given = bound("GET", "a.csv", "", [("accept", "*/*")], b"x", None, ["viewer"])
        lifted = guest._lift(given)
        self.assertEqual(lifted, pomona.RouteRequest("GET", "a.csv", "", [("accept", "*/*")], b"x", None, ["viewer"]))
        effects = [pomona.wake("k", pomona.target("d"))]
        reply = answered("Routes", "handle", pomona.RouteResponse(202, [("a", "b")], b"noted", effects))
        self.assertEqual((reply.status, reply.headers, reply.body), (202, [("a", "b")], b"noted"))
        self.assertEqual(reply.effects[0].item.value.device, "d")
        for wrong, told in [
            (pomona.RouteResponse(2**16), "Routes.handle.status: 65536 is no "),
            (pomona.RouteResponse(body="text"), "Routes.handle.body: 'text' is no bytes"),
            (pomona.RouteResponse(headers={"a": "b"}), "Routes.handle.headers: {'a': 'b'} is no "),
            (b"text", "Routes.handle must return RouteResponse"),
        ]:
            self.refused(told, answered, "Routes", "handle", wrong)

    def test_a_refusal_is_told_with_its_case(self):
        for after, wanted in [("x", ("other", "x")), (None, ("not-found", "not-found"))]:
            with self.assertRaises(pomona.AccessError) as caught:
                pomona.devices.search(None, after, 10)
            self.assertEqual((caught.exception.case, str(caught.exception)), wanted)

    def test_what_is_printed_without_an_end_belongs_to_the_call_that_printed_it(self):
        LOGGED.clear()
        lines = guest._Lines("info")
        self.addCleanup(guest._lines.clear)
        guest._lines[:] = [lines]
        for text, fails in [("one", False), ("two\nthree", True), ("four\n", False)]:

            def run(*_):
                print(text, end="", file=lines)
                if fails:
                    raise ValueError("on purpose")
                return pomona.Step()

            plugin = types.SimpleNamespace(Jobs=lambda: types.SimpleNamespace(run=run))
            try:
                guest.call(plugin, "Jobs", "run")
            except ValueError:
                self.assertTrue(fails)
            LOGGED.append("call")
        said = [line if line == "call" else line[1] for line in LOGGED]
        self.assertEqual(said, ["one", "call", "two", "three", "call", "four", "call"])

    def test_words_of_the_contract_are_strings_and_unknown_ones_their_own(self):
        ipados, other = make_dataclass("Platform_Ipados", []), make_dataclass("Platform_Other", ["value"])
        driven = make_dataclass("EnrollmentKind_AccountDrivenUser", [])
        lifted = [guest._lift(value) for value in (ipados(), other("kiosk"), driven())]
        self.assertEqual(lifted, ["ipados", "kiosk", "account-driven-user"])


if __name__ == "__main__":
    unittest.main()
