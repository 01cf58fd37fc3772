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
    /// Those that the engine was told the last time.
    told: Mutex<Option<Told>>,
}

/// The rules of the active version, and those of the one on trial where it decides about any device.
#[derive(Clone)]
struct Told {
    active: BTreeSet<String>,
    trial: Option<BTreeSet<String>>,
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
}

/// Says of the rules that only the other version has that they do not concern the device.
fn add_the_others_rules(found: &mut Vec<Finding>, told: &Told, by_trial: bool) {
    let (Some(trial), false) = (&told.trial, found.is_empty()) else {
        return;
    };
    let (own, other) = match by_trial {
        true => (trial, &told.active),
        false => (&told.active, trial),
    };
    found.extend(other.difference(own).map(|rule| not_concerned(rule)));
}

fn not_concerned(rule: &str) -> Finding {
    Finding {
        rule: rule.to_owned(),
        verdict: RuleVerdict::NotApplicable,
        message: "the version that decides about this device has no such rule".into(),
        evidence: Vec::new(),
        remedies: Vec::new(),
        grace: None,
    }
}

/// Whether the engine would keep an answer that has all rules of both.
fn fit_together(active: &BTreeSet<String>, trial: &BTreeSet<String>) -> bool {
    let all: Vec<Finding> = active
        .union(trial)
        .map(|rule| not_concerned(rule))
        .collect();
    check_findings(&all, |_| true).is_ok()
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
        let asking = async {
            if !self.is_canary() || !self.trial.has(HookName::Compliance) {
                return None;
            }
            let told = (self.rules.trial).get_or_try_init(|| self.trial.rules());
            let patience = Budget::of(HookName::Compliance).wall / 2;
            tokio::time::timeout(patience, told).await.ok()?.ok()
        };
        let (rules, theirs) = tokio::join!(self.active.rules(), asking);
        let mut rules = rules?;
        let active = ids(&rules);
        let theirs = theirs.filter(|theirs| fit_together(&active, &ids(theirs)));
        let new = theirs.into_iter().flatten();
        rules.extend(new.filter(|rule| !active.contains(&rule.id)).cloned());
        *self.rules.told.lock() = Some(Told {
            active,
            trial: theirs.map(|theirs| ids(theirs)),
        });
        Ok(rules)
    }

    async fn evaluate(&self, question: &Question) -> Result<Vec<Finding>, HookError> {
        if self.is_canary() && self.rules.told.lock().is_none() {
            self.rules().await?;
        }
        let told = self.rules.told.lock().clone();
        let told = told.filter(|_| self.is_canary());
        let mut asked = self.asked(HookName::Compliance, question.now, &question.device, "");
        // Where the engine was not told its rules nothing of it can be kept, and the active version decides alone.
        asked.by_trial &= told.as_ref().is_some_and(|told| told.trial.is_some());
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
        if let Some(told) = told {
            add_the_others_rules(&mut found, &told, by_trial);
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

#[cfg(test)]
mod tests {
    use super::*;

    fn set(rules: &[&str]) -> BTreeSet<String> {
        rules.iter().map(|rule| (*rule).to_owned()).collect()
    }

    #[test]
    fn rules_that_the_engine_would_not_keep_are_not_told() {
        let active = set(&["a", "b"]);
        assert!(fit_together(&active, &set(&["b", "c"])));
        for bad in ["", "a\u{7}", &"x".repeat(300)] {
            assert!(!fit_together(&active, &set(&[bad])), "{bad:?}");
        }
        let many: Vec<String> = (0..600).map(|n| format!("r{n}")).collect();
        assert!(!fit_together(&active, &many.into_iter().collect()));
    }

    #[test]
    fn each_version_says_of_the_others_rules_that_they_do_not_concern_the_device() {
        let rules = |found: &[Finding]| -> Vec<String> {
            found.iter().map(|one| one.rule.clone()).collect()
        };
        let told = |trial: Option<&[&str]>| Told {
            active: set(&["a", "b"]),
            trial: trial.map(set),
        };
        for (trial, by_trial, expected) in [
            (Some(&["b", "c"][..]), false, vec!["b", "c"]),
            (Some(&["b", "c"][..]), true, vec!["b", "a"]),
            (None, false, vec!["b"]),
        ] {
            let mut found = vec![not_concerned("b")];
            add_the_others_rules(&mut found, &told(trial), by_trial);
            assert_eq!(rules(&found), expected, "{trial:?} {by_trial}");
        }
        let mut none = Vec::new();
        add_the_others_rules(&mut none, &told(Some(&["c"])), false);
        assert!(
            none.is_empty(),
            "a device that concerns neither has no findings"
        );
    }
}
