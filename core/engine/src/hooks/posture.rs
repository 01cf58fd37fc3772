//! Hooks that look at a device and change nothing: what is wrong with it, and which declarations it should have.
//!
//! Owns: their traits, what they say, and which answers can be kept. They are deterministic: the same question gets the same answer, so that what was said
//! can be asked again and explained. When they are asked is for `engine::assess`.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{DeviceSnapshot, HookError, KnownFact};
use crate::clock::Micros;

/// The most that a hook may say of one device.
pub(crate) const MAX_ANSWERS: usize = 512;
/// Bytes of an identifier, of a rule's name.
const MAX_NAME: usize = 255;

/// A question about a device.
#[derive(Clone, Debug)]
pub struct Question {
    /// Names the question; a hook draws its randomness from it.
    pub call_id: String,
    /// The time that holds for the answer.
    pub now: Micros,
    /// The device.
    pub device: DeviceSnapshot,
}

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$case_doc:meta])* $case:ident = $word:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema)]
        pub enum $name {
            $($(#[$case_doc])* #[serde(rename = $word)] $case,)+
        }

        impl $name {
            /// The word in tables and JSON.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$case => $word,)+ }
            }

            /// Reads the word.
            #[must_use]
            pub fn from_word(word: &str) -> Option<Self> {
                match word { $($word => Some(Self::$case),)+ _ => None }
            }
        }
    };
}

words! {
    /// What a rule says of a device.
    RuleVerdict {
        /// It is as it should be.
        Pass = "pass",
        /// It is not.
        Fail = "fail",
        /// It is not known.
        Unknown = "unknown",
        /// The rule does not concern this device.
        NotApplicable = "not-applicable",
    }
}

words! {
    /// How grave it is when a rule fails.
    Severity {
        /// Worth knowing.
        Info = "info",
        /// Little.
        Low = "low",
        /// Middling.
        Medium = "medium",
        /// Grave.
        High = "high",
        /// As grave as can be.
        Critical = "critical",
    }
}

/// A rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct RuleInfo {
    /// Its name within the plugin.
    pub id: String,
    /// Its name for people.
    pub title: String,
    /// How grave it is when it fails.
    pub severity: Severity,
    /// What it asks for and why.
    pub description: String,
    /// Where it comes from.
    pub reference: Option<String>,
}

/// A command that would mend what a rule found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Remedy {
    /// What it does, for people.
    pub label: String,
    /// `RequestType`.
    pub request_type: String,
    /// The other keys of the `Command` dictionary, as in a request to send it.
    #[schema(value_type = Object)]
    pub payload: Value,
    /// Whether the plugin would have it sent by itself.
    pub automatic: bool,
}

/// What a rule says of a device.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// The rule.
    pub rule: String,
    /// What it says.
    pub verdict: RuleVerdict,
    /// Why, in a sentence.
    pub message: String,
    /// What it rests on.
    pub evidence: Vec<KnownFact>,
    /// What would mend it.
    pub remedies: Vec<Remedy>,
    /// How long a failure is to be borne with.
    pub grace: Option<Micros>,
}

/// Measures devices against rules. On error, time-out or absence: what it said before stands as unknown.
#[async_trait]
pub trait ComplianceHook: Send + Sync {
    /// Who it is; names its findings, so it must stay the same.
    fn name(&self) -> &str;
    /// Names its code and settings: with another stamp every device is measured anew.
    fn stamp(&self) -> String;
    /// After this time a device is measured again although nothing is known to have changed.
    fn interval(&self) -> Option<Micros> {
        None
    }
    /// Whether it has anything to say of this device.
    fn concerns(&self, _device: &DeviceSnapshot) -> bool {
        true
    }
    /// The rules that it has.
    async fn rules(&self) -> Result<Vec<RuleInfo>, HookError>;
    /// One finding for each rule.
    async fn evaluate(&self, question: &Question) -> Result<Vec<Finding>, HookError>;
}

/// A declaration that a device should have.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Declaration {
    /// `Identifier`.
    pub identifier: String,
    /// `Type`.
    pub kind: String,
    /// `Payload`.
    #[schema(value_type = Object)]
    pub payload: Value,
}

/// Says which declarations a device should have. On error, time-out or absence: the set it gave before stays.
#[async_trait]
pub trait DeclarationHook: Send + Sync {
    /// Who it is.
    fn name(&self) -> &str;
    /// Names its code and settings: with another stamp every device is asked about anew.
    fn stamp(&self) -> String;
    /// After this time it is asked again although nothing is known to have changed.
    fn interval(&self) -> Option<Micros> {
        None
    }
    /// Whether it has anything to say of this device.
    fn concerns(&self, _device: &DeviceSnapshot) -> bool {
        true
    }
    /// The whole set for a device.
    async fn contribute(&self, question: &Question) -> Result<Vec<Declaration>, HookError>;
}

/// Whether findings can be kept: of rules that are known, each once.
///
/// # Errors
/// What is wrong with the first that cannot.
pub fn check_findings(findings: &[Finding], known: impl Fn(&str) -> bool) -> Result<(), String> {
    check_names(
        findings.iter().map(|finding| finding.rule.as_str()),
        |name| {
            let why = || format!("it has a finding of {name}, which is none of its rules");
            if known(name) { Ok(()) } else { Err(why()) }
        },
    )
}

/// Whether declarations can be kept: under the plugin's name, each once.
///
/// # Errors
/// What is wrong with the first that cannot.
pub fn check_declarations(plugin: &str, all: &[Declaration]) -> Result<(), String> {
    check_names(all.iter().map(|one| one.identifier.as_str()), |name| {
        let rest = name.strip_prefix(plugin);
        if rest.is_some_and(|rest| rest.starts_with('.')) {
            return Ok(());
        }
        Err(format!(
            "the declaration {name} does not begin with the plugin's id and a dot"
        ))
    })
}

fn check_names<'a>(
    names: impl ExactSizeIterator<Item = &'a str>,
    ours: impl Fn(&str) -> Result<(), String>,
) -> Result<(), String> {
    if names.len() > MAX_ANSWERS {
        return Err(format!(
            "it says {} things of one device; at most {MAX_ANSWERS} are taken",
            names.len()
        ));
    }
    let mut seen = std::collections::BTreeSet::new();
    for name in names {
        if name.is_empty() || name.len() > MAX_NAME || name.chars().any(char::is_control) {
            return Err(format!(
                "a name has 1 to {MAX_NAME} bytes without control characters"
            ));
        }
        if !seen.insert(name) {
            return Err(format!("it says two things under the name {name}"));
        }
        ours(name)?;
    }
    Ok(())
}
