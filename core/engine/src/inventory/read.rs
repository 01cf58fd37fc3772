//! Which answer is kept as which section.

use std::collections::HashMap;

use plist::{Dictionary, Value as Plist};
use serde_json::{Map, Value};

use crate::admin::values;

/// What `DeviceInformation` tells.
pub(super) const DEVICE: &str = "device";
/// What `SecurityInfo` tells.
pub(super) const SECURITY: &str = "security";

/// What `Restrictions` tells; one of its two parts comes only where it was asked for.
const RESTRICTIONS: &str = "restrictions";

/// What a device has told.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Seen {
    /// What it is about.
    pub(crate) section: &'static str,
    /// The `RequestType` of the query.
    pub(crate) source: &'static str,
    /// A property list as JSON.
    pub(crate) value: Value,
}

impl Seen {
    /// Whether it tells of the keys that were asked for alone, so that others stay.
    pub(crate) fn in_parts(&self) -> bool {
        matches!(self.section, DEVICE | RESTRICTIONS)
    }

    /// Whether its keys are facts that hooks know.
    pub(crate) fn of_facts(&self) -> bool {
        matches!(self.section, DEVICE | SECURITY)
    }

    /// A text of the device itself, such as `OSVersion`.
    pub(crate) fn own(&self, name: &str) -> Option<&str> {
        match self.section {
            DEVICE => self
                .value
                .get(name)?
                .as_str()
                .filter(|text| !text.is_empty()),
            _ => None,
        }
    }
}

/// The profiles of a section `profiles`: `PayloadUUID` by `PayloadIdentifier`.
pub(crate) fn profiles(section: &Value) -> HashMap<String, String> {
    let text = |item: &Value, key: &str| item.get(key)?.as_str().map(str::to_owned);
    let items = section.as_array().into_iter().flatten();
    items
        .filter_map(|item| {
            let identifier = text(item, "PayloadIdentifier")?;
            Some((identifier, text(item, "PayloadUUID").unwrap_or_default()))
        })
        .collect()
}

/// Section, `RequestType`, keys of the answer. With one key its value is the section, with several each is a member.
/// Source: Apple's pages of these commands' answers.
const ANSWERS: &[(&str, &str, &[&str])] = &[
    (DEVICE, "DeviceInformation", &["QueryResponses"]),
    (SECURITY, "SecurityInfo", &["SecurityInfo"]),
    ("profiles", "ProfileList", &["ProfileList"]),
    (
        "apps",
        "InstalledApplicationList",
        &["InstalledApplicationList"],
    ),
    (
        "managed-apps",
        "ManagedApplicationList",
        &["ManagedApplicationList"],
    ),
    ("certificates", "CertificateList", &["CertificateList"]),
    (
        "provisioning-profiles",
        "ProvisioningProfileList",
        &["ProvisioningProfileList"],
    ),
    ("users", "UserList", &["Users"]),
    (
        RESTRICTIONS,
        "Restrictions",
        &["GlobalRestrictions", "ProfileRestrictions"],
    ),
    ("updates", "AvailableOSUpdates", &["AvailableOSUpdates"]),
];

/// Keys of an answer that are kept with the report alone, which is sealed: what others could use.
const SECRETS: &[&str] = &["PushToken", "UnusedRedemptionCode"];
/// Bytes of a key, at most; Apple's are far shorter.
const LONGEST_KEY: usize = 100;
/// Keys of the queries by which a selection is asked for.
const SELECTIONS: &[&str] = &["Identifiers", "ManagedAppsOnly", "ManagedOnly", "Items"];
/// Bytes of a section as JSON, at most; a greater one is not kept.
const MOST: usize = 2 << 20;

/// What an acknowledged answer tells, if it is one of those that are kept.
pub(crate) fn read(answer: &Dictionary) -> Option<Seen> {
    let (section, source, keys) = ANSWERS
        .iter()
        .find(|(_, _, keys)| keys.iter().any(|key| answer.contains_key(key)))?;
    let value = match keys {
        [key] => json(answer.get(key)?),
        keys => {
            let told = |key: &&str| Some(((*key).to_owned(), json(answer.get(key)?)));
            Value::Object(keys.iter().filter_map(told).collect())
        }
    };
    let fits =
        matches!(value, Value::Object(_) | Value::Array(_)) && value.to_string().len() <= MOST;
    fits.then_some(Seen {
        section,
        source,
        value,
    })
}

/// Whether the answer to this command tells all that there is, and not a selection.
pub(crate) fn tells_all(command: &Dictionary) -> bool {
    let selects = |key: &&str| match command.get(key) {
        None | Some(Plist::Boolean(false)) => false,
        Some(Plist::Array(items)) => !items.is_empty(),
        Some(_) => true,
    };
    !SELECTIONS.iter().any(selects)
}

/// As JSON, without secrets, and without data: certificates and escrowed keys say nothing to a reader.
fn json(value: &Plist) -> Value {
    match value {
        Plist::Dictionary(members) => Value::Object(kept(members)),
        Plist::Array(items) => {
            Value::Array(items.iter().filter(|one| says(one)).map(json).collect())
        }
        other => values::json(other),
    }
}

fn kept(members: &Dictionary) -> Map<String, Value> {
    let keeps = |name: &str| name.len() <= LONGEST_KEY && !SECRETS.contains(&name);
    let pairs = members
        .iter()
        .filter(|(name, value)| keeps(name) && says(value));
    pairs
        .map(|(name, value)| (name.clone(), json(value)))
        .collect()
}

fn says(value: &Plist) -> bool {
    !matches!(value, Plist::Data(_))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn answer(body: &str) -> Dictionary {
        let xml = format!("<plist version=\"1.0\"><dict>{body}</dict></plist>");
        let value = Plist::from_reader_xml(xml.as_bytes()).unwrap();
        value.into_dictionary().unwrap()
    }

    #[test]
    fn each_answer_is_a_section() {
        for (body, section, value) in [
            (
                "<key>QueryResponses</key><dict><key>OSVersion</key><string>26.1</string></dict>",
                "device",
                json!({"OSVersion": "26.1"}),
            ),
            (
                "<key>SecurityInfo</key><dict><key>FDE_Enabled</key><true/><key>FDE_PersonalRecoveryKeyCMS</key><data>AAEC</data></dict>",
                "security",
                json!({"FDE_Enabled": true}),
            ),
            (
                "<key>Users</key><array><dict><key>UserName</key><string>ada</string></dict></array>",
                "users",
                json!([{"UserName": "ada"}]),
            ),
            (
                "<key>CertificateList</key><array><dict><key>CommonName</key><string>x</string><key>Data</key><data>AAEC</data><key>IsIdentity</key><true/></dict></array>",
                "certificates",
                json!([{"CommonName": "x", "IsIdentity": true}]),
            ),
            (
                "<key>ManagedApplicationList</key><dict><key>a.b</key><dict><key>Status</key><string>Managed</string><key>UnusedRedemptionCode</key><string>X</string></dict></dict>",
                "managed-apps",
                json!({"a.b": {"Status": "Managed"}}),
            ),
            (
                "<key>ProfileList</key><array><dict><key>PayloadUUID</key><string>u</string><key>SignerCertificates</key><array><data>AAEC</data></array></dict></array>",
                "profiles",
                json!([{"PayloadUUID": "u", "SignerCertificates": []}]),
            ),
            (
                "<key>GlobalRestrictions</key><dict/>",
                "restrictions",
                json!({"GlobalRestrictions": {}}),
            ),
        ] {
            let seen = read(&answer(body)).unwrap();
            assert_eq!((seen.section, &seen.value), (section, &value));
        }
        for body in [
            "",
            "<key>Status</key><string>Acknowledged</string>",
            "<key>QueryResponses</key><string>none</string>",
        ] {
            assert_eq!(read(&answer(body)), None, "{body}");
        }
    }

    #[test]
    fn a_selection_is_not_taken_for_all() {
        for (body, all) in [
            ("", true),
            ("<key>ManagedAppsOnly</key><false/>", true),
            ("<key>Identifiers</key><array/>", true),
            ("<key>ManagedAppsOnly</key><true/>", false),
            ("<key>ManagedOnly</key><true/>", false),
            (
                "<key>Identifiers</key><array><string>a</string></array>",
                false,
            ),
            (
                "<key>Items</key><array><string>Name</string></array>",
                false,
            ),
        ] {
            assert_eq!(tells_all(&answer(body)), all, "{body}");
        }
    }
}
