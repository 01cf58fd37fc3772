//! Hooks whose answers a test writes down, and which remember what they were asked.

use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use pomona_engine::EventKind;
use pomona_engine::clock::{HOUR, Micros, SECOND};
use pomona_engine::hooks::{
    Change, CommandAmendHook, CommandDraft, CommandValidateHook, CommandVerdict, DeviceSnapshot,
    EnrollmentDecision, EnrollmentHook, EnrollmentRequest, EventObserver, HookError, KeyedEffect,
    Occasion, Stage as Moment,
};
use pomona_engine::{Event, PrincipalId};

/// What a hook does when it is asked.
pub(crate) enum Act<T> {
    Say(T),
    Fail,
    /// Never answers.
    Hang,
}

impl<T> Act<T> {
    async fn run(self) -> Result<T, HookError> {
        match self {
            Self::Say(answer) => Ok(answer),
            Self::Fail => Err(HookError::Permanent("the test says so".into())),
            Self::Hang => std::future::pending().await,
        }
    }
}

type Decide = dyn Fn(&EnrollmentRequest) -> Act<EnrollmentDecision> + Send + Sync;

/// Decides about enrollments.
pub(crate) struct Gate {
    pub(crate) asked: Mutex<usize>,
    decide: Box<Decide>,
}

impl Gate {
    pub(crate) fn new(
        decide: impl Fn(&EnrollmentRequest) -> Act<EnrollmentDecision> + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self {
            asked: Mutex::new(0),
            decide: Box::new(decide),
        })
    }
}

#[async_trait]
impl EnrollmentHook for Gate {
    fn name(&self) -> &str {
        "gate"
    }

    async fn decide(&self, request: &EnrollmentRequest) -> Result<EnrollmentDecision, HookError> {
        *self.asked.lock() += 1;
        (self.decide)(request).run().await
    }
}

type Amend = dyn Fn(&CommandDraft) -> Act<Vec<Change>> + Send + Sync;

/// Changes every command.
pub(crate) struct Editor {
    name: &'static str,
    amend: Box<Amend>,
}

impl Editor {
    pub(crate) fn new(
        name: &'static str,
        amend: impl Fn(&CommandDraft) -> Act<Vec<Change>> + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self {
            name,
            amend: Box::new(amend),
        })
    }
}

#[async_trait]
impl CommandAmendHook for Editor {
    fn name(&self) -> &str {
        self.name
    }

    fn matches(&self, request_type: &str) -> bool {
        request_type != "ProfileList"
    }

    async fn amend(&self, _now: Micros, draft: &CommandDraft) -> Result<Vec<Change>, HookError> {
        (self.amend)(draft).run().await
    }
}

/// One question to a judge.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    pub(crate) moment: Moment,
    pub(crate) now: i64,
    pub(crate) request_type: String,
    /// How many questions came before.
    pub(crate) before: usize,
    /// What is known of the device's supervision.
    pub(crate) supervised: Option<bool>,
}

impl Question {
    /// Lets the command go for a moment; while it is queued for none, so that it is judged again before it goes.
    pub(crate) fn allow(&self) -> CommandVerdict {
        CommandVerdict::Allow {
            valid_until: match self.moment {
                Moment::Enqueue => self.now,
                Moment::Delivery => self.now + SECOND,
            },
        }
    }
}

type Verdict = dyn Fn(&Question) -> Act<CommandVerdict> + Send + Sync;

/// Judges every command.
pub(crate) struct Judge {
    pub(crate) asked: Mutex<Vec<Question>>,
    /// The moment at which alone it wants to be asked.
    only: Option<Moment>,
    verdict: Box<Verdict>,
}

impl Judge {
    /// One that lets everything go for an hour.
    pub(crate) fn lenient() -> Arc<Self> {
        Self::new(|q| {
            Act::Say(CommandVerdict::Allow {
                valid_until: q.now + HOUR,
            })
        })
    }

    /// One that is asked just before a command is sent, and never before.
    pub(crate) fn at_delivery(
        verdict: impl Fn(&Question) -> Act<CommandVerdict> + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self {
            asked: Mutex::default(),
            only: Some(Moment::Delivery),
            verdict: Box::new(verdict),
        })
    }

    pub(crate) fn new(
        verdict: impl Fn(&Question) -> Act<CommandVerdict> + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self {
            asked: Mutex::default(),
            only: None,
            verdict: Box::new(verdict),
        })
    }

    pub(crate) fn questions(&self, moment: Moment) -> usize {
        let asked = self.asked.lock();
        asked.iter().filter(|one| one.moment == moment).count()
    }
}

#[async_trait]
impl CommandValidateHook for Judge {
    fn name(&self) -> &str {
        "judge"
    }

    fn matches(&self, request_type: &str, moment: Moment) -> bool {
        request_type != "ProfileList" && self.only.is_none_or(|only| only == moment)
    }

    async fn validate(
        &self,
        moment: Moment,
        now: i64,
        device: &DeviceSnapshot,
        draft: &CommandDraft,
    ) -> Result<CommandVerdict, HookError> {
        assert!(device.enrollment.is_some() && !device.ident.is_empty());
        let question = {
            let mut asked = self.asked.lock();
            let mut facts = device.facts.iter();
            let supervised = facts.find(|fact| fact.name == "supervised");
            let question = Question {
                supervised: supervised.and_then(|fact| fact.value.as_bool()),
                moment,
                now,
                request_type: draft.request_type.clone(),
                before: asked.len(),
            };
            asked.push(question.clone());
            question
        };
        (self.verdict)(&question).run().await
    }
}

type React = dyn Fn(&[Event]) -> Act<Vec<KeyedEffect>> + Send + Sync;

/// Watches events.
pub(crate) struct Watcher {
    pub(crate) seen: Mutex<Vec<Event>>,
    pub(crate) principal: PrincipalId,
    kinds: Vec<EventKind>,
    react: Box<React>,
}

impl Watcher {
    /// Of all kinds, when none is named.
    pub(crate) fn new(
        kinds: &[EventKind],
        react: impl Fn(&[Event]) -> Act<Vec<KeyedEffect>> + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self {
            seen: Mutex::default(),
            principal: PrincipalId(uuid::Uuid::from_u128(42)),
            kinds: kinds.to_vec(),
            react: Box::new(react),
        })
    }

    pub(crate) fn count(&self) -> usize {
        self.seen.lock().len()
    }
}

#[async_trait]
impl EventObserver for Watcher {
    fn name(&self) -> &str {
        "watcher"
    }

    fn principal(&self) -> Option<PrincipalId> {
        Some(self.principal)
    }

    fn wants(&self, kind: EventKind) -> bool {
        self.kinds.is_empty() || self.kinds.contains(&kind)
    }

    async fn on_events(
        &self,
        _occasion: Occasion,
        batch: &[Event],
    ) -> Result<Vec<KeyedEffect>, HookError> {
        self.seen.lock().extend_from_slice(batch);
        (self.react)(batch).run().await
    }
}
