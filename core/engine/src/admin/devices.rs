//! Devices as an administrator sees them.
//!
//! Owns: the summary in a list and the whole picture of one device: its channels, their certificates, how the last
//! push went and what is still open. Shows no token, no key and no push magic; those columns are never read.

use serde::Serialize;

use super::instant::Instant;
use super::page::{Page, PageRequest, Position};
use crate::enrollment::{CertificateState, EnrollmentState};
use crate::error::{Error, Result};
use crate::ids::{CertificateId, DeviceId, EnrollmentId, GroupId, TenantId};
use crate::store::Store;
use crate::store::admin_devices::{DeviceFilter, DeviceRows};
use crate::store::entity::{certificate, channel, device, enrollment, push_state};

/// Where a device stands, by its device channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, serde::Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeviceState {
    /// It is managed.
    Enrolled,
    /// It waits for an administrator to release it.
    Quarantined,
    /// It has begun to enroll.
    Pending,
    /// It is not managed any more.
    Left,
}

/// A device in a list.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct DeviceSummary {
    /// Its id.
    pub id: DeviceId,
    /// Its UDID; absent for a device enrolled by its user, which has an `enrollment_id` in its place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub udid: Option<String>,
    /// The `EnrollmentID` of a device that is enrolled by its user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enrollment_id: Option<String>,
    /// Its serial number, where one may be known.
    pub serial_number: Option<String>,
    /// The name that its user gave it.
    pub device_name: Option<String>,
    /// `Model`.
    pub model: Option<String>,
    /// `ProductName`.
    pub product_name: Option<String>,
    /// `OSVersion`.
    pub os_version: Option<String>,
    /// `BuildVersion`.
    pub build_version: Option<String>,
    /// Where it stands.
    pub state: DeviceState,
    /// When one of its channels was last heard.
    pub last_seen_at: Option<Instant>,
    /// When it first enrolled.
    pub created_at: Instant,
    /// When it was last known to have left.
    pub left_at: Option<Instant>,
}

/// A device with all that belongs to it.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct DeviceDetail {
    /// The device.
    #[serde(flatten)]
    pub device: DeviceSummary,
    /// Raised with every change of the device or its facts.
    pub revision: i64,
    /// Its channels, the running ones first; of those that have ended the last 20.
    pub enrollments: Vec<EnrollmentView>,
    /// The groups it is in.
    pub groups: Vec<DeviceGroupRef>,
}

/// A group that a device is in.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct DeviceGroupRef {
    /// The group's id.
    pub id: GroupId,
    /// The group's name.
    pub name: String,
}

/// One channel of a device.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct EnrollmentView {
    /// Its id; commands are sent to it.
    pub id: EnrollmentId,
    /// `device`, `user`, `shared_ipad_user` or `user_enrollment`.
    pub channel: &'static str,
    /// Whose channel it is, unless it is the device's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<UserView>,
    /// How often the device has enrolled anew.
    pub generation: i64,
    /// `pending`, `quarantined`, `enabled` or `ended`.
    pub state: &'static str,
    /// The push topic.
    pub topic: Option<String>,
    /// Whether it waits in Setup Assistant.
    pub awaiting_configuration: Option<bool>,
    /// When it was opened.
    pub created_at: Instant,
    /// When it became enabled.
    pub enabled_at: Option<Instant>,
    /// When it last sent a `TokenUpdate`.
    pub token_updated_at: Option<Instant>,
    /// When it ended.
    pub ended_at: Option<Instant>,
    /// Why it ended.
    pub end_reason: Option<String>,
    /// When it was last heard.
    pub last_seen_at: Option<Instant>,
    /// Commands that are not finished.
    pub open_commands: i64,
    /// How ringing it went.
    pub push: Option<PushView>,
    /// Its certificates, newest first.
    pub certificates: Vec<CertificateView>,
}

/// The user of a channel.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct UserView {
    /// `UserID`, or the managed Apple account of a Shared iPad.
    pub key: String,
    /// `UserShortName`.
    pub short_name: Option<String>,
    /// `UserLongName`.
    pub long_name: Option<String>,
}

/// Whether a channel waits to be rung, and how the last ring went.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct PushView {
    /// It is to be rung from this time on; absent when nothing waits for it.
    pub due_at: Option<Instant>,
    /// Rings without an answer of the device so far.
    pub attempts: i64,
    /// When it was last rung.
    pub last_at: Option<Instant>,
    /// The status with which Apple answered.
    pub last_status: Option<i64>,
    /// The reason that Apple gave.
    pub last_reason: Option<String>,
    /// `apns-id` of the last push.
    pub last_apns_id: Option<String>,
    /// Whether Apple refused the token; it is rung again after the next `TokenUpdate`.
    pub refused: bool,
}

/// A certificate of a device.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct CertificateView {
    /// Its id.
    pub id: CertificateId,
    /// `issued`, `pending`, `active`, `superseded` or `revoked`.
    pub state: &'static str,
    /// Its subject.
    pub subject: String,
    /// Its SHA-256 in hex.
    pub fingerprint: String,
    /// From when it is good.
    pub not_before: Instant,
    /// Until when it is good.
    pub not_after: Instant,
}

/// Which devices a list shows.
#[derive(Clone, Debug, Default)]
pub struct DeviceQuery {
    /// With this serial number.
    pub serial_number: Option<String>,
    /// With this UDID or `EnrollmentID`.
    pub udid: Option<String>,
    /// In this state.
    pub state: Option<DeviceState>,
    /// In the group with this id or name.
    pub group: Option<String>,
    /// Heard since then.
    pub seen_since: Option<Instant>,
}

/// The devices of a tenant, in the order of their first enrollment.
///
/// # Errors
/// [`Error::NotFound`] for a group that is not there, [`Error::Invalid`] for a bad page.
pub async fn devices(
    store: &Store,
    tenant: TenantId,
    query: DeviceQuery,
    page: &PageRequest,
) -> Result<Page<DeviceSummary>> {
    let keys = store.keys(tenant).await?;
    let after = page.position(&keys, "devices")?.map(|at| at.id);
    let limit = page.limit()?;
    let group = match &query.group {
        Some(name) => Some(GroupId(store.require_group(tenant, name).await?.id)),
        None => None,
    };
    let filter = DeviceFilter {
        serial_number: query.serial_number,
        ident: query.udid,
        state: query.state,
        group,
        seen_since: query.seen_since.map(|at| at.0),
        after,
    };
    let rows = store.device_page(tenant, &filter, limit + 1).await?;
    let page = Page::cut(rows, limit, |last| {
        Position::id(last.id).seal(&keys, "devices")
    });
    let standings = store
        .device_standings(page.items.iter().map(|row| row.id).collect())
        .await?;
    Ok(page.map(|row| {
        let standing = standings.get(&row.id);
        let states = standing.map(|s| s.states.as_slice()).unwrap_or_default();
        summary(row, states, standing.and_then(|s| s.last_seen_at))
    }))
}

/// The device with this id, UDID or serial number.
///
/// # Errors
/// [`Error::NotFound`] when the tenant has none.
pub(crate) async fn find_device(store: &Store, tenant: TenantId, name: &str) -> Result<DeviceId> {
    Ok(DeviceId(store.require_device(tenant, name).await?.id))
}

/// One device with all that belongs to it.
///
/// # Errors
/// [`Error::NotFound`] when the tenant has no such device.
pub async fn device(store: &Store, tenant: TenantId, name: &str) -> Result<DeviceDetail> {
    let row = store.require_device(tenant, name).await?;
    let rows = store.device_rows(row.id).await?;
    Ok(detail(row, rows))
}

fn detail(row: device::Model, rows: DeviceRows) -> DeviceDetail {
    let states: Vec<i64> = rows
        .enrollments
        .iter()
        .filter(|enrollment| enrollment.channel == 0)
        .map(|enrollment| enrollment.state)
        .collect();
    let last_seen = rows.channels.values().map(|c| c.last_seen_at).max();
    let revision = row.revision;
    let enrollments = rows
        .enrollments
        .into_iter()
        .map(|enrollment| {
            let channel = rows.channels.get(&enrollment.id);
            let push = rows.pushes.get(&enrollment.id);
            let open = rows.open.get(&enrollment.id).copied().unwrap_or(0);
            let certificates = rows
                .certificates
                .iter()
                .filter(|certificate| certificate.enrollment_id == Some(enrollment.id))
                .map(certificate_view)
                .collect();
            enrollment_view(enrollment, channel, push, open, certificates)
        })
        .collect();
    DeviceDetail {
        device: summary(row, &states, last_seen),
        revision,
        enrollments,
        groups: rows
            .groups
            .into_iter()
            .map(|group| DeviceGroupRef {
                id: GroupId(group.id),
                name: group.name,
            })
            .collect(),
    }
}

fn summary(row: device::Model, states: &[i64], last_seen: Option<i64>) -> DeviceSummary {
    let (udid, enrollment_id) = match row.ident_kind {
        0 => (Some(row.ident), None),
        _ => (None, Some(row.ident)),
    };
    DeviceSummary {
        id: DeviceId(row.id),
        udid,
        enrollment_id,
        serial_number: row.serial_number,
        device_name: row.device_name,
        model: row.model,
        product_name: row.product_name,
        os_version: row.os_version,
        build_version: row.build_version,
        state: standing(states),
        last_seen_at: last_seen.map(Instant),
        created_at: Instant(row.created_at),
        left_at: row.left_at.map(Instant),
    }
}

/// Where a device stands whose device channels are in these states. A device that is enrolled stays so while
/// another enrollment of it waits in quarantine.
fn standing(states: &[i64]) -> DeviceState {
    let has = |state: EnrollmentState| states.contains(&state.code());
    if has(EnrollmentState::Enabled) {
        DeviceState::Enrolled
    } else if has(EnrollmentState::Quarantined) {
        DeviceState::Quarantined
    } else if has(EnrollmentState::Pending) {
        DeviceState::Pending
    } else {
        DeviceState::Left
    }
}

fn enrollment_view(
    row: enrollment::Model,
    channel: Option<&channel::Model>,
    push: Option<&push_state::Model>,
    open_commands: i64,
    certificates: Vec<CertificateView>,
) -> EnrollmentView {
    let user = (row.channel != 0).then_some(UserView {
        key: row.user_key,
        short_name: row.user_short_name,
        long_name: row.user_long_name,
    });
    EnrollmentView {
        id: EnrollmentId(row.id),
        channel: channel_word(row.channel),
        user,
        generation: row.generation,
        state: EnrollmentState::from_code(row.state).as_str(),
        topic: row.topic,
        awaiting_configuration: row.awaiting_configuration.map(|waits| waits != 0),
        created_at: Instant(row.created_at),
        enabled_at: row.enabled_at.map(Instant),
        token_updated_at: row.token_updated_at.map(Instant),
        ended_at: row.ended_at.map(Instant),
        end_reason: row.end_reason,
        last_seen_at: channel.map(|channel| Instant(channel.last_seen_at)),
        open_commands,
        push: push.map(push_view),
        certificates,
    }
}

pub(crate) fn channel_word(channel: i64) -> &'static str {
    match channel {
        0 => "device",
        1 => "user",
        2 => "shared_ipad_user",
        _ => "user_enrollment",
    }
}

fn push_view(row: &push_state::Model) -> PushView {
    PushView {
        due_at: row.due_at.map(Instant),
        attempts: row.attempts,
        last_at: row.last_at.map(Instant),
        last_status: row.last_status,
        last_reason: row.last_reason.clone(),
        last_apns_id: row.last_apns_id.clone(),
        refused: row.refused_certificate_id.is_some(),
    }
}

fn certificate_view(row: &certificate::Model) -> CertificateView {
    CertificateView {
        id: CertificateId(row.id),
        state: match CertificateState::from_code(row.state) {
            CertificateState::Issued => "issued",
            CertificateState::Pending => "pending",
            CertificateState::Active => "active",
            CertificateState::Superseded => "superseded",
            CertificateState::Revoked => "revoked",
        },
        subject: row.subject.clone(),
        fingerprint: hex::encode(&row.fingerprint),
        not_before: Instant(row.not_before),
        not_after: Instant(row.not_after),
    }
}

impl Store {
    /// The device of a tenant that is meant by an id, a UDID or a serial number.
    pub(crate) async fn require_device(
        &self,
        tenant: TenantId,
        name: &str,
    ) -> Result<device::Model> {
        self.find_device(tenant, name)
            .await?
            .ok_or(Error::NotFound("the device"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_stands_where_its_best_channel_does() {
        for (states, expected) in [
            (vec![], DeviceState::Left),
            (vec![3, 3], DeviceState::Left),
            (vec![0, 3], DeviceState::Pending),
            (vec![1, 0], DeviceState::Quarantined),
            (vec![1, 2, 3], DeviceState::Enrolled),
        ] {
            assert_eq!(standing(&states), expected, "{states:?}");
        }
    }
}
