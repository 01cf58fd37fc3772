//! Whose packages this server takes.
//!
//! Owns: the judgement over the signatures of a package. Signatures have been checked when a package was read; what is
//! decided here is whose count, and that none counts for what is revoked.

use pomona_engine::admin::trust::{Revocations, TrustLevel, TrustPolicy, Vouched};
use pomona_plugin_host::Package;

/// What is told wherever unsigned packages are taken.
const WARNING: &str = "plugins.allow_unsigned is on: anybody who can install a plugin can run code that nobody has signed";

/// Whose packages are taken.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trust {
    /// Public keys of publishers.
    pub(crate) keys: Vec<String>,
    /// Public keys of the operator's organisation.
    pub(crate) organisation: Vec<String>,
    /// Everybody's.
    pub(crate) anybody: bool,
}

impl Trust {
    /// Who vouches for a package; an error when that is nobody who counts, or when it is revoked.
    pub(super) fn judge(
        &self,
        package: &Package,
        revocations: &Revocations,
    ) -> Result<Vouched, String> {
        if let Some(reason) = revocations.of(
            &package.digest(),
            keys_of(package).iter().map(String::as_str),
        ) {
            return Err(reason);
        }
        let lower = |key: &String| key.to_ascii_lowercase();
        let signed_by = package.signature.as_ref().map(|s| lower(&s.key));
        let countersigned_by = package.countersignature.as_ref().map(|s| lower(&s.key));
        let among = |key: &Option<String>, keys: &[String]| {
            key.as_ref().is_some_and(|key| keys.contains(key))
        };
        let level = if among(&signed_by, &self.keys) {
            TrustLevel::Verified
        } else if among(&countersigned_by, &self.organisation) {
            TrustLevel::Organisation
        } else if self.anybody {
            TrustLevel::Unsigned
        } else {
            return Err(refusal(signed_by, countersigned_by));
        };
        Ok(Vouched {
            level,
            signed_by,
            countersigned_by,
        })
    }

    /// What is told of it.
    pub(super) fn policy(&self) -> TrustPolicy {
        TrustPolicy {
            trusted_keys: self.keys.clone(),
            organisation_keys: self.organisation.clone(),
            allow_unsigned: self.anybody,
            warning: self.anybody.then(|| WARNING.to_owned()),
        }
    }
}

/// The keys of the signatures on a package.
pub(super) fn keys_of(package: &Package) -> Vec<String> {
    [&package.signature, &package.countersignature]
        .into_iter()
        .flatten()
        .map(|signature| signature.key.to_ascii_lowercase())
        .collect()
}

fn refusal(signed_by: Option<String>, countersigned_by: Option<String>) -> String {
    match (signed_by, countersigned_by) {
        (None, None) => "the package is not signed; sign it with `pomona plugin sign`, or take unsigned ones with the setting plugins.allow_unsigned".into(),
        (Some(key), None) => format!(
            "the package is signed by {key}, which this server does not trust; the operator can add the key to plugins.trusted_keys, or take this one package with `pomona plugin countersign` and plugins.organisation_keys"
        ),
        (_, Some(key)) => format!(
            "the package is countersigned by {key}, which this server does not trust; the operator can add the key to plugins.organisation_keys"
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use pomona_plugin_host::{Role, SigningKey};

    use super::*;

    const TOML: &str = "id = \"org.example.a\"\nversion = \"1.0.0\"\napi = \"0.9\"\ntitle = \"A\"\n[hooks.events]\n";

    fn package() -> Package {
        Package::new(TOML, b"\0asm".to_vec(), None, BTreeMap::new()).unwrap()
    }

    #[test]
    fn the_strongest_signature_that_counts_gives_the_level() {
        let (publisher, organisation) = (
            SigningKey::generate().unwrap(),
            SigningKey::generate().unwrap(),
        );
        let trust = Trust {
            keys: vec![publisher.public()],
            organisation: vec![organisation.public()],
            anybody: false,
        };
        let none = Revocations::default();
        let level = |trust: &Trust, package: &Package| {
            trust.judge(package, &none).map(|vouched| vouched.level)
        };
        let mut it = package();
        assert!(level(&trust, &it).unwrap_err().contains("not signed"));
        it.sign(Role::Organisation, &organisation);
        assert_eq!(level(&trust, &it), Ok(TrustLevel::Organisation));
        it.sign(Role::Publisher, &publisher);
        assert_eq!(level(&trust, &it), Ok(TrustLevel::Verified));
        // Each key counts in its own role only.
        let mut crossed = package();
        crossed.sign(Role::Publisher, &organisation);
        assert!(
            level(&trust, &crossed)
                .unwrap_err()
                .contains("trusted_keys")
        );
        crossed.sign(Role::Organisation, &publisher);
        let told = level(&trust, &crossed).unwrap_err();
        assert!(told.contains("organisation_keys"), "{told}");
        let open = Trust {
            anybody: true,
            ..trust
        };
        assert_eq!(level(&open, &crossed), Ok(TrustLevel::Unsigned));
        assert_eq!(level(&open, &it), Ok(TrustLevel::Verified));
    }

    #[test]
    fn unsigned_packages_are_taken_with_a_warning_only() {
        assert_eq!(Trust::default().policy().warning, None);
        let open = Trust {
            anybody: true,
            ..Trust::default()
        };
        assert!(open.policy().warning.unwrap().contains("allow_unsigned"));
    }
}
