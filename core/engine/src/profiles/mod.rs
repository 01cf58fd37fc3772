//! Configuration profiles: which are kept, what a device gets of them, what is to be done on a channel.
//!
//! Owns: reading a profile (`read`), making one (`build`), filling it in (`variables`), judging it for a device (`judge`), what two of them do to one another
//! (`conflicts`), and the next steps of a channel (`plan`). Pure: no row, no clock. In the flow: `admin/profiles` keeps profiles and assigns
//! them, `engine/upkeep` carries the plan out, `store/profiles` holds the rows.

mod binary;
pub(crate) mod build;
pub(crate) mod conflicts;
pub(crate) mod judge;
pub(crate) mod plan;
pub(crate) mod read;
#[cfg(test)]
mod tests;
pub(crate) mod variables;

pub(crate) use conflicts::Conflict;
pub(crate) use read::PayloadSummary;

use plist::Dictionary;

use crate::ids::ProfileId;
use crate::seal::Place;

/// Names the row of a profile's version, for sealing.
pub(crate) struct VersionRow(Vec<u8>);

/// Where a version of a profile stands.
pub(crate) fn version_place(profile: ProfileId, version: i64) -> VersionRow {
    let mut row = profile.0.as_bytes().to_vec();
    row.extend_from_slice(&version.to_be_bytes());
    VersionRow(row)
}

impl VersionRow {
    /// The place of its bytes.
    pub(crate) fn place(&self) -> Place<'_> {
        Place {
            table: "profile_version",
            column: "sealed",
            row: &self.0,
        }
    }
}

/// Writes a profile, or a payload, as a property list in XML.
pub(crate) fn written(dictionary: &Dictionary) -> Result<Vec<u8>, plist::Error> {
    let mut out = Vec::new();
    plist::to_writer_xml(&mut out, dictionary)?;
    Ok(out)
}

/// A `PayloadUUID` that is the same for the same content, spelled as Apple's tools do. The hash is keyed: it must not let a password be guessed.
pub(crate) fn payload_uuid(hash: &[u8; 32]) -> String {
    let mut bytes = [0u8; 16];
    for (to, from) in bytes.iter_mut().zip(hash) {
        *to = *from;
    }
    let id = uuid::Builder::from_custom_bytes(bytes).into_uuid();
    id.hyphenated().to_string().to_uppercase()
}

/// What a device or the server has said of a profile, as a sentence: error chains by domain and code.
pub(crate) fn told(text: &str) -> String {
    let Ok(serde_json::Value::Array(chain)) = serde_json::from_str(text) else {
        return text.to_owned();
    };
    let item = |item: &serde_json::Value| {
        Some(format!(
            "{} {}",
            item.get("domain")?.as_str()?,
            item.get("code")?
        ))
    };
    let items: Vec<String> = chain.iter().filter_map(item).collect();
    match items.is_empty() {
        true => text.to_owned(),
        false => format!("the device answers with {}", items.join(", ")),
    }
}
