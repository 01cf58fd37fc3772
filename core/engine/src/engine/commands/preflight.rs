//! What the catalogue says of a command for each device, before anything is sent.
//!
//! Owns: how a device as the store knows it becomes one that the catalogue can judge for, what is refused because of it, and the form of what
//! is told. The judging is the catalogue's. In the flow: a request to queue a command -> here -> hooks (`judging`) -> the transaction; and
//! once more before a sending, if the device stands on another footing by then (`engine/device`).

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use pomona_catalogue::{Catalogue, Cause, Class, Form, Preflight, Target, Verdict, Weight};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::super::Engine;
use super::Prepared;
use crate::actor::ActorKind;
use crate::error::Result;
use crate::hooks::{DeviceKind, DeviceSnapshot, MOST_KINDS};
use crate::ids::{EnrollmentId, TenantId};
use crate::inventory;
use crate::judged::{self, members, target};
use crate::queue::NEVER;
use crate::queue::brake::{self, Braking};
use crate::store;
use crate::store::queue as rows;

/// Channels of which a dry run tells, at most.
const MOST: usize = 1_000;
/// Channels of which is told when a command is really queued, at most.
const MOST_TOLD: usize = 100;
/// Reasons in one sentence, at most.
const MOST_REASONS: usize = 3;

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

/// What was found when a command was looked at.
#[derive(Default)]
pub(super) struct Looked {
    /// Its answers tell all that there is.
    pub(super) whole: bool,
    /// A footing of each channel, and what is said of its kind of device, if that is known.
    channels: HashMap<EnrollmentId, (i64, Option<Arc<Preflight>>)>,
    /// Where it is destructive.
    destructive: HashSet<EnrollmentId>,
    /// A second person may let it go there.
    pub(super) approvable: bool,
    /// In the order of the request.
    order: Vec<EnrollmentId>,
}

impl Looked {
    /// The footing on which a channel was looked at.
    pub(super) fn footing(&self, channel: EnrollmentId) -> i64 {
        self.channels
            .get(&channel)
            .map_or(NEVER, |(footing, _)| *footing)
    }

    /// Where it stands with the brake.
    pub(super) fn braking(&self, channel: EnrollmentId) -> Braking {
        match self.destructive.contains(&channel) {
            true => Braking::Counted,
            false => Braking::No,
        }
    }

    /// Whether the device refuses it.
    pub(super) fn refuses(&self, channel: EnrollmentId) -> bool {
        let told = self
            .channels
            .get(&channel)
            .and_then(|(_, told)| told.as_ref());
        told.is_some_and(|told| told.verdict == Verdict::Refused)
    }

    /// What is told of it: everything, or where there is something to say.
    pub(super) fn told(&self, everything: bool) -> Vec<ChannelPreflight> {
        let most = match everything {
            true => MOST,
            false => MOST_TOLD,
        };
        let told = self.order.iter().filter_map(|channel| {
            let (_, told) = self.channels.get(channel)?;
            let told = told.as_ref()?;
            (everything || !told.findings.is_empty()).then(|| one(*channel, told))
        });
        told.take(most).collect()
    }
}

impl Engine {
    /// Looks at what is to be sent. A device that has never said what it is takes everything.
    pub(super) async fn look(
        &self,
        prepared: &mut Prepared,
        command: &plist::Dictionary,
    ) -> Result<()> {
        let body = members(command);
        let blanks = !prepared.blanks.is_empty();
        let spared = prepared.request.force || prepared.request.break_glass;
        let mut tx = self.store().begin_read().await?;
        let footings = rows::footings(&mut tx, prepared.tenant, &prepared.request.targets).await?;
        let sent_with = prepared.request.token;
        let approvable = match sent_with.filter(|_| prepared.actor.kind == ActorKind::Person) {
            Some(token) => store::brake::seasoned(&mut tx, self.now(), token).await?,
            None => false,
        };
        tx.rollback().await?;
        // A fleet has few kinds of devices: each is judged once.
        let mut judged: HashMap<Target, Arc<Preflight>> = HashMap::new();
        let mut looked = Looked {
            whole: inventory::tells_all(command),
            approvable,
            order: prepared.request.targets.clone(),
            ..Looked::default()
        };
        for (channel, footing) in footings {
            let number = match spared {
                true => NEVER,
                false => footing.number,
            };
            if brake::destructive(
                &prepared.request_type,
                command,
                footing.product_name.as_deref(),
            ) {
                looked.destructive.insert(channel);
            }
            let told = target(&footing).map(|target| {
                let told = judged.entry(target).or_insert_with_key(|target| {
                    Arc::new(judge(target, &prepared.request_type, &body, blanks))
                });
                told.clone()
            });
            if let Some(told) = told.as_ref().filter(|_| !spared)
                && let Some(reason) = refusal(told)
            {
                prepared.refused.insert(channel, reason);
            }
            looked.channels.insert(channel, (number, told));
        }
        prepared.looked = looked;
        Ok(())
    }
}

impl Engine {
    /// The kinds of devices among some channels, for hooks that change a command for all of them, in the order of the channels. None
    /// where there are too many, or one has never said what it is.
    pub(super) async fn kinds(
        &self,
        tenant: TenantId,
        channels: &[EnrollmentId],
    ) -> Result<Option<Vec<DeviceKind>>> {
        let mut tx = self.store().begin_read().await?;
        let footings = rows::footings(&mut tx, tenant, channels).await?;
        tx.rollback().await?;
        let mut kinds: Vec<DeviceKind> = Vec::new();
        for footing in channels.iter().filter_map(|channel| footings.get(channel)) {
            let Some(target) = target(footing) else {
                return Ok(None);
            };
            let name = footing.product_name.as_deref().unwrap_or_default();
            let kind = DeviceKind {
                ipad: name.starts_with("iPad"),
                target,
            };
            if !kinds.contains(&kind) {
                kinds.push(kind);
            }
            if kinds.len() > MOST_KINDS {
                return Ok(None);
            }
        }
        Ok(Some(kinds))
    }
}

/// Why the device as it is now refuses a command that was queued before, if it does.
pub(in crate::engine) fn refused_now(
    device: &DeviceSnapshot,
    request_type: &str,
    command: &plist::Dictionary,
) -> Option<String> {
    let footing = judged::footing(device);
    // Blanks are filled by now or stand for what only the channel knows.
    let told = judge(&target(&footing)?, request_type, &members(command), true);
    refusal(&told)
}

/// The reasons for which a device refuses something, in sentences.
fn refusal(told: &Preflight) -> Option<String> {
    if told.verdict != Verdict::Refused {
        return None;
    }
    let refuses = told
        .findings
        .iter()
        .filter(|one| one.weight == Weight::Refuses);
    let said = refuses.take(MOST_REASONS).map(|one| {
        let place = match one.key.is_empty() {
            true => String::new(),
            false => format!("{}: ", one.key),
        };
        let mends = [("", &one.fix), ("instead: ", &one.alternative)];
        let mends = mends.into_iter().filter_map(|(lead, mend)| {
            let mend = mend.as_ref()?;
            Some(format!("; {lead}{mend}"))
        });
        format!("{place}{}{}", one.message, mends.collect::<String>())
    });
    Some(said.collect::<Vec<_>>().join(" | "))
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::inventory::Marks;
    use crate::store::queue::Footing;

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
            let footing = Footing {
                number: 1,
                product_name: Some(product.into()),
                os_version: Some("17.4".into()),
                marks: Marks::default(),
                user_enrollment,
                of_user: false,
            };
            let target = target(&footing).unwrap();
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
