//! Who vouches for plugins, and what is revoked.
//!
//! Owns: the levels of trust, and revocations: of one package, by its digest, or of everything that a key has signed. A
//! revocation outranks every signature. Checking signatures is the business of whatever runs plugins.

use serde::{Deserialize, Serialize};

use super::caller::Caller;
use super::instant::Instant;
use super::plugin_host::{host, refresh};
use crate::clock::Micros;
use crate::engine::Engine;
use crate::error::{Error, Result};

/// The longest reason, in characters.
const LONGEST_REASON: usize = 500;

/// How much stands behind a package, the most first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum TrustLevel {
    /// A publisher whose key the operator trusts has signed it.
    Verified,
    /// The operator's organisation has signed this very package.
    Organisation,
    /// Nobody whom the operator trusts; taken for development.
    Unsigned,
}

impl TrustLevel {
    /// The word in tables and answers.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Verified => "verified",
            Self::Organisation => "organisation",
            Self::Unsigned => "unsigned",
        }
    }

    /// Reads the word; what is not known is worth nothing.
    #[must_use]
    pub fn from_word(word: &str) -> Self {
        match word {
            "verified" => Self::Verified,
            "organisation" => Self::Organisation,
            _ => Self::Unsigned,
        }
    }
}

/// Who vouches for a package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vouched {
    /// How much that is worth here.
    pub level: TrustLevel,
    /// The key of its publisher's signature, in lower-case hexadecimal, whether it is trusted or not.
    pub signed_by: Option<String>,
    /// The key of an organisation's signature on it.
    pub countersigned_by: Option<String>,
}

impl Vouched {
    /// The keys of its signatures.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        [&self.signed_by, &self.countersigned_by]
            .into_iter()
            .filter_map(|key| key.as_deref())
    }
}

/// Whose packages are taken here.
#[derive(Clone, Debug, Default, Serialize, utoipa::ToSchema)]
pub struct TrustPolicy {
    /// Keys of publishers.
    pub trusted_keys: Vec<String>,
    /// Keys of the operator's organisation.
    pub organisation_keys: Vec<String>,
    /// Whether packages are taken that none of them has signed.
    pub allow_unsigned: bool,
    /// What to be warned of.
    pub warning: Option<String>,
}

/// What a revocation is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum RevocationKind {
    /// One package.
    Digest,
    /// Everything that bears a signature by this key.
    Key,
}

impl RevocationKind {
    /// The word in tables and addresses.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Digest => "digest",
            Self::Key => "key",
        }
    }

    pub(crate) fn from_word(word: &str) -> Option<Self> {
        match word {
            "digest" => Some(Self::Digest),
            "key" => Some(Self::Key),
            _ => None,
        }
    }
}

/// Something that is not run any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevocationRow {
    /// What it is of.
    pub kind: RevocationKind,
    /// The digest or the key, in lower-case hexadecimal.
    pub value: String,
    /// Why.
    pub reason: String,
    /// When it was revoked.
    pub revoked_at: Micros,
}

/// Everything that is revoked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Revocations(pub(crate) Vec<RevocationRow>);

impl Revocations {
    /// Why a package with this digest and signatures by these keys is not run, if so.
    pub fn of<'a>(&self, digest: &str, keys: impl IntoIterator<Item = &'a str>) -> Option<String> {
        let keys: Vec<&str> = keys.into_iter().collect();
        let found = self.0.iter().find(|row| match row.kind {
            RevocationKind::Digest => row.value.eq_ignore_ascii_case(digest),
            RevocationKind::Key => keys.iter().any(|key| row.value.eq_ignore_ascii_case(key)),
        })?;
        Some(match found.kind {
            RevocationKind::Digest => format!("this package is revoked: {}", found.reason),
            RevocationKind::Key => format!(
                "the key {}, which has signed this package, is revoked: {}",
                found.value, found.reason
            ),
        })
    }
}

/// A revocation as it is shown.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct Revocation {
    /// What it is of.
    pub kind: RevocationKind,
    /// The digest or the key, in hexadecimal.
    pub value: String,
    /// Why.
    pub reason: String,
    /// When it was revoked.
    pub revoked_at: Instant,
}

impl From<RevocationRow> for Revocation {
    fn from(row: RevocationRow) -> Self {
        Self {
            kind: row.kind,
            value: row.value,
            reason: row.reason,
            revoked_at: Instant(row.revoked_at),
        }
    }
}

/// What a caller wants to revoke.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewRevocation {
    /// What it is of.
    pub kind: RevocationKind,
    /// The digest of a package as it is listed, or a public key: 64 hexadecimal digits.
    pub value: String,
    /// Why; shown where the plugin would have run.
    pub reason: String,
}

/// Whose packages are taken here.
pub(crate) fn policy(engine: &Engine) -> Result<TrustPolicy> {
    Ok(host(engine)?.trust())
}

/// Everything that is revoked, the latest first.
pub(crate) async fn list(engine: &Engine) -> Result<Vec<Revocation>> {
    let all = engine.store().plugin_revocations().await?;
    Ok(all.0.into_iter().map(Revocation::from).collect())
}

/// Revokes a package or a key. What runs is stopped before the answer, on the other nodes soon after.
pub(crate) async fn revoke(
    engine: &Engine,
    caller: &Caller,
    wanted: NewRevocation,
) -> Result<Revocation> {
    let reason = wanted.reason.trim();
    if reason.is_empty()
        || reason.chars().count() > LONGEST_REASON
        || reason.chars().any(char::is_control)
    {
        return Err(Error::Invalid(format!(
            "say why, in one line of at most {LONGEST_REASON} characters"
        )));
    }
    let row = RevocationRow {
        kind: wanted.kind,
        value: digits(wanted.kind, &wanted.value)?,
        reason: reason.to_owned(),
        revoked_at: engine.store().clock().now(),
    };
    engine
        .store()
        .revoke_plugins(caller.actor(), row.clone())
        .await?;
    refresh(engine).await;
    Ok(row.into())
}

/// Takes a revocation back; `name` is `digest:…` or `key:…`.
pub(crate) async fn unrevoke(engine: &Engine, caller: &Caller, name: &str) -> Result<()> {
    let (kind, value) = name
        .split_once(':')
        .and_then(|(kind, value)| Some((RevocationKind::from_word(kind)?, value)))
        .ok_or_else(|| Error::Invalid("name a revocation as digest:… or key:…".into()))?;
    let value = digits(kind, value)?;
    engine
        .store()
        .unrevoke_plugins(caller.actor(), kind, &value)
        .await?;
    refresh(engine).await;
    Ok(())
}

fn digits(kind: RevocationKind, text: &str) -> Result<String> {
    if text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(text.to_ascii_lowercase());
    }
    Err(Error::Invalid(
        match kind {
            RevocationKind::Digest => {
                "the digest of a package has 64 hexadecimal digits, as the list of installed plugins shows it; the \
                 sha256:… of a registry's reference is another one"
            }
            RevocationKind::Key => "a public key has 64 hexadecimal digits, as `pomona plugin keygen` prints it",
        }
        .into(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn revoked(kind: RevocationKind, value: &str) -> Revocations {
        Revocations(vec![RevocationRow {
            kind,
            value: value.into(),
            reason: "leaked".into(),
            revoked_at: 0,
        }])
    }

    #[test]
    fn a_revocation_meets_its_digest_or_every_signature_of_its_key_and_nothing_else() {
        let by_digest = revoked(RevocationKind::Digest, "aa");
        assert!(by_digest.of("aa", []).unwrap().contains("leaked"));
        assert_eq!(by_digest.of("bb", ["aa"]), None);
        let by_key = revoked(RevocationKind::Key, "aa");
        assert_eq!(by_key.of("aa", ["bb"]), None);
        // However the package spells it.
        assert!(by_key.of("bb", ["cc", "AA"]).unwrap().contains("key aa"));
        assert_eq!(Revocations::default().of("aa", ["aa"]), None);
    }

    #[test]
    fn only_digests_and_keys_can_be_revoked() {
        let good = "A".repeat(64);
        assert_eq!(digits(RevocationKind::Key, &good).unwrap(), "a".repeat(64));
        for bad in ["", "aa", &format!("sha256:{good}"), &"g".repeat(64)] {
            assert!(digits(RevocationKind::Digest, bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_level_is_read_as_it_was_written() {
        for level in [
            TrustLevel::Verified,
            TrustLevel::Organisation,
            TrustLevel::Unsigned,
        ] {
            assert_eq!(TrustLevel::from_word(level.as_str()), level);
        }
        assert_eq!(TrustLevel::from_word("of later"), TrustLevel::Unsigned);
    }
}
