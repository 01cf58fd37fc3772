//! A SCEP client: how a device gets the certificate that its enrollment profile promises.
//!
//! Owns the three operations (GetCACaps, GetCACert, PKIOperation), the request, and the reading
//! of the answer. Never stores anything. The device calls it during enrollment and again when
//! a renewed profile arrives. Source: RFC 8894.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use der::Encode;
use hyper::Method;
use url::Url;

use crate::asn1::{self, tag};
use crate::client::{Client, ClientError};
use crate::cms::{self, Cipher, CmsError, Identity, SignatureStyle, Signed};
use crate::keys::{DeviceKey, Digest, KeyError};

const MESSAGE_TYPE: &str = "2.16.840.1.113733.1.9.2";
const PKI_STATUS: &str = "2.16.840.1.113733.1.9.3";
const FAIL_INFO: &str = "2.16.840.1.113733.1.9.4";
const SENDER_NONCE: &str = "2.16.840.1.113733.1.9.5";
const RECIPIENT_NONCE: &str = "2.16.840.1.113733.1.9.6";
const TRANSACTION_ID: &str = "2.16.840.1.113733.1.9.7";

/// Why a device got no certificate.
#[derive(Debug, thiserror::Error)]
pub enum ScepError {
    /// The connection failed.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The server answered an operation with something other than 200.
    #[error("{operation} was answered with status {status}")]
    Status {
        /// The SCEP operation.
        operation: &'static str,
        /// The HTTP status.
        status: u16,
    },
    /// The answer was not what the operation promises.
    #[error("{operation}: {reason}")]
    Answer {
        /// The SCEP operation.
        operation: &'static str,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// pkiStatus 2.
    #[error("the CA refused the request: {0}")]
    Refused(FailInfo),
    /// pkiStatus 3: a person would have to decide, which the simulator does not wait for.
    #[error("the CA keeps the request pending")]
    Pending,
    /// A message could not be made or read.
    #[error(transparent)]
    Cms(#[from] CmsError),
    /// The crypto library refused.
    #[error(transparent)]
    Key(#[from] KeyError),
}

/// RFC 8894, section 3.2.1.4.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum FailInfo {
    /// 0
    #[error("badAlg (unrecognized algorithm)")]
    BadAlg,
    /// 1
    #[error("badMessageCheck (integrity check failed)")]
    BadMessageCheck,
    /// 2
    #[error("badRequest (not permitted, for instance a wrong challenge)")]
    BadRequest,
    /// 3
    #[error("badTime (signing time too far off)")]
    BadTime,
    /// 4
    #[error("badCertId (no certificate matches)")]
    BadCertId,
    /// Anything else
    #[error("an unknown failInfo")]
    Unknown,
}

/// What an enrollment profile's `com.apple.security.scep` payload asks for.
#[derive(Clone, Debug)]
pub(crate) struct ScepPayload {
    /// Where the SCEP server is.
    pub(crate) url: Url,
    /// The CA's name, the message of GetCACert.
    pub(crate) name: String,
    /// The subject as the payload has it: RDNs of (type, value) pairs.
    pub(crate) subject: Vec<Vec<(String, String)>>,
    /// The one-time password.
    pub(crate) challenge: Option<String>,
    /// Key usage bits: 1 signing, 4 encryption.
    pub(crate) key_usage: u8,
    /// SHA-1, SHA-256 or MD5 of the CA certificate.
    pub(crate) ca_fingerprint: Option<Vec<u8>>,
    /// How often to try again after a connection failure.
    pub(crate) retries: u32,
}

/// How a device speaks SCEP.
#[derive(Clone, Copy, Debug, Default)]
pub struct ScepStyle {
    /// Send PKIOperation by GET although the server offers POST.
    pub force_get: bool,
    /// Write the messages in the streaming form.
    pub indefinite: bool,
    /// Take AES-256 where AES is offered, instead of AES-128.
    pub aes_256: bool,
}

/// Asks for a certificate for `key`. With `renew`, the request is a RenewalReq signed by that
/// identity; the challenge is sent in both cases where the payload has one.
///
/// # Errors
/// [`ScepError`] by who is to blame: connection, status, content of the answer, refusal.
pub(crate) async fn enroll(
    client: &mut Client,
    payload: &ScepPayload,
    key: Arc<DeviceKey>,
    renew: Option<&Identity>,
    style: ScepStyle,
) -> Result<Identity, ScepError> {
    let caps = capabilities(client, payload).await?;
    let authority = authority(client, payload).await?;
    let subject = subject(&payload.subject);
    let request = request(&key, &subject, payload)?;
    let signature = SignatureStyle {
        digest: if caps.sha256 {
            Digest::Sha256
        } else {
            Digest::Sha1
        },
        attributes: true,
        indefinite: style.indefinite,
    };
    let cipher = match (caps.aes, style.aes_256) {
        (false, _) => Cipher::TripleDes,
        (true, false) => Cipher::Aes128,
        (true, true) => Cipher::Aes256,
    };
    let sealed = cms::envelope(&authority, cipher, &request, style.indefinite)?;
    let (signer, kind) = match renew {
        Some(identity) if caps.renewal => (identity.clone(), "17"),
        _ => {
            let certificate = self_signed(&key, &subject)?;
            (Identity::new(Arc::clone(&key), certificate)?, "19")
        }
    };
    // RFC 8894, 3.2.1.1: one transaction per key; its hash names it.
    let transaction = hex::encode_upper(Digest::Sha256.of(key.spki()));
    let mut nonce = vec![0; 16];
    aws_lc_rs::rand::fill(&mut nonce).map_err(|_| KeyError("random"))?;
    let attributes = vec![
        cms::attribute(
            MESSAGE_TYPE,
            &asn1::tlv(tag::PRINTABLE_STRING, kind.as_bytes()),
        ),
        cms::attribute(
            TRANSACTION_ID,
            &asn1::tlv(tag::PRINTABLE_STRING, transaction.as_bytes()),
        ),
        cms::attribute(SENDER_NONCE, &asn1::tlv(tag::OCTET_STRING, &nonce)),
    ];
    let message = cms::attached_signature(&signer, signature, &sealed, attributes)?;
    let by_post = caps.post && !style.force_get;
    let answer = pki_operation(client, payload, &message, by_post).await?;
    let certificate = read_answer(&answer, &authority, &signer, &key, &transaction, &nonce)?;
    Ok(Identity::new(key, certificate)?)
}

struct Capabilities {
    post: bool,
    sha256: bool,
    aes: bool,
    renewal: bool,
}

async fn capabilities(
    client: &mut Client,
    payload: &ScepPayload,
) -> Result<Capabilities, ScepError> {
    let url = operation_url(&payload.url, "GetCACaps", &payload.name);
    let answer = fetch(client, "GetCACaps", Method::GET, &url, &[], payload.retries).await?;
    let text = String::from_utf8_lossy(&answer.1).into_owned();
    let has = |word: &str| {
        text.lines()
            .any(|line| line.trim().eq_ignore_ascii_case(word))
    };
    let standard = has("SCEPStandard");
    Ok(Capabilities {
        post: has("POSTPKIOperation") || standard,
        sha256: has("SHA-256") || standard,
        aes: has("AES") || standard,
        renewal: has("Renewal"),
    })
}

/// The certificate that requests are encrypted for.
async fn authority(client: &mut Client, payload: &ScepPayload) -> Result<Vec<u8>, ScepError> {
    const OPERATION: &str = "GetCACert";
    let url = operation_url(&payload.url, OPERATION, &payload.name);
    let (kind, body) = fetch(client, OPERATION, Method::GET, &url, &[], payload.retries).await?;
    let wrong = |reason| ScepError::Answer {
        operation: OPERATION,
        reason,
    };
    let certificates = match kind.as_str() {
        "application/x-x509-ca-cert" => vec![body],
        "application/x-x509-ca-ra-cert" => Signed::parse(&body)?.certificates(),
        _ => return Err(wrong("the content type is none of SCEP's")),
    };
    if let Some(fingerprint) = &payload.ca_fingerprint {
        let known = certificates.iter().any(|der| {
            let hash = match fingerprint.len() {
                20 => Digest::Sha1.of(der),
                32 => Digest::Sha256.of(der),
                // MD5 was never offered by a server of ours; it is not checked.
                _ => return true,
            };
            hash == *fingerprint
        });
        if !known {
            return Err(wrong("no certificate has the fingerprint of the profile"));
        }
    }
    let can_encrypt = |der: &Vec<u8>| {
        let usage = cms::parse_certificate(der).ok().and_then(|certificate| {
            let tbs = certificate.tbs_certificate();
            tbs.get_extension::<x509_cert::ext::pkix::KeyUsage>()
                .ok()
                .flatten()
        });
        usage.is_some_and(|(_, usage)| usage.key_encipherment())
    };
    let at = certificates.iter().position(can_encrypt).unwrap_or(0);
    let chosen = certificates.into_iter().nth(at);
    chosen.ok_or_else(|| wrong("there is no certificate in the answer"))
}

async fn pki_operation(
    client: &mut Client,
    payload: &ScepPayload,
    message: &[u8],
    by_post: bool,
) -> Result<Vec<u8>, ScepError> {
    const OPERATION: &str = "PKIOperation";
    let (kind, body) = if by_post {
        let mut url = payload.url.clone();
        url.query_pairs_mut().append_pair("operation", OPERATION);
        fetch(
            client,
            OPERATION,
            Method::POST,
            &url,
            message,
            payload.retries,
        )
        .await?
    } else {
        let url = operation_url(&payload.url, OPERATION, &STANDARD.encode(message));
        fetch(client, OPERATION, Method::GET, &url, &[], payload.retries).await?
    };
    if kind != "application/x-pki-message" {
        return Err(ScepError::Answer {
            operation: OPERATION,
            reason: "the content type is not application/x-pki-message",
        });
    }
    Ok(body)
}

fn read_answer(
    answer: &[u8],
    authority: &[u8],
    signer: &Identity,
    key: &DeviceKey,
    transaction: &str,
    nonce: &[u8],
) -> Result<Vec<u8>, ScepError> {
    let wrong = |reason| ScepError::Answer {
        operation: "PKIOperation",
        reason,
    };
    let signed = Signed::parse(answer)?;
    signed.verify(authority)?;
    if signed.attribute(MESSAGE_TYPE).as_deref() != Some(b"3") {
        return Err(wrong("the message type is not CertRep"));
    }
    if signed.attribute(TRANSACTION_ID).as_deref() != Some(transaction.as_bytes()) {
        return Err(wrong("the transaction id is another one"));
    }
    if signed.attribute(RECIPIENT_NONCE).as_deref() != Some(nonce) {
        return Err(wrong("the recipient nonce is not the one that was sent"));
    }
    match signed.attribute(PKI_STATUS).as_deref() {
        Some(b"0") => {}
        Some(b"2") => {
            return Err(ScepError::Refused(
                match signed.attribute(FAIL_INFO).as_deref() {
                    Some(b"0") => FailInfo::BadAlg,
                    Some(b"1") => FailInfo::BadMessageCheck,
                    Some(b"2") => FailInfo::BadRequest,
                    Some(b"3") => FailInfo::BadTime,
                    Some(b"4") => FailInfo::BadCertId,
                    _ => FailInfo::Unknown,
                },
            ));
        }
        Some(b"3") => return Err(ScepError::Pending),
        _ => return Err(wrong("the status is none of SCEP's")),
    }
    // RFC 8894, 3.2.2: the answer is for the key that signed the request, in a renewal the present one.
    let opened = cms::open_envelope(&signer.key, &signed.content)?;
    let certificates = Signed::parse(&opened)?.certificates();
    let ours = certificates.into_iter().find(|der| {
        let certificate = cms::parse_certificate(der).ok();
        let spki =
            certificate.and_then(|c| c.tbs_certificate().subject_public_key_info().to_der().ok());
        spki.as_deref() == Some(key.spki())
    });
    ours.ok_or_else(|| wrong("no certificate in the answer is for the requested key"))
}

/// One request, tried again where the connection fails.
async fn fetch(
    client: &mut Client,
    operation: &'static str,
    method: Method,
    url: &Url,
    body: &[u8],
    retries: u32,
) -> Result<(String, Vec<u8>), ScepError> {
    let mut left = retries;
    loop {
        let headers = [("content-type", "application/x-pki-message".to_owned())];
        let headers = if body.is_empty() {
            &[][..]
        } else {
            &headers[..]
        };
        let sent = client
            .send(method.clone(), url, headers, body.to_vec().into())
            .await;
        match sent {
            Ok(answer) if answer.status == 200 => {
                return Ok((answer.content_type, answer.body.to_vec()));
            }
            Ok(answer) => {
                return Err(ScepError::Status {
                    operation,
                    status: answer.status,
                });
            }
            Err(error) if left == 0 => return Err(error.into()),
            Err(_) => left = left.saturating_sub(1),
        }
    }
}

fn operation_url(base: &Url, operation: &str, message: &str) -> Url {
    let mut url = base.clone();
    url.query_pairs_mut()
        .append_pair("operation", operation)
        .append_pair("message", message);
    url
}

/// The payload's subject as a DER name.
fn subject(rdns: &[Vec<(String, String)>]) -> Vec<u8> {
    let rdns: Vec<u8> = rdns
        .iter()
        .flat_map(|rdn| {
            let pairs = rdn.iter().map(|(kind, value)| {
                let oid = match kind.as_str() {
                    "CN" => "2.5.4.3",
                    "SN" => "2.5.4.5",
                    "C" => "2.5.4.6",
                    "L" => "2.5.4.7",
                    "ST" => "2.5.4.8",
                    "O" => "2.5.4.10",
                    "OU" => "2.5.4.11",
                    dotted => dotted,
                };
                asn1::seq(&[&asn1::oid(oid), &asn1::text(value)])
            });
            asn1::set_of(pairs.collect())
        })
        .collect();
    asn1::tlv(tag::SEQUENCE, &rdns)
}

/// A PKCS#10 request with challenge password and key usage (RFC 2986, RFC 2985).
fn request(key: &DeviceKey, subject: &[u8], payload: &ScepPayload) -> Result<Vec<u8>, ScepError> {
    let mut attributes = Vec::new();
    if let Some(challenge) = &payload.challenge {
        attributes.push(cms::attribute(
            "1.2.840.113549.1.9.7",
            &asn1::text(challenge),
        ));
    }
    let bits = match (payload.key_usage & 1 != 0, payload.key_usage & 4 != 0) {
        (true, false) => [7, 0x80],
        (false, true) => [5, 0x20],
        _ => [5, 0xa0],
    };
    let usage = asn1::tlv(tag::BIT_STRING, &bits);
    let extension = asn1::seq(&[
        &asn1::oid("2.5.29.15"),
        &asn1::tlv(tag::BOOLEAN, &[0xff]),
        &asn1::tlv(tag::OCTET_STRING, &usage),
    ]);
    attributes.push(cms::attribute(
        "1.2.840.113549.1.9.14",
        &asn1::seq(&[&extension]),
    ));
    let mut attributes = asn1::set_of(attributes);
    if let Some(first) = attributes.first_mut() {
        *first = tag::CONTEXT_0;
    }
    let info = asn1::seq(&[&asn1::unsigned(&[0]), subject, key.spki(), &attributes]);
    signed_structure(key, info)
}

/// The throw-away certificate that signs a first request (RFC 8894, section 2.3).
pub(crate) fn self_signed(key: &DeviceKey, name: &[u8]) -> Result<Vec<u8>, ScepError> {
    let now = crate::clock::unix_seconds();
    let algorithm = asn1::algorithm("1.2.840.113549.1.1.11");
    let validity = asn1::seq(&[
        &asn1::utc_time(now.saturating_sub(60)),
        &asn1::utc_time(now.saturating_add(3_600)),
    ]);
    let serial = Digest::Sha256.of(key.spki());
    let serial = asn1::unsigned(serial.get(..8).unwrap_or(&[1]));
    let version = asn1::tlv(tag::CONTEXT_0, &asn1::unsigned(&[2]));
    let usage = asn1::seq(&[
        &asn1::oid("2.5.29.15"),
        &asn1::tlv(tag::BOOLEAN, &[0xff]),
        &asn1::tlv(tag::OCTET_STRING, &asn1::tlv(tag::BIT_STRING, &[5, 0xa0])),
    ]);
    let extensions = asn1::tlv(tag::CONTEXT_3, &asn1::seq(&[&usage]));
    let tbs = asn1::seq(&[
        &version,
        &serial,
        &algorithm,
        name,
        &validity,
        name,
        key.spki(),
        &extensions,
    ]);
    signed_structure(key, tbs)
}

fn signed_structure(key: &DeviceKey, inner: Vec<u8>) -> Result<Vec<u8>, ScepError> {
    let signature = key.sign(Digest::Sha256, &inner)?;
    Ok(asn1::seq(&[
        &inner,
        &asn1::algorithm("1.2.840.113549.1.1.11"),
        &asn1::bits(&signature),
    ]))
}
