//! Secrets that are shown once: challenges and link tokens.
//!
//! Owns: their form (256 random bits in URL-safe base64, 43 characters) and the keyed hash under which a challenge
//! is looked up. A look-up by keyed hash takes the same time for every wrong guess, since a guess that is right in
//! its first characters hashes to something unrelated. Never stores anything.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use zeroize::Zeroizing;

use crate::clock::Random;
use crate::seal::TenantKeys;

const LENGTH: usize = 43;

/// A new secret.
pub(crate) fn fresh(random: &dyn Random) -> String {
    let mut bytes = Zeroizing::new([0u8; 32]);
    random.fill(&mut bytes[..]);
    URL_SAFE_NO_PAD.encode(&bytes[..])
}

/// Whether `text` has the form of a secret of ours.
pub(crate) fn well_formed(text: &str) -> bool {
    text.len() == LENGTH
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

/// What a challenge is looked up by. A challenge of another tenant has another hash here.
pub(crate) fn hash(keys: &TenantKeys, challenge: &str) -> [u8; 32] {
    keys.hash("scep challenge", challenge.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemEntropy;

    #[test]
    fn a_fresh_secret_is_well_formed_and_new() {
        let random = SystemEntropy::default();
        let (one, two) = (fresh(&random), fresh(&random));
        assert!(well_formed(&one) && well_formed(&two));
        assert_ne!(one, two);
        for bad in [
            "",
            "a",
            &one[1..],
            &format!("{one}="),
            &one.replace(|_| true, "+"),
        ] {
            assert!(!well_formed(bad));
        }
    }
}
