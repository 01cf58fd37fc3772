//! Asks deterministic hooks about devices and keeps what they say.
//!
//! Owns: when a device is asked about, and which answers can be kept. What is kept of them is in `keep`. A reconciler: what is due is read from the database. Nothing here is sent to a device.

mod keep;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::sync::broadcast::error::RecvError;

use keep::{event, keep_declarations, keep_findings, keep_nothing};

use super::Engine;
use crate::clock::{HOUR, Micros, SECOND};
use crate::error::{Error, Result};
use crate::event::EventKind;
use crate::hooks::{
    ComplianceHook, Declaration, DeclarationHook, DeviceSnapshot, Finding, HookError, Question,
    RuleInfo, check_declarations, check_findings,
};
use crate::ids::{DeviceId, TenantId};
use crate::store::assess::{self as rows, Assessment, Due};
use crate::store::{events, snapshot};

/// Devices asked about in one round of a hook.
const BATCH: i64 = 64;
/// One answer, waiting included.
const BUDGET: Duration = Duration::from_secs(2);

/// A hook that is asked, and of whose devices.
#[derive(Clone)]
pub(crate) struct Assessor {
    tenant: Option<TenantId>,
    hook: Asked,
}

#[derive(Clone)]
enum Asked {
    Compliance(Arc<dyn ComplianceHook>),
    Declarations(Arc<dyn DeclarationHook>),
}

/// What a hook said.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Answer {
    Findings(Vec<Finding>),
    Declarations(Vec<Declaration>),
}

impl Assessor {
    pub(crate) fn plugin(&self) -> &str {
        match &self.hook {
            Asked::Compliance(hook) => hook.name(),
            Asked::Declarations(hook) => hook.name(),
        }
    }

    pub(crate) fn hook(&self) -> &'static str {
        match &self.hook {
            Asked::Compliance(_) => "compliance",
            Asked::Declarations(_) => "declarations",
        }
    }

    pub(crate) fn stamp(&self) -> String {
        match &self.hook {
            Asked::Compliance(hook) => hook.stamp(),
            Asked::Declarations(hook) => hook.stamp(),
        }
    }

    fn interval(&self) -> Option<Micros> {
        match &self.hook {
            Asked::Compliance(hook) => hook.interval(),
            Asked::Declarations(hook) => hook.interval(),
        }
    }

    /// Asks, within time; a device that does not concern the hook gets an empty answer.
    pub(crate) async fn ask(&self, question: &Question) -> std::result::Result<Answer, HookError> {
        let asked = async {
            match &self.hook {
                Asked::Compliance(hook) if hook.concerns(&question.device) => {
                    hook.evaluate(question).await.map(Answer::Findings)
                }
                Asked::Declarations(hook) if hook.concerns(&question.device) => {
                    hook.contribute(question).await.map(Answer::Declarations)
                }
                Asked::Compliance(_) => Ok(Answer::Findings(Vec::new())),
                Asked::Declarations(_) => Ok(Answer::Declarations(Vec::new())),
            }
        };
        tokio::time::timeout(BUDGET, asked)
            .await
            .unwrap_or(Err(HookError::Budget))
    }

    async fn rules(&self) -> std::result::Result<BTreeMap<String, RuleInfo>, HookError> {
        let Asked::Compliance(hook) = &self.hook else {
            return Ok(BTreeMap::new());
        };
        let rules = tokio::time::timeout(BUDGET, hook.rules())
            .await
            .unwrap_or(Err(HookError::Budget))?;
        Ok(rules
            .into_iter()
            .map(|rule| (rule.id.clone(), rule))
            .collect())
    }
}

impl Engine {
    /// Asks about everything that is due, for as long as the engine runs.
    pub(super) async fn assess_all(&self) {
        let mut changes = self.shared().hooks.changes();
        let mut news = self.events();
        loop {
            changes.mark_unchanged();
            let assessors = self.assessors(None);
            let mut worked = false;
            for assessor in &assessors {
                match self.assess_some(assessor).await {
                    Ok(some) => worked |= some,
                    Err(error) => {
                        tracing::warn!(hook.name = assessor.plugin(), %error, "devices wait to be assessed");
                    }
                }
                if self.0.cancel.is_cancelled() {
                    return;
                }
            }
            if worked {
                continue;
            }
            let watched = async {
                if assessors.is_empty() {
                    return std::future::pending().await;
                }
                loop {
                    match news.recv().await {
                        Ok(event) if !changes_device(event.kind) => {}
                        Ok(_) | Err(RecvError::Lagged(_)) => return,
                        Err(RecvError::Closed) => return std::future::pending().await,
                    }
                }
            };
            tokio::select! {
                () = self.0.cancel.cancelled() => return,
                Ok(()) = changes.changed() => {}
                () = watched => {}
                () = tokio::time::sleep(self.0.options.poll_interval) => {}
            }
        }
    }

    /// The hooks that are asked about devices of `tenant`, or of any.
    pub(crate) fn assessors(&self, tenant: Option<TenantId>) -> Vec<Assessor> {
        let table = &self.shared().hooks;
        let everywhere = table.everywhere();
        let mut sets = vec![(None, everywhere.clone())];
        sets.extend(table.tenants().into_iter().map(|(of, all)| (Some(of), all)));
        let mut found = Vec::new();
        for (of, hooks) in sets {
            if tenant.is_some() && of.is_some() && of != tenant {
                continue;
            }
            // A tenant's set begins with what holds everywhere.
            let skip = |all: usize| if of.is_some() { all } else { 0 };
            let compliance = hooks
                .compliance
                .iter()
                .skip(skip(everywhere.compliance.len()));
            let declarations = hooks
                .declarations
                .iter()
                .skip(skip(everywhere.declarations.len()));
            found.extend(
                compliance
                    .cloned()
                    .map(Asked::Compliance)
                    .chain(declarations.cloned().map(Asked::Declarations))
                    .map(|hook| Assessor { tenant: of, hook }),
            );
        }
        found
    }

    /// Asks about some devices that are due; says whether there were any.
    async fn assess_some(&self, assessor: &Assessor) -> Result<bool> {
        let mut tx = self.store().begin_read().await?;
        let due = rows::due(
            &mut tx,
            assessor.plugin(),
            assessor.hook(),
            assessor.tenant,
            &assessor.stamp(),
            self.now(),
            BATCH,
        )
        .await?;
        tx.rollback().await?;
        if due.is_empty() {
            return Ok(false);
        }
        let rules = assessor.rules().await;
        for due in due {
            self.assess(assessor, &rules, due).await?;
        }
        Ok(true)
    }

    /// Asks every hook about one device now, whether it is due or not.
    pub(crate) async fn assess_now(&self, tenant: TenantId, device: DeviceId) -> Result<usize> {
        let assessors = self.assessors(Some(tenant));
        let Some(enrollment) = self.device_channel(tenant, device).await? else {
            return Err(Error::Conflict(
                "the device is not enrolled; nothing can be said of it".into(),
            ));
        };
        for assessor in &assessors {
            let rules = assessor.rules().await;
            let due = Due {
                tenant,
                device,
                enrollment,
                attempts: 0,
            };
            self.assess(assessor, &rules, due).await?;
        }
        Ok(assessors.len())
    }

    async fn assess(
        &self,
        assessor: &Assessor,
        rules: &std::result::Result<BTreeMap<String, RuleInfo>, HookError>,
        due: Due,
    ) -> Result<()> {
        let now = self.now();
        let mut tx = self.store().begin_read().await?;
        let device = snapshot::read(&mut tx, due.tenant, due.enrollment).await?;
        tx.rollback().await?;
        let question = Question {
            call_id: format!(
                "{}/{}/{}",
                assessor.plugin(),
                assessor.hook(),
                self.store().random().uuid(now)
            ),
            now,
            device,
        };
        let answer = match rules {
            Ok(rules) => match assessor.ask(&question).await {
                Ok(answer) => check(assessor.plugin(), rules, answer),
                Err(error) => Err(error.to_string()),
            },
            Err(error) => Err(error.to_string()),
        };
        let snapshot = serde_json::to_string(&question.device)
            .map_err(|error| Error::internal("writing down a question", error))?;
        let mut kept = Assessment {
            plugin: assessor.plugin().into(),
            hook: assessor.hook().into(),
            tenant: due.tenant,
            device: due.device,
            stamp: assessor.stamp(),
            revision: question.device.revision,
            assessed_at: now,
            due_at: assessor
                .interval()
                .map_or(Micros::MAX, |interval| now.saturating_add(interval)),
            attempts: 0,
            error: None,
            call_id: question.call_id,
            snapshot,
        };
        if let Err(error) = &answer {
            tracing::warn!(hook.name = assessor.plugin(), hook = assessor.hook(), %error, "a hook could not say anything about a device");
            metrics::counter!("pomona_hook_failures_total", "hook" => assessor.hook()).increment(1);
            kept.error = Some(error.clone());
            kept.attempts = due.attempts + 1;
            kept.due_at = now + backoff(kept.attempts);
        }
        let mut tx = self.store().begin().await?;
        let mut heads = events::lock_heads(&mut tx, [due.device]).await?;
        let mut told = match answer {
            Ok(Answer::Findings(findings)) => {
                let rules = rules
                    .as_ref()
                    .map_or_else(|_| BTreeMap::new(), Clone::clone);
                keep_findings(&mut tx, &kept, &rules, findings).await?
            }
            Ok(Answer::Declarations(all)) => keep_declarations(&mut tx, &kept, all).await?,
            Err(error) => keep_nothing(&mut tx, &kept, &error).await?,
        };
        if kept.attempts == 1 {
            let body = json!({ "plugin": kept.plugin, "hook": kept.hook, "reason": kept.error });
            told.push(event(&kept, EventKind::AssessmentFailed, body));
        }
        rows::keep(&mut tx, &kept).await?;
        let readers = &self.shared().hooks;
        let written = events::append_locked(&mut tx, now, &mut heads, told, readers).await?;
        tx.commit().await?;
        self.announce(written);
        Ok(())
    }

    /// Asks a recorded question again. Returns what is said now; nothing is kept.
    ///
    /// # Errors
    /// [`Error::NotFound`] when the hook was never asked about the device, [`Error::Conflict`] when the plugin or its settings
    /// are others now, or it gives no answer.
    pub(crate) async fn ask_again(
        &self,
        tenant: TenantId,
        recorded: &Assessment,
    ) -> Result<Answer> {
        let assessor = self
            .assessors(Some(tenant))
            .into_iter()
            .find(|one| one.plugin() == recorded.plugin && one.hook() == recorded.hook)
            .ok_or(Error::NotFound("the plugin's hook"))?;
        if assessor.stamp() != recorded.stamp {
            return Err(Error::Conflict(
                "the plugin, its settings or the server have changed since; the device will be assessed anew, and that can be explained".into(),
            ));
        }
        let device: DeviceSnapshot = serde_json::from_str(&recorded.snapshot)
            .map_err(|error| Error::internal("reading a recorded question", error))?;
        let question = Question {
            call_id: recorded.call_id.clone(),
            now: recorded.assessed_at,
            device,
        };
        assessor.ask(&question).await.map_err(|error| {
            Error::Conflict(format!("the plugin gives no answer this time: {error}"))
        })
    }
}

/// What raises the revision of a device.
fn changes_device(kind: EventKind) -> bool {
    matches!(
        kind,
        EventKind::Enrolled
            | EventKind::Renewed
            | EventKind::Released
            | EventKind::TokenUpdated
            | EventKind::FactSet
            | EventKind::CommandOutcome
    )
}

/// Whether an answer can be kept: findings of known rules, each once, and declarations under the plugin's name.
fn check(
    plugin: &str,
    rules: &BTreeMap<String, RuleInfo>,
    answer: Answer,
) -> std::result::Result<Answer, String> {
    match &answer {
        Answer::Findings(all) => check_findings(all, |name| rules.contains_key(name))?,
        Answer::Declarations(all) => check_declarations(plugin, all)?,
    }
    Ok(answer)
}

/// Ten seconds, then twice as long each time, an hour at most.
fn backoff(attempts: i64) -> Micros {
    let doubled = u32::try_from(attempts.clamp(1, 16) - 1).unwrap_or(0);
    ((10 * SECOND) << doubled).min(HOUR)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hooks::{MAX_ANSWERS, RuleVerdict};
    use serde_json::Value;

    #[test]
    fn what_is_said_must_be_the_plugins_own() {
        let rules = BTreeMap::from([(
            "r".to_owned(),
            RuleInfo {
                id: "r".into(),
                title: "R".into(),
                severity: crate::hooks::Severity::Low,
                description: String::new(),
                reference: None,
            },
        )]);
        let finding = |rule: &str| Finding {
            rule: rule.into(),
            verdict: RuleVerdict::Pass,
            message: String::new(),
            evidence: Vec::new(),
            remedies: Vec::new(),
            grace: None,
        };
        let declaration = |identifier: &str| Declaration {
            identifier: identifier.into(),
            kind: "k".into(),
            payload: Value::Null,
        };
        let cases = [
            (Answer::Findings(vec![finding("r")]), None),
            (
                Answer::Findings(vec![finding("s")]),
                Some("none of its rules"),
            ),
            (
                Answer::Findings(vec![finding("r"), finding("r")]),
                Some("two things"),
            ),
            (Answer::Findings(vec![finding("")]), Some("1 to 255")),
            (
                Answer::Findings(vec![finding("r"); MAX_ANSWERS + 1]),
                Some("at most"),
            ),
            (Answer::Declarations(vec![declaration("org.a.one")]), None),
            (
                Answer::Declarations(vec![declaration("org.ab.one")]),
                Some("begin with the plugin's id"),
            ),
        ];
        for (answer, problem) in cases {
            let told = check("org.a", &rules, answer).err();
            match problem {
                None => assert_eq!(told, None),
                Some(part) => assert!(told.as_ref().is_some_and(|t| t.contains(part)), "{told:?}"),
            }
        }
    }
}
