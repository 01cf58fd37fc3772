//! A private key held in memory.
//!
//! RSA from 2048 bits, P-256 and P-384. The key is checked when it is read; its PKCS#8 bytes are wiped when it is dropped.

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeySize, Pkcs1PrivateDecryptingKey, PrivateDecryptingKey};
use aws_lc_rs::signature::{self, EcdsaKeyPair, KeyPair as _, RsaKeyPair};
use zeroize::Zeroizing;

use super::{SignError, Signer};
use crate::der_io::{
    Reader, algorithm_null, octet_string, oid as write_oid, sequence, single, small_integer, tag,
};
use crate::key::{DigestAlgorithm, KeyKind, key_kind};
use crate::oid;

/// A private key in memory. It does not print.
pub struct KeyPair {
    secret: Secret,
    kind: KeyKind,
    public_key: Vec<u8>,
    pkcs8: Zeroizing<Vec<u8>>,
}

enum Secret {
    Rsa {
        sign: Box<RsaKeyPair>,
        decrypt: Box<Pkcs1PrivateDecryptingKey>,
    },
    Ec(Box<EcdsaKeyPair>),
}

impl KeyPair {
    /// Makes an RSA key of 2048 bits. It takes some 100 ms of computing.
    ///
    /// # Errors
    /// [`SignError::Generation`].
    pub fn generate_rsa_2048() -> Result<Self, SignError> {
        let key = RsaKeyPair::generate(KeySize::Rsa2048).map_err(|_| SignError::Generation)?;
        let pkcs8 = AsDer::<aws_lc_rs::encoding::Pkcs8V1Der>::as_der(&key)
            .map_err(|_| SignError::Generation)?;
        Self::from_pkcs8(pkcs8.as_ref())
    }

    /// Makes a key on curve P-256.
    ///
    /// # Errors
    /// [`SignError::Generation`].
    pub fn generate_p256() -> Result<Self, SignError> {
        let key = EcdsaKeyPair::generate(&signature::ECDSA_P256_SHA256_ASN1_SIGNING)
            .map_err(|_| SignError::Generation)?;
        let pkcs8 = key.to_pkcs8v1().map_err(|_| SignError::Generation)?;
        Self::from_pkcs8(pkcs8.as_ref())
    }

    /// Reads a key in PKCS#8 form, not encrypted.
    ///
    /// # Errors
    /// [`SignError::KeyUnusable`].
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, SignError> {
        let unusable = |_| SignError::KeyUnusable;
        let (secret, public_key) = if let Ok(key) = RsaKeyPair::from_pkcs8(der) {
            let decrypt = PrivateDecryptingKey::from_pkcs8(der).map_err(unusable)?;
            let decrypt =
                Pkcs1PrivateDecryptingKey::new(decrypt).map_err(|_| SignError::KeyUnusable)?;
            let public_key = public_der(key.public_key())?;
            let secret = Secret::Rsa {
                sign: Box::new(key),
                decrypt: Box::new(decrypt),
            };
            (secret, public_key)
        } else {
            let key = EcdsaKeyPair::from_pkcs8(&signature::ECDSA_P256_SHA256_ASN1_SIGNING, der)
                .or_else(|_| {
                    EcdsaKeyPair::from_pkcs8(&signature::ECDSA_P384_SHA384_ASN1_SIGNING, der)
                })
                .map_err(unusable)?;
            let public_key = public_der(key.public_key())?;
            (Secret::Ec(Box::new(key)), public_key)
        };
        Ok(Self {
            secret,
            kind: key_kind(&public_key).map_err(|_| SignError::KeyUnusable)?,
            public_key,
            pkcs8: Zeroizing::new(der.to_vec()),
        })
    }

    /// Reads an RSA key in PKCS#1 form ("RSA PRIVATE KEY").
    ///
    /// # Errors
    /// [`SignError::KeyUnusable`].
    pub fn from_pkcs1(der: &[u8]) -> Result<Self, SignError> {
        let pkcs8 = Zeroizing::new(sequence(&[
            &small_integer(0),
            &algorithm_null(&oid::RSA),
            &Zeroizing::new(octet_string(der)),
        ]));
        Self::from_pkcs8(&pkcs8)
    }

    /// Reads an elliptic-curve key in SEC1 form ("EC PRIVATE KEY"), which must name its curve.
    ///
    /// # Errors
    /// [`SignError::KeyUnusable`].
    pub fn from_sec1(der: &[u8]) -> Result<Self, SignError> {
        let curve = sec1_curve(der).ok_or(SignError::KeyUnusable)?;
        let pkcs8 = Zeroizing::new(sequence(&[
            &small_integer(0),
            &sequence(&[&write_oid(&oid::EC), curve]),
            &Zeroizing::new(octet_string(der)),
        ]));
        Self::from_pkcs8(&pkcs8)
    }

    /// The key in PKCS#8 form. A secret.
    #[must_use]
    pub fn pkcs8(&self) -> &[u8] {
        &self.pkcs8
    }

    /// Whether messages can be encrypted to this key.
    #[must_use]
    pub fn can_decrypt(&self) -> bool {
        matches!(self.secret, Secret::Rsa { .. })
    }

    /// RSA decryption with PKCS#1 v1.5 padding. The caller must not let failure and success be told apart.
    pub(crate) fn decrypt_pkcs1(&self, ciphertext: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let Secret::Rsa { decrypt, .. } = &self.secret else {
            return None;
        };
        let mut buffer = Zeroizing::new(vec![0; decrypt.min_output_size()]);
        let plain = decrypt.decrypt(ciphertext, &mut buffer).ok()?;
        Some(Zeroizing::new(plain.to_vec()))
    }
}

impl Signer for KeyPair {
    fn public_key_der(&self) -> &[u8] {
        &self.public_key
    }

    fn key_kind(&self) -> KeyKind {
        self.kind
    }

    fn sign(&self, digest: DigestAlgorithm, message: &[u8]) -> Result<Vec<u8>, SignError> {
        let random = SystemRandom::new();
        match &self.secret {
            Secret::Rsa { sign, .. } => {
                let padding = match digest {
                    DigestAlgorithm::Sha256 => &signature::RSA_PKCS1_SHA256,
                    DigestAlgorithm::Sha384 => &signature::RSA_PKCS1_SHA384,
                    DigestAlgorithm::Sha512 => &signature::RSA_PKCS1_SHA512,
                    DigestAlgorithm::Sha1 => return Err(SignError::DigestNotPossible),
                };
                let mut out = vec![0; sign.public_modulus_len()];
                sign.sign(padding, &random, message, &mut out)
                    .map_err(|_| SignError::Failed)?;
                Ok(out)
            }
            Secret::Ec(key) => {
                if digest != self.default_digest() {
                    return Err(SignError::DigestNotPossible);
                }
                let signature = key.sign(&random, message).map_err(|_| SignError::Failed)?;
                Ok(signature.as_ref().to_vec())
            }
        }
    }
}

impl std::fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyPair")
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

fn public_der(key: &impl AsDer<PublicKeyX509Der<'static>>) -> Result<Vec<u8>, SignError> {
    let der = key.as_der().map_err(|_| SignError::KeyUnusable)?;
    Ok(der.as_ref().to_vec())
}

/// The curve name inside a SEC1 key, as a complete element.
fn sec1_curve(der: &[u8]) -> Option<&[u8]> {
    let outer = single(der).ok()?;
    let mut key = Reader::new(outer.value);
    key.small_integer().ok()?;
    key.value(tag::OCTET_STRING).ok()?;
    let named = key.optional(tag::context_constructed(0)).ok()??;
    let curve = single(named.value).ok()?;
    (curve.tag == tag::OID).then_some(curve.raw)
}
