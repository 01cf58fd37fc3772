//! Many hooks, one command: how their changes and their verdicts become one.
//!
//! Owns: given the order of the hooks, which of two changes holds, and how verdicts are added up. Writes nothing: what was
//! changed, and over whom, goes back to who queues the command.

use std::collections::BTreeMap;

use futures_util::future::join_all;
use serde::Serialize;

use super::{
    Budget, CHAIN_BUDGET, COMMAND_BUDGET, Change, CommandAmendHook, CommandDraft, CommandVerdict,
    DeviceSnapshot, Hooks, Stage, UNASKED_VALID, failed, fails_closed,
};
use crate::actor::ActorKind;
use crate::clock::{DAY, Micros};

/// A key of a command that a hook has changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Amendment {
    /// The key of the `Command` dictionary.
    pub(crate) key: String,
    /// The hook whose change holds.
    pub(crate) by: String,
    /// Hooks that wanted it otherwise and come earlier in the order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) over: Vec<String>,
}

impl std::fmt::Display for Amendment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} changed {}", self.by, self.key)?;
        match self.over.is_empty() {
            true => Ok(()),
            false => write!(f, ", which {} wanted otherwise", self.over.join(" and ")),
        }
    }
}

/// A key that was changed: the place of the hook in the order, and of those that were overruled.
#[derive(Default)]
struct Changed {
    by: usize,
    over: Vec<usize>,
}

impl Hooks {
    /// Whether an amending hook wants to see commands of this type.
    pub(crate) fn amends(&self, request_type: &str) -> bool {
        self.amend.iter().any(|hook| hook.matches(request_type))
    }

    /// Lets every amending hook change the draft, one after the other. Where two set the same key, the one that comes later in
    /// the order holds. Who was asked before the last change is asked once more, since that may have changed what it looked
    /// at; a hook that has made its changes has none to make then.
    pub(crate) async fn amend(&self, now: Micros, draft: &mut CommandDraft) -> Vec<Amendment> {
        let mut changed = BTreeMap::new();
        let mut budget = Budget::new();
        let mut last = 0;
        for place in 0..self.amend.len() {
            if self
                .amend_at(place, now, draft, &mut budget, &mut changed)
                .await
            {
                last = place;
            }
        }
        for place in 0..last {
            self.amend_at(place, now, draft, &mut budget, &mut changed)
                .await;
        }
        let name = |place: usize| self.amend.get(place).map_or("", |hook| hook.name());
        let told = changed.into_iter().map(|(key, changed)| Amendment {
            key,
            by: name(changed.by).to_owned(),
            over: changed
                .over
                .into_iter()
                .map(|place| name(place).to_owned())
                .collect(),
        });
        let told: Vec<Amendment> = told.collect();
        let conflicts = told.iter().filter(|one| !one.over.is_empty()).count() as u64;
        metrics::counter!("pomona_amend_conflicts_total").increment(conflicts);
        told
    }

    /// Asks one hook and makes those of its changes that no later one overrules. Tells whether anything is otherwise now.
    async fn amend_at(
        &self,
        place: usize,
        now: Micros,
        draft: &mut CommandDraft,
        budget: &mut Budget,
        changed: &mut BTreeMap<String, Changed>,
    ) -> bool {
        let Some(hook) = wanting(&self.amend, place, draft) else {
            return false;
        };
        let changes = match budget.run(COMMAND_BUDGET, hook.amend(now, draft)).await {
            Ok(changes) => changes,
            Err(error) => {
                failed("command-amend", hook.name(), &error);
                return false;
            }
        };
        let mut otherwise = false;
        for change in changes {
            let (key, wish) = match &change {
                Change::Set(key, value) => (key.clone(), Some(value)),
                Change::Remove(key) => (key.clone(), None),
            };
            if key == "RequestType" || draft.command.get(&key) == wish {
                continue;
            }
            let entry = changed.entry(key).or_insert_with(|| Changed {
                by: place,
                over: Vec::new(),
            });
            let overruled = entry.by.min(place);
            if entry.by != place && !entry.over.contains(&overruled) {
                entry.over.push(overruled);
            }
            if entry.by <= place {
                entry.by = place;
                otherwise |= change.apply(&mut draft.command).is_some();
            }
        }
        otherwise
    }

    /// Asks every validating hook, all at the same time; any veto holds, else the latest time to wait for, else the shortest
    /// validity.
    pub(crate) async fn validate(
        &self,
        stage: Stage,
        now: Micros,
        device: &DeviceSnapshot,
        draft: &CommandDraft,
    ) -> CommandVerdict {
        let asked = self
            .validate
            .iter()
            .filter(|hook| hook.matches(&draft.request_type, stage))
            .map(|hook| async move {
                // They wait together: one that waits takes no time from another. What one computes the others see pass, so each is
                // given the time of all; whoever runs it keeps it within its own.
                let verdict = Budget::new()
                    .run(CHAIN_BUDGET, hook.validate(stage, now, device, draft))
                    .await;
                (hook.name(), verdict)
            });
        // As long as nothing was said that holds: until it is asked again. While it is queued nobody waits for it to go.
        let soon = match stage {
            Stage::Enqueue => now,
            Stage::Delivery => now + UNASKED_VALID,
        };
        let mut until = now + 365 * DAY;
        let mut wait: Option<(Micros, String)> = None;
        let mut vetoes: Vec<String> = Vec::new();
        for (name, verdict) in join_all(asked).await {
            match verdict {
                Ok(CommandVerdict::Allow { valid_until }) => until = until.min(valid_until),
                Ok(CommandVerdict::Veto(reason)) => vetoes.push(format!("{name}: {reason}")),
                // Its time has come while it was said: what holds from now on, it did not say.
                Ok(CommandVerdict::Defer(at, _)) if at <= now => until = until.min(soon),
                Ok(CommandVerdict::Defer(at, reason)) => {
                    if wait.as_ref().is_none_or(|(latest, _)| at > *latest) {
                        wait = Some((at, format!("{name}: {reason}")));
                    }
                }
                Err(error) => {
                    failed("command-validate", name, &error);
                    let automation = draft.actor != ActorKind::Person;
                    if automation && fails_closed(&draft.request_type) {
                        vetoes.push(format!("{name} could not be asked"));
                    } else {
                        until = until.min(soon);
                    }
                }
            }
        }
        if !vetoes.is_empty() {
            return CommandVerdict::Veto(vetoes.join("; "));
        }
        match wait {
            Some((at, reason)) => CommandVerdict::Defer(at, reason),
            None => CommandVerdict::Allow { valid_until: until },
        }
    }
}

fn wanting<'a>(
    hooks: &'a [std::sync::Arc<dyn CommandAmendHook>],
    place: usize,
    draft: &CommandDraft,
) -> Option<&'a dyn CommandAmendHook> {
    let hook = hooks.get(place)?;
    hook.matches(&draft.request_type).then(|| hook.as_ref())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use async_trait::async_trait;

    use super::super::{CommandValidateHook, HookError};
    use super::*;

    /// Sets keys once another has a value; asked again it has nothing to do.
    struct Sets {
        name: &'static str,
        when: Option<(&'static str, i64)>,
        sets: Vec<(&'static str, i64)>,
        asked: AtomicU32,
    }

    #[async_trait]
    impl CommandAmendHook for Sets {
        fn name(&self) -> &str {
            self.name
        }

        fn matches(&self, _: &str) -> bool {
            true
        }

        async fn amend(&self, _: Micros, draft: &CommandDraft) -> Result<Vec<Change>, HookError> {
            self.asked.fetch_add(1, Ordering::Relaxed);
            let is =
                |(key, number): &(&str, i64)| draft.command.get(key) == Some(&(*number).into());
            if self.when.is_some_and(|when| !is(&when)) {
                return Ok(Vec::new());
            }
            let sets = self.sets.iter().filter(|one| !is(one));
            Ok(sets
                .map(|(key, number)| Change::Set((*key).into(), (*number).into()))
                .collect())
        }
    }

    fn sets(
        name: &'static str,
        when: Option<(&'static str, i64)>,
        sets: &[(&'static str, i64)],
    ) -> Arc<Sets> {
        Arc::new(Sets {
            name,
            when,
            sets: sets.to_vec(),
            asked: AtomicU32::new(0),
        })
    }

    async fn amended(hooks: &[&Arc<Sets>]) -> (Vec<String>, Vec<(String, i64)>) {
        let amend = hooks
            .iter()
            .map(|hook| Arc::clone(hook) as Arc<dyn CommandAmendHook>);
        let hooks = Hooks {
            amend: amend.collect(),
            ..Hooks::default()
        };
        let mut draft = CommandDraft {
            request_type: "Settings".into(),
            command: plist::Dictionary::new(),
            actor: ActorKind::Person,
            kinds: None,
        };
        let told = hooks.amend(0, &mut draft).await;
        let command = draft.command.into_iter();
        let command =
            command.map(|(key, value)| (key, value.as_signed_integer().unwrap_or_default()));
        let mut command: Vec<_> = command.collect();
        command.sort();
        (told.iter().map(ToString::to_string).collect(), command)
    }

    #[tokio::test]
    async fn the_later_of_two_holds_and_both_are_told() {
        let (first, second) = (sets("a", None, &[("K", 1)]), sets("b", None, &[("K", 2)]));
        let (told, command) = amended(&[&first, &second]).await;
        assert_eq!(told, ["b changed K, which a wanted otherwise"]);
        assert_eq!(command, [("K".into(), 2)]);
        let (told, command) = amended(&[&second, &first]).await;
        assert_eq!(told, ["a changed K, which b wanted otherwise"]);
        assert_eq!(command, [("K".into(), 1)]);
    }

    #[tokio::test]
    async fn the_same_wish_is_no_conflict() {
        let (first, second) = (sets("a", None, &[("K", 1)]), sets("b", None, &[("K", 1)]));
        let (told, _) = amended(&[&first, &second]).await;
        assert_eq!(told, ["a changed K"]);
    }

    #[tokio::test]
    async fn who_looked_before_a_change_looks_once_more() {
        let first = sets("a", Some(("B", 1)), &[("A", 1)]);
        let second = sets("b", None, &[("B", 1)]);
        let (told, command) = amended(&[&first, &second]).await;
        assert_eq!(told, ["a changed A", "b changed B"]);
        assert_eq!(command, [("A".into(), 1), ("B".into(), 1)]);
        assert_eq!(first.asked.load(Ordering::Relaxed), 2);
        assert_eq!(second.asked.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn nobody_is_asked_again_when_nothing_has_changed_since() {
        let first = sets("a", None, &[("A", 1)]);
        let second = sets("b", Some(("C", 1)), &[("B", 1)]);
        let (told, _) = amended(&[&first, &second]).await;
        assert_eq!(told, ["a changed A"]);
        assert_eq!(first.asked.load(Ordering::Relaxed), 1);
    }

    /// Says nothing before all of them are asked.
    struct Meets(Arc<tokio::sync::Barrier>);

    #[async_trait]
    impl CommandValidateHook for Meets {
        fn name(&self) -> &str {
            "meets"
        }

        fn matches(&self, _: &str, _: Stage) -> bool {
            true
        }

        async fn validate(
            &self,
            _: Stage,
            _: Micros,
            _: &DeviceSnapshot,
            _: &CommandDraft,
        ) -> Result<CommandVerdict, HookError> {
            self.0.wait().await;
            Ok(CommandVerdict::Veto("met".into()))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn those_that_judge_are_asked_at_the_same_time() {
        let door = Arc::new(tokio::sync::Barrier::new(2));
        let hooks = Hooks {
            validate: vec![Arc::new(Meets(door.clone())), Arc::new(Meets(door))],
            ..Hooks::default()
        };
        let draft = CommandDraft {
            request_type: "RestartDevice".into(),
            command: plist::Dictionary::new(),
            actor: ActorKind::Person,
            kinds: None,
        };
        let device = DeviceSnapshot::default();
        let verdict = hooks.validate(Stage::Enqueue, 0, &device, &draft).await;
        let CommandVerdict::Veto(told) = verdict else {
            panic!("{verdict:?}");
        };
        assert_eq!(told, "meets: met; meets: met");
    }
}
