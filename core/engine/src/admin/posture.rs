//! What plugins find out about devices, as administrators see it.
//!
//! Owns: the form in which findings, assessments and contributed declarations are shown, and the two questions that can be asked: how
//! is this device now, and why was this said of it. Changes nothing but what an assessment writes.

use serde::Serialize;
use serde_json::Value;

use super::instant::Instant;
use super::page::{Page, PageRequest, Position};
use crate::engine::{Answer, Engine};
use crate::error::{Error, Result};
use crate::hooks::{KnownFact, Remedy, RuleVerdict};
use crate::ids::{DeviceId, TenantId};
use crate::store::Store;
use crate::store::assess::{Assessment, KeptDeclaration, KeptFinding, Wanted};

/// What a rule says of a device.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct FindingView {
    /// The device.
    pub device_id: DeviceId,
    /// The plugin.
    pub plugin: String,
    /// The rule within it.
    pub rule: String,
    /// The rule's name for people.
    pub title: String,
    /// `info`, `low`, `medium`, `high` or `critical`.
    pub severity: String,
    /// What it says. What is not known is `unknown`, never `pass`.
    pub verdict: RuleVerdict,
    /// Why, in a sentence.
    pub message: String,
    /// What it rests on.
    #[schema(value_type = Vec<Object>)]
    pub evidence: Value,
    /// Commands that would mend it.
    #[schema(value_type = Vec<Object>)]
    pub remedies: Value,
    /// Until when a failure is borne with.
    pub grace_until: Option<Instant>,
    /// Since when the verdict is this one.
    pub since: Instant,
    /// When it was last said.
    pub observed_at: Instant,
}

impl From<KeptFinding> for FindingView {
    fn from(row: KeptFinding) -> Self {
        let list = |text: &str| serde_json::from_str(text).unwrap_or(Value::Array(Vec::new()));
        Self {
            device_id: row.device,
            plugin: row.plugin,
            rule: row.rule,
            title: row.title,
            severity: row.severity,
            verdict: row.verdict,
            message: row.message,
            evidence: list(&row.evidence),
            remedies: list(&row.remedies),
            grace_until: row.grace_until.map(Instant),
            since: Instant(row.since),
            observed_at: Instant(row.observed_at),
        }
    }
}

/// When and on what a hook was last asked about a device.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct AssessmentView {
    /// The plugin.
    pub plugin: String,
    /// `compliance` or `declarations`.
    pub hook: String,
    /// `answered`, or `failed`: then findings are unknown and declarations are those of the last answer.
    pub state: &'static str,
    /// Why there was no answer.
    pub error: Option<String>,
    /// When it was asked.
    pub assessed_at: Instant,
    /// The revision of the device that the answer rests on.
    pub revision: i64,
    /// How often in a row there was no answer.
    pub attempts: i64,
}

impl From<Assessment> for AssessmentView {
    fn from(row: Assessment) -> Self {
        Self {
            state: if row.error.is_some() {
                "failed"
            } else {
                "answered"
            },
            plugin: row.plugin,
            hook: row.hook,
            error: row.error,
            assessed_at: Instant(row.assessed_at),
            revision: row.revision,
            attempts: row.attempts,
        }
    }
}

/// How a device stands.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct Posture {
    /// What the rules say.
    pub findings: Vec<FindingView>,
    /// Who was asked, and when.
    pub assessments: Vec<AssessmentView>,
}

/// A declaration that a plugin has for a device. It is kept and shown; it is not sent yet.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct ContributedDeclaration {
    /// `Identifier`.
    pub identifier: String,
    /// `Type`.
    #[serde(rename = "type")]
    pub kind: String,
    /// `Payload`.
    #[schema(value_type = Object)]
    pub payload: Value,
    /// `ServerToken`, made of the content.
    pub server_token: String,
    /// The plugin.
    pub plugin: String,
    /// When it last changed.
    pub changed_at: Instant,
}

impl From<KeptDeclaration> for ContributedDeclaration {
    fn from(row: KeptDeclaration) -> Self {
        Self {
            payload: serde_json::from_str(&row.payload).unwrap_or(Value::Null),
            identifier: row.identifier,
            kind: row.kind,
            server_token: row.server_token,
            plugin: row.plugin,
            changed_at: Instant(row.changed_at),
        }
    }
}

/// Why something was said of a device.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct Explanation {
    /// When it was asked.
    pub assessed_at: Instant,
    /// The name of the question.
    pub call_id: String,
    /// The device as the plugin was told of it, before its rights were looked at.
    #[schema(value_type = Object)]
    pub device: Value,
    /// What the plugin says when it is asked the same again.
    #[schema(value_type = Vec<Object>)]
    pub answer: Value,
    /// Whether that is what was recorded.
    pub same: bool,
}

/// Which findings are wanted.
#[derive(Clone, Debug, Default)]
pub(crate) struct FindingQuery {
    pub(crate) verdict: Option<String>,
    pub(crate) plugin: Option<String>,
    pub(crate) rule: Option<String>,
}

/// How a device stands.
pub(crate) async fn posture(store: &Store, tenant: TenantId, device: &str) -> Result<Posture> {
    let device = super::devices::find_device(store, tenant, device).await?;
    of_device(store, device).await
}

async fn of_device(store: &Store, device: DeviceId) -> Result<Posture> {
    let findings = store.device_findings(device).await?;
    let assessments = store.assessments(device).await?;
    Ok(Posture {
        findings: findings.into_iter().map(FindingView::from).collect(),
        assessments: assessments.into_iter().map(AssessmentView::from).collect(),
    })
}

/// Asks every hook about a device now.
///
/// # Errors
/// [`Error::Conflict`] when it is not enrolled.
pub(crate) async fn assess(engine: &Engine, tenant: TenantId, device: &str) -> Result<Posture> {
    let store = engine.store();
    let device = super::devices::find_device(store, tenant, device).await?;
    engine.assess_now(tenant, device).await?;
    of_device(store, device).await
}

/// The findings of a tenant, by device, plugin and rule.
///
/// # Errors
/// [`Error::Invalid`] for an unknown verdict or a bad page.
pub(crate) async fn findings(
    store: &Store,
    tenant: TenantId,
    query: &FindingQuery,
    page: &PageRequest,
) -> Result<Page<FindingView>> {
    let verdict = query
        .verdict
        .as_deref()
        .map(|word| {
            RuleVerdict::from_word(word).ok_or_else(|| {
                Error::Invalid("verdict is one of pass, fail, unknown and not-applicable".into())
            })
        })
        .transpose()?;
    let wanted = Wanted {
        verdict,
        plugin: query.plugin.clone(),
        rule: query.rule.clone(),
    };
    let keys = store.keys(tenant).await?;
    let limit = page.limit()?;
    let position = page.position(&keys, "findings")?;
    let (from, seen) = position.map_or((uuid::Uuid::nil(), 0), |at| (at.id, at.number));
    let most = i64::try_from(limit).unwrap_or(i64::MAX);
    let rows = store
        .tenant_findings(tenant, &wanted, DeviceId(from), most + 1 + seen)
        .await?;
    let skipped = usize::try_from(seen).unwrap_or(0);
    let rest: Vec<KeptFinding> = rows.into_iter().skip(skipped).collect();
    let shown = usize::try_from(limit).unwrap_or(usize::MAX);
    let last = rest.get(..shown.min(rest.len())).and_then(<[_]>::last);
    // How many of the last device have been shown so far.
    let done = last.map_or(0, |last| {
        let here = rest
            .iter()
            .take(shown)
            .filter(|row| row.device == last.device);
        let before = if last.device.0 == from { seen } else { 0 };
        before + i64::try_from(here.count()).unwrap_or(0)
    });
    Ok(Page::cut(rest, limit, |last| {
        let at = Position {
            number: done,
            id: last.device.0,
            seq: 0,
        };
        at.seal(&keys, "findings")
    })
    .map(FindingView::from))
}

/// The declarations that plugins have for a device.
pub(crate) async fn declarations(
    store: &Store,
    tenant: TenantId,
    device: &str,
) -> Result<Vec<ContributedDeclaration>> {
    let device = super::devices::find_device(store, tenant, device).await?;
    let rows = store.contributions(device).await?;
    Ok(rows.into_iter().map(ContributedDeclaration::from).collect())
}

/// Asks a plugin again what it was asked last about a device, and says whether the answer is the same.
///
/// # Errors
/// As [`Engine::ask_again`].
pub(crate) async fn explain(
    engine: &Engine,
    tenant: TenantId,
    device: &str,
    plugin: &str,
    hook: &str,
) -> Result<Explanation> {
    let store = engine.store();
    let device = super::devices::find_device(store, tenant, device).await?;
    let recorded = store
        .assessments(device)
        .await?
        .into_iter()
        .find(|one| one.plugin == plugin && one.hook == hook)
        .ok_or(Error::NotFound(
            "an assessment of this device by the plugin",
        ))?;
    let answer = engine.ask_again(tenant, &recorded).await?;
    let (answer, same) = match answer {
        Answer::Findings(found) => {
            let kept = store.device_findings(device).await?;
            let kept: Vec<&KeptFinding> = kept.iter().filter(|row| row.plugin == plugin).collect();
            let same = recorded.error.is_none()
                && found.iter().all(|finding| {
                    kept.iter().any(|row| {
                        row.rule == finding.rule
                            && row.verdict == finding.verdict
                            && row.message == finding.message
                            && parsed::<Vec<KnownFact>>(&row.evidence).as_ref()
                                == Some(&finding.evidence)
                            && parsed::<Vec<Remedy>>(&row.remedies).as_ref()
                                == Some(&finding.remedies)
                    })
                });
            let shown = found
                .iter()
                .map(|finding| {
                    serde_json::json!({
                        "rule": finding.rule, "verdict": finding.verdict, "message": finding.message,
                        "evidence": finding.evidence, "remedies": finding.remedies,
                    })
                })
                .collect();
            (Value::Array(shown), same)
        }
        Answer::Declarations(said) => {
            let kept = store.contributions(device).await?;
            let ours = kept.iter().filter(|row| row.plugin == plugin).count();
            let same = recorded.error.is_none()
                && ours == said.len()
                && said.iter().all(|one| {
                    kept.iter().any(|row| {
                        row.identifier == one.identifier
                            && row.kind == one.kind
                            && parsed::<Value>(&row.payload).as_ref() == Some(&one.payload)
                    })
                });
            (serde_json::to_value(said).unwrap_or(Value::Null), same)
        }
    };
    Ok(Explanation {
        assessed_at: Instant(recorded.assessed_at),
        call_id: recorded.call_id,
        device: serde_json::from_str(&recorded.snapshot).unwrap_or(Value::Null),
        answer,
        same,
    })
}

fn parsed<T: serde::de::DeserializeOwned>(text: &str) -> Option<T> {
    serde_json::from_str(text).ok()
}
