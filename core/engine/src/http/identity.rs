//! Who sends a request: three ways to show a certificate, one result.
//!
//! Owns: mutual TLS ended by this server, the `Mdm-Signature` header, and a trusted proxy's `Client-Cert` header
//! (RFC 9440, or URL-escaped PEM). It proves possession only; whether the certificate may act is the engine's to judge,
//! so that a device with an expired identity can still be told something.
//!
//! A certificate in a header counts on the proxy's own listener and nowhere else, from listed addresses, exactly once.
//!
//! Source: RFC 9440 section 2; Apple, "MDM payload" (SignMessage).

use std::net::IpAddr;

use aws_lc_rs::digest;
use axum::http::{Extensions, HeaderMap, HeaderName};
use bytes::Bytes;
use pomona_cms::header::{self, HeaderError};
use pomona_cms::{Blame, Policy, signed};

use super::{PeerAddress, TlsPeer};
use crate::engine::Identity;
use crate::ids::TenantId;

/// Where a listener takes the certificate from.
#[derive(Clone, Debug)]
pub enum IdentitySource {
    /// TLS ends here: the client certificate, or a signature.
    Tls,
    /// A proxy ends TLS and sends the certificate in `Client-Cert`; only these addresses are believed.
    Proxy {
        /// The proxies' own addresses.
        trusted: Vec<IpAddr>,
    },
}

const CLIENT_CERT: HeaderName = HeaderName::from_static("client-cert");
const MDM_SIGNATURE: HeaderName = HeaderName::from_static("mdm-signature");

/// What was shown before the body is read.
#[derive(Debug)]
pub(crate) struct Shown {
    certificate: Option<Vec<u8>>,
    signature: Option<Vec<u8>>,
}

/// Why nobody can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unidentified {
    /// 400: what was shown cannot be read.
    Malformed,
    /// 403: nothing was shown, or it does not hold.
    Refused,
    /// 431: a header is too long.
    TooLong,
}

/// Reads the headers and the connection.
pub(crate) fn shown(
    source: &IdentitySource,
    headers: &HeaderMap,
    extensions: &Extensions,
) -> Result<Shown, Unidentified> {
    let certificate = match source {
        IdentitySource::Tls => extensions.get::<TlsPeer>().and_then(|peer| peer.0.clone()),
        IdentitySource::Proxy { trusted } => {
            let peer = extensions.get::<PeerAddress>().map(|peer| peer.0);
            match peer {
                Some(peer) if trusted.contains(&peer) => proxied(headers)?,
                _ => None,
            }
        }
    };
    let signature = signature(headers)?;
    if certificate.is_none() && signature.is_none() {
        return Err(Unidentified::Refused);
    }
    Ok(Shown {
        certificate,
        signature,
    })
}

/// Completes the identity once the body is there. A signature and a TLS certificate must be of the same certificate.
pub(crate) fn identify(
    tenant: TenantId,
    shown: Shown,
    body: &[u8],
) -> Result<Identity, Unidentified> {
    let signed = match shown.signature {
        None => None,
        Some(signature) => {
            let verified = signed::verify_detached(&signature, body, &Policy::mdm_signature())
                .map_err(|error| match error.blame() {
                    Blame::Malformed => Unidentified::Malformed,
                    _ => Unidentified::Refused,
                })?;
            Some(verified.signer_certificate_der)
        }
    };
    let certificate = match (shown.certificate, signed) {
        (Some(shown), Some(signed)) if shown != signed => return Err(Unidentified::Refused),
        (Some(certificate), _) | (None, Some(certificate)) => certificate,
        (None, None) => return Err(Unidentified::Refused),
    };
    let mut fingerprint = [0u8; 32];
    fingerprint.copy_from_slice(digest::digest(&digest::SHA256, &certificate).as_ref());
    Ok(Identity {
        tenant,
        certificate: Bytes::from(certificate),
        fingerprint,
    })
}

fn signature(headers: &HeaderMap) -> Result<Option<Vec<u8>>, Unidentified> {
    let Some(value) = once(headers, &MDM_SIGNATURE)? else {
        return Ok(None);
    };
    header::signature(value).map(Some).map_err(unreadable)
}

fn unreadable(error: HeaderError) -> Unidentified {
    match error {
        HeaderError::TooLong => Unidentified::TooLong,
        HeaderError::Malformed => Unidentified::Malformed,
    }
}

fn proxied(headers: &HeaderMap) -> Result<Option<Vec<u8>>, Unidentified> {
    let Some(value) = once(headers, &CLIENT_CERT)? else {
        return Ok(None);
    };
    header::client_certificate(value)
        .map(Some)
        .map_err(unreadable)
}

/// A header that may stand once.
fn once<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, Unidentified> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    if values.next().is_some() {
        return Err(Unidentified::Malformed);
    }
    first
        .map(|value| value.to_str().map_err(|_| Unidentified::Malformed))
        .transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRUSTED: &str = "127.0.0.1";

    /// Name, listener, headers, peer, and the certificate that counts.
    type Case<'a> = (
        &'a str,
        &'a IdentitySource,
        Vec<(&'a str, &'a str)>,
        &'a str,
        Result<Option<Vec<u8>>, Unidentified>,
    );

    fn ask(
        source: &IdentitySource,
        headers: &[(&str, &str)],
        peer: &str,
        tls: Option<&[u8]>,
    ) -> Result<Option<Vec<u8>>, Unidentified> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(HeaderName::try_from(*name).unwrap(), value.parse().unwrap());
        }
        let mut extensions = Extensions::new();
        extensions.insert(PeerAddress(peer.parse().unwrap()));
        extensions.insert(TlsPeer(tls.map(<[u8]>::to_vec)));
        shown(source, &map, &extensions).map(|shown| shown.certificate)
    }

    #[test]
    fn a_header_counts_only_where_a_trusted_proxy_writes_it() {
        let proxy = IdentitySource::Proxy {
            trusted: vec![TRUSTED.parse().unwrap()],
        };
        let good = Ok(Some(b"abc".to_vec()));
        let table: Vec<Case<'_>> = vec![
            (
                "from the proxy",
                &proxy,
                vec![("client-cert", ":YWJj:")],
                TRUSTED,
                good.clone(),
            ),
            (
                "as escaped PEM",
                &proxy,
                vec![(
                    "client-cert",
                    "-----BEGIN%20CERTIFICATE-----%0AYWJj%0A-----END%20CERTIFICATE-----%0A",
                )],
                TRUSTED,
                good,
            ),
            (
                "from a stranger",
                &proxy,
                vec![("client-cert", ":YWJj:")],
                "127.0.0.2",
                Err(Unidentified::Refused),
            ),
            (
                "twice",
                &proxy,
                vec![("client-cert", ":YWJj:"), ("client-cert", ":YWJj:")],
                TRUSTED,
                Err(Unidentified::Malformed),
            ),
            (
                "not base64",
                &proxy,
                vec![("client-cert", ":%%:")],
                TRUSTED,
                Err(Unidentified::Malformed),
            ),
            (
                "empty",
                &proxy,
                vec![("client-cert", "::")],
                TRUSTED,
                Err(Unidentified::Malformed),
            ),
            (
                "cut escape",
                &proxy,
                vec![("client-cert", "-----BEGIN%2")],
                TRUSTED,
                Err(Unidentified::Malformed),
            ),
            (
                "on the TLS listener",
                &IdentitySource::Tls,
                vec![("client-cert", ":YWJj:")],
                TRUSTED,
                Err(Unidentified::Refused),
            ),
            (
                "nothing",
                &proxy,
                vec![],
                TRUSTED,
                Err(Unidentified::Refused),
            ),
        ];
        for (name, source, headers, peer, expected) in table {
            assert_eq!(ask(source, &headers, peer, None), expected, "{name}");
        }
    }

    #[test]
    fn a_tls_certificate_counts_on_the_tls_listener_alone() {
        assert_eq!(
            ask(&IdentitySource::Tls, &[], TRUSTED, Some(b"der")),
            Ok(Some(b"der".to_vec()))
        );
        let proxy = IdentitySource::Proxy {
            trusted: vec![TRUSTED.parse().unwrap()],
        };
        assert_eq!(
            ask(&proxy, &[], TRUSTED, Some(b"der")),
            Err(Unidentified::Refused)
        );
    }

    #[test]
    fn wrapped_base64_of_a_signature_is_read_and_garbage_is_not() {
        let read = |value: &str| {
            let mut map = HeaderMap::new();
            map.insert(MDM_SIGNATURE, value.parse().unwrap());
            signature(&map)
        };
        assert_eq!(read("YW Jj"), Ok(Some(b"abc".to_vec())));
        assert_eq!(read("?"), Err(Unidentified::Malformed));
    }
}
