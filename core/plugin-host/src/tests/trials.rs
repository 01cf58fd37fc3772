//! A version on trial beside the active one: what it does to decisions, and what is noted of it.

use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use pomona_engine::hooks::{
    CommandDraft, CommandValidateHook, CommandVerdict, DeviceSnapshot, HookError, Stage,
};
use pomona_engine::{ActorKind, DeviceId, TrialCount, TrialDifference, TrialMode};
use tokio::sync::Notify;

use super::{NOW, enabled, module};
use crate::enabled::Enabled;
use crate::manifest::HookName;
use crate::runtime::Runtime;
use crate::trial::{Ledger, Pair};

const ALLOW: &str = "(i32.const 1024)";
/// The verdict `veto("no")`.
const VETO: &str = "(i32.store8 (i32.const 1032) (i32.const 1)) (i32.store (i32.const 1040) (i32.const 2048))
    (i32.store (i32.const 1044) (i32.const 2)) (i32.store16 (i32.const 2048) (i32.const 28526)) (i32.const 1024)";
const TRAP: &str = "(unreachable)";
const LOOP: &str = "(loop $l (br $l)) (unreachable)";

#[derive(Default)]
pub(super) struct Noted {
    all: Mutex<(TrialCount, Vec<TrialDifference>)>,
    news: Notify,
}

#[async_trait]
impl Ledger for Noted {
    fn note(&self, hook: HookName, count: TrialCount, difference: Option<TrialDifference>) {
        assert_eq!(hook, HookName::CommandValidate);
        let mut all = self.all.lock();
        all.0.add(count);
        all.1.extend(difference);
        self.news.notify_one();
    }

    async fn place(&self, _: DeviceId) -> Option<(String, Vec<String>)> {
        None
    }
}

impl Noted {
    /// The counts, once so many questions have been accounted for.
    async fn of(&self, questions: u64) -> TrialCount {
        loop {
            let count = self.all.lock().0.clone();
            let failed = count.active_failed.max(count.trial_failed);
            if count.same + count.different + failed + count.left_out >= questions {
                return count;
            }
            self.news.notified().await;
        }
    }
}

struct OnStage {
    pair: Pair,
    noted: Arc<Noted>,
}

impl OnStage {
    async fn of(runtime: &Runtime, active: &str, trial: &str, mode: TrialMode) -> Self {
        let active = Arc::new(enabled(runtime, &module("", active)).await);
        let trial = enabled(runtime, &module("", trial)).await;
        let noted = Arc::new(Noted::default());
        Self {
            pair: Pair::new(active, &trial, None, mode, noted.clone()),
            noted,
        }
    }

    async fn ask(&self, group: &str) -> Result<CommandVerdict, HookError> {
        let device = DeviceSnapshot {
            ident: "00008120-0000000000000001".into(),
            groups: vec![group.into()],
            ..DeviceSnapshot::default()
        };
        let draft = CommandDraft {
            request_type: "RestartDevice".into(),
            command: plist::Dictionary::new(),
            actor: ActorKind::Person,
            kinds: None,
        };
        self.pair
            .validate(Stage::Enqueue, NOW, &device, &draft)
            .await
    }
}

fn vetoed(answer: &Result<CommandVerdict, HookError>) -> bool {
    match answer {
        Ok(CommandVerdict::Veto(reason)) => reason == "no",
        Ok(CommandVerdict::Allow { .. }) => false,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn in_shadow_the_active_version_decides_whatever_the_other_does() {
    let runtime = Runtime::new().unwrap();
    for (trial, same, different, failed) in [
        (ALLOW, 1, 0, None),
        (VETO, 0, 1, None),
        (TRAP, 0, 0, Some("trial: it ended itself")),
        (LOOP, 0, 0, Some("trial: it used up its processor time")),
    ] {
        let stage = OnStage::of(&runtime, ALLOW, trial, TrialMode::Shadow).await;
        assert!(!vetoed(&stage.ask("g").await), "{trial}");
        let count = stage.noted.of(1).await;
        assert_eq!((count.same, count.different), (same, different), "{trial}");
        assert_eq!(count.trial_failed, u64::from(failed.is_some()), "{trial}");
        let told = count.last_failure.unwrap_or_default();
        assert!(told.contains(failed.unwrap_or_default()), "{told}");
        assert_eq!((count.active.0, count.trial.0), (1, 1));
        assert_eq!(stage.pair.active().figures().failures, 0);
        assert_eq!(stage.pair.trial().figures().calls, 1);
        let differences = stage.noted.all.lock().1.clone();
        assert_eq!(differences.len() as u64, different);
        if let Some(one) = differences.first() {
            let told = (one.active.as_str(), one.trial.as_str(), one.about.as_str());
            assert_eq!(told, ("allow", "veto: no", "RestartDevice"));
            assert_eq!(one.device, "00008120-0000000000000001");
        }
    }
}

#[tokio::test]
async fn a_canary_decides_about_its_devices_as_long_as_it_answers() {
    let runtime = Runtime::new().unwrap();
    let group = || TrialMode::Group("early".into());
    let stage = OnStage::of(&runtime, ALLOW, VETO, group()).await;
    assert!(!vetoed(&stage.ask("late").await));
    assert!(vetoed(&stage.ask("early").await));
    assert_eq!(stage.noted.of(2).await.different, 2);

    for hostile in [TRAP, LOOP] {
        let stage = OnStage::of(&runtime, VETO, hostile, group()).await;
        assert!(vetoed(&stage.ask("early").await), "the active one's");
        let count = stage.noted.of(1).await;
        assert_eq!((count.trial_failed, count.active_failed), (1, 0));
    }
    let stage = OnStage::of(&runtime, TRAP, VETO, group()).await;
    assert!(vetoed(&stage.ask("early").await));
    assert!(stage.ask("late").await.is_err(), "its failure is its own");
    assert_eq!(stage.noted.of(2).await.active_failed, 2);
}

#[tokio::test]
async fn what_finds_no_room_is_left_out_and_counted() {
    let runtime = Runtime::new().unwrap();
    let stage = OnStage::of(&runtime, ALLOW, LOOP, TrialMode::Shadow).await;
    let asked = (0..40).map(|_| stage.ask("g"));
    let answers = futures_util::future::join_all(asked).await;
    assert!(answers.iter().all(|answer| !vetoed(answer)));
    let count = stage.noted.of(40).await;
    assert_eq!(count.left_out + count.trial_failed, 40);
    assert!(count.left_out > 0 && count.trial_failed > 0, "{count:?}");
    assert_eq!(count.active.0, 40);
    // What keeps failing is left alone, and that counts as its failure.
    for n in 0..5 {
        let before = stage.noted.of(40).await.trial_failed;
        assert!(!vetoed(&stage.ask("g").await));
        while stage.noted.of(40).await.trial_failed == before {
            stage.noted.news.notified().await;
        }
        if n == 4 {
            let told = stage.noted.of(40).await.last_failure.unwrap();
            assert!(told.contains("held back"), "{told}");
        }
    }
}

#[tokio::test]
async fn a_version_that_cannot_be_run_is_as_if_it_were_not_there() {
    let runtime = Runtime::new().unwrap();
    let active = Arc::new(enabled(&runtime, &module("", VETO)).await);
    let trial: Enabled = enabled(&runtime, &module("", ALLOW)).await;
    let noted = Arc::new(Noted::default());
    let why = Some("it is revoked".to_owned());
    let mode = TrialMode::Share(99);
    let pair = Pair::new(active, &trial, why, mode, noted.clone());
    let stage = OnStage { pair, noted };
    assert!(vetoed(&stage.ask("g").await));
    assert_eq!(stage.noted.all.lock().0, TrialCount::default());
    assert_eq!(stage.pair.trial().figures().calls, 0);
}
