//! Digests, public keys and signature checks.
//!
//! Owns what a public key must look like before any arithmetic is done with it: size and exponent of RSA keys, named curves,
//! the fingerprint of one known-weak generator. Never judges certificates. Sources: RFC 3279, RFC 5480, RFC 8017;
//! "The Return of Coppersmith's Attack" (2017) for the weak generator.

use aws_lc_rs::digest as hash;
use aws_lc_rs::signature as sig;
use der::asn1::ObjectIdentifier;

use crate::der_io::{NotDer, Reader, read_algorithm, single, tag};
use crate::oid;

/// Smallest RSA key accepted by default, in bits.
pub const MIN_RSA_BITS: u32 = 2048;
/// Largest RSA key accepted, in bits. Larger ones are refused before any arithmetic.
pub const MAX_RSA_BITS: u32 = 8192;

/// A message digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DigestAlgorithm {
    /// SHA-1: verified only where a policy says so, never written.
    Sha1,
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

impl DigestAlgorithm {
    /// Its object identifier.
    #[must_use]
    pub const fn oid(self) -> ObjectIdentifier {
        match self {
            Self::Sha1 => oid::SHA1,
            Self::Sha256 => oid::SHA256,
            Self::Sha384 => oid::SHA384,
            Self::Sha512 => oid::SHA512,
        }
    }

    /// The digest with this identifier, if it is one of ours.
    #[must_use]
    pub fn from_oid(id: &ObjectIdentifier) -> Option<Self> {
        [Self::Sha1, Self::Sha256, Self::Sha384, Self::Sha512]
            .into_iter()
            .find(|digest| digest.oid() == *id)
    }

    /// The digest of `data`.
    #[must_use]
    pub fn digest(self, data: &[u8]) -> Vec<u8> {
        let algorithm = match self {
            Self::Sha1 => &hash::SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha256 => &hash::SHA256,
            Self::Sha384 => &hash::SHA384,
            Self::Sha512 => &hash::SHA512,
        };
        hash::digest(algorithm, data).as_ref().to_vec()
    }
}

/// SHA-256 of some bytes: the fingerprint used for certificates and keys.
#[must_use]
pub fn sha256(data: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    for (to, from) in out
        .iter_mut()
        .zip(hash::digest(&hash::SHA256, data).as_ref())
    {
        *to = *from;
    }
    out
}

/// What kind of public key, and for RSA how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyKind {
    /// RSA with a modulus of so many bits.
    Rsa {
        /// Length of the modulus in bits.
        bits: u32,
    },
    /// Elliptic curve P-256.
    P256,
    /// Elliptic curve P-384.
    P384,
}

/// Why a public key is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The key is not readable.
    #[error("public key malformed")]
    Malformed,
    /// Neither RSA nor an elliptic curve.
    #[error("key type not supported")]
    UnknownType,
    /// Shorter than the minimum.
    #[error("RSA key too short")]
    TooShort,
    /// Longer than [`MAX_RSA_BITS`].
    #[error("RSA key too long")]
    TooLong,
    /// Even, smaller than 3, or longer than 4 bytes.
    #[error("RSA exponent not acceptable")]
    Exponent,
    /// The modulus is even.
    #[error("RSA modulus even")]
    EvenModulus,
    /// Made by a generator whose keys can be factored.
    #[error("key known to be weak")]
    KnownWeak,
    /// Curve parameters written out instead of a name.
    #[error("curve given by explicit parameters")]
    ExplicitCurve,
    /// A named curve other than P-256 and P-384.
    #[error("curve not supported")]
    UnknownCurve,
    /// The point is compressed or has the wrong length.
    #[error("curve point malformed")]
    Point,
}

impl KeyError {
    /// Stable short name for logs and tests.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Malformed => "key_malformed",
            Self::UnknownType => "key_unknown_type",
            Self::TooShort => "key_too_short",
            Self::TooLong => "key_too_long",
            Self::Exponent => "key_exponent",
            Self::EvenModulus => "key_even_modulus",
            Self::KnownWeak => "key_known_weak",
            Self::ExplicitCurve => "key_explicit_curve",
            Self::UnknownCurve => "key_unknown_curve",
            Self::Point => "key_point",
        }
    }
}

impl From<NotDer> for KeyError {
    fn from(_: NotDer) -> Self {
        Self::Malformed
    }
}

/// Judges a `SubjectPublicKeyInfo` (DER) by the default rules: RSA of 2048 to 8192 bits, P-256 or P-384.
///
/// # Errors
/// [`KeyError`] says which rule failed. No arithmetic is done with refused keys except for the test for known-weak ones.
pub fn key_kind(public_key_der: &[u8]) -> Result<KeyKind, KeyError> {
    let key = PublicKey::read(public_key_der)?;
    key.require(MIN_RSA_BITS)?;
    if let Material::Rsa { modulus, .. } = key.material
        && made_by_weak_generator(modulus)
    {
        return Err(KeyError::KnownWeak);
    }
    Ok(key.kind())
}

/// A public key taken apart, its bytes still those of the sender.
#[derive(Clone, Copy)]
pub(crate) struct PublicKey<'a> {
    material: Material<'a>,
    /// The contents of the BIT STRING: `RSAPublicKey` or the point.
    bits: &'a [u8],
}

#[derive(Clone, Copy)]
enum Material<'a> {
    Rsa {
        modulus: &'a [u8],
        exponent: &'a [u8],
    },
    P256,
    P384,
}

impl<'a> PublicKey<'a> {
    pub(crate) fn read(public_key_der: &'a [u8]) -> Result<Self, KeyError> {
        let outer = single(public_key_der)?;
        if outer.tag != tag::SEQUENCE {
            return Err(KeyError::Malformed);
        }
        let mut reader = Reader::new(outer.value);
        let (algorithm, parameters) = read_algorithm(reader.value(tag::SEQUENCE)?)?;
        let bits = reader.bit_string()?;
        reader.finish()?;
        let material = if algorithm == oid::RSA {
            read_rsa(bits)?
        } else if algorithm == oid::EC {
            read_point(parameters, bits)?
        } else {
            return Err(KeyError::UnknownType);
        };
        Ok(Self { material, bits })
    }

    pub(crate) fn bits(&self) -> &'a [u8] {
        self.bits
    }

    pub(crate) fn kind(&self) -> KeyKind {
        match self.material {
            Material::Rsa { modulus, .. } => KeyKind::Rsa {
                bits: bit_length(modulus),
            },
            Material::P256 => KeyKind::P256,
            Material::P384 => KeyKind::P384,
        }
    }

    /// Size and exponent rules of RSA keys; curves were judged while reading.
    pub(crate) fn require(&self, min_rsa_bits: u32) -> Result<(), KeyError> {
        let Material::Rsa { modulus, exponent } = self.material else {
            return Ok(());
        };
        let bits = bit_length(modulus);
        if bits > MAX_RSA_BITS {
            return Err(KeyError::TooLong);
        }
        if bits < min_rsa_bits {
            return Err(KeyError::TooShort);
        }
        if modulus.last().is_none_or(|last| last % 2 == 0) {
            return Err(KeyError::EvenModulus);
        }
        let odd = exponent.last().is_some_and(|last| last % 2 == 1);
        if !odd || exponent == [1] || exponent.len() > 4 {
            return Err(KeyError::Exponent);
        }
        Ok(())
    }
}

fn read_rsa(bits: &[u8]) -> Result<Material<'_>, KeyError> {
    let outer = single(bits)?;
    if outer.tag != tag::SEQUENCE {
        return Err(KeyError::Malformed);
    }
    let mut reader = Reader::new(outer.value);
    let modulus = positive(reader.integer()?)?;
    let exponent = positive(reader.integer()?)?;
    reader.finish()?;
    Ok(Material::Rsa { modulus, exponent })
}

/// Strips the sign byte; refuses zero and negative numbers.
fn positive(integer: &[u8]) -> Result<&[u8], KeyError> {
    match integer {
        [0] => Err(KeyError::Malformed),
        [0, rest @ ..] => Ok(rest),
        [first, ..] if *first < 0x80 => Ok(integer),
        _ => Err(KeyError::Malformed),
    }
}

fn read_point<'a>(parameters: &[u8], point: &[u8]) -> Result<Material<'a>, KeyError> {
    let mut reader = Reader::new(parameters);
    if reader.peek() != Some(tag::OID) {
        return Err(KeyError::ExplicitCurve);
    }
    let curve = reader.oid()?;
    let (material, length) = if curve == oid::P256 {
        (Material::P256, 65)
    } else if curve == oid::P384 {
        (Material::P384, 97)
    } else {
        return Err(KeyError::UnknownCurve);
    };
    if point.len() != length || point.first() != Some(&4) {
        return Err(KeyError::Point);
    }
    Ok(material)
}

fn bit_length(number: &[u8]) -> u32 {
    let bytes = u32::try_from(number.len()).unwrap_or(u32::MAX / 8);
    bytes * 8 - number.first().map_or(0, |first| first.leading_zeros())
}

/// Moduli of one widely used smart-card library are powers of 65537 modulo every small prime; a random modulus passes all of
/// these tests with a chance below 2^-27.
fn made_by_weak_generator(modulus: &[u8]) -> bool {
    const PRIMES: [u32; 17] = [
        11, 13, 17, 19, 37, 53, 61, 71, 73, 79, 97, 103, 107, 109, 127, 151, 157,
    ];
    PRIMES.iter().all(|prime| {
        let residue = modulus
            .iter()
            .fold(0u32, |sum, byte| (sum * 256 + u32::from(*byte)) % prime);
        let mut power = 1u32;
        for _ in 0..*prime {
            if power == residue {
                return true;
            }
            power = power * (65_537 % prime) % prime;
        }
        false
    })
}

/// A signature algorithm as far as its identifier tells: RSA may leave the digest to be named elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Scheme {
    pub(crate) rsa: bool,
    pub(crate) digest: Option<DigestAlgorithm>,
}

impl Scheme {
    /// Reads the contents of an `AlgorithmIdentifier`. Absent and NULL parameters are both met in the wild.
    pub(crate) fn read(algorithm: &[u8]) -> Option<Self> {
        let (id, parameters) = read_algorithm(algorithm).ok()?;
        if !parameters.is_empty() && parameters != [tag::NULL, 0] && id != oid::EC {
            return None;
        }
        use DigestAlgorithm::{Sha1, Sha256, Sha384, Sha512};
        let table = [
            (oid::RSA, true, None),
            (oid::RSA_SHA256, true, Some(Sha256)),
            (oid::RSA_SHA1, true, Some(Sha1)),
            (oid::RSA_SHA1_OIW, true, Some(Sha1)),
            (oid::RSA_SHA384, true, Some(Sha384)),
            (oid::RSA_SHA512, true, Some(Sha512)),
            (oid::ECDSA_SHA256, false, Some(Sha256)),
            (oid::ECDSA_SHA384, false, Some(Sha384)),
            (oid::ECDSA_SHA512, false, Some(Sha512)),
            (oid::ECDSA_SHA1, false, Some(Sha1)),
            (oid::EC, false, None),
        ];
        table
            .iter()
            .find(|(known, ..)| *known == id)
            .map(|&(_, rsa, digest)| Self { rsa, digest })
    }
}

/// Why a signature does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum VerifyError {
    Unsupported,
    Key(KeyError),
    Invalid,
}

/// Checks a signature over `message`. RSA keys shorter than 2048 bits count only with `short_rsa`.
pub(crate) fn verify(
    public_key_der: &[u8],
    rsa: bool,
    digest: DigestAlgorithm,
    message: &[u8],
    signature: &[u8],
    short_rsa: bool,
) -> Result<(), VerifyError> {
    let key = PublicKey::read(public_key_der).map_err(VerifyError::Key)?;
    key.require(if short_rsa { 1024 } else { MIN_RSA_BITS })
        .map_err(VerifyError::Key)?;
    use DigestAlgorithm::{Sha1, Sha256, Sha384, Sha512};
    let algorithm: &'static dyn sig::VerificationAlgorithm = match (key.kind(), rsa, digest) {
        (KeyKind::Rsa { bits }, true, _) if bits < MIN_RSA_BITS => match digest {
            Sha1 => &sig::RSA_PKCS1_1024_8192_SHA1_FOR_LEGACY_USE_ONLY,
            Sha256 => &sig::RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY,
            Sha512 => &sig::RSA_PKCS1_1024_8192_SHA512_FOR_LEGACY_USE_ONLY,
            Sha384 => return Err(VerifyError::Unsupported),
        },
        (KeyKind::Rsa { .. }, true, Sha1) => &sig::RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY,
        (KeyKind::Rsa { .. }, true, Sha256) => &sig::RSA_PKCS1_2048_8192_SHA256,
        (KeyKind::Rsa { .. }, true, Sha384) => &sig::RSA_PKCS1_2048_8192_SHA384,
        (KeyKind::Rsa { .. }, true, Sha512) => &sig::RSA_PKCS1_2048_8192_SHA512,
        (KeyKind::P256, false, Sha1) => &sig::ECDSA_P256_SHA1_ASN1,
        (KeyKind::P256, false, Sha256) => &sig::ECDSA_P256_SHA256_ASN1,
        (KeyKind::P256, false, Sha384) => &sig::ECDSA_P256_SHA384_ASN1,
        (KeyKind::P256, false, Sha512) => &sig::ECDSA_P256_SHA512_ASN1,
        (KeyKind::P384, false, Sha256) => &sig::ECDSA_P384_SHA256_ASN1,
        (KeyKind::P384, false, Sha384) => &sig::ECDSA_P384_SHA384_ASN1,
        (KeyKind::P384, false, Sha512) => &sig::ECDSA_P384_SHA512_ASN1,
        _ => return Err(VerifyError::Unsupported),
    };
    sig::UnparsedPublicKey::new(algorithm, key.bits())
        .verify(message, signature)
        .map_err(|_| VerifyError::Invalid)
}
