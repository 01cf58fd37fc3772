//! Deterministic hooks, asked of a pair: compliance and declarations.
//!
//! Owns: which stamp the answers of a pair stand under, and which rules it has. The stamp is another one than that of either
//! version alone, so that each device is asked about anew when a trial begins, changes or ends. As a canary the pair has the rules
//! of both versions, and of a device each version says that the other's rules do not concern it.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use pomona_engine::TrialMode;
use pomona_engine::clock::Micros;
use pomona_engine::hooks::{
    ComplianceHook, Declaration, DeclarationHook, DeviceSnapshot, Finding, HookError, Question,
    RuleInfo, RuleVerdict, check_declarations, check_findings,
};
use tokio::sync::OnceCell;

use super::{Pair, compare};
use crate::enabled::Enabled;
use crate::limits::Budget;
use crate::manifest::HookName;

/// What is known of the rules of the two versions.
#[derive(Default)]
pub(super) struct Rules {
    /// Those of the version on trial, once it has told them.
    trial: Arc<OnceCell<Vec<RuleInfo>>>,
    /// Those of the active version, as it told them the last time.
    active: Mutex<Option<BTreeSet<String>>>,
}

fn ids(rules: &[RuleInfo]) -> BTreeSet<String> {
    rules.iter().map(|rule| rule.id.clone()).collect()
}

/// What the version on trial says of a device, if the engine would keep it.
async fn measured(
    version: &Enabled,
    rules: &OnceCell<Vec<RuleInfo>>,
    question: &Question,
) -> Result<Vec<Finding>, HookError> {
    let known = rules.get_or_try_init(|| version.rules()).await?;
    let found = version.evaluate(question).await?;
    let is_known = |rule: &str| known.iter().any(|one| one.id == rule);
    check_findings(&found, is_known).map_err(HookError::Permanent)?;
    Ok(found)
}

impl Pair {
    fn is_canary(&self) -> bool {
        self.is_run() && self.mode != TrialMode::Shadow
    }

    /// The sooner of the two where both decide.
    fn sooner(&self, interval: impl Fn(&Enabled) -> Option<Micros>) -> Option<Micros> {
        let trial = self.is_canary().then(|| interval(&self.trial)).flatten();
        [interval(&self.active), trial].into_iter().flatten().min()
    }

    /// Says of the rules that only the other version has that they do not concern the device.
    fn with_the_others_rules(&self, found: &mut Vec<Finding>, by_trial: bool) {
        if found.is_empty() {
            return;
        }
        let trial = self.rules.trial.get().map(|rules| ids(rules));
        let trial = trial.unwrap_or_default();
        let active = self.rules.active.lock().clone().unwrap_or_default();
        let (own, other) = match by_trial {
            true => (trial, active),
            false => (active, trial),
        };
        for rule in other.difference(&own) {
            found.push(Finding {
                rule: rule.clone(),
                verdict: RuleVerdict::NotApplicable,
                message: "the version that decides about this device has no such rule".into(),
                evidence: Vec::new(),
                remedies: Vec::new(),
                grace: None,
            });
        }
    }
}

#[async_trait]
impl ComplianceHook for Pair {
    fn name(&self) -> &str {
        self.active.id()
    }

    fn stamp(&self) -> String {
        self.stamp.clone()
    }

    fn interval(&self) -> Option<Micros> {
        self.sooner(ComplianceHook::interval)
    }

    fn concerns(&self, device: &DeviceSnapshot) -> bool {
        self.either(|version| ComplianceHook::concerns(version, device))
    }

    async fn rules(&self) -> Result<Vec<RuleInfo>, HookError> {
        let mut rules = self.active.rules().await?;
        let own = ids(&rules);
        if self.is_canary() && self.trial.has(HookName::Compliance) {
            // Without its rules nothing of it can be kept, and the active version decides alone.
            let asking = (self.rules.trial).get_or_try_init(|| self.trial.rules());
            let patience = Budget::of(HookName::Compliance).wall / 2;
            if let Ok(Ok(theirs)) = tokio::time::timeout(patience, asking).await {
                let new = theirs.iter().filter(|rule| !own.contains(&rule.id));
                rules.extend(new.cloned());
            }
        }
        *self.rules.active.lock() = Some(own);
        Ok(rules)
    }

    async fn evaluate(&self, question: &Question) -> Result<Vec<Finding>, HookError> {
        if self.is_canary() && self.rules.active.lock().is_none() {
            self.rules().await?;
        }
        let asked = self.asked(HookName::Compliance, question.now, &question.device, "");
        let question = Arc::new(question.clone());
        let ask = |version: Arc<Enabled>| {
            let (question, rules) = (question.clone(), self.rules.trial.clone());
            let on_trial = !Arc::ptr_eq(&version, &self.active);
            async move {
                match ComplianceHook::concerns(&*version, &question.device) {
                    true if on_trial => measured(&version, &rules, &question).await,
                    true => version.evaluate(&question).await,
                    false => Ok(Vec::new()),
                }
            }
        };
        let (answer, by_trial) = self
            .decide(asked, ask, |one, other| compare::findings(one, other))
            .await;
        let mut found = answer?;
        if self.is_canary() {
            self.with_the_others_rules(&mut found, by_trial);
        }
        Ok(found)
    }
}

#[async_trait]
impl DeclarationHook for Pair {
    fn name(&self) -> &str {
        self.active.id()
    }

    fn stamp(&self) -> String {
        self.stamp.clone()
    }

    fn interval(&self) -> Option<Micros> {
        self.sooner(DeclarationHook::interval)
    }

    fn concerns(&self, device: &DeviceSnapshot) -> bool {
        self.either(|version| DeclarationHook::concerns(version, device))
    }

    async fn contribute(&self, question: &Question) -> Result<Vec<Declaration>, HookError> {
        let asked = self.asked(HookName::Declarations, question.now, &question.device, "");
        let question = Arc::new(question.clone());
        let ask = |version: Arc<Enabled>| {
            let question = question.clone();
            let on_trial = !Arc::ptr_eq(&version, &self.active);
            async move {
                if !DeclarationHook::concerns(&*version, &question.device) {
                    return Ok(Vec::new());
                }
                let all = version.contribute(&question).await?;
                if on_trial {
                    check_declarations(version.id(), &all).map_err(HookError::Permanent)?;
                }
                Ok(all)
            }
        };
        self.decide(asked, ask, |one, other| compare::declarations(one, other))
            .await
            .0
    }
}
