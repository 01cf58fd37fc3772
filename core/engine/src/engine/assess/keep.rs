//! What is kept of an answer, and what stands when there is none.
//!
//! Owns: findings and declarations as rows, and the events that tell of what has changed: without an answer a finding becomes
//! unknown, and a set of declarations stays. All within the caller's transaction and under the device's lock.

use std::collections::BTreeMap;

use aws_lc_rs::digest;
use serde_json::{Value, json};

use crate::actor::{Actor, Cause};
use crate::error::{Error, Result};
use crate::event::{EventKind, NewEvent};
use crate::hooks::{Declaration, Finding, RuleInfo, RuleVerdict};
use crate::store::assess::{self as rows, Assessment, KeptFinding};
use crate::store::sql::Tx;

pub(super) async fn keep_findings(
    tx: &mut Tx,
    of: &Assessment,
    rules: &BTreeMap<String, RuleInfo>,
    findings: Vec<Finding>,
) -> Result<Vec<NewEvent>> {
    let mut before = rows::findings(tx, of.device, &of.plugin).await?;
    let mut told = Vec::new();
    let mut said: BTreeMap<String, Finding> = findings
        .into_iter()
        .map(|finding| (finding.rule.clone(), finding))
        .collect();
    if !said.is_empty() {
        // A rule of which nothing is said is not known to be kept.
        for rule in rules.keys() {
            said.entry(rule.clone()).or_insert_with(|| Finding {
                rule: rule.clone(),
                verdict: RuleVerdict::Unknown,
                message: "the plugin says nothing of this rule".into(),
                evidence: Vec::new(),
                remedies: Vec::new(),
                grace: None,
            });
        }
    }
    for (rule, finding) in said {
        let Some(info) = rules.get(&rule) else {
            continue;
        };
        let old = before.remove(&rule);
        let same = old.as_ref().filter(|old| old.verdict == finding.verdict);
        let since = same.map_or(of.assessed_at, |old| old.since);
        let now = KeptFinding {
            device: of.device,
            plugin: of.plugin.clone(),
            rule: rule.clone(),
            verdict: finding.verdict,
            severity: info.severity.as_str().into(),
            title: info.title.clone(),
            message: finding.message,
            evidence: json(&finding.evidence)?,
            remedies: json(&finding.remedies)?,
            grace_until: finding.grace.map(|grace| since.saturating_add(grace)),
            since,
            observed_at: of.assessed_at,
        };
        if same.is_none() {
            let body = json!({
                "plugin": of.plugin, "rule": rule, "title": info.title, "severity": info.severity.as_str(),
                "was": old.as_ref().map(|old| old.verdict.as_str()), "verdict": now.verdict.as_str(),
                "message": now.message,
            });
            told.push(event(of, EventKind::FindingChanged, body));
        }
        rows::put_finding(tx, of.tenant, &now).await?;
    }
    for rule in before.keys() {
        rows::drop_finding(tx, of.device, &of.plugin, rule).await?;
    }
    Ok(told)
}

pub(super) async fn keep_declarations(
    tx: &mut Tx,
    of: &Assessment,
    declarations: Vec<Declaration>,
) -> Result<Vec<NewEvent>> {
    let mut before = rows::contributed(tx, of.device, &of.plugin).await?;
    let mut changed = Vec::new();
    for declaration in &declarations {
        let token = server_token(declaration);
        if before.remove(&declaration.identifier).as_ref() == Some(&token) {
            continue;
        }
        changed.push(declaration.identifier.clone());
        let whose = (of.tenant, of.device, of.plugin.as_str());
        rows::put_contribution(tx, of.assessed_at, whose, declaration, &token).await?;
    }
    let gone: Vec<String> = before.into_keys().collect();
    for identifier in &gone {
        rows::drop_contribution(tx, of.device, &of.plugin, identifier).await?;
    }
    if changed.is_empty() && gone.is_empty() {
        return Ok(Vec::new());
    }
    let body = json!({ "plugin": of.plugin, "set": changed, "removed": gone });
    Ok(vec![event(of, EventKind::DeclarationsChanged, body)])
}

/// No answer: what was found stands as unknown, never as kept; declarations stay as they are.
pub(super) async fn keep_nothing(
    tx: &mut Tx,
    of: &Assessment,
    error: &str,
) -> Result<Vec<NewEvent>> {
    let mut told = Vec::new();
    if of.hook != "compliance" {
        return Ok(told);
    }
    for (rule, mut finding) in rows::findings(tx, of.device, &of.plugin).await? {
        if finding.verdict == RuleVerdict::Unknown {
            continue;
        }
        let body = json!({
            "plugin": of.plugin, "rule": rule, "title": finding.title, "severity": finding.severity,
            "was": finding.verdict.as_str(), "verdict": RuleVerdict::Unknown.as_str(), "message": error,
        });
        told.push(event(of, EventKind::FindingChanged, body));
        finding.verdict = RuleVerdict::Unknown;
        finding.message = format!("the plugin could not be asked: {error}");
        finding.remedies = "[]".into();
        finding.grace_until = None;
        finding.since = of.assessed_at;
        finding.observed_at = of.assessed_at;
        rows::put_finding(tx, of.tenant, &finding).await?;
    }
    Ok(told)
}

/// Changes whenever the declaration does: over its parts in a form of which there is one only.
fn server_token(declaration: &Declaration) -> String {
    let parts = json!([
        declaration.identifier,
        declaration.kind,
        declaration.payload
    ]);
    let mut text = String::new();
    canonical(&parts, &mut text);
    hex::encode(digest::digest(&digest::SHA256, text.as_bytes()))
}

/// JSON with the members of objects in the order of their names.
fn canonical(value: &Value, out: &mut String) {
    match value {
        Value::Object(members) => {
            let sorted: BTreeMap<&String, &Value> = members.iter().collect();
            out.push('{');
            for (n, (name, member)) in sorted.into_iter().enumerate() {
                if n > 0 {
                    out.push(',');
                }
                out.push_str(&Value::from(name.as_str()).to_string());
                out.push(':');
                canonical(member, out);
            }
            out.push('}');
        }
        Value::Array(items) => {
            out.push('[');
            for (n, item) in items.iter().enumerate() {
                if n > 0 {
                    out.push(',');
                }
                canonical(item, out);
            }
            out.push(']');
        }
        plain => out.push_str(&plain.to_string()),
    }
}

fn json(value: &impl serde::Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(|error| Error::internal("writing a finding", error))
}

pub(super) fn event(of: &Assessment, kind: EventKind, body: Value) -> NewEvent {
    NewEvent {
        tenant: of.tenant,
        device: of.device,
        enrollment: None,
        kind,
        command: None,
        actor: Actor::SYSTEM,
        cause: Cause::default(),
        body,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_token_knows_the_content_and_no_order() {
        let declaration = |payload: &str| Declaration {
            identifier: "org.example.a.one".into(),
            kind: "com.apple.configuration.passcode.settings".into(),
            payload: serde_json::from_str(payload).unwrap(),
        };
        let token = server_token(&declaration(r#"{"a": 1, "b": [{"c": 2, "d": "e"}]}"#));
        let turned = server_token(&declaration(r#"{"b": [{"d": "e", "c": 2}], "a": 1}"#));
        assert_eq!(token, turned);
        let other = server_token(&declaration(r#"{"a": 1, "b": [{"c": 2, "d": "f"}]}"#));
        assert_ne!(token, other);
    }
}
