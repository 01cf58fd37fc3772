//! One trait for each hook.
//!
//! Owns the shapes that an author implements. Meaning, budgets and what happens on failure stand beside each hook in the
//! contract; nothing here calls the host.

use crate::{
    CallContext, Change, CommandRequest, Decision, Declaration, Diagnostic, Draft,
    EnrollmentRequest, Event, Finding, HookError, Keyed, RouteRequest, RouteResponse, RuleInfo,
    RuleVerdict, Severity, Snapshot, Stage, Step, Verdict,
};

/// Looks at settings before they are saved.
pub trait Settings {
    /// Remarks about settings that fit the schema; a fatal one keeps them from being saved.
    fn validate(json: &str) -> Vec<Diagnostic>;
    /// Turns settings of an older version into settings of this one.
    fn migrate(_from_version: &str, json: &str) -> Result<String, String> {
        Ok(json.into())
    }
}

/// Decides about new enrollments.
pub trait Enrollment {
    /// Lets it in, holds it back, or refuses it.
    fn decide(context: &CallContext, request: &EnrollmentRequest) -> Result<Decision, HookError>;
}

/// Changes commands while they are queued.
pub trait CommandAmend {
    /// Returns changes; asked again with them applied it must return none.
    fn amend(context: &CallContext, command: &Draft) -> Result<Vec<Change>, HookError>;
}

/// Judges commands for one device.
pub trait CommandValidate {
    /// The verdict, and until when it is true.
    fn validate(
        context: &CallContext,
        stage: Stage,
        device: &Snapshot,
        command: &Draft,
    ) -> Result<Verdict, HookError>;
}

/// Hears what happened.
pub trait Events {
    /// Handles some events of one device.
    fn on_events(context: &CallContext, batch: &[Event]) -> Result<Vec<Keyed>, HookError>;
}

/// Measures devices against rules.
pub trait Compliance {
    /// The rules.
    fn rules() -> Vec<RuleInfo>;
    /// One finding for each rule.
    fn evaluate(context: &CallContext, device: &Snapshot) -> Result<Vec<Finding>, HookError>;
}

/// Says which declarations a device should have.
pub trait Declarations {
    /// The whole set of this plugin.
    fn contribute(context: &CallContext, device: &Snapshot) -> Result<Vec<Declaration>, HookError>;
}

/// Works in the background.
pub trait Jobs {
    /// Runs one step.
    fn run(context: &CallContext, job: &str, cursor: Option<&str>) -> Result<Step, HookError>;
}

/// Answers HTTP requests.
pub trait Routes {
    /// Answers one.
    fn handle(context: &CallContext, request: &RouteRequest) -> Result<RouteResponse, HookError>;
}

/// Shows something in the console.
pub trait Panels {
    /// A panel as JSON.
    fn render(
        context: &CallContext,
        panel: &str,
        parameters_json: &str,
    ) -> Result<String, HookError>;
}

/// A command that a remedy or an effect asks for.
#[must_use]
pub fn command(request_type: &str, payload: &serde_json::Value, reason: &str) -> CommandRequest {
    CommandRequest {
        request_type: request_type.into(),
        payload_json: payload.to_string(),
        not_after_ms: None,
        reason: reason.into(),
    }
}

/// A rule, without a description.
#[must_use]
pub fn rule(id: &str, title: &str, severity: Severity) -> RuleInfo {
    RuleInfo {
        id: id.into(),
        title: title.into(),
        severity,
        description: String::new(),
        reference: None,
    }
}

/// What a rule says of a device, without evidence and remedies.
#[must_use]
pub fn finding(rule: &str, verdict: RuleVerdict, message: &str) -> Finding {
    Finding {
        rule: rule.into(),
        verdict,
        message: message.into(),
        evidence: Vec::new(),
        remedies: Vec::new(),
        grace_ms: None,
    }
}
