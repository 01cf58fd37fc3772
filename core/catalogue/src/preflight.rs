//! Whether a device takes a command, a payload or a declaration with these values: said before it is sent, with every reason.
//!
//! Owns: the walk through what is to be sent beside what the catalogue has of it. Rules over a row are in `judge`, over a value in
//! `value`, sentences in `explain`. It asks nobody and remembers nothing.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::catalogue::Catalogue;
use crate::explain::{Finding, finding};
use crate::judge::{Cause, Target, Weight, row};
use crate::object::{Class, Key, KeyType, Object};
use crate::rules;
use crate::support::{Row, Since};
use crate::value::{self, Form};

/// Keys that are walked through at most; what lies behind them is told as not looked at.
const MOST_KEYS: u32 = 20_000;
/// Findings of a weight that are told at most: nobody reads more, and the verdict rests on the gravest.
const MOST_FINDINGS: usize = 64;
/// How deep values are followed.
const DEEPEST: u32 = 32;

/// What is to be thought of sending something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// The device takes it.
    Allowed,
    /// It takes it, and there is something to know.
    AllowedWithWarning,
    /// Whether it takes it cannot be told.
    Unknown,
    /// It refuses it.
    Refused,
}

/// A verdict with all its reasons.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preflight {
    /// The verdict.
    pub verdict: Verdict,
    /// Its reasons, the gravest first.
    pub findings: Vec<Finding>,
}

impl Catalogue {
    /// Looks at something before it is sent. Where several share a name, the one that has the fewest objections speaks.
    #[must_use]
    pub fn preflight(
        &self,
        target: &Target,
        class: Class,
        id: &str,
        body: &Map<String, Value>,
        form: Form,
    ) -> Preflight {
        self.named(class, id)
            .map(|object| of_object(target, object, body, form))
            .min_by_key(|told| (told.verdict, told.findings.len()))
            .unwrap_or_else(|| {
                let unknown = Object::named_only(class, id);
                let cause = (Cause::Unknown, Weight::Open);
                conclude(vec![finding(&unknown, "", target, &Row::never(), cause)])
            })
    }
}

impl Preflight {
    /// The same without what is about a cause.
    #[must_use]
    pub fn without(self, cause: Cause) -> Self {
        let findings = self.findings.into_iter();
        conclude(findings.filter(|one| one.cause != cause).collect())
    }
}

fn of_object(target: &Target, object: &Object, body: &Map<String, Value>, form: Form) -> Preflight {
    let mut walk = Walk {
        target,
        object,
        form,
        findings: Vec::new(),
        left: MOST_KEYS,
    };
    let whole = object.os.get(&target.platform);
    let whole = whole.cloned().unwrap_or_else(Row::never);
    if object.name_only || object.os.is_empty() {
        walk.say("", &whole, (Cause::NameOnly, Weight::Open));
        return conclude(walk.findings);
    }
    let told = walk.row("", &whole, &[]);
    // What a device does not take at all is not looked into: every key would say the same again.
    if !told.contains(&Cause::Platform) {
        walk.members("", &object.keys, body, &whole, &told);
        if object.class == Class::Command {
            for (key, why) in rules::broken(&object.id, body, target) {
                walk.wrong(key, &whole, why);
            }
        }
    }
    conclude(walk.findings)
}

fn conclude(mut findings: Vec<Finding>) -> Preflight {
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.weight));
    let verdict = match findings.first().map(|finding| finding.weight) {
        None => Verdict::Allowed,
        Some(Weight::Warns) => Verdict::AllowedWithWarning,
        Some(Weight::Open) => Verdict::Unknown,
        Some(Weight::Refuses) => Verdict::Refused,
    };
    Preflight { verdict, findings }
}

struct Walk<'a> {
    target: &'a Target,
    object: &'a Object,
    form: Form,
    findings: Vec<Finding>,
    left: u32,
}

impl Walk<'_> {
    fn say(&mut self, key: &str, row: &Row, judged: (Cause, Weight)) {
        if self.room(judged.1) {
            let told = finding(self.object, key, self.target, row, judged);
            self.findings.push(told);
        }
    }

    fn room(&self, weight: Weight) -> bool {
        let findings = self.findings.iter();
        findings.filter(|one| one.weight == weight).count() < MOST_FINDINGS
    }

    /// Says what is wrong with a value, as the end of a sentence that names the key.
    fn wrong(&mut self, key: &str, row: &Row, why: &str) {
        let cause = (Cause::Value, Weight::Refuses);
        if !self.room(cause.1) {
            return;
        }
        let mut told = finding(self.object, key, self.target, row, cause);
        told.message = format!("{key} of {} {why}", self.object.id);
        self.findings.push(told);
    }

    /// Whether the schema names a key and has it on none of the object's platforms: then it says nothing of use.
    fn nowhere(&self, key: &Key) -> bool {
        let mut platforms = self.object.os.keys();
        platforms.all(|platform| {
            let row = key.os.get(platform);
            row.is_some_and(|row| row.introduced == Some(Since::Never))
        })
    }

    /// Says what a row brings that what it stands in has not brought, and gives all causes on the way.
    fn row(&mut self, key: &str, whole: &Row, outer: &[Cause]) -> Vec<Cause> {
        let mut causes = outer.to_vec();
        for judged in row(self.target, whole) {
            if !outer.contains(&judged.0) {
                self.say(key, whole, judged);
                causes.push(judged.0);
            }
        }
        causes
    }

    fn members(
        &mut self,
        path: &str,
        keys: &[Key],
        body: &Map<String, Value>,
        outer: &Row,
        told: &[Cause],
    ) {
        let free = keys.iter().find(|key| key.name == Key::FREE);
        for (name, value) in body {
            let here = joined(path, name);
            match keys.iter().find(|key| key.name == *name).or(free) {
                Some(key) if self.passes_over(&here, key, outer, told) => {}
                Some(key) => self.key(&here, key, value, outer, told),
                None if path.is_empty() && name == "RequestType" => {}
                None => self.say(&here, outer, (Cause::Unknown, Weight::Open)),
            }
        }
        for key in keys.iter().filter(|key| key.required) {
            let there = key.name == Key::FREE || body.contains_key(&key.name);
            let own = own(key, self.target).within(outer);
            // What this device does not take need not be there.
            let refuses = |(_, weight): &(Cause, Weight)| *weight == Weight::Refuses;
            if !there && !row(self.target, &own).iter().any(refuses) {
                let here = joined(path, &key.name);
                self.say(&here, &own, (Cause::Missing, Weight::Refuses));
            }
        }
    }

    /// Whether the device takes the whole without this key, since its system does not know it: then that is told, and nothing in it is looked at.
    /// A declaration is refused for such a key, and so is what would do something else without it.
    fn passes_over(&mut self, path: &str, key: &Key, outer: &Row, told: &[Cause]) -> bool {
        let takes_the_rest = matches!(self.object.class, Class::Command | Class::Profile);
        let looked_at = key.required || key.name_only || self.nowhere(key);
        if !takes_the_rest || looked_at || rules::means_else(&self.object.id, path) {
            return false;
        }
        let own = own(key, self.target).within(outer);
        let unknown = |(cause, weight): &(Cause, Weight)| {
            let of_system = matches!(cause, Cause::Platform | Cause::Version | Cause::Removed);
            // What stands in the way of the whole is said of the whole.
            of_system && *weight == Weight::Refuses && !told.contains(cause)
        };
        let Some((cause, _)) = row(self.target, &own).into_iter().find(unknown) else {
            return false;
        };
        if self.room(Weight::Warns) {
            let judged = (cause, Weight::Warns);
            let mut told = finding(self.object, path, self.target, &own, judged);
            told.message
                .push_str(": the device takes the rest, and this does nothing");
            self.findings.push(told);
        }
        true
    }

    /// What an array holds. Where it is a list of things that a device does one by one (queries, settings), it leaves out those that it
    /// does not take: only where it takes none, the whole is refused.
    fn items(&mut self, path: &str, held: &[Key], items: &[Value], outer: &Row, told: &[Cause]) {
        let words = |one: &Key| one.kind == KeyType::String && !one.keys.is_empty();
        let one_by_one = held.len() > 1 || held.iter().any(words);
        let mut left_out = Vec::new();
        for (place, item) in items.iter().enumerate() {
            let before = self.findings.len();
            let here = joined(path, &place.to_string());
            match Key::of_item(held, || item.get("Item")?.as_str()) {
                Some(one) => self.key(&here, one, item, outer, told),
                None => self.say(&here, outer, (Cause::Unknown, Weight::Open)),
            }
            let said = self.findings.get(before..).unwrap_or_default();
            if said.iter().any(not_taken) {
                left_out.push(before..self.findings.len());
            }
        }
        if !one_by_one || left_out.len() == items.len() {
            return;
        }
        for place in left_out.into_iter().flatten() {
            if let Some(said) = self.findings.get_mut(place).filter(|one| not_taken(one)) {
                said.weight = Weight::Warns;
                said.message.push_str(": the device leaves it out");
            }
        }
    }

    fn key(&mut self, path: &str, key: &Key, value: &Value, outer: &Row, told: &[Cause]) {
        self.left = self.left.saturating_sub(1);
        let deep = path.bytes().filter(|byte| *byte == b'/').count() >= DEEPEST as usize;
        if self.left == 0 || deep {
            return self.say(path, outer, (Cause::Unknown, Weight::Open));
        }
        let whole = own(key, self.target).within(outer);
        if key.name_only || self.nowhere(key) {
            return self.say(path, &whole, (Cause::NameOnly, Weight::Open));
        }
        let told = self.row(path, &whole, told);
        if let Err(why) = value::check(key, value, self.form) {
            return self.wrong(path, &whole, &why);
        }
        let held = self.object.held_by(key);
        match value {
            Value::Object(body) if !held.is_empty() => {
                self.members(path, held, body, &whole, &told);
            }
            Value::Array(items) if !held.is_empty() => {
                self.items(path, held, items, &whole, &told);
            }
            // A word of a list: each word has its own support.
            Value::String(word) if key.kind == KeyType::String && !held.is_empty() => {
                match held.iter().find(|one| one.name == *word) {
                    Some(one) if one.name_only => {
                        self.say(
                            &format!("{path}/{word}"),
                            &whole,
                            (Cause::NameOnly, Weight::Open),
                        );
                    }
                    Some(one) => {
                        let row = own(one, self.target).within(&whole);
                        self.row(&format!("{path}/{word}"), &row, &told);
                    }
                    None => self.say(
                        &format!("{path}/{word}"),
                        &whole,
                        (Cause::Unknown, Weight::Open),
                    ),
                }
            }
            _ => {}
        }
    }
}

/// Whether a device does not take something for what it is, whatever its value.
fn not_taken(finding: &Finding) -> bool {
    finding.weight == Weight::Refuses && !matches!(finding.cause, Cause::Value | Cause::Missing)
}

/// What a key says of a device's platform.
fn own(key: &Key, target: &Target) -> Row {
    key.os.get(&target.platform).cloned().unwrap_or_default()
}

fn joined(path: &str, name: &str) -> String {
    match path {
        "" => name.to_owned(),
        path => format!("{path}/{name}"),
    }
}
