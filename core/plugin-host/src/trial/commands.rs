//! Hooks that decide at once, asked of a pair: enrollments, changes of commands, verdicts on commands.
//!
//! Owns: what is said for a version that is not asked: what the engine does without it. A command is amended for all its targets
//! at once, so there the active version always decides.

use std::sync::Arc;

use async_trait::async_trait;
use pomona_engine::clock::{DAY, Micros};
use pomona_engine::hooks::{
    Change, CommandAmendHook, CommandDraft, CommandValidateHook, CommandVerdict, DeviceSnapshot,
    EnrollmentDecision, EnrollmentHook, EnrollmentRequest, HookError, Stage,
};

use super::{Asked, Pair, compare};
use crate::enabled::Enabled;
use crate::manifest::HookName;

#[async_trait]
impl EnrollmentHook for Pair {
    fn name(&self) -> &str {
        self.active.id()
    }

    async fn decide(&self, request: &EnrollmentRequest) -> Result<EnrollmentDecision, HookError> {
        let asked = self.asked(HookName::Enrollment, request.now, &request.device, "");
        let request = Arc::new(request.clone());
        let ask = |version: Arc<Enabled>| {
            let request = request.clone();
            async move {
                match version.has(HookName::Enrollment) {
                    true => EnrollmentHook::decide(&*version, &request).await,
                    false => Ok(EnrollmentDecision::Allow),
                }
            }
        };
        self.decide(asked, ask, compare::decisions).await.0
    }
}

#[async_trait]
impl CommandAmendHook for Pair {
    fn name(&self) -> &str {
        self.active.id()
    }

    fn matches(&self, request_type: &str) -> bool {
        self.either(|version| CommandAmendHook::matches(version, request_type))
    }

    async fn amend(&self, now: Micros, draft: &CommandDraft) -> Result<Vec<Change>, HookError> {
        let asked = Asked {
            hook: HookName::CommandAmend,
            now,
            device: String::new(),
            about: draft.request_type.clone(),
            by_trial: false,
        };
        let draft = Arc::new(draft.clone());
        let ask = |version: Arc<Enabled>| {
            let draft = draft.clone();
            async move {
                match CommandAmendHook::matches(&*version, &draft.request_type) {
                    true => version.amend(now, &draft).await,
                    false => Ok(Vec::new()),
                }
            }
        };
        self.decide(asked, ask, |one, other| compare::changes(one, other))
            .await
            .0
    }
}

#[async_trait]
impl CommandValidateHook for Pair {
    fn name(&self) -> &str {
        self.active.id()
    }

    fn matches(&self, request_type: &str, stage: Stage) -> bool {
        self.either(|version| CommandValidateHook::matches(version, request_type, stage))
    }

    async fn validate(
        &self,
        stage: Stage,
        now: Micros,
        device: &DeviceSnapshot,
        draft: &CommandDraft,
    ) -> Result<CommandVerdict, HookError> {
        let asked = self.asked(HookName::CommandValidate, now, device, &draft.request_type);
        let question = Arc::new((device.clone(), draft.clone()));
        let ask = |version: Arc<Enabled>| {
            let question = question.clone();
            async move {
                let (device, draft) = &*question;
                let verdict =
                    match CommandValidateHook::matches(&*version, &draft.request_type, stage) {
                        true => version.validate(stage, now, device, draft).await?,
                        false => CommandVerdict::Allow {
                            valid_until: now + 365 * DAY,
                        },
                    };
                Ok((now, verdict))
            }
        };
        let (answer, _) = self.decide(asked, ask, compare::verdicts).await;
        answer.map(|(_, verdict)| verdict)
    }
}
