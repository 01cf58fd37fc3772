//! Who vouches for a package.
//!
//! Owns: Ed25519 signatures over a package's digest (RFC 8032), in two roles, and the keys. Which keys count is the operator's
//! business.

use aws_lc_rs::encoding::AsBigEndian;
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use serde::{Deserialize, Serialize};

/// In which role a package is signed. A signature of one role is none of the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Who has made the package.
    Publisher,
    /// An organisation that has looked at this package and takes it, whoever made it.
    Organisation,
}

impl Role {
    /// What stands before the digest, so that a signature is good for nothing else.
    fn context(self) -> &'static str {
        match self {
            Self::Publisher => "pomona plugin package, digest SHA-256: ",
            Self::Organisation => {
                "pomona plugin package, taken by an organisation, digest SHA-256: "
            }
        }
    }
}

/// Why a key or a signature cannot be used.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
pub enum SignatureError {
    /// The key is none.
    #[error("this is no key of `pomona plugin keygen`")]
    Key,
    /// The signature does not belong to this package.
    #[error(
        "the signature is not for this package: it was changed after it was signed, or the signature comes from another one"
    )]
    Mismatch,
}

/// A signature, as it stands in a package.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signature {
    /// The public key, 32 bytes in hexadecimal.
    pub key: String,
    /// The signature, 64 bytes in hexadecimal.
    pub signature: String,
}

impl Signature {
    /// Whether the holder of the key has signed this digest in this role.
    ///
    /// # Errors
    /// [`SignatureError`], when not.
    pub fn verify(&self, role: Role, digest: &str) -> Result<(), SignatureError> {
        let key = hex::decode(&self.key).map_err(|_| SignatureError::Key)?;
        let signature = hex::decode(&self.signature).map_err(|_| SignatureError::Mismatch)?;
        UnparsedPublicKey::new(&ED25519, key)
            .verify(signed(role, digest).as_bytes(), &signature)
            .map_err(|_| SignatureError::Mismatch)
    }
}

fn signed(role: Role, digest: &str) -> String {
    format!("{}{digest}", role.context())
}

/// A key that signs. Does not print.
pub struct SigningKey(Ed25519KeyPair);

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SigningKey({})", self.public())
    }
}

impl SigningKey {
    /// Makes a key.
    ///
    /// # Errors
    /// [`SignatureError::Key`] when the system gives no randomness.
    pub fn generate() -> Result<Self, SignatureError> {
        Ed25519KeyPair::generate()
            .map(Self)
            .map_err(|_| SignatureError::Key)
    }

    /// Reads what [`SigningKey::secret`] gave.
    ///
    /// # Errors
    /// [`SignatureError::Key`] for anything else.
    pub fn read(text: &str) -> Result<Self, SignatureError> {
        let seed = hex::decode(text.trim()).map_err(|_| SignatureError::Key)?;
        Ed25519KeyPair::from_seed_unchecked(&seed)
            .map(Self)
            .map_err(|_| SignatureError::Key)
    }

    /// The secret key, 32 bytes in hexadecimal.
    ///
    /// # Errors
    /// [`SignatureError::Key`] when the key cannot be written.
    pub fn secret(&self) -> Result<String, SignatureError> {
        let seed = self.0.seed().map_err(|_| SignatureError::Key)?;
        let bytes = seed.as_be_bytes().map_err(|_| SignatureError::Key)?;
        Ok(hex::encode(bytes.as_ref()))
    }

    /// The public key, 32 bytes in hexadecimal.
    #[must_use]
    pub fn public(&self) -> String {
        hex::encode(self.0.public_key().as_ref())
    }

    /// Signs a digest in a role.
    #[must_use]
    pub fn sign(&self, role: Role, digest: &str) -> Signature {
        Signature {
            key: self.public(),
            signature: hex::encode(self.0.sign(signed(role, digest).as_bytes()).as_ref()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_for_one_digest_one_key_and_one_role() {
        let key = SigningKey::generate().unwrap();
        for (role, other_role) in [
            (Role::Publisher, Role::Organisation),
            (Role::Organisation, Role::Publisher),
        ] {
            let good = key.sign(role, "d1");
            assert_eq!(good.verify(role, "d1"), Ok(()));
            assert_eq!(good.verify(role, "d2"), Err(SignatureError::Mismatch));
            assert_eq!(good.verify(other_role, "d1"), Err(SignatureError::Mismatch));
            let other = Signature {
                key: SigningKey::generate().unwrap().public(),
                ..good.clone()
            };
            assert_eq!(other.verify(role, "d1"), Err(SignatureError::Mismatch));
            for bad in ["", "zz", "00"] {
                let cut = Signature {
                    signature: bad.into(),
                    ..good.clone()
                };
                assert_eq!(cut.verify(role, "d1"), Err(SignatureError::Mismatch));
            }
        }
    }

    #[test]
    fn a_key_is_read_as_it_was_written() {
        let key = SigningKey::generate().unwrap();
        let again = SigningKey::read(&key.secret().unwrap()).unwrap();
        assert_eq!(again.public(), key.public());
        assert!(SigningKey::read("no key").is_err());
        assert!(!format!("{key:?}").contains(&key.secret().unwrap()));
    }
}
