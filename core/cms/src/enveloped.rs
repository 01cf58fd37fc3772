//! Opens and makes CMS `EnvelopedData` for RSA recipients.
//!
//! Opening has two phases. Everything readable without a key may fail with a reason. From the moment the recipient matched,
//! there is one error only, and a wrong session key is replaced by a random one so that bad RSA padding costs the same work as
//! bad block padding: otherwise the answers would let a stranger decrypt step by step (RFC 3218).
//!
//! Triple DES is read for old SCEP clients where a policy says so, and never written. Source: RFC 5652 section 6, RFC 3565.

use aws_lc_rs::cipher::{
    AES_128, AES_192, AES_256, Algorithm, DecryptionContext, EncryptionContext,
    PaddedBlockDecryptingKey, PaddedBlockEncryptingKey, UnboundCipherKey,
};
use aws_lc_rs::iv::FixedLength;
use aws_lc_rs::rsa::{Pkcs1PublicEncryptingKey, PublicEncryptingKey};
use cbc::cipher::{Block, BlockModeDecrypt, KeyIvInit};
use der::asn1::ObjectIdentifier;
use zeroize::Zeroizing;

use crate::ber::{self, BerError, Limits};
use crate::der_io::{
    NotDer, Reader, Tlv, algorithm_null, element, octet_string, oid as write_oid, read_algorithm,
    sequence, set_of, single, small_integer, tag,
};
use crate::key::KeyKind;
use crate::oid;
use crate::sign::{KeyPair, content_info as write_content_info, issuer_and_serial};
use crate::signed::content_info;
use crate::x509::Certificate;

/// Most recipients a message may have.
pub const MAX_RECIPIENTS: usize = 16;

/// A content cipher.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ContentCipher {
    /// AES-128-CBC.
    Aes128,
    /// AES-192-CBC.
    Aes192,
    /// AES-256-CBC.
    Aes256,
    /// Triple DES in CBC mode: read only.
    TripleDes,
}

impl ContentCipher {
    /// Its object identifier.
    #[must_use]
    pub const fn oid(self) -> ObjectIdentifier {
        match self {
            Self::Aes128 => oid::AES128_CBC,
            Self::Aes192 => oid::AES192_CBC,
            Self::Aes256 => oid::AES256_CBC,
            Self::TripleDes => oid::DES_EDE3_CBC,
        }
    }

    const fn key_bytes(self) -> usize {
        match self {
            Self::Aes128 => 16,
            Self::Aes192 | Self::TripleDes => 24,
            Self::Aes256 => 32,
        }
    }

    const fn block_bytes(self) -> usize {
        match self {
            Self::TripleDes => 8,
            _ => 16,
        }
    }

    /// The cipher for AES; none for triple DES, which is done elsewhere.
    fn aes(self) -> Option<&'static Algorithm> {
        match self {
            Self::Aes128 => Some(&AES_128),
            Self::Aes192 => Some(&AES_192),
            Self::Aes256 => Some(&AES_256),
            Self::TripleDes => None,
        }
    }
}

/// What is accepted when opening.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecryptPolicy {
    /// Accept triple DES.
    pub allow_triple_des: bool,
    /// Largest message in bytes.
    pub max_bytes: usize,
}

impl DecryptPolicy {
    /// AES only, up to 1 MiB.
    #[must_use]
    pub const fn strict() -> Self {
        Self {
            allow_triple_des: false,
            max_bytes: 1024 * 1024,
        }
    }
}

/// Why a message was not opened or made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopedError {
    /// The bytes break the encoding rules or a bound.
    #[error("not acceptable BER: {0}")]
    Ber(#[from] BerError),
    /// Another kind of message.
    #[error("not an encrypted message")]
    NotEnvelopedData,
    /// The structure is not that of an encrypted message.
    #[error("encrypted message malformed")]
    Malformed,
    /// More than [`MAX_RECIPIENTS`].
    #[error("too many recipients")]
    TooManyRecipients,
    /// The content cipher is unknown or not accepted here.
    #[error("content cipher not supported")]
    UnsupportedCipher,
    /// No recipient is this certificate.
    #[error("encrypted to another recipient")]
    OtherRecipient,
    /// It could not be decrypted. There is deliberately no further reason.
    #[error("cannot be decrypted")]
    Undecryptable,
    /// The recipient's certificate holds no usable RSA key.
    #[error("recipient has no usable RSA key")]
    RecipientKey,
    /// Encrypting failed.
    #[error("encryption failed")]
    EncryptFailed,
}

impl EnvelopedError {
    /// Stable short name for logs and tests.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Ber(error) => error.code(),
            Self::NotEnvelopedData => "cms_not_enveloped_data",
            Self::Malformed => "cms_enveloped_malformed",
            Self::TooManyRecipients => "cms_too_many_recipients",
            Self::UnsupportedCipher => "cms_unsupported_cipher",
            Self::OtherRecipient => "cms_other_recipient",
            Self::Undecryptable => "cms_undecryptable",
            Self::RecipientKey => "cms_recipient_key",
            Self::EncryptFailed => "cms_encrypt_failed",
        }
    }
}

impl From<NotDer> for EnvelopedError {
    fn from(_: NotDer) -> Self {
        Self::Malformed
    }
}

/// Opens a message that was encrypted to `certificate`.
///
/// The format has no integrity check: a damaged message may come out as rubbish instead of an error. The caller must treat
/// contents it cannot parse exactly like [`EnvelopedError::Undecryptable`].
///
/// # Errors
/// [`EnvelopedError`]; [`EnvelopedError::Undecryptable`] for everything that goes wrong after a recipient matched.
pub fn decrypt(
    message: &[u8],
    certificate: &Certificate,
    key: &KeyPair,
    policy: &DecryptPolicy,
) -> Result<Zeroizing<Vec<u8>>, EnvelopedError> {
    let der = ber::normalize(message, Limits::for_bytes(policy.max_bytes))?;
    let parts = EnvelopedParts::read(&der)?;
    let cipher = parts.cipher()?;
    if cipher == ContentCipher::TripleDes && !policy.allow_triple_des {
        return Err(EnvelopedError::UnsupportedCipher);
    }
    let wrapped_key = parts
        .recipients
        .iter()
        .find(|recipient| recipient.names(certificate))
        .ok_or(EnvelopedError::OtherRecipient)?
        .encrypted_key;

    // One outcome from here on.
    let mut session_key = Zeroizing::new(vec![0; cipher.key_bytes()]);
    aws_lc_rs::rand::fill(&mut session_key).map_err(|_| EnvelopedError::Undecryptable)?;
    if let Some(found) = key.decrypt_pkcs1(wrapped_key)
        && found.len() == session_key.len()
    {
        session_key = found;
    }
    decrypt_content(cipher, &session_key, parts.iv, parts.ciphertext)
        .ok_or(EnvelopedError::Undecryptable)
}

/// The content cipher a message names, without opening it.
///
/// # Errors
/// [`EnvelopedError`].
pub fn content_cipher(
    message: &[u8],
    policy: &DecryptPolicy,
) -> Result<ContentCipher, EnvelopedError> {
    let der = ber::normalize(message, Limits::for_bytes(policy.max_bytes))?;
    EnvelopedParts::read(&der)?.cipher()
}

/// Encrypts `content` to the RSA key of `recipient`.
///
/// # Errors
/// [`EnvelopedError::RecipientKey`] for other keys, [`EnvelopedError::UnsupportedCipher`] for triple DES,
/// [`EnvelopedError::EncryptFailed`].
pub fn encrypt(
    content: &[u8],
    recipient: &Certificate,
    cipher: ContentCipher,
) -> Result<Vec<u8>, EnvelopedError> {
    let algorithm = cipher.aes().ok_or(EnvelopedError::UnsupportedCipher)?;
    if !matches!(recipient.key_kind(), Ok(KeyKind::Rsa { .. })) {
        return Err(EnvelopedError::RecipientKey);
    }
    let public = PublicEncryptingKey::from_der(recipient.public_key_der())
        .map_err(|_| EnvelopedError::RecipientKey)?;
    let public = Pkcs1PublicEncryptingKey::new(public).map_err(|_| EnvelopedError::RecipientKey)?;
    let failed = |_| EnvelopedError::EncryptFailed;

    let mut session_key = Zeroizing::new(vec![0; cipher.key_bytes()]);
    let mut iv = [0u8; 16];
    aws_lc_rs::rand::fill(&mut session_key).map_err(failed)?;
    aws_lc_rs::rand::fill(&mut iv).map_err(failed)?;
    let mut wrapped_key = vec![0; public.ciphertext_size()];
    let wrapped_key = public
        .encrypt(&session_key, &mut wrapped_key)
        .map_err(failed)?;

    let mut ciphertext = content.to_vec();
    let unbound = UnboundCipherKey::new(algorithm, &session_key).map_err(failed)?;
    PaddedBlockEncryptingKey::cbc_pkcs7(unbound)
        .and_then(|key| {
            key.less_safe_encrypt(
                &mut ciphertext,
                EncryptionContext::Iv128(FixedLength::from(iv)),
            )
        })
        .map_err(failed)?;

    let recipient = sequence(&[
        &small_integer(0),
        &issuer_and_serial(recipient),
        &algorithm_null(&oid::RSA),
        &octet_string(wrapped_key),
    ]);
    let body = sequence(&[
        &small_integer(0),
        &set_of(tag::SET, vec![recipient]),
        &sequence(&[
            &write_oid(&oid::DATA),
            &sequence(&[&write_oid(&cipher.oid()), &octet_string(&iv)]),
            &element(tag::context(0), &[&ciphertext]),
        ]),
    ]);
    Ok(write_content_info(&oid::ENVELOPED_DATA, &body))
}

struct EnvelopedParts<'a> {
    recipients: Vec<Recipient<'a>>,
    cipher: Option<ContentCipher>,
    iv: &'a [u8],
    ciphertext: &'a [u8],
}

struct Recipient<'a> {
    id: Tlv<'a>,
    encrypted_key: &'a [u8],
}

impl Recipient<'_> {
    fn names(&self, certificate: &Certificate) -> bool {
        if self.id.tag == tag::SEQUENCE {
            self.id.raw == issuer_and_serial(certificate)
        } else {
            certificate.subject_key_id() == Some(self.id.value)
        }
    }
}

impl<'a> EnvelopedParts<'a> {
    fn read(der: &'a [u8]) -> Result<Self, EnvelopedError> {
        let mut body =
            content_info(der, oid::ENVELOPED_DATA)?.ok_or(EnvelopedError::NotEnvelopedData)?;
        if body.small_integer()? > 4 {
            return Err(EnvelopedError::Malformed);
        }
        body.optional(tag::context_constructed(0))?;
        let recipients = read_recipients(body.enter(tag::SET)?)?;
        let mut content = body.enter(tag::SEQUENCE)?;
        body.optional(tag::context_constructed(1))?;
        body.finish()?;
        content.oid()?;
        let (algorithm, parameters) = read_algorithm(content.value(tag::SEQUENCE)?)?;
        let ciphertext = content.value(tag::context(0))?;
        content.finish()?;
        let cipher = [
            ContentCipher::Aes128,
            ContentCipher::Aes192,
            ContentCipher::Aes256,
            ContentCipher::TripleDes,
        ]
        .into_iter()
        .find(|cipher| cipher.oid() == algorithm);
        let iv = match cipher {
            Some(cipher) => {
                let iv = single(parameters)?;
                if iv.tag != tag::OCTET_STRING || iv.value.len() != cipher.block_bytes() {
                    return Err(EnvelopedError::Malformed);
                }
                iv.value
            }
            None => &[],
        };
        Ok(Self {
            recipients,
            cipher,
            iv,
            ciphertext,
        })
    }

    fn cipher(&self) -> Result<ContentCipher, EnvelopedError> {
        self.cipher.ok_or(EnvelopedError::UnsupportedCipher)
    }
}

/// Keeps the recipients with RSA key transport; other kinds are passed over but counted.
fn read_recipients(mut set: Reader<'_>) -> Result<Vec<Recipient<'_>>, EnvelopedError> {
    let mut recipients = Vec::new();
    let mut count = 0usize;
    while !set.is_empty() {
        count += 1;
        if count > MAX_RECIPIENTS {
            return Err(EnvelopedError::TooManyRecipients);
        }
        let item = set.any()?;
        if item.tag != tag::SEQUENCE {
            continue;
        }
        let mut transport = Reader::new(item.value);
        transport.small_integer()?;
        let id = transport.any()?;
        if id.tag != tag::SEQUENCE && id.tag != tag::context(0) {
            return Err(EnvelopedError::Malformed);
        }
        let (algorithm, _) = read_algorithm(transport.value(tag::SEQUENCE)?)?;
        let encrypted_key = transport.value(tag::OCTET_STRING)?;
        transport.finish()?;
        if algorithm == oid::RSA {
            recipients.push(Recipient { id, encrypted_key });
        }
    }
    if count == 0 {
        return Err(EnvelopedError::Malformed);
    }
    Ok(recipients)
}

/// CBC with PKCS#7 padding; none for anything that does not fit.
fn decrypt_content(
    cipher: ContentCipher,
    session_key: &[u8],
    iv: &[u8],
    ciphertext: &[u8],
) -> Option<Zeroizing<Vec<u8>>> {
    if ciphertext.is_empty() || !ciphertext.len().is_multiple_of(cipher.block_bytes()) {
        return None;
    }
    let mut buffer = Zeroizing::new(ciphertext.to_vec());
    let length = match cipher.aes() {
        Some(algorithm) => {
            let key = UnboundCipherKey::new(algorithm, session_key).ok()?;
            let key = PaddedBlockDecryptingKey::cbc_pkcs7(key).ok()?;
            let iv = FixedLength::<16>::try_from(iv).ok()?;
            let plain = key
                .decrypt(&mut buffer, DecryptionContext::Iv128(iv))
                .ok()?;
            plain.len()
        }
        None => decrypt_triple_des(session_key, iv, &mut buffer)?,
    };
    buffer.truncate(length);
    Some(buffer)
}

/// Decrypts in place and returns the length without padding.
fn decrypt_triple_des(session_key: &[u8], iv: &[u8], buffer: &mut [u8]) -> Option<usize> {
    type Mode = cbc::Decryptor<des::TdesEde3>;
    let mut mode = Mode::new_from_slices(session_key, iv).ok()?;
    for chunk in buffer.as_chunks_mut::<8>().0 {
        let block: &mut Block<Mode> = chunk.into();
        mode.decrypt_block(block);
    }
    let padding = usize::from(*buffer.last()?);
    let content = buffer.len().checked_sub(padding)?;
    let well_formed = (1..=8).contains(&padding)
        && buffer
            .get(content..)?
            .iter()
            .all(|byte| usize::from(*byte) == padding);
    well_formed.then_some(content)
}
