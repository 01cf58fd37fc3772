//! The RSA keys of simulated devices.
//!
//! Owns generation, signing, unwrapping, and the pool that lets a big fleet share a few keys.
//! Never prints a key. Stands below `scep` (requests), `cms` (signatures) and `client`
//! (mutual TLS). Source: RFC 8017; Apple, "SCEP" payload (Keysize, Key Type).

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeySize, Pkcs1PrivateDecryptingKey, PrivateDecryptingKey};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair};
use aws_lc_rs::{digest, rsa};
use der::Decode;
use parking_lot::Mutex;

use crate::asn1;
use crate::modexp::CrtKey;

/// A key operation that the crypto library refused.
#[derive(Debug, thiserror::Error)]
#[error("the crypto library refused a {0} operation")]
pub struct KeyError(pub(crate) &'static str);

/// Which hash a signature is made with.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Digest {
    /// What older systems use.
    Sha1,
    /// What current systems use.
    Sha256,
}

impl Digest {
    pub(crate) const fn oid(self) -> &'static str {
        match self {
            Self::Sha1 => "1.3.14.3.2.26",
            Self::Sha256 => "2.16.840.1.101.3.4.2.1",
        }
    }

    pub(crate) fn of(self, bytes: &[u8]) -> Vec<u8> {
        let algorithm = match self {
            Self::Sha1 => &digest::SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha256 => &digest::SHA256,
        };
        digest::digest(algorithm, bytes).as_ref().to_vec()
    }
}

/// A device's RSA-2048 key.
pub struct DeviceKey {
    signer: RsaKeyPair,
    pkcs8: Vec<u8>,
    spki: Vec<u8>,
}

impl fmt::Debug for DeviceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DeviceKey")
    }
}

impl DeviceKey {
    /// A fresh RSA-2048 key; takes some 100 ms of computing.
    ///
    /// # Errors
    /// [`KeyError`] when the crypto library fails.
    pub fn generate() -> Result<Self, KeyError> {
        let pair = rsa::KeyPair::generate(KeySize::Rsa2048).map_err(|_| KeyError("generate"))?;
        let pkcs8 = AsDer::<Pkcs8V1Der<'_>>::as_der(&pair).map_err(|_| KeyError("encode"))?;
        Self::from_pkcs8(pkcs8.as_ref())
    }

    /// The key in an unencrypted PKCS#8 document.
    ///
    /// # Errors
    /// [`KeyError`] when it is no RSA key of at least 2048 bits.
    pub fn from_pkcs8(pkcs8: &[u8]) -> Result<Self, KeyError> {
        let signer = RsaKeyPair::from_pkcs8(pkcs8).map_err(|_| KeyError("decode"))?;
        let spki = asn1::seq(&[
            &asn1::algorithm("1.2.840.113549.1.1.1"),
            &asn1::bits(signer.public_key().as_ref()),
        ]);
        Ok(Self {
            signer,
            pkcs8: pkcs8.to_vec(),
            spki,
        })
    }

    /// The PKCS#8 document, for a fleet that is written to a file.
    #[must_use]
    pub fn pkcs8(&self) -> &[u8] {
        &self.pkcs8
    }

    /// The public key as SubjectPublicKeyInfo.
    pub(crate) fn spki(&self) -> &[u8] {
        &self.spki
    }

    /// An RSA PKCS#1 v1.5 signature over `message`.
    pub(crate) fn sign(&self, digest: Digest, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        match digest {
            Digest::Sha256 => {
                let mut signature = vec![0; self.signer.public_modulus_len()];
                self.signer
                    .sign(
                        &RSA_PKCS1_SHA256,
                        &SystemRandom::new(),
                        message,
                        &mut signature,
                    )
                    .map_err(|_| KeyError("sign"))?;
                Ok(signature)
            }
            Digest::Sha1 => self.sign_sha1(message),
        }
    }

    /// The content key in an RSA PKCS#1 v1.5 envelope.
    pub(crate) fn unwrap(&self, wrapped: &[u8]) -> Result<Vec<u8>, KeyError> {
        let key = PrivateDecryptingKey::from_pkcs8(&self.pkcs8).map_err(|_| KeyError("decode"))?;
        let key = Pkcs1PrivateDecryptingKey::new(key).map_err(|_| KeyError("decrypt"))?;
        let mut plain = vec![0; key.min_output_size()];
        let plain = key
            .decrypt(wrapped, &mut plain)
            .map_err(|_| KeyError("decrypt"))?;
        Ok(plain.to_vec())
    }

    fn sign_sha1(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        let size = self.signer.public_modulus_len();
        let info = asn1::seq(&[
            &asn1::algorithm(Digest::Sha1.oid()),
            &asn1::tlv(asn1::tag::OCTET_STRING, &Digest::Sha1.of(message)),
        ]);
        let mut block = vec![0xff; size];
        let start = size.saturating_sub(info.len());
        for (to, from) in block.iter_mut().skip(start).zip(&info) {
            *to = *from;
        }
        for (at, value) in [(0, 0), (1, 1), (start.saturating_sub(1), 0)] {
            if let Some(byte) = block.get_mut(at) {
                *byte = value;
            }
        }
        // Taken apart at each use: few devices sign this way, and it keeps the others small.
        let crt = self.crt(size).ok_or(KeyError("decode"))?;
        Ok(crt.private(&block))
    }

    fn crt(&self, size: usize) -> Option<CrtKey> {
        let info = PrivateKeyInfo::from_der(&self.pkcs8).ok()?;
        let key = RsaPrivateKey::from_der(info.key.as_bytes()).ok()?;
        CrtKey::new(
            size,
            key.p.as_bytes(),
            key.q.as_bytes(),
            key.exponent_p.as_bytes(),
            key.exponent_q.as_bytes(),
            key.inverse_q.as_bytes(),
        )
    }
}

/// Where devices get their keys from.
///
/// Real devices have a key each, and [`KeyPool::fresh`] does the same. RSA generation costs
/// about a tenth of a second, so a fleet of thousands uses [`KeyPool::shared`]: its devices
/// have **the same few keys** in different certificates. A test about key uniqueness must not
/// use a shared pool.
#[derive(Debug)]
pub struct KeyPool {
    limit: Option<usize>,
    keys: Mutex<Vec<Arc<DeviceKey>>>,
    turn: AtomicUsize,
}

impl KeyPool {
    /// A key of its own for every certificate.
    #[must_use]
    pub const fn fresh() -> Self {
        Self {
            limit: None,
            keys: Mutex::new(Vec::new()),
            turn: AtomicUsize::new(0),
        }
    }

    /// `count` keys (at least one) that are dealt out in turn; made when first needed.
    #[must_use]
    pub fn shared(count: usize) -> Self {
        Self {
            limit: Some(count.max(1)),
            keys: Mutex::new(Vec::new()),
            turn: AtomicUsize::new(0),
        }
    }

    /// These keys, dealt out in turn; none of them behaves like [`KeyPool::fresh`].
    #[must_use]
    pub const fn of(keys: Vec<Arc<DeviceKey>>) -> Self {
        Self {
            limit: if keys.is_empty() {
                None
            } else {
                Some(keys.len())
            },
            keys: Mutex::new(keys),
            turn: AtomicUsize::new(0),
        }
    }

    /// The next key. Computes; call it where blocking is allowed.
    ///
    /// # Errors
    /// [`KeyError`] when the crypto library fails.
    pub fn take(&self) -> Result<Arc<DeviceKey>, KeyError> {
        let Some(limit) = self.limit else {
            return Ok(Arc::new(DeviceKey::generate()?));
        };
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let mut keys = self.keys.lock();
        if let Some(key) = keys.get(turn % limit) {
            return Ok(Arc::clone(key));
        }
        let key = Arc::new(DeviceKey::generate()?);
        keys.push(Arc::clone(&key));
        Ok(key)
    }
}

/// RFC 5208, as far as it is needed to reach the primes.
#[derive(der::Sequence)]
struct PrivateKeyInfo<'a> {
    version: u8,
    algorithm: der::AnyRef<'a>,
    key: &'a der::asn1::OctetStringRef,
}

/// RFC 8017, appendix A.1.2.
#[derive(der::Sequence)]
struct RsaPrivateKey<'a> {
    version: u8,
    modulus: der::asn1::UintRef<'a>,
    public_exponent: der::asn1::UintRef<'a>,
    private_exponent: der::asn1::UintRef<'a>,
    p: der::asn1::UintRef<'a>,
    q: der::asn1::UintRef<'a>,
    exponent_p: der::asn1::UintRef<'a>,
    exponent_q: der::asn1::UintRef<'a>,
    inverse_q: der::asn1::UintRef<'a>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_lc_rs::signature;

    #[test]
    fn both_kinds_of_signature_verify() {
        let key = DeviceKey::generate().unwrap();
        for (digest, algorithm) in [
            (
                Digest::Sha1,
                &signature::RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY,
            ),
            (Digest::Sha256, &signature::RSA_PKCS1_2048_8192_SHA256),
        ] {
            let signed = key.sign(digest, b"body").unwrap();
            let public = signature::UnparsedPublicKey::new(algorithm, key.signer.public_key());
            public.verify(b"body", &signed).unwrap();
            assert!(public.verify(b"other", &signed).is_err());
        }
    }

    #[test]
    fn a_shared_pool_deals_its_keys_in_turn() {
        let pool = KeyPool::shared(2);
        let keys: Vec<_> = (0..4).map(|_| pool.take().unwrap()).collect();
        assert!(Arc::ptr_eq(&keys[0], &keys[2]));
        assert!(Arc::ptr_eq(&keys[1], &keys[3]));
        assert!(!Arc::ptr_eq(&keys[0], &keys[1]));
    }
}
