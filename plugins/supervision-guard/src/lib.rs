//! Supervision guard: what a device lacks is said before a command is sent, and told when it is lost.
//!
//! Owns: the hooks, each of them a line into the part that answers it. What Apple's protocols allow it asks the host's catalogue; it has no table
//! of its own. It sends nothing but questions to devices, and never changes what a command does.
#![forbid(unsafe_code)]

mod amend;
mod drift;
mod events;
mod known;
mod needs;
mod panels;
mod poll;
mod readiness;
mod rules;
mod settings;
mod uses;
mod validate;

use pomona_sdk::{
    CallContext, Change, CommandAmend, CommandValidate, Compliance, Diagnostic, Draft, Event,
    Events, Finding, HookError, Jobs, Keyed, Panels, RuleInfo, Settings, Snapshot, Stage, Step,
    Verdict, host,
};

struct Guard;
pomona_sdk::export!(Guard: CommandAmend, CommandValidate, Compliance, Events, Jobs, Panels, Settings);

impl CommandAmend for Guard {
    fn amend(_context: &CallContext, command: &Draft) -> Result<Vec<Change>, HookError> {
        Ok(amend::amend(&host::settings()?, command))
    }
}

impl CommandValidate for Guard {
    fn validate(
        context: &CallContext,
        _stage: Stage,
        device: &Snapshot,
        command: &Draft,
    ) -> Result<Verdict, HookError> {
        let settings = host::settings()?;
        Ok(validate::judge(&settings, context.now_ms, device, command))
    }
}

impl Compliance for Guard {
    fn rules() -> Vec<RuleInfo> {
        rules::rules()
    }

    fn evaluate(context: &CallContext, device: &Snapshot) -> Result<Vec<Finding>, HookError> {
        Ok(rules::measure(&host::settings()?, context.now_ms, device))
    }
}

impl Events for Guard {
    fn on_events(_context: &CallContext, batch: &[Event]) -> Result<Vec<Keyed>, HookError> {
        events::heard(&host::settings()?, batch)
    }
}

impl Jobs for Guard {
    fn run(context: &CallContext, _job: &str, cursor: Option<&str>) -> Result<Step, HookError> {
        poll::step(&host::settings()?, context.now_ms, cursor)
    }
}

impl Panels for Guard {
    fn render(_: &CallContext, panel: &str, parameters_json: &str) -> Result<String, HookError> {
        panels::render(&host::settings()?, panel, parameters_json)
    }
}

impl Settings for Guard {
    fn validate(json: &str) -> Vec<Diagnostic> {
        settings::remarks(json)
    }
}
