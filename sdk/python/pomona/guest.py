"""What stands between a plugin and its host inside the sandbox. Used by `pomona plugin build` alone.

Owns: the translation between the generated bindings and the types of this package, the frame around every call (what is
raised becomes an error of the contract, or is told to the host with its trace), and what of Python has no system below it:
print, random numbers, the time of day.
"""

import gc
import importlib
import os
import random
import re
import sys
import time
import typing
from dataclasses import fields, is_dataclass

from componentize_py_types import Err
from wit_world.imports import clock, config, log
from wit_world.imports import random as host_random

from . import host, types
from .types import U32, Channel, HookError

# What cannot be imported in a call, since there are no files then, is imported now.
_MODULES = []
for _name in (
    "imports.common imports.device imports.command imports.effect imports.catalogue imports.recipients imports.devices imports.kv imports.http_out imports.secrets "
    "imports.metrics exports.settings exports.enrollment "
    "exports.command_amend exports.command_validate exports.events exports.compliance exports.declarations exports.jobs exports.routes "
    "exports.panels"
).split():
    try:
        _MODULES.append(importlib.import_module(f"wit_world.{_name}"))
    except ImportError:
        # This world does not have it.
        pass

# What the contract calls otherwise than this package.
_NAMES = {types.CommandRequest: "Request", types.Effect: "Item", types.RouteResponse: "Response"}
_CASES = (types.Verdict, types.Decision, types.Change, types.Effect, types.Channel)
_ENUMS = {("RuleInfo", "severity"): "Severity", ("Finding", "verdict"): "Verdict"}


def _binding(name, home=None):
    for module in _MODULES:
        if (home is None or module.__name__.endswith(home)) and hasattr(module, name):
            return getattr(module, name)
    raise TypeError(f"this plugin's world has no {name}")


def _camel(case):
    return "".join(part.capitalize() for part in case.split("-"))


def _fits(value, wanted):
    """Whether a value is of a field's type, as deep as it must be for the border not to end the guest without a word."""
    if wanted is typing.Any:
        return True
    origin, inner = typing.get_origin(wanted), typing.get_args(wanted)
    if origin is typing.Union:
        return any(_fits(value, one) for one in inner)
    if origin is list:
        return isinstance(value, list) and all(_fits(one, inner[0]) for one in value)
    if origin is tuple:
        return isinstance(value, tuple) and len(value) == len(inner) and all(map(_fits, value, inner))
    if origin is typing.Annotated:
        return _fits(value, inner[0]) and value < inner[1].stop
    if wanted is int:
        return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**64
    return isinstance(value, wanted)


def _named(wanted):
    """A type as an author writes it."""
    name = wanted.__name__ if isinstance(wanted, type) and not typing.get_args(wanted) else str(wanted)
    return name.replace("pomona.types.", "pomona.").replace("typing.", "")


_PAYLOADS = {
    "allow": typing.Optional[int],
    "enqueue": typing.Tuple[types.Target, types.CommandRequest],
    "set-fact": typing.Tuple[types.Target, str, str],
    "emit": typing.Tuple[str, str, str],
    "defer": typing.Tuple[int, str],
    "set": typing.Tuple[str, str],
    "wake": types.Target,
    "kv-put": typing.Tuple[str, bytes],
    "notify": typing.Tuple[str, str],
    "schedule": typing.Tuple[str, int],
    "device": type(None),
}

# What the functions of the host take.
_TAKEN = {
    "catalogue.preflight": (types.Subject, str, str, str),
    "catalogue.lookup": (str, str),
    "catalogue.names": (str,),
    "recipients.kinds": (),
    "devices.get": (str,),
    "devices.get_fact": (str, str),
    "devices.search": (typing.Optional[str], typing.Optional[str], U32),
    "devices.history": (str, str, U32),
    "kv.get": (str,),
    "kv.scan": (str, typing.Optional[str], U32),
    "http.send": (types.Message,),
    "secrets.names": (),
    "secrets.hmac_sha256": (str, bytes),
    "metrics.add": (str, U32),
}


def _lower(value, at, home=None):
    """A value of this package as the bindings want it."""
    if isinstance(value, list):
        return [_lower(one, f"{at}[{n}]", home) for n, one in enumerate(value)]
    if isinstance(value, tuple):
        return tuple(_lower(one, f"{at}[{n}]", home) for n, one in enumerate(value))
    if isinstance(value, _CASES):
        return _lower_case(value, at, home)
    if not is_dataclass(value):
        return value
    name = type(value).__name__
    given = {}
    for part in fields(value):
        inner, place = getattr(value, part.name), f"{at}.{part.name}"
        if not _fits(inner, part.type):
            raise TypeError(f"{place}: {inner!r:.80} is no {_named(part.type)}")
        enum = _ENUMS.get((name, part.name))
        if (name, part.name) == ("Subject", "platform"):
            given[part.name] = _family(inner)
        elif enum is not None:
            given[part.name] = _member(_binding(enum, "compliance"), inner, place)
        else:
            given[part.name] = _lower(inner, place, home)
    contract = _NAMES.get(type(value), name)
    return _binding(contract, "command" if isinstance(value, types.CommandRequest) else None)(**given)


def _member(enum, word, at):
    name = word.replace("-", "_").upper()
    if name not in enum.__members__:
        known = ", ".join(one.lower().replace("_", "-") for one in enum.__members__)
        raise TypeError(f"{at}: {word!r} is none of {known}")
    return enum[name]


def _family(word):
    """A platform as the bindings want it; a word that is none of them is another one's."""
    try:
        return _binding(f"Platform_{_camel(word)}")()
    except TypeError:
        return _binding("Platform_Other")(word)


def _lower_case(value, at, home):
    wanted = _PAYLOADS.get(value.case, str)
    if isinstance(value, types.Decision) and value.case == "allow":
        wanted = type(None)
    inner = value.value
    if not _fits(inner, wanted):
        raise TypeError(f"{at}: {inner!r:.80} does not fit {value.case}")
    contract = _NAMES.get(type(value), type(value).__name__)
    # Compliance has a Verdict of its own, which is no case but a word.
    where = "command_validate" if isinstance(value, types.Verdict) else None
    made = _binding(f"{contract}_{_camel(value.case)}", where)
    return made() if wanted is type(None) else made(_lower(inner, at, home))


def _case(value):
    """The case of a value of the bindings: `AccessError_NotFound()` is `not-found`, `AccessError_Other("x")` is `other`."""
    return _CAPITAL.sub("-", type(value).__name__.partition("_")[2]).lower()


def _word(value):
    """A value of the bindings that is a string here: `Platform_Ipados()` is `ipados`, `Platform_Other("x")` is `x`."""
    case = _case(value)
    return value.value if case == "other" else case


def _lift(value):
    """A value of the bindings as a type of this package."""
    name = type(value).__name__
    if isinstance(value, list):
        return [_lift(one) for one in value]
    if name.startswith("Channel_"):
        return Channel(name.partition("_")[2].lower(), getattr(value, "value", None))
    if name.startswith(("Platform_", "EnrollmentKind_", "Actor_")):
        return _word(value)
    if name == "Stage" or (name in ("Verdict", "Weight") and type(value).__module__.endswith("imports.catalogue")):
        return value.name.lower().replace("_", "-")
    if name == "Request":
        name = "RouteRequest" if type(value).__module__.endswith(".routes") else "EnrollmentRequest"
    lifted = getattr(types, name, None)
    if lifted is None or not is_dataclass(lifted):
        return value
    return lifted(**{part.name: _lift(getattr(value, part.name)) for part in fields(lifted)})


_RESULTS = {
    "Settings.validate": typing.List[types.Diagnostic],
    "Settings.migrate": str,
    "Enrollment.decide": types.Decision,
    "CommandAmend.amend": typing.List[types.Change],
    "CommandValidate.validate": types.Verdict,
    "Events.on_events": typing.List[types.Keyed],
    "Compliance.rules": typing.List[types.RuleInfo],
    "Compliance.evaluate": typing.List[types.Finding],
    "Declarations.contribute": typing.List[types.Declaration],
    "Jobs.run": types.Step,
    "Routes.handle": types.RouteResponse,
    "Panels.render": str,
}

# Compiled while the component is made, not in every call.
_CAPITAL = re.compile(r"(?<!^)(?=[A-Z])")
_call = {"now_ms": None}
_lines = []


def call(plugin, hook, name, *given):
    """Calls a function of a hook of the plugin and brings its answer across the border."""
    at = f"{hook}.{name}"
    try:
        lifted = [_lift(one) for one in given]
        context = lifted[0] if lifted and isinstance(lifted[0], types.CallContext) else None
        _call["now_ms"] = context.now_ms if context else None
        # The generator's own state was baked into the component.
        random.seed(context.seed if context else int.from_bytes(_bytes(8), "big"))
        answer = getattr(getattr(plugin, hook)(), name)(*lifted)
        if not _fits(answer, _RESULTS[at]):
            raise TypeError(f"{at} must return {_named(_RESULTS[at])}, and returned {answer!r:.80}")
        return _lower(answer, at)
    except HookError as error:
        if at == "Settings.validate":
            return [_binding("Diagnostic")(path="", message=str(error), fatal=True)]
        if at == "Settings.migrate":
            raise Err(str(error)) from None
        if at == "Compliance.rules":
            log.panic(_trace(error))
            raise
        raise Err(_binding(f"HookError_{_camel(error.case)}")(str(error))) from None
    except BaseException as error:
        log.panic(_trace(error))
        raise
    finally:
        # An instance may serve other calls: what was printed without an end belongs to this one.
        for lines in _lines:
            lines.end()


def _trace(error):
    """What was raised and where, innermost first, on one line, since the host's log has lines. Looks at no source: there is
    none in a call."""
    frames, at = [], error.__traceback__
    while at is not None:
        code = at.tb_frame.f_code
        if not code.co_filename.endswith(("pomona/guest.py", "pomona_entry.py")):
            frames.append(f"at {code.co_name} ({os.path.basename(code.co_filename)}:{at.tb_lineno})")
        at = at.tb_next
    return "; ".join([f"{type(error).__name__}: {error}", *frames[:-13:-1]])


def _bytes(count):
    """Random bytes of the host, which gives 1,024 at a time."""
    parts = []
    while count > 0:
        parts.append(host_random.bytes(min(count, 1024)))
        count -= 1024
    return b"".join(parts)


def _checked(at, parts, wanted):
    """Names what a function of the host is given and cannot take."""
    if len(parts) != len(wanted):
        raise TypeError(f"{at} takes {len(wanted)} arguments, and was given {len(parts)}")
    for part, kind in zip(parts, wanted):
        if not _fits(part, kind):
            raise TypeError(f"{at}: {part!r:.80} is no {_named(kind)}")


class _Host:
    """The host of a call, for the functions of `host`."""

    @staticmethod
    def settings():
        return config.get_json()

    @staticmethod
    def random(count):
        _checked("random_bytes", (count,), (U32,))
        return host_random.bytes(count)

    @staticmethod
    def elapsed_ms():
        return clock.elapsed_ms()

    @staticmethod
    def log(level, message, fields_json):
        log.write(_member(log.Level, level, "level"), message, fields_json)

    @staticmethod
    def ask(interface, function, parts):
        module = sys.modules.get(f"wit_world.imports.{'http_out' if interface == 'http' else interface}")
        if module is None:
            raise RuntimeError(f"plugin.toml asks for no right that opens {interface}")
        at = f"{interface}.{function}"
        wanted = _TAKEN.get(at)
        if wanted is None:
            raise AttributeError(f"the host has no {at}")
        _checked(at, parts, wanted)
        try:
            return _lift(getattr(module, function)(*(_lower(part, at) for part in parts)))
        except Err as error:
            refusal = error.value
            raise types.AccessError(_case(refusal), getattr(refusal, "value", "")) from None


class _Lines:
    """What print writes to: a line of the host's log for each line."""

    encoding = "utf-8"

    def __init__(self, level):
        self._level = level
        self._rest = ""

    def write(self, text):
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            log.write(self._level, line, "")
        return len(text)

    def flush(self):
        pass

    def end(self):
        if self._rest:
            log.write(self._level, self._rest, "")
            self._rest = ""

    def isatty(self):
        return False


def _time():
    if _call["now_ms"] is None:
        raise RuntimeError("the time of day is known only in hooks that get a context")
    return (_call["now_ms"] + clock.elapsed_ms()) / 1000


def prepare():
    """Replaces what has no system below it, once, while the component is made."""
    host._attach(_Host)
    _lines[:] = _Lines(log.Level.INFO), _Lines(log.Level.WARN)
    sys.stdout, sys.stderr = _lines
    os.urandom = random._urandom = _bytes
    time.time = _time
    time.monotonic = time.perf_counter = lambda: clock.elapsed_ms() / 1000
    # What is there before a call outlives it: looking for garbage in it would only touch memory.
    gc.collect()
    gc.freeze()
