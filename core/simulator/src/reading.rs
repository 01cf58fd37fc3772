//! What a device reads: commands and enrollment profiles.
//!
//! Owns the few keys that a device looks at. Never judges a profile beyond them. Source: Apple,
//! "Commands and queries", "MDM" and "SCEP" (configuration profile payloads).

use plist::{Dictionary, Value};
use url::Url;

use crate::cms::Signed;
use crate::scep::ScepPayload;

/// Deeper property lists are refused before the parser sees them: it recurses.
const MAX_DEPTH: usize = 64;

/// A reply or profile that a device cannot understand.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Not an XML property list with a dictionary at its top.
    #[error("the server sent no property list")]
    NotAPlist,
    /// A key is absent or of another type.
    #[error("the {what} has no usable key {key}")]
    Key {
        /// Command or kind of profile.
        what: &'static str,
        /// The key.
        key: &'static str,
    },
    /// The signed wrapper around a profile is malformed.
    #[error("the profile's signature wrapper is malformed")]
    Signature,
}

/// The dictionary at the top of an XML property list.
pub(crate) fn dictionary(bytes: &[u8]) -> Result<Dictionary, ReadError> {
    if depth(bytes) > MAX_DEPTH {
        return Err(ReadError::NotAPlist);
    }
    match Value::from_reader_xml(bytes) {
        Ok(Value::Dictionary(dictionary)) => Ok(dictionary),
        _ => Err(ReadError::NotAPlist),
    }
}

/// The deepest nesting of elements; text that only looks like a tag may raise the figure.
fn depth(bytes: &[u8]) -> usize {
    let mut now = 0_usize;
    let mut most = 0;
    for (byte, next) in bytes.iter().zip(bytes.iter().skip(1)) {
        match (byte, next) {
            (b'<', b'/') => now = now.saturating_sub(1),
            (b'<', b'?' | b'!') => {}
            (b'<', _) => {
                now = now.saturating_add(1);
                most = most.max(now);
            }
            (b'/', b'>') => now = now.saturating_sub(1),
            _ => {}
        }
    }
    most
}

/// A command as it came.
#[derive(Clone, Debug)]
pub(crate) struct Command {
    pub(crate) uuid: String,
    pub(crate) request_type: String,
    pub(crate) body: Dictionary,
}

impl Command {
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, ReadError> {
        let key = |key| ReadError::Key {
            what: "command",
            key,
        };
        let mut top = dictionary(bytes)?;
        let uuid = text(&top, "CommandUUID").ok_or_else(|| key("CommandUUID"))?;
        let Some(Value::Dictionary(body)) = top.remove("Command") else {
            return Err(key("Command"));
        };
        let request_type = text(&body, "RequestType").ok_or_else(|| key("RequestType"))?;
        Ok(Self {
            uuid,
            request_type,
            body,
        })
    }

    pub(crate) fn text(&self, key: &str) -> Option<&str> {
        self.body.get(key).and_then(Value::as_string)
    }

    pub(crate) fn data(&self, key: &str) -> Option<&[u8]> {
        self.body.get(key).and_then(Value::as_data)
    }

    pub(crate) fn flag(&self, key: &str) -> bool {
        self.body.get(key).and_then(Value::as_boolean) == Some(true)
    }

    /// The strings of an array.
    pub(crate) fn texts(&self, key: &str) -> Vec<&str> {
        let array = self.body.get(key).and_then(Value::as_array);
        array.map_or_else(Vec::new, |array| {
            array.iter().filter_map(Value::as_string).collect()
        })
    }
}

/// A configuration profile, as far as a profile list shows it.
#[derive(Clone, Debug)]
pub(crate) struct ConfigurationProfile {
    pub(crate) identifier: String,
    pub(crate) uuid: String,
    pub(crate) display_name: String,
    /// Type and identifier of each payload.
    pub(crate) payloads: Vec<(String, String)>,
    pub(crate) removal_disallowed: bool,
    top: Dictionary,
}

impl ConfigurationProfile {
    /// Reads XML, or XML inside a signed message.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, ReadError> {
        let content;
        let xml = if bytes.first() == Some(&0x30) {
            content = Signed::parse(bytes)
                .map_err(|_| ReadError::Signature)?
                .content;
            &content
        } else {
            bytes
        };
        let top = dictionary(xml)?;
        let key = |key| ReadError::Key {
            what: "profile",
            key,
        };
        if text(&top, "PayloadType").as_deref() != Some("Configuration") {
            return Err(key("PayloadType"));
        }
        let payloads = payloads(&top).map(|payload| {
            let kind = text(payload, "PayloadType").unwrap_or_default();
            (kind, text(payload, "PayloadIdentifier").unwrap_or_default())
        });
        Ok(Self {
            identifier: text(&top, "PayloadIdentifier").ok_or_else(|| key("PayloadIdentifier"))?,
            uuid: text(&top, "PayloadUUID").ok_or_else(|| key("PayloadUUID"))?,
            display_name: text(&top, "PayloadDisplayName").unwrap_or_default(),
            payloads: payloads.collect(),
            removal_disallowed: flag(&top, "PayloadRemovalDisallowed"),
            top,
        })
    }

    pub(crate) fn has_mdm(&self) -> bool {
        self.payloads
            .iter()
            .any(|(kind, _)| kind == "com.apple.mdm")
    }
}

/// An enrollment profile: where the server is, and how to get an identity for it.
#[derive(Clone, Debug)]
pub(crate) struct EnrollmentProfile {
    pub(crate) profile: ConfigurationProfile,
    pub(crate) scep: ScepPayload,
    pub(crate) roots: Vec<Vec<u8>>,
    pub(crate) server_url: Url,
    pub(crate) check_in_url: Url,
    pub(crate) topic: String,
    pub(crate) sign_message: bool,
    pub(crate) check_out_when_removed: bool,
    pub(crate) capabilities: Vec<String>,
}

impl EnrollmentProfile {
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, ReadError> {
        Self::from_profile(ConfigurationProfile::parse(bytes)?)
    }

    pub(crate) fn from_profile(profile: ConfigurationProfile) -> Result<Self, ReadError> {
        let payload = |kind: &str| {
            payloads(&profile.top).find(|p| text(p, "PayloadType").as_deref() == Some(kind))
        };
        let mdm = payload("com.apple.mdm").ok_or(ReadError::Key {
            what: "enrollment profile",
            key: "com.apple.mdm",
        })?;
        let mdm_key = |key| ReadError::Key {
            what: "MDM payload",
            key,
        };
        let server_url = url(mdm, "ServerURL").ok_or_else(|| mdm_key("ServerURL"))?;
        let check_in_url = url(mdm, "CheckInURL").unwrap_or_else(|| server_url.clone());
        let topic = text(mdm, "Topic").ok_or_else(|| mdm_key("Topic"))?;
        let identity = text(mdm, "IdentityCertificateUUID")
            .ok_or_else(|| mdm_key("IdentityCertificateUUID"))?;
        let scep = payload("com.apple.security.scep").ok_or(ReadError::Key {
            what: "enrollment profile",
            key: "com.apple.security.scep",
        })?;
        if text(scep, "PayloadUUID") != Some(identity) {
            return Err(mdm_key(
                "IdentityCertificateUUID (it names no SCEP payload)",
            ));
        }
        let scep = scep_payload(scep)?;
        let roots = payloads(&profile.top)
            .filter(|p| text(p, "PayloadType").as_deref() == Some("com.apple.security.root"))
            .filter_map(|p| p.get("PayloadContent").and_then(Value::as_data))
            .map(<[u8]>::to_vec)
            .collect();
        let capabilities = mdm.get("ServerCapabilities").and_then(Value::as_array);
        let capabilities = capabilities.map_or_else(Vec::new, |array| {
            let texts = array.iter().filter_map(Value::as_string);
            texts.map(str::to_owned).collect()
        });
        let sign_message = flag(mdm, "SignMessage");
        let check_out_when_removed = flag(mdm, "CheckOutWhenRemoved");
        Ok(Self {
            scep,
            roots,
            server_url,
            check_in_url,
            topic,
            sign_message,
            check_out_when_removed,
            capabilities,
            profile,
        })
    }
}

fn scep_payload(payload: &Dictionary) -> Result<ScepPayload, ReadError> {
    let key = |key| ReadError::Key {
        what: "SCEP payload",
        key,
    };
    let content = payload.get("PayloadContent").and_then(Value::as_dictionary);
    let content = content.ok_or_else(|| key("PayloadContent"))?;
    // Apple's default is 1024 bits, which no current system makes any more.
    if content.get("Keysize").and_then(Value::as_signed_integer) != Some(2048) {
        return Err(key("Keysize (2048 is what this client makes)"));
    }
    let usage = content.get("Key Usage").and_then(Value::as_signed_integer);
    let retries = content.get("Retries").and_then(Value::as_signed_integer);
    let fingerprint = content.get("CAFingerprint").and_then(Value::as_data);
    Ok(ScepPayload {
        url: url(content, "URL").ok_or_else(|| key("URL"))?,
        name: text(content, "Name").unwrap_or_default(),
        subject: subject(content.get("Subject")),
        challenge: text(content, "Challenge"),
        key_usage: usage.and_then(|bits| u8::try_from(bits).ok()).unwrap_or(0),
        ca_fingerprint: fingerprint.map(<[u8]>::to_vec),
        retries: retries
            .and_then(|n| u32::try_from(n).ok())
            .unwrap_or(3)
            .min(5),
    })
}

/// `[[["CN", "name"]], ...]`
fn subject(value: Option<&Value>) -> Vec<Vec<(String, String)>> {
    let rdns = value.and_then(Value::as_array).into_iter().flatten();
    let pair = |pair: &Value| {
        let mut texts = pair.as_array()?.iter().map(Value::as_string);
        Some((texts.next()??.to_owned(), texts.next()??.to_owned()))
    };
    rdns.filter_map(Value::as_array)
        .map(|rdn| rdn.iter().filter_map(pair).collect())
        .collect()
}

fn payloads(top: &Dictionary) -> impl Iterator<Item = &Dictionary> {
    let content = top.get("PayloadContent").and_then(Value::as_array);
    content
        .into_iter()
        .flatten()
        .filter_map(Value::as_dictionary)
}

fn text(dictionary: &Dictionary, key: &str) -> Option<String> {
    dictionary.get(key)?.as_string().map(str::to_owned)
}

fn url(dictionary: &Dictionary, key: &str) -> Option<Url> {
    Url::parse(dictionary.get(key)?.as_string()?).ok()
}

fn flag(dictionary: &Dictionary, key: &str) -> bool {
    dictionary.get(key).and_then(Value::as_boolean) == Some(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deep_nesting_is_refused_before_parsing() {
        let deep = "<dict><key>a</key>".repeat(10_000);
        assert!(matches!(
            dictionary(deep.as_bytes()),
            Err(ReadError::NotAPlist)
        ));
    }

    #[test]
    fn a_command_needs_its_three_keys() {
        let whole = "<plist><dict><key>CommandUUID</key><string>1</string><key>Command</key>\
                     <dict><key>RequestType</key><string>ProfileList</string></dict></dict></plist>";
        let command = Command::parse(whole.as_bytes()).unwrap();
        assert_eq!(command.request_type, "ProfileList");
        for key in ["CommandUUID", "Command<", "RequestType"] {
            let broken = whole.replace(key, "x");
            assert!(Command::parse(broken.as_bytes()).is_err(), "without {key}");
        }
    }
}
