//! Profiles as an administrator keeps and assigns them.
//!
//! Owns: uploading, what is shown of a profile and of where it stands, assigning with what it would meet there. Sends nothing: what is assigned
//! is brought to devices by `engine/upkeep`.

use std::collections::BTreeSet;

use pomona_catalogue::{Finding, Platform, Target};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::caller::Caller;
use super::instant::Instant;
use super::page::{Page, PageRequest, Position};
use super::{groups, text};
use crate::error::{Error, Result};
use crate::ids::{CommandId, DeviceId, EnrollmentId, ProfileId, TenantId};
use crate::profiles::plan::State;
use crate::profiles::read::{self, Kind, Summary};
use crate::profiles::{Conflict, PayloadSummary, build, conflicts, judge, told, version_place};
use crate::seal::TenantKeys;
use crate::store::profiles::{AssignedTo, ProfileRow, StateRow};
use crate::store::{Store, fault};

/// Targets in one request, at most.
const MOST_TARGETS: usize = 10_000;

/// A profile.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct ProfileView {
    /// Its id.
    pub(crate) id: ProfileId,
    /// Its name, which no other profile of the tenant has.
    pub(crate) name: String,
    /// `PayloadIdentifier`, by which devices know it.
    pub(crate) identifier: String,
    /// `device`, or `user` for profiles of users' channels.
    pub(crate) channel: String,
    /// The number of its current content.
    pub(crate) version: i64,
    /// `as-it-is`, `variables` (filled in for each device) or `signed` (by whoever uploaded it).
    pub(crate) kind: String,
    /// Bytes of what was uploaded.
    pub(crate) size_bytes: i64,
    /// What it holds, in order.
    pub(crate) payloads: Vec<PayloadSummary>,
    /// The variables in it.
    pub(crate) variables: Vec<String>,
    /// When it was made.
    pub(crate) created_at: Instant,
    /// When its current content was uploaded.
    pub(crate) updated_at: Instant,
    /// How many channels are in which state.
    #[schema(value_type = Object)]
    pub(crate) states: serde_json::Map<String, Value>,
    /// What it is assigned to; only where one profile is shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) assigned: Option<Vec<Assignment>>,
    /// What it needs, by platform; only where one profile is shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) needs: Option<Vec<Need>>,
    /// Nothing was kept: it was only looked at, or the same content is kept already.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) unchanged: bool,
    /// What should be known of it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) remarks: Vec<String>,
}

/// What a profile is assigned to.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct Assignment {
    /// `everything`, `group` or `device`.
    pub(crate) kind: String,
    /// The id of the group or device.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) id: Option<uuid::Uuid>,
    /// The name of the group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
}

/// What a payload needs on a platform.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct Need {
    /// The platform, in Apple's spelling.
    pub(crate) platform: String,
    /// The payload.
    pub(crate) payload_type: String,
    /// What is to be known or done first, and what would keep it off; the gravest first.
    #[schema(value_type = Vec<Object>)]
    pub(crate) findings: Vec<Finding>,
}

/// Where a profile stands on a channel.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct ProfileState {
    /// The channel.
    pub(crate) enrollment_id: EnrollmentId,
    /// The device.
    pub(crate) device_id: DeviceId,
    /// Its serial number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) serial_number: Option<String>,
    /// What it calls itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) device_name: Option<String>,
    /// The user whose channel it is; empty: the device's own.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) user: String,
    /// The profile.
    pub(crate) profile_id: ProfileId,
    /// Its name.
    pub(crate) profile: String,
    /// The version that was sent last.
    pub(crate) version: i64,
    /// `installing`, `installed` (acknowledged), `verified` (the device lists it), `failed` (it is tried again), `given-up`, `refused` (it is not sent
    /// to this device as things are), `removing` or `not-removed`.
    pub(crate) state: String,
    /// Why, in a sentence.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) reason: String,
    /// How often it was sent since it was last well.
    pub(crate) tries: i64,
    /// When it is tried again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) again_at: Option<Instant>,
    /// The last command for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) command_id: Option<CommandId>,
    /// Since when it stands so.
    pub(crate) changed_at: Instant,
}

/// What profiles are assigned to, or not any more.
#[derive(Clone, Debug, Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ProfileTargets {
    /// Devices, by id, UDID or serial number.
    #[serde(default)]
    pub(crate) devices: Vec<String>,
    /// Groups, by id or name.
    #[serde(default)]
    pub(crate) groups: Vec<String>,
    /// Every device of the tenant, also those that come later.
    #[serde(default)]
    pub(crate) everything: bool,
    /// Only tell what would be.
    #[serde(default)]
    pub(crate) dry_run: bool,
}

/// What became of an assignment.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct Assigned {
    /// Targets that are new, or gone; those that were so already do not count.
    pub(crate) changed: u64,
    /// Devices that are concerned now.
    pub(crate) devices: usize,
    /// Other profiles that are meant for some of them and do not go with it. Nothing is kept from being assigned by that.
    pub(crate) conflicts: Vec<Conflict>,
}

/// How a request to keep a profile is meant.
#[derive(Clone, Debug, Default)]
pub(crate) struct Upload {
    pub(crate) name: Option<String>,
    pub(crate) literal: bool,
    pub(crate) dry_run: bool,
}

/// Keeps a profile, or a new version of the one that has its identifier.
///
/// # Errors
/// [`Error::Invalid`] says what is wrong with the profile, [`Error::Conflict`] that its name is another one's.
pub(crate) async fn upload(
    store: &Store,
    caller: &Caller,
    tenant: TenantId,
    bytes: &[u8],
    upload: Upload,
) -> Result<ProfileView> {
    let profile = read::read(bytes, upload.literal)?;
    let keys = store.keys(tenant).await?;
    let hash = keys.hash("profile", bytes).to_vec();
    let known = store.profile_of(tenant, &profile.identifier).await?;
    let asked = upload.name.as_deref();
    let asked = asked.map(|name| text::name("the name", name)).transpose()?;
    let now = store.clock().now();
    let mut remarks = Vec::new();
    if let Some(before) = &known {
        if asked.as_ref().is_some_and(|name| *name != before.name) {
            return Err(Error::Conflict(format!(
                "the identifier {} is that of the profile {}; upload it under that name, or give it another PayloadIdentifier",
                before.identifier, before.name
            )));
        }
        if before.hash == hash && before.kind == profile.kind {
            let mut shown = view(before.clone())?;
            shown.unchanged = true;
            shown.needs = Some(needs(&profile.dictionary, profile.of_user));
            return Ok(shown);
        }
        let uuid = summary(before)?.payload_uuid;
        if uuid.eq_ignore_ascii_case(&profile.summary.payload_uuid)
            && profile.kind != Kind::Variables
        {
            remarks.push(
                "it has the PayloadUUID of the version before, so that a device's list cannot tell them apart; a new content should have a new one".to_owned(),
            );
        }
        if before.of_user != profile.of_user {
            return Err(Error::Conflict(
                "the version before is for another channel (PayloadScope); give it another PayloadIdentifier".into(),
            ));
        }
    }
    if profile.of_user {
        remarks.push(
            "its PayloadScope is User: it goes to channels of users, which Macs and Shared iPads have, and to nothing else".to_owned(),
        );
    }
    let (id, version, created_at, name) = match &known {
        Some(before) => (
            before.id,
            before.version + 1,
            before.created_at,
            before.name.clone(),
        ),
        None => {
            let id = ProfileId(store.random().uuid(now));
            let display = profile.summary.display_name.as_deref();
            let display = display.and_then(|name| text::name("the name", name).ok());
            let name = asked
                .or(display)
                .unwrap_or_else(|| profile.identifier.clone());
            if uuid::Uuid::parse_str(&name).is_ok() {
                return Err(Error::Invalid(
                    "the name must not be a UUID, since profiles are named by either".into(),
                ));
            }
            (id, 1, now, name)
        }
    };
    if known.is_none()
        && let Some(other) = store.profile_called(tenant, &name).await?
    {
        return Err(Error::Conflict(format!(
            "the name {name} is that of the profile with the identifier {other}; give this one another with --name (`name`)"
        )));
    }
    let place = version_place(id, version);
    let sealed = keys.seal(store.random().as_ref(), place.place(), bytes)?;
    let row = ProfileRow {
        id,
        name,
        identifier: profile.identifier.clone(),
        of_user: profile.of_user,
        version,
        created_at,
        kind: profile.kind,
        hash,
        sealed,
        size_bytes: i64::try_from(bytes.len()).unwrap_or(i64::MAX),
        summary: serde_json::to_string(&profile.summary)
            .map_err(|source| Error::internal("writing what a profile holds", source))?,
        updated_at: now,
    };
    if !upload.dry_run {
        again(|| store.keep_profile(caller.actor(), tenant, &row)).await?;
    }
    let mut shown = view(row)?;
    shown.unchanged = upload.dry_run;
    shown.needs = Some(needs(&profile.dictionary, profile.of_user));
    shown.remarks = remarks;
    Ok(shown)
}

/// Makes a profile of payloads that are given as JSON, and keeps it.
///
/// # Errors
/// As [`upload`].
pub(crate) async fn make(
    store: &Store,
    caller: &Caller,
    tenant: TenantId,
    made: &build::NewProfile,
    how: Upload,
) -> Result<ProfileView> {
    let keys = store.keys(tenant).await?;
    let bytes = build::build(made, &|bytes| keys.hash("profile payload", bytes))?;
    upload(store, caller, tenant, &bytes, how).await
}

/// The profiles of a tenant.
pub(crate) async fn profiles(
    store: &Store,
    tenant: TenantId,
    page: &PageRequest,
) -> Result<Page<ProfileView>> {
    let keys = store.keys(tenant).await?;
    let after = page.position(&keys, "profiles")?.map(|at| at.id);
    let limit = page.limit()?;
    let most = i64::try_from(limit).unwrap_or(i64::MAX) + 1;
    let rows = store.profile_page(tenant, after, most).await?;
    let page = Page::cut(rows, limit, |last| {
        Position::id(last.id.0).seal(&keys, "profiles")
    });
    let counts = store.profile_counts(tenant, None).await?;
    let mut items = Vec::with_capacity(page.items.len());
    for row in page.items {
        let of = counts.get(&row.id).map_or(&[][..], Vec::as_slice);
        let mut shown = view(row)?;
        shown.states = words(of);
        items.push(shown);
    }
    Ok(Page {
        items,
        next_cursor: page.next_cursor,
    })
}

/// One profile, with its assignments and needs.
pub(crate) async fn profile(store: &Store, tenant: TenantId, name: &str) -> Result<ProfileView> {
    let row = store.require_profile(tenant, name).await?;
    let keys = store.keys(tenant).await?;
    let (id, of_user) = (row.id, row.of_user);
    let needs = needs(&open(&keys, &row)?, of_user);
    let mut shown = view(row)?;
    shown.needs = Some(needs);
    let counts = store.profile_counts(tenant, Some(id)).await?;
    shown.states = words(counts.get(&id).map_or(&[][..], Vec::as_slice));
    let assigned = store.assignments(id).await?.into_iter();
    shown.assigned = Some(assigned.map(assignment).collect());
    Ok(shown)
}

/// Assigns a profile, or takes that back.
///
/// # Errors
/// [`Error::Invalid`] when nothing is named or a device is unknown, [`Error::NotFound`] for an unknown group or profile.
pub(crate) async fn assign(
    store: &Store,
    caller: &Caller,
    tenant: TenantId,
    name: &str,
    targets: &ProfileTargets,
    assign: bool,
) -> Result<Assigned> {
    let row = store.require_profile(tenant, name).await?;
    let to = resolve(store, tenant, targets).await?;
    let devices = store.assigned_devices(tenant, &to).await?;
    let conflicts = match assign {
        true => conflicts(store, tenant, &row, &devices).await?,
        false => Vec::new(),
    };
    let changed = match targets.dry_run {
        true => 0,
        false => {
            again(|| store.change_assignments(caller.actor(), tenant, row.id, &to, assign)).await?
        }
    };
    Ok(Assigned {
        changed,
        devices: devices.len(),
        conflicts,
    })
}

async fn conflicts(
    store: &Store,
    tenant: TenantId,
    row: &ProfileRow,
    devices: &[DeviceId],
) -> Result<Vec<Conflict>> {
    let keys = store.keys(tenant).await?;
    let mine = open(&keys, row)?;
    let mut found = Vec::new();
    for other in store.neighbours(tenant, row.id, devices).await? {
        if other.of_user == row.of_user {
            found.extend(conflicts::between(
                &mine,
                &open(&keys, &other)?,
                &other.name,
            ));
        }
    }
    Ok(found)
}

async fn resolve(
    store: &Store,
    tenant: TenantId,
    targets: &ProfileTargets,
) -> Result<Vec<AssignedTo>> {
    if targets.devices.is_empty() && targets.groups.is_empty() && !targets.everything {
        return Err(Error::Invalid(
            "name at least one target: devices, groups or everything".into(),
        ));
    }
    if targets.devices.len() + targets.groups.len() > MOST_TARGETS {
        return Err(Error::Invalid(format!(
            "at most {MOST_TARGETS} targets in one request; make a group of them"
        )));
    }
    let mut to = Vec::new();
    if targets.everything {
        to.push(AssignedTo::Everything);
    }
    let names: BTreeSet<&String> = targets.groups.iter().collect();
    for name in names {
        to.push(AssignedTo::Group(
            store.require_group(tenant, name).await?.id,
        ));
    }
    let devices = groups::resolve(store, tenant, &targets.devices).await?;
    to.extend(
        devices
            .into_iter()
            .map(|device| AssignedTo::Device(device.0)),
    );
    Ok(to)
}

/// Lets everything of a profile that failed be tried again.
pub(crate) async fn retry(
    store: &Store,
    caller: &Caller,
    tenant: TenantId,
    name: &str,
) -> Result<u64> {
    let id = store.require_profile(tenant, name).await?.id;
    again(|| store.retry_profile(caller.actor(), tenant, id)).await
}

/// Takes a profile away that no device has.
pub(crate) async fn delete(
    store: &Store,
    caller: &Caller,
    tenant: TenantId,
    name: &str,
) -> Result<()> {
    let id = store.require_profile(tenant, name).await?.id;
    store.delete_profile(caller.actor(), tenant, id).await
}

/// Where a profile stands on the channels that are to have it.
pub(crate) async fn states(
    store: &Store,
    tenant: TenantId,
    name: &str,
    state: Option<&str>,
    page: &PageRequest,
) -> Result<Page<ProfileState>> {
    let id = store.require_profile(tenant, name).await?.id;
    let state = state.map(state_of).transpose()?;
    let keys = store.keys(tenant).await?;
    let after = page.position(&keys, "profile states")?.map(|at| at.id);
    let limit = page.limit()?;
    let most = i64::try_from(limit).unwrap_or(i64::MAX) + 1;
    let rows = store
        .profile_states(tenant, Some(id), None, state, after, most)
        .await?;
    let page = Page::cut(rows, limit, |last| {
        Position::id(last.enrollment.0).seal(&keys, "profile states")
    });
    Ok(page.map(state_view))
}

/// Where the profiles of a device and its users stand.
pub(crate) async fn of_device(
    store: &Store,
    tenant: TenantId,
    device: &str,
) -> Result<Vec<ProfileState>> {
    let device = super::devices::find_device(store, tenant, device).await?;
    let rows = store
        .profile_states(tenant, None, Some(device), None, None, 10_000)
        .await?;
    Ok(rows.into_iter().map(state_view).collect())
}

fn state_of(word: &str) -> Result<State> {
    State::from_word(word).ok_or_else(|| {
        let words: Vec<&str> = State::ALL.iter().map(|state| state.as_str()).collect();
        Error::Invalid(format!(
            "there is no such state; write {}",
            words.join(", ")
        ))
    })
}

/// Whoever lost a race against devices that report tries once more.
async fn again<T, F: Future<Output = Result<T>>>(work: impl Fn() -> F) -> Result<T> {
    let mut tries = 0;
    loop {
        match work().await {
            Err(error) if fault::lost_a_race(&error) && tries < 5 => tries += 1,
            done => return done,
        }
    }
}

fn open(keys: &TenantKeys, row: &ProfileRow) -> Result<plist::Dictionary> {
    let place = version_place(row.id, row.version);
    let bytes = keys.open(place.place(), &row.sealed)?;
    Ok(read::read(&bytes, true)?.dictionary)
}

fn summary(row: &ProfileRow) -> Result<Summary> {
    serde_json::from_str(&row.summary)
        .map_err(|source| Error::internal("reading what a profile holds", source))
}

fn needs(profile: &plist::Dictionary, of_user: bool) -> Vec<Need> {
    let mut needs = Vec::new();
    for platform in Platform::ALL {
        let target = Target {
            channel: match of_user {
                true => pomona_catalogue::Channel::User,
                false => pomona_catalogue::Channel::Device,
            },
            ..Target::of(platform)
        };
        for judged in judge::judge(&target, profile) {
            if !judged.findings.is_empty() {
                needs.push(Need {
                    platform: platform.as_str().to_owned(),
                    payload_type: judged.payload_type,
                    findings: judged.findings,
                });
            }
        }
    }
    needs
}

fn words(counts: &[(State, i64)]) -> serde_json::Map<String, Value> {
    let counts = counts.iter();
    counts
        .map(|(state, count)| (state.as_str().to_owned(), Value::from(*count)))
        .collect()
}

fn assignment((to, name): (AssignedTo, Option<String>)) -> Assignment {
    let (kind, id) = match to {
        AssignedTo::Everything => ("everything", None),
        AssignedTo::Group(id) => ("group", Some(id)),
        AssignedTo::Device(id) => ("device", Some(id)),
    };
    Assignment {
        kind: kind.to_owned(),
        id,
        name,
    }
}

fn view(row: ProfileRow) -> Result<ProfileView> {
    let summary = summary(&row)?;
    let channel = match row.of_user {
        true => "user",
        false => "device",
    };
    let kind = match row.kind {
        Kind::AsItIs => "as-it-is",
        Kind::Variables => "variables",
        Kind::Signed => "signed",
    };
    Ok(ProfileView {
        id: row.id,
        name: row.name,
        identifier: row.identifier,
        channel: channel.to_owned(),
        version: row.version,
        kind: kind.to_owned(),
        size_bytes: row.size_bytes,
        payloads: summary.payloads,
        variables: summary.variables,
        created_at: Instant(row.created_at),
        updated_at: Instant(row.updated_at),
        states: serde_json::Map::new(),
        assigned: None,
        needs: None,
        unchanged: false,
        remarks: Vec::new(),
    })
}

fn state_view(row: StateRow) -> ProfileState {
    ProfileState {
        enrollment_id: row.enrollment,
        device_id: row.device,
        serial_number: row.serial_number,
        device_name: row.device_name,
        user: row.user_key,
        profile_id: row.profile,
        profile: row.profile_name,
        version: row.version,
        state: row.state.as_str().to_owned(),
        reason: told(&row.told),
        tries: row.tries,
        again_at: (row.again_at > 0).then_some(Instant(row.again_at)),
        command_id: row.command,
        changed_at: Instant(row.changed_at),
    }
}
