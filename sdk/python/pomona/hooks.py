"""One class for each hook. A plugin derives from those it wants, under the same name.

Owns the shapes that an author implements. An author makes no object: every function is called on a new one. What a class or a module
keeps lives as long as the instance, which is one call, or several with `reuse`.
"""

from typing import List, Optional

from .types import (
    CallContext,
    Change,
    Decision,
    Declaration,
    Diagnostic,
    Draft,
    EnrollmentRequest,
    Event,
    Finding,
    Keyed,
    RouteRequest,
    RouteResponse,
    RuleInfo,
    Snapshot,
    Step,
    Verdict,
)


class Settings:
    """Looks at settings before they are saved."""

    def validate(self, json: str) -> List[Diagnostic]:
        """Remarks about settings that fit the schema; a fatal one keeps them from being saved."""
        return []

    def migrate(self, from_version: str, json: str) -> str:
        """Turns settings of an older version into settings of this one."""
        return json


class Enrollment:
    """Decides about new enrollments."""

    def decide(self, context: CallContext, request: EnrollmentRequest) -> Decision:
        """Lets it in, holds it back, or refuses it."""
        raise NotImplementedError


class CommandAmend:
    """Changes commands while they are queued."""

    def amend(self, context: CallContext, command: Draft) -> List[Change]:
        """Returns changes; asked again with them applied it must return none."""
        raise NotImplementedError


class CommandValidate:
    """Judges commands for one device. `stage` is `enqueue` or `delivery`."""

    def validate(self, context: CallContext, stage: str, device: Snapshot, command: Draft) -> Verdict:
        """The verdict, and until when it is true."""
        raise NotImplementedError


class Events:
    """Hears what happened."""

    def on_events(self, context: CallContext, batch: List[Event]) -> List[Keyed]:
        """Handles some events of one device."""
        raise NotImplementedError


class Compliance:
    """Measures devices against rules."""

    def rules(self) -> List[RuleInfo]:
        """The rules."""
        raise NotImplementedError

    def evaluate(self, context: CallContext, device: Snapshot) -> List[Finding]:
        """One finding for each rule."""
        raise NotImplementedError


class Declarations:
    """Says which declarations a device should have."""

    def contribute(self, context: CallContext, device: Snapshot) -> List[Declaration]:
        """The whole set of this plugin."""
        raise NotImplementedError


class Jobs:
    """Works in the background."""

    def run(self, context: CallContext, job: str, cursor: Optional[str]) -> Step:
        """Runs one step."""
        raise NotImplementedError


class Routes:
    """Answers requests below `/plugins/<tenant>/<plugin>/`."""

    def handle(self, context: CallContext, request: RouteRequest) -> RouteResponse:
        """The reply, and what is to be done."""
        raise NotImplementedError


class Panels:
    """Shows something in the console."""

    def render(self, context: CallContext, panel: str, parameters_json: str) -> str:
        """A panel as JSON."""
        raise NotImplementedError
