"""The words in which a plugin answers.

Owns small functions that make data of the contract. Times are milliseconds since 1970 UTC. Asks nothing of the host.
"""

import json
from typing import Any, Optional

from .types import Change, Channel, CommandRequest, Decision, Diagnostic, Effect, Keyed, Target, Verdict


def refuse(path: str, message: str) -> Diagnostic:
    """A remark about settings that keeps them from being saved."""
    return Diagnostic(path, message, True)


def remark(path: str, message: str) -> Diagnostic:
    """A remark about settings that does not keep them from being saved."""
    return Diagnostic(path, message, False)


def allow() -> Verdict:
    """Lets a command go until the device changes."""
    return Verdict("allow", None)


def allow_until(until_ms: int) -> Verdict:
    """Lets a command go until a time."""
    return Verdict("allow", until_ms)


def veto(reason: str) -> Verdict:
    """Never."""
    return Verdict("veto", reason)


def defer(until_ms: int, reason: str) -> Verdict:
    """Not before a time."""
    return Verdict("defer", (until_ms, reason))


def admit() -> Decision:
    """Lets a device in."""
    return Decision("allow")


def hold(reason: str) -> Decision:
    """Enrolls a device into quarantine."""
    return Decision("hold", reason)


def deny(reason: str) -> Decision:
    """Refuses a device."""
    return Decision("deny", reason)


def set_value(pointer: str, value: Any) -> Change:
    """Sets the value at a JSON pointer into a command's payload."""
    return Change("set", (pointer, json.dumps(value)))


def remove(pointer: str) -> Change:
    """Removes the value at a JSON pointer into a command's payload."""
    return Change("remove", pointer)


def target(device: str, user: Optional[str] = None) -> Target:
    """The channel of a device itself, or of one of its users."""
    return Target(device, Channel() if user is None else Channel("user", user))


def command(request_type: str, payload: dict, reason: str, not_after_ms: Optional[int] = None) -> CommandRequest:
    """A command that an effect or a remedy asks for."""
    return CommandRequest(request_type, json.dumps(payload), not_after_ms, reason)


# Effects. The key makes what is returned twice be done once: put the event's id into it.


def enqueue(key: str, to: Target, what: CommandRequest) -> Keyed:
    """Queues a command for a channel."""
    return Keyed(key, Effect("enqueue", (to, what)))


def set_fact(key: str, of: Target, name: str, value: Any) -> Keyed:
    """Sets a fact, named below the plugin's id; None removes it."""
    return Keyed(key, Effect("set-fact", (of, name, json.dumps(value))))


def emit(key: str, device: str, topic: str, body: dict) -> Keyed:
    """Writes an event into a device's timeline."""
    return Keyed(key, Effect("emit", (device, topic, json.dumps(body))))


def wake(key: str, to: Target) -> Keyed:
    """Rings a channel."""
    return Keyed(key, Effect("wake", to))
