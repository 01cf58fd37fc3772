//! What a certificate request may ask for.
//!
//! Owns: the rules for the key, the subject and the extensions of a request (PKCS #10) whose signature was checked. A
//! request names its grant and nothing else: our authority chooses lifetime, usages and names, so a request that
//! asks for more than it gets is refused instead of silently cut down. Never looks at a grant.
//!
//! Source: RFC 2986 section 4; RFC 8894 section 2.3.

use pomona_cms::x509::{Extension, KeyUsage, SubjectAltName};
use pomona_cms::{CertificationRequest, KeyKind, Name, oid};
use uuid::Uuid;

use super::scep::Refusal;
use crate::ids::GrantId;

/// Devices make 2048 bits; more than this only costs time.
const RSA_BITS: std::ops::RangeInclusive<u32> = 2048..=4096;

/// What a request asks for, as far as its grant is concerned.
#[derive(Debug)]
pub(crate) struct Asked {
    /// The grant in the common name.
    pub(crate) grant: GrantId,
    /// The grant in the subject alternative name, if there is one.
    pub(crate) alternative: Option<GrantId>,
}

/// Judges a request.
///
/// # Errors
/// What it asks for and may not have, or a key that we do not certify.
pub(crate) fn judge(request: &CertificationRequest) -> Result<Asked, Refusal> {
    match request.key_kind() {
        KeyKind::Rsa { bits } if RSA_BITS.contains(&bits) => {}
        KeyKind::Rsa { .. } => return Err(Refusal::bad_alg("key_length")),
        // The answer is encrypted to the key that is certified.
        KeyKind::P256 | KeyKind::P384 => return Err(Refusal::bad_alg("key_is_not_rsa")),
    }
    if request.asks_for_ca() {
        return Err(Refusal::bad_request("asks_to_be_an_authority"));
    }
    if request.unknown_critical_extension().is_some() {
        return Err(Refusal::bad_request("unknown_critical_extension"));
    }
    let usage = request.key_usage().unwrap_or_default();
    if usage.contains(KeyUsage::CRL_SIGN) {
        return Err(Refusal::bad_request("asks_to_sign_revocations"));
    }
    let purposes = request.extended_key_usages();
    if has(request, &oid::EXTENDED_KEY_USAGE)
        && (purposes.is_empty() || purposes.iter().any(|one| *one != oid::CLIENT_AUTH))
    {
        return Err(Refusal::bad_request("asks_for_another_usage"));
    }
    let alternative = match request.subject_alt_names().as_slice() {
        [] if !has(request, &oid::SUBJECT_ALT_NAME) => None,
        [name] => Some(alternative(name).ok_or(Refusal::bad_request("asks_for_another_name"))?),
        _ => return Err(Refusal::bad_request("asks_for_another_name")),
    };
    Ok(Asked {
        grant: common_name(request.subject()).ok_or(Refusal::bad_request("subject"))?,
        alternative,
    })
}

/// The grant that a subject names: `CN=<grant id>` and no more.
pub(crate) fn common_name(subject: &Name) -> Option<GrantId> {
    match subject.attributes().as_slice() {
        [(attribute, text)] if *attribute == oid::COMMON_NAME => plain_uuid(text).map(GrantId),
        _ => None,
    }
}

/// The grant in `urn:uuid:<grant id>`.
fn alternative(name: &SubjectAltName) -> Option<GrantId> {
    let SubjectAltName::Uri(uri) = name else {
        return None;
    };
    plain_uuid(uri.strip_prefix("urn:uuid:")?).map(GrantId)
}

/// A UUID in its one plain spelling, in either case; none of the others that a parser takes.
fn plain_uuid(text: &str) -> Option<Uuid> {
    let id = Uuid::try_parse(text).ok()?;
    text.eq_ignore_ascii_case(&id.hyphenated().to_string())
        .then_some(id)
}

fn has(request: &CertificationRequest, id: &pomona_cms::ObjectIdentifier) -> bool {
    request
        .extensions()
        .iter()
        .any(|extension: &Extension| extension.id == *id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(attributes: &[(pomona_cms::ObjectIdentifier, &str)]) -> Option<GrantId> {
        let builder = attributes
            .iter()
            .fold(Name::builder(), |builder, (id, value)| {
                builder.attribute(*id, value)
            });
        common_name(&builder.build().unwrap())
    }

    #[test]
    fn a_subject_names_one_grant_and_nothing_else() {
        let id = "01890a5d-ac96-774b-bcce-b302099a8057";
        let cn = oid::COMMON_NAME;
        let grant = GrantId(Uuid::parse_str(id).unwrap());
        assert_eq!(named(&[(cn, id)]), Some(grant));
        assert_eq!(named(&[(cn, &id.to_uppercase())]), Some(grant));
        let bad: [&[(pomona_cms::ObjectIdentifier, &str)]; 7] = [
            &[],
            &[(cn, "*.example.org")],
            &[(cn, id), (cn, id)],
            &[(cn, id), (oid::ORGANIZATION, "x")],
            &[(oid::ORGANIZATION, id)],
            &[(cn, "{01890a5d-ac96-774b-bcce-b302099a8057}")],
            &[(cn, "01890a5dac96774bbcceb302099a8057")],
        ];
        for subject in bad {
            assert_eq!(named(subject), None, "{subject:?}");
        }
    }
}
