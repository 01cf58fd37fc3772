//! The secret of a token of the admin API, and the rules of making one.
//!
//! Owns: the text form (`pom_`, 32 random bytes in hex, a checksum), its hash, and the rule that no token is
//! wider than the one that made it. Pure; the rows are written by `store::admin_access`.
//!
//! A token stays good only as long as every token above it does: revoking one, or disabling its principal,
//! ends all that it made.

use std::fmt;

use aws_lc_rs::digest;
use zeroize::Zeroizing;

use super::caller::Caller;
use super::scope::{Scope, Scopes};
use crate::clock::{DAY, Micros, Random};
use crate::error::{Error, Result};
use crate::ids::{PrincipalId, TenantId};

const PREFIX: &str = "pom_";
const CHECKSUM: usize = 4;

/// The longest life of a token, and the life it gets when none is asked for.
pub const LONGEST_LIFE: Micros = 90 * DAY;

/// How many tokens may stand above one another.
pub(crate) const DEEPEST: u32 = 16;

/// The secret text of a token. Shown once, when it is made; never stored, never printed.
pub struct TokenSecret(Zeroizing<String>);

impl TokenSecret {
    /// A new secret.
    pub(crate) fn generate(random: &dyn Random) -> Self {
        let mut bytes = Zeroizing::new([0u8; 32]);
        random.fill(&mut bytes[..]);
        Self(Zeroizing::new(spell(&bytes)))
    }

    /// Reads a secret; `None` when it cannot be one of ours, by its form or its checksum.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix(PREFIX)?;
        let bytes = Zeroizing::new(hex::decode(digits).ok()?);
        let (body, _) = bytes.split_at_checked(32)?;
        let body: Zeroizing<[u8; 32]> = Zeroizing::new(body.try_into().ok()?);
        // Spelling it again also refuses capital digits and anything after the checksum.
        (spell(&body) == text).then(|| Self(Zeroizing::new(text.to_owned())))
    }

    /// The text itself, for the one answer that shows it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// What is stored of it.
    pub(crate) fn hash(&self) -> [u8; 32] {
        sha256(&[b"pomona token 1\0", self.0.as_bytes()])
    }
}

impl fmt::Debug for TokenSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenSecret")
    }
}

fn spell(body: &[u8; 32]) -> String {
    let sum = sha256(&[b"pomona token checksum\0", body]);
    let sum: Vec<u8> = sum.into_iter().take(CHECKSUM).collect();
    format!("{PREFIX}{}{}", hex::encode(body), hex::encode(sum))
}

pub(crate) fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(part);
    }
    let mut out = [0u8; 32];
    for (to, from) in out.iter_mut().zip(context.finish().as_ref()) {
        *to = *from;
    }
    out
}

/// What someone wants a new token to be.
#[derive(Clone, Debug)]
pub struct WantedToken {
    /// What it is called in lists.
    pub name: String,
    /// The rights.
    pub scopes: Scopes,
    /// The tenant it is bound to; none is possible for the operator only.
    pub tenant: Option<TenantId>,
    /// Whose token it is to be.
    pub principal: PrincipalId,
    /// When it ends; none asks for the longest life there can be.
    pub expires_at: Option<Micros>,
}

/// Decides whether `maker` may make the wanted token, and when the token ends.
///
/// # Errors
/// [`Error::Forbidden`] when it would be wider than its maker, or is for somebody else and the maker may not
/// make principals; [`Error::Invalid`] when it would end in the past or live too long.
pub(crate) fn narrow(maker: &Caller, wanted: &WantedToken, now: Micros) -> Result<Micros> {
    if maker.depth >= DEEPEST {
        return Err(Error::Forbidden(format!(
            "a chain of tokens is at most {DEEPEST} long; make it with a token nearer to the first"
        )));
    }
    if !maker.scopes.covers(&wanted.scopes) {
        return Err(Error::Forbidden(format!(
            "a token cannot have more rights than the one that makes it, which has: {}",
            maker.scopes
        )));
    }
    if maker.tenant.is_some() && maker.tenant != wanted.tenant {
        return Err(Error::Forbidden(
            "a token of a tenant makes tokens of that tenant only".into(),
        ));
    }
    if wanted.principal != maker.principal && !maker.scopes.allows(Scope::PrincipalsWrite) {
        return Err(Error::Forbidden(
            "making a token for somebody else needs the scope principals:write".into(),
        ));
    }
    let latest = maker.expires_at.min(now.saturating_add(LONGEST_LIFE));
    match wanted.expires_at {
        None => Ok(latest),
        Some(at) if at <= now => Err(Error::Invalid("the token would have ended already".into())),
        Some(at) if at > now.saturating_add(LONGEST_LIFE) => Err(Error::Invalid(
            "a token lives for at most 90 days; ask for an earlier end".into(),
        )),
        Some(at) if at > maker.expires_at => Err(Error::Forbidden(
            "a token cannot outlive the one that makes it; ask for an earlier end".into(),
        )),
        Some(at) => Ok(at),
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::clock::SystemEntropy;
    use crate::ids::TokenId;

    const NOW: Micros = 1_000 * DAY;

    fn maker(scopes: &[&str], tenant: Option<u128>) -> Caller {
        Caller {
            token: TokenId(Uuid::from_u128(1)),
            principal: PrincipalId(Uuid::from_u128(2)),
            principal_name: "Erin".into(),
            tenant: tenant.map(|id| TenantId(Uuid::from_u128(id))),
            scopes: Scopes::parse(scopes).unwrap(),
            expires_at: NOW + 30 * DAY,
            depth: 0,
        }
    }

    fn wanted(scopes: &[&str], tenant: Option<u128>) -> WantedToken {
        WantedToken {
            name: "child".into(),
            scopes: Scopes::parse(scopes).unwrap(),
            tenant: tenant.map(|id| TenantId(Uuid::from_u128(id))),
            principal: PrincipalId(Uuid::from_u128(2)),
            expires_at: None,
        }
    }

    #[test]
    fn a_secret_reads_back_and_any_changed_character_is_refused() {
        let secret = TokenSecret::generate(&SystemEntropy::default());
        let text = secret.expose().to_owned();
        assert_eq!(text.len(), 4 + 64 + 8);
        assert_eq!(
            TokenSecret::parse(&text).map(|s| s.hash()),
            Some(secret.hash())
        );
        for at in 0..text.len() {
            let mut other: Vec<u8> = text.bytes().collect();
            other[at] = if other[at] == b'0' { b'1' } else { b'0' };
            let other = String::from_utf8(other).unwrap();
            assert!(
                TokenSecret::parse(&other).is_none(),
                "changed character {at}"
            );
        }
        for cut in 0..text.len() {
            assert!(TokenSecret::parse(&text[..cut]).is_none());
        }
        assert!(TokenSecret::parse(&format!("{text}0")).is_none());
        assert!(
            TokenSecret::parse(&text.to_uppercase().replace("POM_", "pom_")).is_none()
                || !text.chars().skip(4).any(|c| c.is_ascii_alphabetic())
        );
    }

    #[test]
    fn a_secret_does_not_print() {
        let secret = TokenSecret::generate(&SystemEntropy::default());
        assert_eq!(format!("{secret:?}"), "TokenSecret");
    }

    #[test]
    fn no_token_is_wider_than_its_maker() {
        let operator = maker(&["*"], None);
        let of_one = maker(&["devices:read", "tokens:write"], Some(1));
        for (case, maker, wanted, allowed) in [
            (
                "same scopes",
                &of_one,
                wanted(&["devices:read"], Some(1)),
                true,
            ),
            (
                "more scopes",
                &of_one,
                wanted(&["devices:write"], Some(1)),
                false,
            ),
            ("everything", &of_one, wanted(&["*"], Some(1)), false),
            (
                "another tenant",
                &of_one,
                wanted(&["devices:read"], Some(2)),
                false,
            ),
            ("no tenant", &of_one, wanted(&["devices:read"], None), false),
            (
                "narrowed to a tenant",
                &operator,
                wanted(&["*"], Some(7)),
                true,
            ),
            ("as wide", &operator, wanted(&["*"], None), true),
            (
                "break-glass unheld",
                &operator,
                wanted(&["break-glass"], None),
                false,
            ),
        ] {
            assert_eq!(narrow(maker, &wanted, NOW).is_ok(), allowed, "{case}");
        }
    }

    #[test]
    fn a_token_for_somebody_else_needs_the_right_over_principals() {
        let mut wanted = wanted(&["devices:read"], Some(1));
        wanted.principal = PrincipalId(Uuid::from_u128(3));
        let without = maker(&["devices:read", "tokens:write"], Some(1));
        let with = maker(
            &["devices:read", "tokens:write", "principals:write"],
            Some(1),
        );
        assert!(narrow(&without, &wanted, NOW).is_err());
        assert!(narrow(&with, &wanted, NOW).is_ok());
    }

    #[test]
    fn a_token_ends_no_later_than_its_maker_and_no_later_than_90_days() {
        let mut long = maker(&["*"], None);
        long.expires_at = NOW + 400 * DAY;
        let short = maker(&["*"], None);
        let asks = |maker: &Caller, at: Option<Micros>| {
            let mut wanted = wanted(&["*"], None);
            wanted.expires_at = at;
            narrow(maker, &wanted, NOW).ok()
        };
        assert_eq!(asks(&short, None), Some(NOW + 30 * DAY));
        assert_eq!(asks(&long, None), Some(NOW + 90 * DAY));
        assert_eq!(asks(&short, Some(NOW + DAY)), Some(NOW + DAY));
        assert_eq!(asks(&short, Some(NOW + 31 * DAY)), None);
        assert_eq!(asks(&long, Some(NOW + 91 * DAY)), None);
        assert_eq!(asks(&long, Some(NOW)), None);
        assert_eq!(asks(&long, Some(i64::MIN)), None);
        assert_eq!(asks(&long, Some(i64::MAX)), None);
    }

    #[test]
    fn a_chain_of_tokens_has_an_end() {
        let mut deep = maker(&["*"], None);
        deep.depth = DEEPEST;
        assert!(narrow(&deep, &wanted(&["*"], None), NOW).is_err());
    }
}
