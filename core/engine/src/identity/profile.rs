//! The enrollment profile: values in, property list out.
//!
//! Owns: the layout of the profile that enrolls a device, and of the one that renews its identity. Both are the same
//! profile: what Apple forbids to change in an installed `com.apple.mdm` payload (URLs, topic, capabilities,
//! and rights beyond those given) never changes, and identifiers are derived from the tenant, so that a
//! renewal replaces the installed profile instead of standing beside it. Only the SCEP payload is new each
//! time: its UUID, its challenge and its subject. Never signs, stores or sends anything.
//!
//! Source: Apple, "TopLevel", "SCEP", "MDM" and "CertificateRoot" under Configuration profiles.

use aws_lc_rs::digest;
use plist::{Dictionary, Value};
use url::Url;
use uuid::Uuid;

use crate::error::{Error, Result};
use crate::ids::{GrantId, TenantId};

/// All rights, since an update may only take rights away.
const ACCESS_RIGHTS: u64 = 8191;
/// What the server can do beyond the basic protocol; this list cannot grow in an update either.
const SERVER_CAPABILITIES: [&str; 3] = [
    "com.apple.mdm.per-user-connections",
    "com.apple.mdm.bootstraptoken",
    "com.apple.mdm.token",
];
/// Bits of the key usage: 1 to sign, 4 to encipher.
const KEY_USAGE: u64 = 5;

/// What goes into a profile.
#[derive(Clone, Copy)]
pub(crate) struct ProfileValues<'a> {
    pub(crate) tenant: TenantId,
    /// The name of who manages the device, as shown to the user.
    pub(crate) organization: &'a str,
    /// `https://host[:port]`, as devices see it.
    pub(crate) public_url: &'a Url,
    /// The topic of the tenant's push certificate.
    pub(crate) topic: &'a str,
    /// Whether devices sign their messages (`Mdm-Signature`).
    pub(crate) sign_message: bool,
    /// Authorities that the device shall trust, as DER: the tenant's root, then others.
    pub(crate) roots: &'a [Vec<u8>],
    /// The issuing authority, as DER; the device checks its fingerprint.
    pub(crate) issuing: &'a [u8],
    /// The grant that the certificate will belong to; also its common name.
    pub(crate) grant: GrantId,
    /// What the device proves to SCEP that the grant is its own.
    pub(crate) challenge: &'a str,
    /// The UUID of the SCEP payload; another one for each profile.
    pub(crate) scep_uuid: Uuid,
}

/// The URL for `path` under the public URL.
pub(crate) fn public(base: &Url, path: &str) -> String {
    format!("{}{}", base.as_str().trim_end_matches('/'), path)
}

/// A UUID of the tenant that is the same whenever it is asked for, on every node.
pub(crate) fn stable_uuid(tenant: TenantId, what: &str) -> Uuid {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(b"pomona profile 1\0");
    context.update(tenant.0.as_bytes());
    context.update(what.as_bytes());
    let mut bytes = [0u8; 16];
    for (to, from) in bytes.iter_mut().zip(context.finish().as_ref()) {
        *to = *from;
    }
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

/// Writes the profile as an XML property list.
///
/// # Errors
/// [`Error::Internal`] when it cannot be written, which would be a defect.
pub(crate) fn enrollment_profile(values: &ProfileValues<'_>) -> Result<Vec<u8>> {
    let mut content: Vec<Value> = values
        .roots
        .iter()
        .enumerate()
        .map(|(n, der)| Value::Dictionary(root_payload(values, n, der)))
        .collect();
    content.push(Value::Dictionary(scep_payload(values)));
    content.push(Value::Dictionary(mdm_payload(values)));

    let mut profile = payload(values, "enrollment", "Configuration");
    profile.insert("PayloadScope".into(), "System".into());
    profile.insert(
        "PayloadDisplayName".into(),
        format!("Management by {}", values.organization).into(),
    );
    profile.insert(
        "PayloadDescription".into(),
        format!(
            "Lets {} set up and look after this device.",
            values.organization
        )
        .into(),
    );
    profile.insert("PayloadContent".into(), Value::Array(content));

    let mut out = Vec::with_capacity(8 * 1024);
    Value::Dictionary(profile)
        .to_writer_xml(&mut out)
        .map_err(|error| Error::internal("writing a profile", error))?;
    Ok(out)
}

/// How identifiers of our own profiles begin.
pub(crate) const OWN_PREFIX: &str = "pomona.";

/// The keys that every payload has, with a stable identifier and UUID.
fn payload(values: &ProfileValues<'_>, what: &str, payload_type: &str) -> Dictionary {
    let mut keys = Dictionary::new();
    keys.insert("PayloadType".into(), payload_type.into());
    keys.insert("PayloadVersion".into(), Value::Integer(1.into()));
    keys.insert(
        "PayloadIdentifier".into(),
        format!("{OWN_PREFIX}{}.{what}", values.tenant).into(),
    );
    keys.insert(
        "PayloadUUID".into(),
        uuid_text(stable_uuid(values.tenant, what)).into(),
    );
    keys.insert("PayloadOrganization".into(), values.organization.into());
    keys
}

fn root_payload(values: &ProfileValues<'_>, n: usize, der: &[u8]) -> Dictionary {
    let mut keys = payload(values, &format!("root{n}"), "com.apple.security.root");
    keys.insert(
        "PayloadDisplayName".into(),
        format!("Certificate authority of {}", values.organization).into(),
    );
    keys.insert("PayloadContent".into(), Value::Data(der.to_vec()));
    keys
}

fn scep_payload(values: &ProfileValues<'_>) -> Dictionary {
    let mut content = Dictionary::new();
    content.insert(
        "URL".into(),
        public(values.public_url, &format!("/scep/{}", values.tenant)).into(),
    );
    content.insert("Name".into(), values.tenant.to_string().into());
    content.insert(
        "Subject".into(),
        Value::Array(vec![rdn("CN", &values.grant.to_string())]),
    );
    content.insert("Challenge".into(), values.challenge.into());
    content.insert("Keysize".into(), Value::Integer(2048.into()));
    content.insert("Key Type".into(), "RSA".into());
    content.insert("Key Usage".into(), Value::Integer(KEY_USAGE.into()));
    // The length of the value tells the device which digest it is.
    let fingerprint = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, values.issuing);
    content.insert(
        "CAFingerprint".into(),
        Value::Data(fingerprint.as_ref().to_vec()),
    );
    content.insert("Retries".into(), Value::Integer(3.into()));
    content.insert("RetryDelay".into(), Value::Integer(10.into()));

    let mut keys = payload(values, "scep", "com.apple.security.scep");
    keys.insert("PayloadUUID".into(), uuid_text(values.scep_uuid).into());
    keys.insert(
        "PayloadDisplayName".into(),
        "Identity of this device".into(),
    );
    keys.insert("PayloadContent".into(), Value::Dictionary(content));
    keys
}

fn mdm_payload(values: &ProfileValues<'_>) -> Dictionary {
    let url = public(values.public_url, &format!("/mdm/{}", values.tenant));
    let mut keys = payload(values, "mdm", "com.apple.mdm");
    keys.insert("PayloadDisplayName".into(), "Management".into());
    keys.insert(
        "IdentityCertificateUUID".into(),
        uuid_text(values.scep_uuid).into(),
    );
    keys.insert("Topic".into(), values.topic.into());
    keys.insert("ServerURL".into(), url.clone().into());
    keys.insert("CheckInURL".into(), url.into());
    keys.insert("SignMessage".into(), values.sign_message.into());
    keys.insert("AccessRights".into(), Value::Integer(ACCESS_RIGHTS.into()));
    keys.insert("CheckOutWhenRemoved".into(), true.into());
    keys.insert(
        "ServerCapabilities".into(),
        Value::Array(SERVER_CAPABILITIES.map(Value::from).to_vec()),
    );
    keys
}

fn rdn(attribute: &str, value: &str) -> Value {
    Value::Array(vec![Value::Array(vec![attribute.into(), value.into()])])
}

fn uuid_text(uuid: Uuid) -> String {
    uuid.hyphenated()
        .encode_upper(&mut Uuid::encode_buffer())
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile(scep_uuid: u128, challenge: &str) -> Dictionary {
        let url = Url::parse("https://mdm.example.org:8443/").unwrap();
        let bytes = enrollment_profile(&ProfileValues {
            tenant: TenantId(Uuid::from_u128(1)),
            organization: "Orchard & <School>",
            public_url: &url,
            topic: "com.apple.mgmt.External.1",
            sign_message: true,
            roots: &[vec![1, 2], vec![3]],
            issuing: b"der",
            grant: GrantId(Uuid::from_u128(2)),
            challenge,
            scep_uuid: Uuid::from_u128(scep_uuid),
        })
        .unwrap();
        plist::from_bytes::<Value>(&bytes)
            .unwrap()
            .into_dictionary()
            .unwrap()
    }

    fn content(profile: &Dictionary, payload_type: &str) -> Dictionary {
        profile
            .get("PayloadContent")
            .and_then(Value::as_array)
            .unwrap()
            .iter()
            .filter_map(Value::as_dictionary)
            .find(|payload| {
                payload.get("PayloadType").and_then(Value::as_string) == Some(payload_type)
            })
            .unwrap()
            .clone()
    }

    fn text<'a>(keys: &'a Dictionary, key: &str) -> &'a str {
        keys.get(key).and_then(Value::as_string).unwrap()
    }

    #[test]
    fn the_mdm_payload_uses_the_identity_of_the_scep_payload() {
        let profile = profile(9, "c");
        let mdm = content(&profile, "com.apple.mdm");
        let scep = content(&profile, "com.apple.security.scep");
        assert_eq!(
            text(&mdm, "IdentityCertificateUUID"),
            text(&scep, "PayloadUUID")
        );
        assert_eq!(
            text(&mdm, "ServerURL"),
            "https://mdm.example.org:8443/mdm/00000000-0000-0000-0000-000000000001"
        );
        assert_eq!(
            mdm.get("AccessRights").unwrap().as_unsigned_integer(),
            Some(8191)
        );
        let scep = scep.get("PayloadContent").unwrap().as_dictionary().unwrap();
        assert_eq!(text(scep, "Challenge"), "c");
        assert_eq!(
            scep.get("CAFingerprint").unwrap().as_data().unwrap().len(),
            20
        );
        assert_eq!(
            text(scep, "URL"),
            "https://mdm.example.org:8443/scep/00000000-0000-0000-0000-000000000001"
        );
    }

    #[test]
    fn a_renewal_differs_in_the_scep_payload_alone() {
        let (mut first, mut second) = (profile(1, "a"), profile(2, "b"));
        assert_ne!(first, second);
        for profile in [&mut first, &mut second] {
            let payloads = profile
                .get_mut("PayloadContent")
                .and_then(Value::as_array_mut)
                .unwrap();
            for payload in payloads.iter_mut().filter_map(Value::as_dictionary_mut) {
                payload.remove("IdentityCertificateUUID");
                if text(payload, "PayloadType") == "com.apple.security.scep" {
                    payload.remove("PayloadUUID");
                    let content = payload.get_mut("PayloadContent").unwrap();
                    content.as_dictionary_mut().unwrap().remove("Challenge");
                }
            }
        }
        assert_eq!(first, second);
    }

    #[test]
    fn no_two_payloads_share_an_identifier_or_a_uuid() {
        let profile = profile(1, "a");
        let mut seen = std::collections::HashSet::new();
        let payloads = profile.get("PayloadContent").unwrap().as_array().unwrap();
        for keys in payloads
            .iter()
            .filter_map(Value::as_dictionary)
            .chain([&profile])
        {
            assert!(seen.insert(text(keys, "PayloadUUID").to_owned()));
            assert!(seen.insert(text(keys, "PayloadIdentifier").to_owned()));
        }
        assert_eq!(seen.len(), 10);
    }
}
