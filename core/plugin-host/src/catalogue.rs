//! Host functions about the catalogue: judging something for a kind of device, and looking things up.
//!
//! Owns: the bounds of what is asked, and the catalogue's words in the contract's. The judging itself is `pomona-catalogue`'s, the same that
//! the server judges commands by. What is answered rests on the question and the program alone, so deterministic hooks may ask too, and
//! an author's tools answer it without a record. Asks nobody, keeps nothing.

use std::sync::LazyLock;

use aws_lc_rs::digest::{SHA256, digest};
use pomona_catalogue as known;
use pomona_catalogue::{Catalogue, Cause, Class, Form, Preflight, Target};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::bindings::pomona::host::catalogue::{
    self, Judgement, Objection, Subject, Verdict, Weight,
};
use crate::bindings::pomona::host::errors::AccessError;
use crate::bindings::pomona::types::device::Platform;
use crate::call::CallState;

/// Bytes of what is judged, at most.
const MOST_BODY: usize = 64 << 10;
/// Bytes of bodies and answers in one call of a hook, at most: what the catalogue does is not counted as the guest's instructions.
const MOST_IN_A_CALL: usize = 2 << 20;
/// What one question counts for beside its bytes.
const A_QUESTION: usize = 512;
/// How a blank begins, which the engine fills for each device.
const BLANK: &str = "{{input:";

type Served<T> = wasmtime::Result<Result<T, AccessError>>;

/// Names what the catalogue of this program says: the same text, the same answers.
pub(crate) fn edition() -> &'static str {
    static EDITION: LazyLock<String> =
        LazyLock::new(|| hex::encode(digest(&SHA256, Catalogue::text().as_bytes())));
    &EDITION
}

impl CallState {
    /// Counts a question of so many bytes.
    fn asked_the_catalogue(&mut self, bytes: usize) -> Result<(), AccessError> {
        self.catalogue_bytes = self.catalogue_bytes.saturating_add(bytes);
        match self.catalogue_bytes > MOST_IN_A_CALL {
            true => Err(AccessError::Quota(format!(
                "bodies and answers of the catalogue have at most {MOST_IN_A_CALL} bytes in a call"
            ))),
            false => Ok(()),
        }
    }
}

impl catalogue::Host for CallState {
    fn preflight(
        &mut self,
        subject: Subject,
        class: String,
        name: String,
        body_json: String,
    ) -> Served<Judgement> {
        self.counted()?;
        let asked = self.asked_the_catalogue(A_QUESTION + body_json.len());
        Ok(asked.and_then(|()| judge(&subject, &class, &name, &body_json)))
    }

    fn lookup(&mut self, class: String, name: String) -> Served<Option<String>> {
        self.counted()?;
        Ok(class_of(&class).and_then(|class| {
            let told = Catalogue::shipped().tell(&name, Some(class), None);
            let text = (!told.is_empty()).then(|| Value::Array(told).to_string());
            self.asked_the_catalogue(A_QUESTION + text.as_ref().map_or(0, String::len))?;
            Ok(text)
        }))
    }

    fn names(&mut self, class: String) -> Served<Vec<String>> {
        self.counted()?;
        Ok(class_of(&class).and_then(|class| {
            let objects = Catalogue::shipped().objects().iter();
            let ids = objects.filter(|object| object.class == class);
            let mut names: Vec<String> = ids.map(|object| object.id.clone()).collect();
            names.sort_unstable();
            names.dedup();
            self.asked_the_catalogue(A_QUESTION + names.iter().map(String::len).sum::<usize>())?;
            Ok(names)
        }))
    }
}

/// Judges something for a kind of device.
fn judge(subject: &Subject, class: &str, name: &str, body: &str) -> Result<Judgement, AccessError> {
    let class = class_of(class)?;
    if body.len() > MOST_BODY {
        let why = format!("the body has more than {MOST_BODY} bytes; leave out what is only data");
        return Err(AccessError::Invalid(why));
    }
    let read: Map<String, Value> = match body {
        "" => Map::new(),
        body => serde_json::from_str(body).map_err(|error| {
            AccessError::Invalid(format!("the body is no JSON object: {error}"))
        })?,
    };
    let Some(target) = target(subject) else {
        return Ok(of_no_family(name));
    };
    // Declarations are JSON on their way to the device, too; the others are property lists.
    let (read, form) = match class {
        Class::Declaration => (read, Form::Plain),
        _ => (marked_members(read), Form::Marked),
    };
    let told = Catalogue::shipped().preflight(&target, class, name, &read, form);
    Ok(told_as(match body.contains(BLANK) {
        true => told.without(Cause::Value),
        false => told,
    }))
}

fn class_of(word: &str) -> Result<Class, AccessError> {
    word.parse()
        .map_err(|error: known::NotAClass| AccessError::Invalid(error.to_string()))
}

/// The device as the catalogue wants it; none where not even the family is known.
fn target(subject: &Subject) -> Option<Target> {
    let platform = match &subject.platform {
        Platform::Ios | Platform::Ipados => known::Platform::Ios,
        Platform::Macos => known::Platform::Macos,
        Platform::Tvos => known::Platform::Tvos,
        Platform::Visionos => known::Platform::Visionos,
        Platform::Watchos => known::Platform::Watchos,
        Platform::Other(_) => return None,
    };
    // As the server has it: only an iPad that is enrolled as a whole can be shared.
    let ipad = matches!(subject.platform, Platform::Ipados);
    let may_be_shared = ipad && !subject.user_enrollment;
    Some(Target {
        version: subject.os_version.parse().ok(),
        enrollment: match subject.user_enrollment {
            true => known::EnrollmentKind::User,
            false => known::EnrollmentKind::Device,
        },
        channel: match subject.user_channel {
            true => known::Channel::User,
            false => known::Channel::Device,
        },
        supervised: subject.supervised,
        ade: subject.automated,
        user_approved: subject.user_approved,
        shared_ipad: match may_be_shared {
            true => subject.shared_ipad,
            false => Some(false),
        },
        rights: subject.access_rights,
        ..Target::of(platform)
    })
}

/// What is said for a device that has not told what it is.
fn of_no_family(name: &str) -> Judgement {
    Judgement {
        verdict: Verdict::Unknown,
        objections: vec![Objection {
            cause: word(&Cause::Platform),
            weight: Weight::Open,
            key: String::new(),
            message: format!(
                "what kind of device this is is not known: whether {name} works cannot be told"
            ),
            fix: None,
            ask: Some("DeviceInformation with the query ProductName".into()),
            alternative: None,
        }],
    }
}

fn told_as(told: Preflight) -> Judgement {
    let objections = told.findings.into_iter().map(|one| Objection {
        cause: word(&one.cause),
        weight: match one.weight {
            known::Weight::Warns => Weight::Warns,
            known::Weight::Open => Weight::Open,
            known::Weight::Refuses => Weight::Refuses,
        },
        key: one.key,
        message: one.message,
        fix: one.fix,
        ask: one.ask,
        alternative: one.alternative,
    });
    Judgement {
        objections: objections.collect(),
        verdict: match told.verdict {
            known::Verdict::Allowed => Verdict::Allowed,
            known::Verdict::AllowedWithWarning => Verdict::AllowedWithWarning,
            known::Verdict::Unknown => Verdict::Unknown,
            known::Verdict::Refused => Verdict::Refused,
        },
    }
}

/// The word by which something is told.
fn word<T: Serialize>(value: &T) -> String {
    match serde_json::to_value(value) {
        Ok(Value::String(word)) => word,
        _ => String::new(),
    }
}

/// Data and dates of a payload, marked as the catalogue marks them.
fn marked_members(members: Map<String, Value>) -> Map<String, Value> {
    let members = members.into_iter();
    members.map(|(name, value)| (name, marked(value))).collect()
}

fn marked(value: Value) -> Value {
    match value {
        Value::Array(items) => Value::Array(items.into_iter().map(marked).collect()),
        Value::Object(mut members) => {
            // A dictionary that would read like one of the marks is wrapped.
            let wrapped = members.len() == 1 && members.get("dict").is_some_and(Value::is_object);
            if wrapped && let Some(Value::Object(inner)) = members.remove("dict") {
                return Value::Object(marked_members(inner));
            }
            for (name, mark) in [("data", "$data"), ("date", "$date")] {
                let only = members.len() == 1 && members.get(name).is_some_and(Value::is_string);
                if only && let Some(text) = members.remove(name) {
                    return Value::Object(Map::from_iter([(mark.to_owned(), text)]));
                }
            }
            Value::Object(marked_members(members))
        }
        other => other,
    }
}
