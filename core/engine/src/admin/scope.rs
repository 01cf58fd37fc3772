//! What a token may be used for.
//!
//! Owns: the words of the scopes and which of them include which others. Never knows a route: the table of
//! routes in `http/admin` names the scope that each asks for.

use std::collections::BTreeSet;
use std::fmt;

use serde::Serialize;

use crate::error::{Error, Result};

macro_rules! scopes {
    ($($(#[$doc:meta])* $name:ident = $word:literal),+ $(,)?) => {
        /// One right of a token.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Scope {
            $($(#[$doc])* $name,)+
        }

        impl Scope {
            /// Every scope there is.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// The word in requests, tables and the settings.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $word,)+ }
            }

            /// Reads the word.
            pub fn from_word(word: &str) -> Option<Self> {
                match word { $($word => Some(Self::$name),)+ _ => None }
            }
        }
    };
}

scopes! {
    /// Every scope except [`BreakGlass`](Self::BreakGlass), [`Force`](Self::Force) and [`CommandsApprove`](Self::CommandsApprove), which must be
    /// named.
    Everything = "*",
    /// Commands that no hook may hold back.
    BreakGlass = "break-glass",
    /// Commands that the catalogue says a device refuses.
    Force = "force",
    /// See devices, groups, facts and timelines.
    DevicesRead = "devices:read",
    /// Release and remove devices, set facts, edit groups.
    DevicesWrite = "devices:write",
    /// See commands and their results.
    CommandsRead = "commands:read",
    /// Send and cancel commands.
    CommandsSend = "commands:send",
    /// Let destructive commands go that somebody else has sent.
    CommandsApprove = "commands:approve",
    /// See profiles and where they stand.
    ProfilesRead = "profiles:read",
    /// Keep, assign and remove profiles.
    ProfilesWrite = "profiles:write",
    /// See enrollment links.
    EnrollRead = "enroll:read",
    /// Make and revoke enrollment links.
    EnrollWrite = "enroll:write",
    /// See push certificates.
    PushRead = "push:read",
    /// Ring devices, import push certificates.
    PushWrite = "push:write",
    /// See plugins and how they are doing.
    PluginsRead = "plugins:read",
    /// Switch plugins on and off; for the operator, install and remove them.
    PluginsWrite = "plugins:write",
    /// See tokens, never their secret.
    TokensRead = "tokens:read",
    /// Make tokens for oneself, revoke tokens.
    TokensWrite = "tokens:write",
    /// See principals.
    PrincipalsRead = "principals:read",
    /// Make and disable principals, and make tokens for them.
    PrincipalsWrite = "principals:write",
    /// See tenants.
    TenantsRead = "tenants:read",
    /// Make tenants; for the operator only.
    TenantsWrite = "tenants:write",
    /// See certificate authorities.
    CaRead = "ca:read",
    /// Add external certificate authorities.
    CaWrite = "ca:write",
    /// Read the audit log.
    AuditRead = "audit:read",
}

/// What must be named, and is not among everything.
const APART: [Scope; 3] = [Scope::BreakGlass, Scope::Force, Scope::CommandsApprove];

impl Scope {
    /// Whether holding `self` includes `wanted`: the right to change a thing includes the right to see it.
    fn includes(self, wanted: Self) -> bool {
        if self == wanted {
            return true;
        }
        match self {
            Self::Everything => !APART.contains(&wanted),
            Self::DevicesWrite => wanted == Self::DevicesRead,
            Self::CommandsSend => wanted == Self::CommandsRead,
            Self::ProfilesWrite => wanted == Self::ProfilesRead,
            Self::EnrollWrite => wanted == Self::EnrollRead,
            Self::PushWrite => wanted == Self::PushRead,
            Self::PluginsWrite => wanted == Self::PluginsRead,
            Self::TokensWrite => wanted == Self::TokensRead,
            Self::PrincipalsWrite => wanted == Self::PrincipalsRead,
            Self::TenantsWrite => wanted == Self::TenantsRead,
            Self::CaWrite => wanted == Self::CaRead,
            _ => false,
        }
    }
}

/// The rights of a token.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scopes(BTreeSet<Scope>);

impl Scopes {
    /// Reads a list of words.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an empty list or a word that is no scope; names the scopes there are.
    pub fn parse<S: AsRef<str>>(words: &[S]) -> Result<Self> {
        let mut scopes = BTreeSet::new();
        for word in words {
            let scope = Scope::from_word(word.as_ref()).ok_or_else(|| {
                let known: Vec<&str> = Scope::ALL.iter().map(|scope| scope.as_str()).collect();
                Error::Invalid(format!("unknown scope; use any of: {}", known.join(", ")))
            })?;
            scopes.insert(scope);
        }
        if scopes.is_empty() {
            return Err(Error::Invalid("a token needs at least one scope".into()));
        }
        Ok(Self(scopes))
    }

    /// Reads what [`to_json`](Self::to_json) wrote. A word that is not known any more grants nothing.
    pub(crate) fn from_json(text: &str) -> Self {
        let words: Vec<String> = serde_json::from_str(text).unwrap_or_default();
        Self(
            words
                .iter()
                .filter_map(|word| Scope::from_word(word))
                .collect(),
        )
    }

    /// The words as a JSON list, for the table.
    pub(crate) fn to_json(&self) -> String {
        serde_json::to_string(&self.words()).unwrap_or_else(|_| "[]".into())
    }

    /// The words, in a fixed order.
    pub fn words(&self) -> Vec<&'static str> {
        self.0.iter().map(|scope| scope.as_str()).collect()
    }

    /// Whether these rights include `wanted`.
    pub fn allows(&self, wanted: Scope) -> bool {
        self.0.iter().any(|held| held.includes(wanted))
    }

    /// Whether every right in `other` is included here.
    pub fn covers(&self, other: &Self) -> bool {
        other.0.iter().all(|wanted| self.allows(*wanted))
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        Self(scopes.into_iter().collect())
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words().join(" "))
    }
}

impl Serialize for Scopes {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.words().serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scopes(words: &[&str]) -> Scopes {
        Scopes::parse(words).unwrap()
    }

    #[test]
    fn a_scope_includes_what_the_table_says_and_nothing_else() {
        for (held, wanted, expected) in [
            ("devices:read", Scope::DevicesRead, true),
            ("devices:read", Scope::DevicesWrite, false),
            ("devices:write", Scope::DevicesRead, true),
            ("devices:write", Scope::CommandsRead, false),
            ("commands:send", Scope::CommandsRead, true),
            ("commands:send", Scope::BreakGlass, false),
            ("tokens:write", Scope::PrincipalsWrite, false),
            ("*", Scope::TenantsWrite, true),
            ("*", Scope::BreakGlass, false),
            ("*", Scope::Force, false),
            ("break-glass", Scope::Force, false),
            ("force", Scope::Force, true),
            ("break-glass", Scope::BreakGlass, true),
            ("break-glass", Scope::CommandsSend, false),
        ] {
            assert_eq!(
                scopes(&[held]).allows(wanted),
                expected,
                "{held} → {wanted:?}"
            );
        }
    }

    #[test]
    fn nothing_less_than_everything_covers_everything() {
        let all_but_star: Scopes = Scope::ALL
            .iter()
            .copied()
            .filter(|scope| *scope != Scope::Everything)
            .collect();
        assert!(!all_but_star.covers(&scopes(&["*"])));
        assert!(!scopes(&["*"]).covers(&all_but_star));
        assert!(!scopes(&["*", "break-glass"]).covers(&all_but_star));
        assert!(scopes(&["*", "break-glass", "force", "commands:approve"]).covers(&all_but_star));
    }

    #[test]
    fn an_unknown_or_empty_list_is_refused() {
        assert!(Scopes::parse::<&str>(&[]).is_err());
        assert!(Scopes::parse(&["devices"]).is_err());
        assert!(Scopes::parse(&["Devices:read"]).is_err());
    }

    #[test]
    fn a_word_in_the_table_that_is_not_known_grants_nothing() {
        assert_eq!(
            Scopes::from_json(r#"["devices:read","of-later"]"#),
            scopes(&["devices:read"])
        );
        assert!(!Scopes::from_json("broken").allows(Scope::DevicesRead));
    }
}
