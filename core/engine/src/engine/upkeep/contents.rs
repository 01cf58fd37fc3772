//! What profiles are for one device or another.
//!
//! Owns: opening the profiles of a round, filling them in for a device, and whether the device takes them. Each profile is read once in a
//! round, and judged once for each kind of device.

use std::collections::HashMap;
use std::sync::Arc;

use pomona_catalogue::Target;
use uuid::Uuid;

use crate::error::{Error, Result};
use crate::hooks::DeviceSnapshot;
use crate::ids::ProfileId;
use crate::judged;
use crate::profiles::plan::Wanted;
use crate::profiles::read::{self, Kind, Profile};
use crate::profiles::{judge, variables, version_place};
use crate::seal::TenantKeys;
use crate::store::profiles::ProfileRow;

/// A profile as it is for one device.
#[derive(Clone, Debug)]
pub(super) struct Content {
    pub(super) version: i64,
    pub(super) hash: Vec<u8>,
    pub(super) payload_uuid: String,
    /// None where something keeps it from being sent.
    pub(super) bytes: Option<Arc<[u8]>>,
    refused: Option<String>,
}

impl Content {
    pub(super) fn wanted(&self) -> Wanted {
        Wanted {
            hash: self.hash.clone(),
            refused: self.refused.clone(),
        }
    }
}

struct Opened {
    row: ProfileRow,
    /// What a later version of the server does not read any more is not sent, and stays where it is.
    profile: Result<Profile, String>,
    bytes: Arc<[u8]>,
    judged: HashMap<Target, Option<String>>,
}

/// The profiles of a round.
pub(super) struct Contents<'a> {
    keys: &'a TenantKeys,
    profiles: HashMap<ProfileId, Opened>,
}

impl<'a> Contents<'a> {
    /// Opens the current versions.
    pub(super) fn open(keys: &'a TenantKeys, current: Vec<ProfileRow>) -> Result<Self> {
        let mut profiles = HashMap::with_capacity(current.len());
        for row in current {
            let place = version_place(row.id, row.version);
            let bytes = keys.open(place.place(), &row.sealed)?;
            let profile = read::read(&bytes, row.kind != Kind::Variables);
            let opened = Opened {
                row,
                profile: profile.map_err(|error| error.to_string()),
                bytes: Arc::from(bytes),
                judged: HashMap::new(),
            };
            profiles.insert(opened.row.id, opened);
        }
        Ok(Self { keys, profiles })
    }

    /// What a profile is called in reasons.
    pub(super) fn called(&self, id: ProfileId) -> String {
        match self.profiles.get(&id) {
            Some(one) => format!("{} (version {})", one.row.name, one.row.version),
            None => id.to_string(),
        }
    }

    /// What a profile is for a device.
    pub(super) fn of(&mut self, id: ProfileId, device: &DeviceSnapshot) -> Option<Content> {
        let keys = self.keys;
        let one = self.profiles.get_mut(&id)?;
        let mut content = Content {
            version: one.row.version,
            hash: one.row.hash.clone(),
            payload_uuid: String::new(),
            bytes: Some(one.bytes.clone()),
            refused: None,
        };
        match &one.profile {
            Ok(profile) => {
                content
                    .payload_uuid
                    .clone_from(&profile.summary.payload_uuid);
                if one.row.kind == Kind::Variables {
                    match filled(keys, profile, device) {
                        Ok((hash, payload_uuid, bytes)) => {
                            content.hash = hash;
                            content.payload_uuid = payload_uuid;
                            content.bytes = Some(bytes);
                        }
                        Err(told) => content.refused = Some(told),
                    }
                }
                if let Some(target) = judged::target(&judged::footing(device)) {
                    let told = one.judged.entry(target);
                    let told = told
                        .or_insert_with_key(|target| judge::refusal(target, &profile.dictionary));
                    content.refused = content.refused.or_else(|| told.clone());
                }
            }
            Err(told) => content.refused = Some(told.clone()),
        }
        if content.refused.is_some() {
            content.bytes = None;
        }
        Some(content)
    }
}

type Filled = (Vec<u8>, String, Arc<[u8]>);

/// A profile filled in for a device, with a `PayloadUUID` that is the same for the same content.
fn filled(keys: &TenantKeys, profile: &Profile, device: &DeviceSnapshot) -> Result<Filled, String> {
    let mut dictionary = variables::fill(&profile.dictionary, device)?;
    let hash = keys.hash(
        "profile",
        &written(&dictionary).map_err(|error| error.to_string())?,
    );
    let mut bytes = [0u8; 16];
    for (to, from) in bytes.iter_mut().zip(hash) {
        *to = from;
    }
    let payload_uuid = uuid::Builder::from_custom_bytes(bytes).into_uuid();
    let payload_uuid = spelled(payload_uuid);
    dictionary.insert("PayloadUUID".into(), payload_uuid.as_str().into());
    let bytes = written(&dictionary).map_err(|error| error.to_string())?;
    if bytes.len() > read::MOST_BYTES {
        return Err(format!(
            "filled in it has {} bytes; at most {} can be sent",
            bytes.len(),
            read::MOST_BYTES
        ));
    }
    Ok((hash.to_vec(), payload_uuid, Arc::from(bytes)))
}

/// As Apple's tools write it.
fn spelled(id: Uuid) -> String {
    id.hyphenated().to_string().to_uppercase()
}

fn written(dictionary: &plist::Dictionary) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    plist::Value::Dictionary(dictionary.clone())
        .to_writer_xml(&mut out)
        .map_err(|source| Error::internal("writing a profile", source))?;
    Ok(out)
}
