//! Whom a command or a push is meant for.
//!
//! Owns: the way from devices, groups and users to channels. A name that means nothing refuses the whole request; a
//! device that has no channel of the kind that is asked for is told back, never left out in silence.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::groups;
use crate::enrollment::EnrollmentState;
use crate::error::{Error, Result};
use crate::ids::{DeviceId, EnrollmentId, GroupId, TenantId};
use crate::store::Store;

/// Whom something is meant for; all that is named here, each once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Targets {
    /// Devices, by id, UDID or serial number.
    #[serde(default)]
    pub devices: Vec<String>,
    /// Groups, by id or name.
    #[serde(default)]
    pub groups: Vec<String>,
    /// Channels, by id.
    #[serde(default)]
    pub enrollments: Vec<EnrollmentId>,
    /// Of devices and groups, the channel of this user (`UserID`, account or short name) and not the device's own.
    #[serde(default)]
    pub user: Option<String>,
}

/// A device that was named and has no channel to take.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Skipped {
    /// The device.
    pub device_id: DeviceId,
    /// Why.
    pub reason: String,
}

/// The channels that are meant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Resolved {
    pub(crate) enrollments: Vec<EnrollmentId>,
    pub(crate) skipped: Vec<Skipped>,
}

/// A channel of a device, as far as choosing needs it.
#[derive(Clone, Debug)]
pub(crate) struct Candidate {
    pub(crate) enrollment: EnrollmentId,
    pub(crate) state: EnrollmentState,
    pub(crate) user_key: String,
    pub(crate) short_name: Option<String>,
}

/// Finds the channels that are meant.
///
/// # Errors
/// [`Error::Invalid`] when nothing is named or a device is unknown, [`Error::NotFound`] for an unknown group.
pub(crate) async fn resolve(
    store: &Store,
    tenant: TenantId,
    targets: &Targets,
) -> Result<Resolved> {
    if targets.devices.is_empty() && targets.groups.is_empty() && targets.enrollments.is_empty() {
        return Err(Error::Invalid(
            "name at least one target: devices, groups or enrollments".into(),
        ));
    }
    let mut devices: BTreeSet<DeviceId> = groups::resolve(store, tenant, &targets.devices)
        .await?
        .into_iter()
        .collect();
    for name in &targets.groups {
        let group = GroupId(store.require_group(tenant, name).await?.id);
        devices.extend(store.group_devices(group).await?);
    }
    let devices: Vec<DeviceId> = devices.into_iter().collect();
    let candidates = store.channels_of(tenant, &devices).await?;
    Ok(pick(&devices, &candidates, targets))
}

/// Chooses one channel of each device.
fn pick(
    devices: &[DeviceId],
    candidates: &BTreeMap<DeviceId, Vec<Candidate>>,
    targets: &Targets,
) -> Resolved {
    let mut resolved = Resolved::default();
    let mut seen = BTreeSet::new();
    for device in devices {
        let own = candidates
            .get(device)
            .map(Vec::as_slice)
            .unwrap_or_default();
        let fits = |candidate: &&Candidate| match &targets.user {
            None => candidate.user_key.is_empty(),
            Some(user) => !candidate.user_key.is_empty() && is_of(candidate, user),
        };
        // The enabled one; else the newest, so that the queue can say why it does not take the command.
        let chosen = own.iter().filter(fits).max_by_key(|candidate| {
            (
                candidate.state == EnrollmentState::Enabled,
                candidate.enrollment,
            )
        });
        match chosen {
            Some(candidate) => {
                if seen.insert(candidate.enrollment) {
                    resolved.enrollments.push(candidate.enrollment);
                }
            }
            None => resolved.skipped.push(Skipped {
                device_id: *device,
                reason: match &targets.user {
                    None => "the device has no channel".into(),
                    Some(_) => "the device has no channel of this user".into(),
                },
            }),
        }
    }
    for enrollment in &targets.enrollments {
        if seen.insert(*enrollment) {
            resolved.enrollments.push(*enrollment);
        }
    }
    resolved
}

fn is_of(candidate: &Candidate, user: &str) -> bool {
    candidate.user_key.eq_ignore_ascii_case(user)
        || candidate
            .short_name
            .as_deref()
            .is_some_and(|name| name.eq_ignore_ascii_case(user))
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn channel(id: u128, state: EnrollmentState, user: &str) -> Candidate {
        Candidate {
            enrollment: EnrollmentId(Uuid::from_u128(id)),
            state,
            user_key: user.into(),
            short_name: (!user.is_empty()).then(|| format!("short-{user}")),
        }
    }

    fn pick_of(candidates: Vec<Candidate>, user: Option<&str>) -> Resolved {
        let device = DeviceId(Uuid::from_u128(1));
        let targets = Targets {
            user: user.map(str::to_owned),
            ..Targets::default()
        };
        pick(&[device], &BTreeMap::from([(device, candidates)]), &targets)
    }

    #[test]
    fn the_enabled_channel_is_chosen_and_else_the_newest() {
        use EnrollmentState::{Enabled, Ended, Pending};
        let enabled = pick_of(
            vec![
                channel(5, Enabled, ""),
                channel(9, Pending, ""),
                channel(3, Ended, ""),
            ],
            None,
        );
        assert_eq!(enabled.enrollments, [EnrollmentId(Uuid::from_u128(5))]);
        let newest = pick_of(vec![channel(9, Pending, ""), channel(3, Ended, "")], None);
        assert_eq!(newest.enrollments, [EnrollmentId(Uuid::from_u128(9))]);
    }

    #[test]
    fn a_user_is_found_by_key_or_short_name_and_a_device_without_them_is_told() {
        let channels = || {
            vec![
                channel(5, EnrollmentState::Enabled, ""),
                channel(6, EnrollmentState::Enabled, "ABC"),
            ]
        };
        for user in ["abc", "SHORT-ABC"] {
            let found = pick_of(channels(), Some(user));
            assert_eq!(
                found.enrollments,
                [EnrollmentId(Uuid::from_u128(6))],
                "{user}"
            );
        }
        let missing = pick_of(channels(), Some("other"));
        assert!(missing.enrollments.is_empty());
        assert_eq!(missing.skipped.len(), 1);
    }

    #[test]
    fn what_is_named_twice_is_meant_once() {
        let device = DeviceId(Uuid::from_u128(1));
        let id = EnrollmentId(Uuid::from_u128(5));
        let targets = Targets {
            enrollments: vec![id, id],
            ..Targets::default()
        };
        let candidates = BTreeMap::from([(device, vec![channel(5, EnrollmentState::Enabled, "")])]);
        assert_eq!(pick(&[device], &candidates, &targets).enrollments, [id]);
    }
}
