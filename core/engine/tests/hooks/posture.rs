//! Hooks that look at devices, and hooks that work by themselves: when they are asked, what is kept, and what holds when they fail.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use pomona_engine::clock::Micros;
use pomona_engine::hooks::{
    ComplianceHook, Declaration, DeclarationHook, Effect, Finding, HookError, Hooks, JobHook,
    JobInfo, JobStep, KeyedEffect, Occasion, Question, RuleInfo, RuleVerdict, Severity,
};
use pomona_engine::{DeviceId, EventKind};
use serde_json::json;

use super::stubs::{Act, Watcher};
use super::support::*;
use super::{A, B, SECOND, becomes, events, watchers};

type Answer<T> = Result<T, HookError>;

type Measure = dyn Fn(&Question) -> Answer<Vec<Finding>> + Send + Sync;
type Declare = dyn Fn(&Question) -> Answer<Vec<Declaration>> + Send + Sync;

/// Measures by a function, under a stamp that can be changed.
struct Meter {
    stamp: Mutex<String>,
    asked: Mutex<Vec<Question>>,
    say: Box<Measure>,
}

impl Meter {
    fn new(say: impl Fn(&Question) -> Answer<Vec<Finding>> + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self {
            stamp: Mutex::new("1".into()),
            asked: Mutex::default(),
            say: Box::new(say),
        })
    }
}

fn finding(rule: &str, verdict: RuleVerdict) -> Finding {
    Finding {
        rule: rule.into(),
        verdict,
        message: "as measured".into(),
        evidence: Vec::new(),
        remedies: Vec::new(),
        grace: None,
    }
}

#[async_trait]
impl ComplianceHook for Meter {
    fn name(&self) -> &str {
        "org.example.meter"
    }

    fn stamp(&self) -> String {
        self.stamp.lock().clone()
    }

    async fn rules(&self) -> Answer<Vec<RuleInfo>> {
        let rule = |id: &str| RuleInfo {
            id: id.into(),
            title: id.to_uppercase(),
            severity: Severity::High,
            description: String::new(),
            reference: None,
        };
        Ok(vec![rule("one"), rule("two")])
    }

    async fn evaluate(&self, question: &Question) -> Answer<Vec<Finding>> {
        self.asked.lock().push(question.clone());
        (self.say)(question)
    }
}

struct Declarer(Box<Declare>);

#[async_trait]
impl DeclarationHook for Declarer {
    fn name(&self) -> &str {
        "org.example.declarer"
    }

    fn stamp(&self) -> String {
        "1".into()
    }

    async fn contribute(&self, question: &Question) -> Answer<Vec<Declaration>> {
        (self.0)(question)
    }
}

type Work = dyn Fn(Occasion, &str, Option<&str>) -> Answer<JobStep> + Send + Sync;

struct Worker {
    jobs: Vec<JobInfo>,
    steps: Mutex<Vec<(String, Option<String>, u32)>>,
    work: Box<Work>,
}

impl Worker {
    fn new(
        jobs: &[(&str, Option<Micros>)],
        work: impl Fn(Occasion, &str, Option<&str>) -> Answer<JobStep> + Send + Sync + 'static,
    ) -> Arc<Self> {
        let info = |(name, every): &(&str, Option<Micros>)| JobInfo {
            name: (*name).into(),
            every: *every,
        };
        Arc::new(Self {
            jobs: jobs.iter().map(info).collect(),
            steps: Mutex::default(),
            work: Box::new(work),
        })
    }
}

#[async_trait]
impl JobHook for Worker {
    fn name(&self) -> &str {
        "org.example.worker"
    }

    fn jobs(&self) -> Vec<JobInfo> {
        self.jobs.clone()
    }

    async fn run(&self, occasion: Occasion, job: &str, cursor: Option<&str>) -> Answer<JobStep> {
        let step = (job.to_owned(), cursor.map(str::to_owned), occasion.attempt);
        self.steps.lock().push(step);
        (self.work)(occasion, job, cursor)
    }
}

fn put(stage: &Stage, hooks: Hooks) {
    let hooks = HashMap::from([(stage.tenant, hooks)]);
    stage.engine.hooks().replace(hooks);
}

/// Lets the clock run, twenty times as fast as it would, for as long as this is held.
struct Running(tokio::task::JoinHandle<()>);

impl Running {
    fn of(stage: &Stage) -> Self {
        let clock = stage.clock.clone();
        Self(tokio::spawn(async move {
            loop {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
                clock.advance(SECOND / 10);
            }
        }))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Lets a plugin set a fact of each device that enrolls, which changes it.
fn fact(device: DeviceId, value: u64) -> KeyedEffect {
    KeyedEffect {
        key: format!("{device}/{value}"),
        effect: Effect::SetFact {
            device,
            user_key: String::new(),
            name: "level".into(),
            value: json!(value),
        },
    }
}

const VERDICTS: &str = "SELECT rule || ' ' || verdict FROM finding ORDER BY rule";

#[tokio::test]
async fn a_device_is_measured_when_it_comes_when_it_changes_and_when_the_hook_does() {
    for backend in backends() {
        let meter = Meter::new(|question| {
            let known = question
                .device
                .facts
                .iter()
                .any(|fact| fact.name == "level");
            let verdict = match known {
                true => RuleVerdict::Pass,
                false => RuleVerdict::Fail,
            };
            // Of the rule `two` nothing is said.
            Ok(vec![finding("one", verdict)])
        });
        let stage = Stage::new(backend).await;
        let mut hooks = Hooks::default();
        hooks.compliance.push(meter.clone());
        put(&stage, hooks);
        stage.enroll(A).await;
        becomes(&stage, "SELECT count(*) FROM finding", 2).await;
        let said = stage.sql.texts(VERDICTS).await;
        assert_eq!(said, ["one fail", "two unknown"]);
        assert_eq!(events(&stage, "finding_changed").await, 2);

        // A fact that changes what is measured: the verdict changes, and its event tells of it once.
        let mut hooks = Hooks::default();
        hooks.compliance.push(meter.clone());
        let watcher = Watcher::new(&[EventKind::FindingChanged], |batch| {
            Act::Say(vec![fact(batch[0].device_id, 1)])
        });
        hooks.extend(watchers(&watcher));
        put(&stage, hooks);
        stage.enroll(B).await;
        becomes(
            &stage,
            "SELECT count(*) FROM finding WHERE verdict = 'pass'",
            1,
        )
        .await;
        becomes(&stage, "SELECT count(*) FROM outbox", 0).await;
        let told = events(&stage, "finding_changed").await;
        assert_eq!(told, 5, "two a device, and one that passes now");

        // Under another stamp every device is measured anew; nothing changes, so nothing is told.
        let before = meter.asked.lock().len();
        *meter.stamp.lock() = "2".into();
        let mut hooks = Hooks::default();
        hooks.compliance.push(meter.clone());
        put(&stage, hooks);
        becomes(
            &stage,
            "SELECT count(*) FROM assessment WHERE stamp = '2'",
            2,
        )
        .await;
        assert_eq!(meter.asked.lock().len(), before + 2);
        assert_eq!(events(&stage, "finding_changed").await, told);
    }
}

#[tokio::test]
async fn without_an_answer_a_finding_is_unknown_and_a_set_of_declarations_stays() {
    for backend in backends() {
        let stage = Stage::new(backend).await;
        let changed = |question: &Question| !question.device.facts.is_empty();
        let meter = Meter::new(move |question| match changed(question) {
            true => Err(HookError::Permanent("it hurts".into())),
            false => Ok(vec![
                finding("one", RuleVerdict::Pass),
                finding("two", RuleVerdict::NotApplicable),
            ]),
        });
        let declarer = Declarer(Box::new(move |question| match changed(question) {
            true => Err(HookError::Permanent("it hurts too".into())),
            false => Ok(vec![Declaration {
                identifier: "org.example.declarer.one".into(),
                kind: "com.apple.configuration.passcode.settings".into(),
                payload: json!({ "RequirePasscode": true }),
            }]),
        }));
        let mut hooks = Hooks::default();
        hooks.compliance.push(meter.clone());
        hooks.declarations.push(Arc::new(declarer));
        put(&stage, hooks.clone());
        stage.enroll(A).await;
        becomes(&stage, "SELECT count(*) FROM finding", 2).await;
        becomes(&stage, "SELECT count(*) FROM contribution", 1).await;
        let token = "SELECT server_token FROM contribution";
        let before = stage.sql.texts(token).await;
        assert_eq!(events(&stage, "declarations_changed").await, 1);

        let watcher = Watcher::new(&[EventKind::DeclarationsChanged], |batch| {
            Act::Say(vec![fact(batch[0].device_id, 1)])
        });
        hooks.extend(watchers(&watcher));
        put(&stage, hooks);
        stage.enroll(B).await;
        let unknown = "SELECT count(*) FROM finding WHERE verdict = 'unknown'";
        becomes(&stage, unknown, 2).await;
        let failed = "SELECT count(*) FROM assessment WHERE state = 1";
        becomes(&stage, failed, 2).await;
        assert_eq!(events(&stage, "assessment_failed").await, 2);
        let why = "SELECT count(*) FROM finding WHERE message LIKE '%it hurts%'";
        assert_eq!(stage.sql.number(why).await, 2);
        assert_eq!(
            stage.sql.number("SELECT count(*) FROM contribution").await,
            2
        );
        let after = stage.sql.texts(token).await;
        assert_eq!(after, [before.clone(), before].concat(), "the set stays");
    }
}

#[tokio::test]
async fn a_job_goes_on_where_it_stopped_and_its_effects_come_with_its_progress() {
    for backend in backends() {
        let stage = Stage::new(backend).await;
        stage.enroll(A).await;
        let keep = |key: &str, bytes: usize| KeyedEffect {
            key: format!("keep/{key}"),
            effect: Effect::Keep {
                schema: 1,
                quota: 100,
                key: key.into(),
                value: Some(vec![7; bytes]),
            },
        };
        let failing = Mutex::new(true);
        let worker = Worker::new(&[("sync", Some(3_600 * SECOND)), ("later", None)], {
            move |occasion, job, cursor| {
                if job == "later" {
                    return Ok(JobStep {
                        effects: vec![KeyedEffect {
                            key: "told".into(),
                            effect: Effect::Notify {
                                severity: "info".into(),
                                text: "done".into(),
                            },
                        }],
                        ..JobStep::default()
                    });
                }
                match cursor {
                    None => Ok(JobStep {
                        effects: vec![keep("a", 10)],
                        cursor: Some("half".into()),
                        again: None,
                    }),
                    // The first try keeps more than it may: nothing of it stays, the cursor neither.
                    Some(_) if std::mem::take(&mut *failing.lock()) => Ok(JobStep {
                        effects: vec![keep("b", 200)],
                        cursor: Some("lost".into()),
                        again: None,
                    }),
                    Some(_) => Ok(JobStep {
                        effects: vec![
                            keep("c", 20),
                            KeyedEffect {
                                key: "plan".into(),
                                effect: Effect::Schedule {
                                    job: "later".into(),
                                    at: occasion.now,
                                },
                            },
                        ],
                        ..JobStep::default()
                    }),
                }
            }
        });
        let mut hooks = Hooks::default();
        hooks.jobs.push(worker.clone());
        let time = Running::of(&stage);
        put(&stage, hooks);
        let failed =
            "SELECT count(*) FROM plugin_job WHERE attempts = 1 AND last_error LIKE '%quota%'";
        becomes(&stage, failed, 1).await;
        drop(time);
        assert_eq!(
            stage.sql.texts("SELECT name FROM plugin_value").await,
            ["a"]
        );
        let time = Running::of(&stage);
        becomes(&stage, "SELECT count(*) FROM notice WHERE text = 'done'", 1).await;
        let kept = "SELECT name FROM plugin_value ORDER BY name";
        assert_eq!(stage.sql.texts(kept).await, ["a", "c"]);
        let steps = worker.steps.lock().clone();
        let half = Some("half".to_owned());
        let wanted = [
            ("sync".to_owned(), None, 1),
            ("sync".to_owned(), half.clone(), 1),
            ("sync".to_owned(), half, 2),
            ("later".to_owned(), None, 1),
        ];
        assert_eq!(steps, wanted);
        let idle = "SELECT count(*) FROM plugin_job WHERE lease_until = 0 AND attempts = 0 AND cursor_at IS NULL";
        becomes(&stage, idle, 2).await;
        drop(time);
    }
}

#[tokio::test]
async fn a_step_is_done_by_one_of_two_nodes() {
    for backend in backends() {
        let stage = Stage::new(backend).await;
        let second = stage.second().await;
        // Each step counts on from where the last one stopped.
        let worker = Worker::new(&[("count", Some(3_600 * SECOND))], |_, _, cursor| {
            let number: u32 = cursor.map_or(0, |cursor| cursor.parse().unwrap());
            Ok(JobStep {
                effects: vec![KeyedEffect {
                    key: number.to_string(),
                    effect: Effect::Notify {
                        severity: "info".into(),
                        text: number.to_string(),
                    },
                }],
                cursor: (number < 9).then(|| (number + 1).to_string()),
                again: Some(1),
            })
        });
        let mut hooks = Hooks::default();
        hooks.jobs.push(worker.clone());
        let _time = Running::of(&stage);
        put(&stage, hooks.clone());
        second
            .hooks()
            .replace(HashMap::from([(stage.tenant, hooks)]));
        becomes(&stage, "SELECT count(*) FROM notice", 10).await;
        let mut seen: Vec<String> = stage.sql.texts("SELECT text FROM notice").await;
        seen.sort();
        let wanted: Vec<String> = (0..10).map(|n| n.to_string()).collect();
        assert_eq!(seen, wanted);
        let steps = worker.steps.lock().len();
        assert!((10..=11).contains(&steps), "each step once: {steps}");
        second.stop().await;
    }
}
