//! SCEP over HTTP.
//!
//! Owns: `/scep/{tenant_id}`: operations by their exact name, the message in a query or a body, bounds, and what is
//! answered with an HTTP status instead of a SCEP message (that which is no SCEP message at all). Never decides whether
//! a certificate is issued: `identity::answer` does.
//!
//! Source: RFC 8894 section 4. The GetCACert answer is one certificate, since devices abort on an intermediate
//! authority in a list.

use std::net::IpAddr;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use http::{HeaderValue, StatusCode, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};

use super::PeerAddress;
use crate::error::Error;
use crate::identity::{Answer, Issuer};
use crate::ids::TenantId;

/// No SCEP message is larger.
const MESSAGE_LIMIT: usize = 64 * 1024;
/// The message of GetCACert is a name.
const NAME_LIMIT: usize = 1024;
/// What we verify, decrypt and do. Clients choose from this, so nothing stands here that we refuse. Some clients
/// (strongSwan 5.9) take SHA-256 only if the other SHA-2 digests are named too.
const CAPABILITIES: &str =
    "POSTPKIOperation\nSHA-512\nSHA-384\nSHA-256\nAES\nSCEPStandard\nRenewal\n";
/// What we do for clients that have nothing better.
const LEGACY_CAPABILITIES: &str = "SHA-1\nDES3\n";

/// The routes of SCEP.
pub fn scep_router(issuer: Issuer) -> Router {
    Router::new()
        .route("/scep/{tenant_id}", get(by_get).post(by_post))
        .layer(DefaultBodyLimit::disable())
        .with_state(issuer)
}

async fn by_get(
    State(issuer): State<Issuer>,
    Path(tenant): Path<String>,
    request: Request,
) -> Response {
    let Ok(tenant) = tenant.parse::<TenantId>() else {
        return status(StatusCode::NOT_FOUND);
    };
    let peer = peer(&request);
    let query = request.uri().query().unwrap_or_default();
    match parameter(query, "operation").as_deref() {
        Some("GetCACaps") => capabilities(&issuer, tenant).await,
        Some("GetCACert") => certificate(&issuer, tenant, query).await,
        Some("PKIOperation") => {
            let message = parameter(query, "message").and_then(|text| decode(&text));
            match message {
                Some(message) if message.len() <= MESSAGE_LIMIT => {
                    operation(&issuer, tenant, &message, peer).await
                }
                Some(_) => status(StatusCode::PAYLOAD_TOO_LARGE),
                None => status(StatusCode::BAD_REQUEST),
            }
        }
        _ => status(StatusCode::BAD_REQUEST),
    }
}

async fn by_post(
    State(issuer): State<Issuer>,
    Path(tenant): Path<String>,
    request: Request,
) -> Response {
    let Ok(tenant) = tenant.parse::<TenantId>() else {
        return status(StatusCode::NOT_FOUND);
    };
    let peer = peer(&request);
    let query = request.uri().query().unwrap_or_default();
    if parameter(query, "operation").as_deref() != Some("PKIOperation") {
        return status(StatusCode::BAD_REQUEST);
    }
    let message = match read(request).await {
        Ok(message) => message,
        Err(response) => return response,
    };
    operation(&issuer, tenant, &message, peer).await
}

async fn capabilities(issuer: &Issuer, tenant: TenantId) -> Response {
    match issuer.ca_certificate(tenant).await {
        Ok(_) if issuer.options().legacy_scep => {
            answer("text/plain", format!("{CAPABILITIES}{LEGACY_CAPABILITIES}"))
        }
        Ok(_) => answer("text/plain", CAPABILITIES),
        Err(error) => failure(&error),
    }
}

async fn certificate(issuer: &Issuer, tenant: TenantId, query: &str) -> Response {
    if parameter(query, "message").is_some_and(|name| name.len() > NAME_LIMIT) {
        return status(StatusCode::BAD_REQUEST);
    }
    match issuer.ca_certificate(tenant).await {
        Ok(der) => answer("application/x-x509-ca-cert", der),
        Err(error) => failure(&error),
    }
}

async fn operation(
    issuer: &Issuer,
    tenant: TenantId,
    message: &[u8],
    peer: Option<IpAddr>,
) -> Response {
    if let Some(seconds) = issuer.must_wait(peer) {
        let mut response = status(StatusCode::TOO_MANY_REQUESTS);
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        return response;
    }
    match issuer.answer(tenant, message).await {
        Ok(Answer::Message { der, refused }) => {
            if refused {
                issuer.refused(peer);
            }
            answer("application/x-pki-message", der)
        }
        Ok(Answer::Malformed) => {
            issuer.refused(peer);
            status(StatusCode::BAD_REQUEST)
        }
        Ok(Answer::TooLarge) => {
            issuer.refused(peer);
            status(StatusCode::PAYLOAD_TOO_LARGE)
        }
        Err(error) => {
            if matches!(error, Error::NotFound(_)) {
                issuer.refused(peer);
            }
            failure(&error)
        }
    }
}

fn peer(request: &Request) -> Option<IpAddr> {
    request.extensions().get::<PeerAddress>().map(|peer| peer.0)
}

/// Reads the body up to the limit.
async fn read(request: Request) -> Result<Bytes, Response> {
    let announced = request
        .headers()
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.parse::<u64>().ok());
    if announced.is_some_and(|length| length > MESSAGE_LIMIT as u64) {
        return Err(status(StatusCode::PAYLOAD_TOO_LARGE));
    }
    match Limited::new(request.into_body(), MESSAGE_LIMIT)
        .collect()
        .await
    {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(status(StatusCode::PAYLOAD_TOO_LARGE)),
        Err(_) => Err(status(StatusCode::BAD_REQUEST)),
    }
}

/// The value of a parameter, if it is given exactly once. A plus sign is a plus sign: clients put bare base64 into
/// the query, and a form decoder would turn it into a space.
fn parameter(query: &str, name: &str) -> Option<String> {
    let mut values = query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .filter(|(key, _)| *key == name)
        .map(|(_, value)| value);
    let (value, None) = (values.next()?, values.next()) else {
        return None;
    };
    percent_decode(value)
}

fn percent_decode(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digits = [rest.next()?, rest.next()?];
            let mut decoded = [0u8];
            hex::decode_to_slice(digits, &mut decoded).ok()?;
            out.extend(decoded);
        } else {
            out.push(byte);
        }
    }
    String::from_utf8(out).ok()
}

/// Base64 in either alphabet, padded or not, without blanks in it.
fn decode(text: &str) -> Option<Vec<u8>> {
    const ANY_PADDING: GeneralPurposeConfig =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, ANY_PADDING);
    const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, ANY_PADDING);
    if text.is_empty() {
        return None;
    }
    STANDARD
        .decode(text)
        .or_else(|_| URL_SAFE.decode(text))
        .ok()
}

fn answer(media_type: &'static str, body: impl IntoResponse) -> Response {
    let mut response = body.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn status(status: StatusCode) -> Response {
    let text = status.canonical_reason().unwrap_or_default();
    (status, text).into_response()
}

/// What is no SCEP message, or cannot be answered with one.
fn failure(error: &Error) -> Response {
    match error {
        Error::NotFound(_) => status(StatusCode::NOT_FOUND),
        Error::Unavailable { .. } => {
            tracing::warn!(error = %error, "a SCEP request could not be served");
            status(StatusCode::SERVICE_UNAVAILABLE)
        }
        _ => {
            tracing::error!(error = %error, "a SCEP request failed");
            status(StatusCode::INTERNAL_SERVER_ERROR)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_counts_if_it_is_given_once() {
        assert_eq!(
            parameter("operation=a&message=b", "message").as_deref(),
            Some("b")
        );
        assert_eq!(parameter("message=b&message=b", "message"), None);
        assert_eq!(parameter("Message=b", "message"), None);
        assert_eq!(
            parameter("message=a%2Bb+c", "message").as_deref(),
            Some("a+b+c")
        );
        for bad in ["message=%", "message=%2", "message=%zz", "message=%ff", ""] {
            assert_eq!(parameter(bad, "message"), None, "{bad}");
        }
    }

    #[test]
    fn both_alphabets_are_read_and_blanks_are_not() {
        let bytes = vec![0xfb, 0xff, 0xbe, 0x01];
        for good in ["+/++AQ==", "-_--AQ", "+/++AQ", "-_--AQ=="] {
            assert_eq!(decode(good).as_ref(), Some(&bytes), "{good}");
        }
        for bad in ["", " /  AQ==", "+/++AQ=\n", "*", "+_++AQ=="] {
            assert_eq!(decode(bad), None, "{bad:?}");
        }
    }
}
