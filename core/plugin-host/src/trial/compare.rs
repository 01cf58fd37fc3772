//! Where two answers to one question differ, in words for an administrator.
//!
//! Owns: what counts as the same, and what is shown of a difference: verdicts, reasons, names of rules, of keys and of effects.
//! What may be secret (the values of a command, of a fact, of a declaration) is compared, and never shown.

use std::collections::{BTreeMap, BTreeSet};

use pomona_engine::clock::{DAY, Micros};
use pomona_engine::hooks::{
    Change, CommandVerdict, Declaration, Effect, EnrollmentDecision, Finding, KeyedEffect,
};
use serde_json::Value;

/// Characters of a text that is kept.
const LONGEST: usize = 400;
/// Parts of an answer that are named.
const NAMED: usize = 12;

/// What the active version said, and the one on trial.
type Two = Option<(String, String)>;

/// A text as it is kept: on one line, cut.
pub(super) fn bounded(text: &str) -> String {
    let mut out: String = (text.chars().take(LONGEST))
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    if text.chars().nth(LONGEST).is_some() {
        out.push('…');
    }
    out
}

pub(super) fn decisions(one: &EnrollmentDecision, other: &EnrollmentDecision) -> Two {
    let told = |decision: &EnrollmentDecision| match decision {
        EnrollmentDecision::Allow => "allow".to_owned(),
        EnrollmentDecision::Hold(reason) => format!("hold: {reason}"),
        EnrollmentDecision::Deny(reason) => format!("deny: {reason}"),
    };
    (one != other).then(|| (told(one), told(other)))
}

/// A verdict and the time it was asked for at.
pub(super) type Judged = (Micros, CommandVerdict);

pub(super) fn verdicts(one: &Judged, other: &Judged) -> Two {
    let told = |(now, verdict): &Judged| match verdict {
        // So it stands where the plugin names no end.
        CommandVerdict::Allow { valid_until } if *valid_until == now + 365 * DAY => "allow".into(),
        CommandVerdict::Allow { valid_until } => format!("allow {}", after(*now, *valid_until)),
        CommandVerdict::Veto(reason) => format!("veto: {reason}"),
        CommandVerdict::Defer(until, reason) => format!("defer {}: {reason}", after(*now, *until)),
    };
    (one.1 != other.1).then(|| (told(one), told(other)))
}

fn after(now: Micros, then: Micros) -> String {
    format!("for {} s", then.saturating_sub(now) / 1_000_000)
}

pub(super) fn changes(one: &[Change], other: &[Change]) -> Two {
    let parts = |changes: &[Change]| -> BTreeMap<String, (String, Option<plist::Value>)> {
        let part = |change: &Change| match change {
            Change::Set(key, value) => (key.clone(), (format!("sets {key}"), Some(value.clone()))),
            Change::Remove(key) => (key.clone(), (format!("removes {key}"), None)),
        };
        changes.iter().map(part).collect()
    };
    // The last change of a key holds, whatever came before it.
    differing(&parts(one), &parts(other), "changes nothing")
}

pub(super) fn findings(one: &[Finding], other: &[Finding]) -> Two {
    let parts = |findings: &[Finding]| -> BTreeMap<String, (String, ())> {
        let part = |finding: &Finding| {
            let (rule, verdict) = (&finding.rule, finding.verdict.as_str());
            let told = format!("{rule}: {verdict}: {}", finding.message);
            (rule.clone(), (told, ()))
        };
        findings.iter().map(part).collect()
    };
    differing(&parts(one), &parts(other), "no finding")
}

pub(super) fn declarations(one: &[Declaration], other: &[Declaration]) -> Two {
    let parts = |all: &[Declaration]| -> BTreeMap<String, (String, Value)> {
        let part = |one: &Declaration| {
            let told = format!("{} ({})", one.identifier, one.kind);
            (one.identifier.clone(), (told, one.payload.clone()))
        };
        all.iter().map(part).collect()
    };
    differing(&parts(one), &parts(other), "no declaration")
}

pub(super) fn effects(one: &[KeyedEffect], other: &[KeyedEffect]) -> Two {
    let parts = |effects: &[KeyedEffect]| -> BTreeMap<String, (String, Effect)> {
        let part = |one: &KeyedEffect| {
            let told = format!("{}: {}", one.key, kind(&one.effect));
            (one.key.clone(), (told, one.effect.clone()))
        };
        // An effect is carried out once for its key: the first counts.
        effects.iter().rev().map(part).collect()
    };
    differing(&parts(one), &parts(other), "nothing")
}

/// What kind of effect it is, without its values.
fn kind(effect: &Effect) -> String {
    match effect {
        Effect::Enqueue { command, .. } => {
            let request_type = command.get("RequestType").and_then(plist::Value::as_string);
            format!("enqueue {}", request_type.unwrap_or_default())
        }
        Effect::SetFact { name, .. } => format!("set-fact {name}"),
        Effect::Emit { topic, .. } => format!("emit {topic}"),
        Effect::Wake { .. } => "wake".into(),
        Effect::Keep { value: Some(_), .. } => "kv-put".into(),
        Effect::Keep { value: None, .. } => "kv-delete".into(),
        Effect::Notify { severity, .. } => format!("notify {severity}"),
        Effect::Schedule { job, .. } => format!("schedule {job}"),
    }
}

/// The parts that are not the same, by name: what is told of each, and what is only compared.
fn differing<V: PartialEq>(
    one: &BTreeMap<String, (String, V)>,
    other: &BTreeMap<String, (String, V)>,
    nothing: &str,
) -> Two {
    let names: BTreeSet<&String> = one.keys().chain(other.keys()).collect();
    let (mut left, mut right, mut more) = (Vec::new(), Vec::new(), 0);
    for name in names {
        let (mine, theirs) = (one.get(name), other.get(name));
        if mine == theirs {
            continue;
        }
        if left.len().max(right.len()) == NAMED {
            more += 1;
            continue;
        }
        left.extend(mine.map(|(told, _)| told.clone()));
        let alike = mine.is_some_and(|(told, _)| theirs.is_some_and(|(other, _)| told == other));
        right.extend(theirs.map(|(told, _)| match alike {
            true => format!("{told} (with other content)"),
            false => told.clone(),
        }));
    }
    if left.is_empty() && right.is_empty() {
        return None;
    }
    let told = |parts: Vec<String>, all: usize| match (parts.is_empty(), all, more) {
        (true, 0, _) => nothing.to_owned(),
        (true, ..) => "none of these".to_owned(),
        (false, _, 0) => parts.join("; "),
        (false, _, more) => format!("{}; and {more} more places", parts.join("; ")),
    };
    Some((told(left, one.len()), told(right, other.len())))
}

#[cfg(test)]
mod tests;
