"""Write plugins for Pomona in Python.

A plugin is a module `plugin` with one class for each hook, named as the hook is (`CommandValidate`, `Events`, `Settings`, …)
and derived from the class of that name here. The same code runs in unit tests and as a sandboxed component on a server.

Owns the Python face of the contract `pomona:hooks@0.9.0`. Holds no policy, and talks to nothing but the host.
"""

from .hooks import (
    CommandAmend,
    CommandValidate,
    Compliance,
    Declarations,
    Enrollment,
    Events,
    Jobs,
    Panels,
    Routes,
    Settings,
)
from .host import (
    FakeHost,
    catalogue,
    devices,
    elapsed_ms,
    http,
    kv,
    log,
    metrics,
    random_bytes,
    read_settings,
    recipients,
    secrets,
    settings,
)
from .types import (
    AccessError,
    CallContext,
    Change,
    Channel,
    CommandRequest,
    Decision,
    Declaration,
    Diagnostic,
    Draft,
    Effect,
    EnrollmentRequest,
    Event,
    Fact,
    Finding,
    HookError,
    Judgement,
    Keyed,
    Message,
    Misconfigured,
    Objection,
    Page,
    Permanent,
    Remedy,
    Reply,
    Retryable,
    RouteRequest,
    RouteResponse,
    RuleInfo,
    Snapshot,
    Step,
    Subject,
    Target,
    Verdict,
    facts_json,
    subject,
)
from .words import (
    admit,
    allow,
    allow_until,
    command,
    defer,
    deny,
    emit,
    enqueue,
    hold,
    refuse,
    remark,
    remove,
    set_fact,
    set_value,
    target,
    veto,
    wake,
)

__all__ = [name for name in dir() if not name.startswith("_")]
