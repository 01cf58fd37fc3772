//! Certificates and signatures as they travel in HTTP headers.
//!
//! Owns the text forms alone: base64 that may be wrapped, the byte sequence of RFC 9440, and PEM whose special characters
//! are escaped as in a URL. It never judges what is inside, and never sees a header's name.
//!
//! Sources: RFC 9440 section 2.1 (Client-Cert), RFC 8941 section 3.3.5 (byte sequences), RFC 7468 (PEM), RFC 3986
//! section 2.1 (escapes).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use thiserror::Error;

/// Bytes of a signature header's text, at most.
pub const MAX_SIGNATURE_TEXT: usize = 64 << 10;
/// Bytes of a certificate in a header, at most.
pub const MAX_CERTIFICATE: usize = 16 << 10;

/// Why a header's value cannot be read.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum HeaderError {
    /// The text is longer than any value of its kind.
    #[error("the header is too long")]
    TooLong,
    /// The text is not in the form that its header has.
    #[error("the header is not in its form")]
    Malformed,
}

/// Reads the value of `Mdm-Signature`: base64 of a CMS message, which devices wrap at times.
///
/// # Errors
/// [`HeaderError::TooLong`] above [`MAX_SIGNATURE_TEXT`] bytes, [`HeaderError::Malformed`] for what is not base64.
pub fn signature(value: &str) -> Result<Vec<u8>, HeaderError> {
    if value.len() > MAX_SIGNATURE_TEXT {
        return Err(HeaderError::TooLong);
    }
    unwrap_base64(value)
}

/// Reads the value of `Client-Cert`: a byte sequence (`:base64:`), or escaped PEM, as many proxies write it. Gives the
/// certificate's DER, 1 to [`MAX_CERTIFICATE`] bytes, unread.
///
/// # Errors
/// [`HeaderError::Malformed`] for any other form, or a certificate that is empty or too long.
pub fn client_certificate(value: &str) -> Result<Vec<u8>, HeaderError> {
    let sequence = value
        .strip_prefix(':')
        .and_then(|rest| rest.strip_suffix(':'));
    let der = match sequence {
        Some(inner) => STANDARD.decode(inner).map_err(|_| HeaderError::Malformed)?,
        None => escaped_pem(value)?,
    };
    if der.is_empty() || der.len() > MAX_CERTIFICATE {
        return Err(HeaderError::Malformed);
    }
    Ok(der)
}

/// `-----BEGIN%20CERTIFICATE-----…`
fn escaped_pem(value: &str) -> Result<Vec<u8>, HeaderError> {
    let text = unescape(value).ok_or(HeaderError::Malformed)?;
    let body = text
        .trim()
        .strip_prefix("-----BEGIN CERTIFICATE-----")
        .and_then(|rest| rest.split_once("-----END CERTIFICATE-----"))
        .filter(|(_, tail)| tail.trim().is_empty())
        .map(|(body, _)| body)
        .ok_or(HeaderError::Malformed)?;
    unwrap_base64(body)
}

fn unwrap_base64(text: &str) -> Result<Vec<u8>, HeaderError> {
    let compact: Vec<u8> = text
        .bytes()
        .filter(|byte| !byte.is_ascii_whitespace())
        .collect();
    STANDARD.decode(compact).map_err(|_| HeaderError::Malformed)
}

fn unescape(value: &str) -> Option<String> {
    let mut out = Vec::with_capacity(value.len());
    let mut bytes = value.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let high = char::from(bytes.next()?).to_digit(16)?;
            let low = char::from(bytes.next()?).to_digit(16)?;
            out.push(u8::try_from(high * 16 + low).ok()?);
        } else {
            out.push(byte);
        }
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_read_and_nothing_else() {
        let pem = "-----BEGIN%20CERTIFICATE-----%0AYW%0AJj%0A-----END%20CERTIFICATE-----%0A";
        let long = format!(":{}:", STANDARD.encode(vec![0; MAX_CERTIFICATE + 1]));
        let table: &[(&str, Option<&[u8]>)] = &[
            (":YWJj:", Some(b"abc")),
            (pem, Some(b"abc")),
            ("", None),
            (":", None),
            ("::", None),
            (":%%:", None),
            (": YWJj:", None),
            ("YWJj", None),
            ("-----BEGIN%2", None),
            ("-----BEGIN%zz", None),
            ("%FF%FE", None),
            (
                "-----BEGIN CERTIFICATE-----YWJj-----END CERTIFICATE-----x",
                None,
            ),
            (&long, None),
        ];
        for (value, expected) in table {
            let read = client_certificate(value).ok();
            assert_eq!(read.as_deref(), *expected, "{value:.40}");
        }
    }

    #[test]
    fn a_signature_may_be_wrapped_and_has_a_bound() {
        assert_eq!(signature("YW\r\n\tJj").as_deref(), Ok(b"abc".as_slice()));
        assert_eq!(signature("****"), Err(HeaderError::Malformed));
        let long = "A".repeat(MAX_SIGNATURE_TEXT + 4);
        assert_eq!(signature(&long), Err(HeaderError::TooLong));
    }
}
