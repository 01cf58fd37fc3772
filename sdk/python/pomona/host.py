"""What a plugin may ask of the host.

Owns the functions that call out. In a unit test there is no host: `with FakeHost(settings={…}):` stands in for one.
"""

import json
from typing import Any, Callable, Optional

from .types import Misconfigured

_host: Any = None


def _attach(host: Any) -> None:
    """Connects the plugin with its host. Called by the build, never by a plugin."""
    global _host
    _host = host


def _asked(what: str) -> Any:
    if _host is None:
        raise RuntimeError(f"{what} needs a host: there is one in a call on the server, and within FakeHost in a test")
    return _host


class FakeHost:
    """Stands in for the host within a `with` block, in tests. Lines of the log are kept in `lines`."""

    def __init__(
        self,
        settings: Any = None,
        random: Optional[Callable[[int], bytes]] = None,
        elapsed_ms: int = 0,
        **interfaces: Any,
    ):
        """`interfaces`: an object with the functions that are asked, for each of `catalogue`, `devices`, `kv`, `http`, …"""
        self._interfaces = interfaces
        self._settings = {} if settings is None else settings
        self._random = random or bytes
        self._elapsed = elapsed_ms
        self._before: Any = None
        self.lines: list = []

    def __enter__(self) -> "FakeHost":
        self._before = _host
        _attach(self)
        return self

    def __exit__(self, *_: Any) -> None:
        _attach(self._before)

    def settings(self) -> str:
        return json.dumps(self._settings)

    def random(self, count: int) -> bytes:
        return self._random(count)

    def elapsed_ms(self) -> int:
        return self._elapsed

    def log(self, level: str, message: str, fields: str) -> None:
        self.lines.append((level, message, fields))

    def ask(self, interface: str, function: str, parts: tuple) -> Any:
        return getattr(self._interfaces[interface], function)(*parts)


def settings() -> Any:
    """The tenant's settings; raises `Misconfigured` when they are no JSON."""
    return read_settings(_asked("settings()").settings())


def read_settings(text: str) -> Any:
    """As `settings`, from a text at hand."""
    try:
        return json.loads(text)
    except ValueError as error:
        raise Misconfigured(f"settings: {error}") from error


def random_bytes(count: int) -> bytes:
    """Random bytes, at most 1,024 a call; the same for the same `seed` of the context."""
    return _asked("random_bytes()").random(count)


def elapsed_ms() -> int:
    """Milliseconds since the call began; 0 in deterministic hooks."""
    return _asked("elapsed_ms()").elapsed_ms()


def log(message: str, level: str = "info", **fields: Any) -> None:
    """A line for the operator's log: 64 of 2 KiB a call. `level`: `debug`, `info`, `warn` or `error`."""
    _asked("log()").log(level, str(message), json.dumps(fields) if fields else "")


class _Interface:
    """Functions of the contract behind a right: what plugin.toml does not ask for is not there."""

    def __init__(self, name: str):
        self._name = name

    def __getattr__(self, function: str) -> Callable[..., Any]:
        return lambda *parts: _asked(f"{self._name}.{function}()").ask(self._name, function, parts)


catalogue = _Interface("catalogue")
"""`preflight(subject, class, name, body_json)`, which gives a `Judgement`; `lookup(class, name)`, `names(class)`. Always there, in every hook."""
recipients = _Interface("recipients")
"""`kinds()`: in `command-amend`, the kinds of devices that the command is for."""
devices = _Interface("devices")
"""`get(id)`, `get_fact(id, key)`, `search(group, after, limit)`, `history(id, topic, limit)`; they raise `AccessError`."""
kv = _Interface("kv")
"""`get(key)`, `scan(prefix, after, limit)`."""
http = _Interface("http")
"""`send(Message(…))`, which gives a `Reply`."""
secrets = _Interface("secrets")
"""`names()`, `hmac_sha256(name, data)`."""
metrics = _Interface("metrics")
"""`add(name, delta)`."""
