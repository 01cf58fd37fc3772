//! What profiles are for one device or another.
//!
//! Owns: opening the profiles of a round, filling them in for a device, and whether the device takes them. Each profile is read once in a
//! round, and judged once for each kind of device.

use std::collections::HashMap;

use pomona_catalogue::Target;

use crate::hooks::DeviceSnapshot;
use crate::ids::ProfileId;
use crate::judged;
use crate::profiles::plan::Wanted;
use crate::profiles::read::{self, Kind, Profile};
use crate::profiles::{judge, payload_uuid, variables, version_place, written};
use crate::seal::TenantKeys;
use crate::store::profiles::ProfileRow;

/// A profile as it is for one device.
#[derive(Clone, Debug)]
pub(super) struct Content {
    pub(super) version: i64,
    pub(super) hash: Vec<u8>,
    pub(super) payload_uuid: String,
    /// Each device gets it in another way.
    pub(super) single: bool,
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
    bytes: Vec<u8>,
    judged: HashMap<Target, Option<String>>,
}

/// The profiles of a round.
pub(super) struct Contents<'a> {
    keys: &'a TenantKeys,
    profiles: HashMap<ProfileId, Opened>,
}

impl<'a> Contents<'a> {
    /// Opens the current versions.
    pub(super) fn open(keys: &'a TenantKeys, current: Vec<ProfileRow>) -> Self {
        let mut profiles = HashMap::with_capacity(current.len());
        for row in current {
            let place = version_place(row.id, row.version);
            let (bytes, profile) = match keys.open(place.place(), &row.sealed) {
                Ok(bytes) => {
                    let read = read::read(&bytes, row.kind != Kind::Variables);
                    (bytes, read.map_err(|error| error.to_string()))
                }
                Err(_) => (
                    Vec::new(),
                    Err("what was uploaded cannot be opened".to_owned()),
                ),
            };
            let opened = Opened {
                row,
                profile,
                bytes,
                judged: HashMap::new(),
            };
            profiles.insert(opened.row.id, opened);
        }
        Self { keys, profiles }
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
            single: one.row.kind == Kind::Variables,
            refused: None,
        };
        match &one.profile {
            Ok(profile) => {
                content
                    .payload_uuid
                    .clone_from(&profile.summary.payload_uuid);
                if one.row.kind == Kind::Variables {
                    match filled(keys, profile, device) {
                        Ok((hash, payload_uuid, _)) => {
                            content.hash = hash;
                            content.payload_uuid = payload_uuid;
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
        Some(content)
    }

    /// The bytes that a device gets. They are made when they are sent and not before: a round would hold too many.
    ///
    /// # Errors
    /// Why there are none.
    pub(super) fn bytes(&self, id: ProfileId, device: &DeviceSnapshot) -> Result<Vec<u8>, String> {
        let one = self.profiles.get(&id).ok_or("the profile is gone")?;
        match (&one.profile, one.row.kind) {
            (Err(told), _) => Err(told.clone()),
            (Ok(profile), Kind::Variables) => Ok(filled(self.keys, profile, device)?.2),
            (Ok(_), _) => Ok(one.bytes.clone()),
        }
    }
}

type Filled = (Vec<u8>, String, Vec<u8>);

/// A profile filled in for a device, with a `PayloadUUID` that is the same for the same content.
fn filled(keys: &TenantKeys, profile: &Profile, device: &DeviceSnapshot) -> Result<Filled, String> {
    let mut dictionary = variables::fill(&profile.dictionary, device)?;
    let xml = |dictionary: &_| written(dictionary).map_err(|error| error.to_string());
    let hash = keys.hash("profile", &xml(&dictionary)?);
    let payload_uuid = payload_uuid(&hash);
    dictionary.insert("PayloadUUID".into(), payload_uuid.as_str().into());
    let bytes = xml(&dictionary)?;
    if bytes.len() > read::MOST_BYTES {
        return Err(format!(
            "filled in it has {} bytes; at most {} can be sent",
            bytes.len(),
            read::MOST_BYTES
        ));
    }
    Ok((hash.to_vec(), payload_uuid, bytes))
}
