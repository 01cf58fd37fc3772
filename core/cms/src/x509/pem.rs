//! PEM text to and from certificates and private keys.
//!
//! The reader takes what people paste: blocks run together on one line, text between blocks, any line length. It never
//! decrypts; encrypted keys are refused by name so that the answer can say what to do. Source: RFC 7468, RFC 1421 for the
//! header of encrypted keys.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::certificate::{Certificate, CertificateError};
use crate::sign::{KeyPair, SignError};

/// Longest PEM text that is read, in bytes.
pub const MAX_PEM_BYTES: usize = 1024 * 1024;
/// Most blocks in one text.
const MAX_BLOCKS: usize = 64;

/// Why PEM text cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PemError {
    /// Longer than [`MAX_PEM_BYTES`] or with too many blocks.
    #[error("PEM text too long")]
    TooLong,
    /// A block begins and does not end, or ends under another name.
    #[error("PEM block not closed")]
    Unclosed,
    /// A block is not base64.
    #[error("PEM block is not base64")]
    Base64,
    /// There is no certificate in the text.
    #[error("no certificate in the PEM text")]
    NoCertificate,
    /// There is no private key in the text.
    #[error("no private key in the PEM text")]
    NoKey,
    /// There is more than one private key in the text.
    #[error("more than one private key in the PEM text")]
    SeveralKeys,
    /// The private key is encrypted with a passphrase.
    #[error("the private key is encrypted; decrypt it first")]
    EncryptedKey,
    /// A certificate block cannot be read.
    #[error("certificate in the PEM text: {0}")]
    Certificate(#[from] CertificateError),
    /// The private key cannot be used.
    #[error("private key in the PEM text: {0}")]
    Key(#[from] SignError),
}

/// One block: its label and its decoded bytes, wiped when dropped.
pub struct Block {
    /// The words between `BEGIN` and the dashes.
    pub label: String,
    /// The decoded bytes.
    pub bytes: Zeroizing<Vec<u8>>,
}

/// Reads all blocks of a text in order.
///
/// # Errors
/// [`PemError`].
pub fn read_blocks(text: &str) -> Result<Vec<Block>, PemError> {
    if text.len() > MAX_PEM_BYTES {
        return Err(PemError::TooLong);
    }
    let mut blocks = Vec::new();
    let mut rest = text;
    while let Some((_, after_begin)) = rest.split_once("-----BEGIN ") {
        if blocks.len() == MAX_BLOCKS {
            return Err(PemError::TooLong);
        }
        let (label, after_label) = after_begin.split_once("-----").ok_or(PemError::Unclosed)?;
        let (body, after_body) = after_label
            .split_once("-----END ")
            .ok_or(PemError::Unclosed)?;
        rest = after_body
            .strip_prefix(label)
            .and_then(|tail| tail.strip_prefix("-----"))
            .ok_or(PemError::Unclosed)?;
        if label.starts_with("ENCRYPTED ") || body.contains("ENCRYPTED") {
            return Err(PemError::EncryptedKey);
        }
        let packed: Zeroizing<String> = Zeroizing::new(
            body.chars()
                .filter(|letter| !letter.is_whitespace())
                .collect(),
        );
        let bytes = STANDARD
            .decode(packed.as_bytes())
            .map_err(|_| PemError::Base64)?;
        blocks.push(Block {
            label: label.to_owned(),
            bytes: Zeroizing::new(bytes),
        });
    }
    Ok(blocks)
}

/// Reads all certificates of a text, in order; other blocks are passed over.
///
/// # Errors
/// [`PemError`]; [`PemError::NoCertificate`] where there is none.
pub fn certificates(text: &str) -> Result<Vec<Certificate>, PemError> {
    let mut certificates = Vec::new();
    for block in read_blocks(text)? {
        if matches!(
            block.label.as_str(),
            "CERTIFICATE" | "X509 CERTIFICATE" | "TRUSTED CERTIFICATE"
        ) {
            certificates.push(Certificate::from_der(&block.bytes)?);
        }
    }
    if certificates.is_empty() {
        return Err(PemError::NoCertificate);
    }
    Ok(certificates)
}

/// Reads the one private key of a text, in PKCS#8, PKCS#1 or SEC1 form.
///
/// # Errors
/// [`PemError`].
pub fn private_key(text: &str) -> Result<KeyPair, PemError> {
    let mut found = None;
    for block in read_blocks(text)? {
        let key = match block.label.as_str() {
            "PRIVATE KEY" => KeyPair::from_pkcs8(&block.bytes)?,
            "RSA PRIVATE KEY" => KeyPair::from_pkcs1(&block.bytes)?,
            "EC PRIVATE KEY" => KeyPair::from_sec1(&block.bytes)?,
            _ => continue,
        };
        if found.replace(key).is_some() {
            return Err(PemError::SeveralKeys);
        }
    }
    found.ok_or(PemError::NoKey)
}

/// Writes one certificate.
#[must_use]
pub fn write_certificate(certificate: &Certificate) -> String {
    write("CERTIFICATE", certificate.der())
}

/// Writes a private key in PKCS#8 form.
#[must_use]
pub fn write_private_key(key: &KeyPair) -> Zeroizing<String> {
    Zeroizing::new(write("PRIVATE KEY", key.pkcs8()))
}

fn write(label: &str, bytes: &[u8]) -> String {
    let body = Zeroizing::new(STANDARD.encode(bytes));
    let mut text = String::with_capacity(body.len() + body.len() / 64 + 64 + 2 * label.len());
    text.push_str("-----BEGIN ");
    text.push_str(label);
    text.push_str("-----\n");
    for (index, letter) in body.chars().enumerate() {
        if index > 0 && index % 64 == 0 {
            text.push('\n');
        }
        text.push(letter);
    }
    text.push_str("\n-----END ");
    text.push_str(label);
    text.push_str("-----\n");
    text
}
