//! What the catalogue says of a command for each device, before anything is sent.
//!
//! Owns: how a device as the store knows it becomes one that the catalogue can judge for, and the form of what is told. The judging is
//! the catalogue's. Told by a dry run; a command that is queued is not held up by it yet.

use std::collections::HashMap;
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use pomona_catalogue::{
    Catalogue, Cause, Channel, Class, EnrollmentKind, Form, Platform, Preflight, Target,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Number, Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::super::Engine;
use super::super::device::command_dictionary;
use super::{Prepared, SNAPSHOTS};
use crate::error::Result;
use crate::hooks::DeviceSnapshot;
use crate::ids::EnrollmentId;
use crate::store::snapshot;

/// Channels that are looked at in one call, at most.
const MOST: usize = 1_000;

/// What the catalogue says of a command on one channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ChannelPreflight {
    /// The channel.
    pub enrollment_id: EnrollmentId,
    /// `allowed`, `allowed-with-warning`, `unknown` or `refused`.
    pub verdict: String,
    /// Every reason, the gravest first.
    pub findings: Vec<PreflightFinding>,
}

/// One reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct PreflightFinding {
    /// What it is about, such as `supervision` or `version`.
    pub cause: String,
    /// `refuses`, `open` (it cannot be told) or `warns`.
    pub weight: String,
    /// The key it concerns, as a path such as `ReturnToService/Enabled`; empty: the whole command.
    pub key: String,
    /// What is the matter.
    pub message: String,
    /// What would mend it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub fix: Option<String>,
    /// What to ask the device for first, where it cannot be told.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub ask: Option<String>,
    /// What works on this device instead.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub alternative: Option<String>,
}

impl Engine {
    /// Looks at what would be sent, for the first thousand channels. A device that has never said what it is has no place in the answer.
    pub(super) async fn preflight(&self, prepared: &Prepared) -> Result<Vec<ChannelPreflight>> {
        let command = command_dictionary(&prepared.body);
        let body = members(&command);
        let blanks = !prepared.blanks.is_empty();
        let channels: Vec<EnrollmentId> = prepared
            .request
            .targets
            .iter()
            .copied()
            .take(MOST)
            .collect();
        let mut told = Vec::with_capacity(channels.len());
        // A fleet has few kinds of devices: each is judged once.
        let mut judged: HashMap<Target, Preflight> = HashMap::new();
        for some in channels.chunks(SNAPSHOTS) {
            let mut tx = self.store().begin_read().await?;
            let devices = snapshot::read_all(&mut tx, prepared.tenant, some).await?;
            tx.rollback().await?;
            for channel in some {
                let Some(target) = devices.get(channel).and_then(target) else {
                    continue;
                };
                let kind = judged.entry(target).or_insert_with_key(|target| {
                    judge(target, &prepared.request_type, &body, blanks)
                });
                told.push(one(*channel, kind));
            }
        }
        Ok(told)
    }
}

fn judge(
    target: &Target,
    request_type: &str,
    body: &Map<String, Value>,
    blanks: bool,
) -> Preflight {
    let catalogue = Catalogue::shipped();
    let told = catalogue.preflight(target, Class::Command, request_type, body, Form::Marked);
    match blanks {
        // What stands in a blank is not known here, and is no fault of the value around it.
        true => told.without(Cause::Value),
        false => told,
    }
}

fn one(enrollment_id: EnrollmentId, told: &Preflight) -> ChannelPreflight {
    let finding = |finding: &pomona_catalogue::Finding| PreflightFinding {
        cause: word(&finding.cause),
        weight: word(&finding.weight),
        key: finding.key.clone(),
        message: finding.message.clone(),
        fix: finding.fix.clone(),
        ask: finding.ask.clone(),
        alternative: finding.alternative.clone(),
    };
    ChannelPreflight {
        enrollment_id,
        verdict: word(&told.verdict),
        findings: told.findings.iter().map(finding).collect(),
    }
}

/// The word by which something is told.
fn word<T: Serialize>(value: &T) -> String {
    match serde_json::to_value(value) {
        Ok(Value::String(word)) => word,
        _ => String::new(),
    }
}

/// The device as the catalogue wants it. What an enrollment holds of rights is not known here: our profiles ask for all.
fn target(device: &DeviceSnapshot) -> Option<Target> {
    let product_name = device.product_name.as_deref()?;
    let platform = Platform::of_product(product_name)?;
    // Only an iPad that is enrolled as a whole can be shared.
    let may_be_shared = product_name.starts_with("iPad") && !device.user_enrollment;
    let fact = |name: &str| {
        let mut facts = device.facts.iter();
        facts.find(|fact| fact.name == name)?.value.as_bool()
    };
    let version = device.os_version.as_deref();
    Some(Target {
        version: version.and_then(|version| version.parse().ok()),
        enrollment: match device.user_enrollment {
            true => EnrollmentKind::User,
            false => EnrollmentKind::Device,
        },
        channel: match device.user_key.is_empty() {
            true => Channel::Device,
            false => Channel::User,
        },
        supervised: fact("supervised"),
        ade: fact("ade"),
        user_approved: fact("user-approved"),
        shared_ipad: match may_be_shared {
            true => fact("shared-ipad"),
            false => Some(false),
        },
        ..Target::of(platform)
    })
}

/// A command's keys as the catalogue reads them, with data and dates marked.
fn members(dictionary: &plist::Dictionary) -> Map<String, Value> {
    let pairs = dictionary.iter();
    pairs
        .map(|(name, value)| (name.clone(), plain(value)))
        .collect()
}

fn plain(value: &plist::Value) -> Value {
    match value {
        plist::Value::Array(items) => Value::Array(items.iter().map(plain).collect()),
        plist::Value::Dictionary(dictionary) => Value::Object(members(dictionary)),
        plist::Value::Boolean(truth) => Value::Bool(*truth),
        plist::Value::Data(bytes) => json!({ "$data": STANDARD.encode(bytes) }),
        plist::Value::Date(date) => {
            let at = OffsetDateTime::from(SystemTime::from(*date));
            let at = at.replace_nanosecond(0).unwrap_or(at);
            json!({ "$date": at.format(&Rfc3339).unwrap_or_default() })
        }
        plist::Value::Integer(number) => match (number.as_signed(), number.as_unsigned()) {
            (Some(number), _) => Value::Number(number.into()),
            (None, Some(number)) => Value::Number(number.into()),
            (None, None) => Value::Null,
        },
        plist::Value::Real(number) => Number::from_f64(*number).map_or(Value::Null, Value::Number),
        plist::Value::String(text) => Value::String(text.clone()),
        _ => Value::Null,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn values_of_a_property_list_are_read_as_the_catalogue_writes_them() {
        let xml = b"<plist version=\"1.0\"><dict><key>a</key><data>AAEC</data><key>b</key><date>2026-09-01T08:00:00Z</date><key>c</key><array><integer>-1</integer><real>0.5</real><true/></array></dict></plist>";
        let value = plist::Value::from_reader_xml(&xml[..]).unwrap();
        let told = members(&value.into_dictionary().unwrap());
        assert_eq!(
            Value::Object(told),
            json!({ "a": { "$data": "AAEC" }, "b": { "$date": "2026-09-01T08:00:00Z" }, "c": [-1, 0.5, true] })
        );
    }

    #[test]
    fn a_device_is_judged_as_it_is_enrolled() {
        use pomona_catalogue::Verdict::{Allowed, Refused, Unknown};
        let verdict = |product: &str, user_enrollment, id: &str, body: Value| {
            let device = DeviceSnapshot {
                product_name: Some(product.into()),
                os_version: Some("17.4".into()),
                user_enrollment,
                ..DeviceSnapshot::default()
            };
            let target = target(&device).unwrap();
            judge(&target, id, body.as_object().unwrap(), false).verdict
        };
        let token = json!({ "UnlockToken": { "$data": "AAEC" } });
        let text = json!({ "UnlockToken": "AAEC" });
        for (product, user_enrollment, id, body, expected) in [
            ("iPhone16,1", false, "EraseDevice", json!({}), Allowed),
            ("iPhone16,1", true, "EraseDevice", json!({}), Refused),
            ("iPhone16,1", false, "ClearPasscode", token.clone(), Allowed),
            ("iPad13,18", false, "ClearPasscode", token, Unknown),
            // A text where data belongs is what the device would answer as an error.
            ("iPhone16,1", false, "ClearPasscode", text, Refused),
        ] {
            let told = verdict(product, user_enrollment, id, body.clone());
            assert_eq!(told, expected, "{product} {user_enrollment} {id} {body}");
        }
    }
}
