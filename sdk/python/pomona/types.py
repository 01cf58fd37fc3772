"""The data of the contract. Times are milliseconds since 1970 UTC; what an enumeration of the contract says is a string.

Owns the shapes; meaning and bounds of every field stand in the contract itself. Knows no host.
"""

import json
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Dict, List, Optional, Tuple

U16 = Annotated[int, range(2**16)]
"""A number that has 16 bits in the contract."""

U32 = Annotated[int, range(2**32)]
"""A number that has 32 bits in the contract."""


class HookError(Exception):
    """Why a hook gives no answer; raised. The host then applies the failure policy of the hook."""

    case: ClassVar[str] = "other"


class Retryable(HookError):
    """Later may be better."""

    case = "retryable"


class Permanent(HookError):
    """Trying again will not help: this input cannot be handled."""

    case = "permanent"


class Misconfigured(HookError):
    """The settings or rights do not let the plugin work; shown to the administrator."""

    case = "misconfigured"


class AccessError(Exception):
    """The refusal of a host function. `case`: `denied`, `quota`, `not-found`, `unavailable`, `invalid` or `other`."""

    def __init__(self, case: str, message: str = ""):
        super().__init__(message or case)
        self.case = case


def _value(text: str, default: Any) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return default


@dataclass
class CallContext:
    """What the host says of the call itself."""

    tenant: str = ""
    plugin: str = ""
    version: str = ""
    hook: str = ""
    call_id: str = ""
    attempt: int = 1
    now_ms: int = 0
    seed: int = 0
    dry_run: bool = False
    cause: Optional[str] = None
    depth: int = 0


@dataclass
class Fact:
    """One thing that is known of a device."""

    key: str
    value_json: str
    source: str = ""
    observed_ms: int = 0


def _fact(key: str, told: Dict[str, Any]) -> Fact:
    return Fact(key, json.dumps(told["value"]), told.get("source", ""), told.get("observed-ms", 0))


def facts_json(*facts: Fact) -> str:
    """Facts as the text in which a snapshot has them, for tests."""
    told = {
        fact.key: {"value": json.loads(fact.value_json), "source": fact.source, "observed-ms": fact.observed_ms}
        for fact in facts
    }
    return json.dumps(told)


@dataclass
class Channel:
    """One channel of a device: `device`, or `user` with the user's name."""

    case: str = "device"
    value: Optional[str] = None


@dataclass
class Target:
    """A channel of a device."""

    device: str
    channel: Channel = field(default_factory=Channel)


@dataclass
class Snapshot:
    """A device as it was known at `revision`. `platform` and `kind` are strings: `ipados`, `automated`."""

    id: str = ""
    channel: Channel = field(default_factory=Channel)
    udid: Optional[str] = None
    serial: Optional[str] = None
    platform: str = "ios"
    model: str = ""
    os_version: str = ""
    os_build: str = ""
    supervised: Optional[bool] = None
    shared_ipad: Optional[bool] = None
    kind: str = "profile"
    time_zone: Optional[str] = None
    groups: List[str] = field(default_factory=list)
    seen_ms: int = 0
    revision: int = 1
    facts_json: str = "{}"

    def fact(self, key: str, default: Any = None) -> Any:
        """The value of a fact; `default` when it is not known."""
        return self._facts().get(key, {}).get("value", default)

    def known(self, key: str) -> Optional[Fact]:
        """A fact with its source and time, as evidence of a finding; None when it is not known."""
        told = self._facts().get(key)
        return None if told is None else _fact(key, told)

    def facts(self) -> List[Fact]:
        """All facts, sorted by key."""
        return [_fact(key, told) for key, told in sorted(self._facts().items())]

    def _facts(self) -> Dict[str, Dict[str, Any]]:
        # Read once, and again when a test has given it others.
        text, read = getattr(self, "_read", (None, {}))
        if text is not self.facts_json:
            read = _value(self.facts_json, {})
            self._read = (self.facts_json, read)
        return read


@dataclass
class Subject:
    """A device and the channel that something is meant for, as the catalogue judges it; made of a snapshot by `subject`. None: not known."""

    platform: str = "ipados"
    os_version: str = ""
    user_channel: bool = False
    user_enrollment: bool = False
    supervised: Optional[bool] = None
    automated: Optional[bool] = None
    user_approved: Optional[bool] = None
    shared_ipad: Optional[bool] = None
    access_rights: Optional[U16] = None


def subject(device: Snapshot) -> Subject:
    """The device as the catalogue judges it. How a Mac came to be managed it tells in the fact `security.management-status`, which
    plugin.toml has to ask for."""
    status = device.fact("security.management-status")
    status = status if isinstance(status, dict) else {}

    def said(name: str) -> Optional[bool]:
        return status[name] if isinstance(status.get(name), bool) else None

    return Subject(
        platform=device.platform,
        os_version=device.os_version,
        user_channel=device.channel.case != "device",
        user_enrollment=device.kind == "account-driven-user",
        supervised=device.supervised,
        automated=True if device.kind == "automated" else said("EnrolledViaDEP"),
        user_approved=said("UserApprovedEnrollment"),
        shared_ipad=device.shared_ipad,
    )


@dataclass
class Objection:
    """One thing that stands in the way, or might. `weight` is `warns`, `open` (it cannot be told) or `refuses`."""

    cause: str
    weight: str
    key: str = ""
    message: str = ""
    fix: Optional[str] = None
    ask: Optional[str] = None
    alternative: Optional[str] = None


@dataclass
class Judgement:
    """What the catalogue says: `allowed`, `allowed-with-warning`, `unknown` or `refused`, with its objections, the gravest first."""

    verdict: str
    objections: List[Objection] = field(default_factory=list)


@dataclass
class Draft:
    """A command as a hook sees it. `actor` is `person`, `plugin` or `system`."""

    request_type: str = ""
    payload_json: str = "{}"
    actor: str = "person"

    def payload(self, key: str, default: Any = None) -> Any:
        """A key of the command's payload; `default` when it is absent."""
        whole = _value(self.payload_json, {})
        return whole.get(key, default) if isinstance(whole, dict) else default


@dataclass
class EnrollmentRequest:
    """A device that asks to be let in."""

    device: Snapshot
    quarantine: bool = False


@dataclass
class Event:
    """One event of a device."""

    id: str
    device: str
    user: Optional[str] = None
    seq: int = 0
    at_ms: int = 0
    kind: str = ""
    body_json: str = "{}"
    depth: int = 0

    def body(self) -> Any:
        """What belongs to it; None when it is no JSON."""
        return _value(self.body_json, None)


@dataclass
class Diagnostic:
    """One remark about settings."""

    path: str
    message: str
    fatal: bool = True


@dataclass
class CommandRequest:
    """A command that a plugin asks for."""

    request_type: str
    payload_json: str
    not_after_ms: Optional[int]
    reason: str


@dataclass
class Verdict:
    """What is said of a command; made by `allow`, `allow_until`, `veto` and `defer`."""

    case: str
    value: Any = None


@dataclass
class Decision:
    """What is said of an enrollment; made by `admit`, `hold` and `deny`."""

    case: str
    value: Any = None


@dataclass
class Change:
    """One change of a command; made by `set_value` and `remove`."""

    case: str
    value: Any = None


@dataclass
class Effect:
    """What a plugin wants done; made, with its key, by `enqueue`, `set_fact`, `emit` and `wake`."""

    case: str
    value: Any = None


@dataclass
class Keyed:
    """An effect with the key that makes it be done once."""

    key: str
    item: Effect


@dataclass
class Remedy:
    """Something that would mend a finding; `automatic`: the host may send it without asking a person."""

    label: str
    command: CommandRequest
    automatic: bool = False


@dataclass
class RuleInfo:
    """A compliance rule. `severity`: `info`, `low`, `medium`, `high` or `critical`."""

    id: str
    title: str
    severity: str
    description: str
    reference: Optional[str] = None


@dataclass
class Finding:
    """The result of one rule. `verdict`: `pass`, `fail`, `unknown` or `not-applicable`; what is not known is never `pass`."""

    rule: str
    verdict: str
    message: str
    evidence: List[Fact] = field(default_factory=list)
    remedies: List[Remedy] = field(default_factory=list)
    grace_ms: Optional[int] = None


@dataclass
class Declaration:
    """One declaration of a device."""

    identifier: str
    kind: str
    payload_json: str


@dataclass
class Step:
    """What a step of a job did, where the next begins, and when."""

    effects: List[Keyed] = field(default_factory=list)
    cursor: Optional[str] = None
    again_in_ms: Optional[U32] = None


@dataclass
class RouteRequest:
    """A request to an address below the plugin's. `actor` is None where the manifest opens the path to anybody."""

    method: str = "GET"
    path: str = ""
    query: str = ""
    headers: List[Tuple[str, str]] = field(default_factory=list)
    body: bytes = b""
    actor: Optional[str] = None
    roles: List[str] = field(default_factory=list)


@dataclass
class RouteResponse:
    """The reply to it, and what is to be done."""

    status: U16 = 200
    headers: List[Tuple[str, str]] = field(default_factory=list)
    body: bytes = b""
    effects: List[Keyed] = field(default_factory=list)


@dataclass
class Page:
    """Some devices and where the next begin."""

    items: List[Snapshot]
    next: Optional[str] = None


@dataclass
class Message:
    """A request to an outside service. A header value `secret:NAME` is filled in by the host."""

    method: str
    url: str
    headers: List[Tuple[str, str]] = field(default_factory=list)
    body: bytes = b""
    timeout_ms: U32 = 5_000


@dataclass
class Reply:
    """What an outside service replied."""

    status: int
    headers: List[Tuple[str, str]]
    body: bytes
