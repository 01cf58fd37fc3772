//! The device's URL: check-ins and command reports.
//!
//! Owns: what is a valid request (method, content type, size, time), in the order that costs least, and the status
//! of each answer. A device takes a status as an order: 401 makes it unenroll and is never sent here; a failed
//! write is 5xx, so that the device comes again.
//!
//! Source: Apple, "Implementing the device management protocol" (transport); invariant E10 for the set of statuses.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use pomona_protocol::{GuardLimits, ParseError, parse_check_in, parse_report};
use uuid::Uuid;

use super::identity::{self, IdentitySource, Unidentified};
use super::pace::Pace;
use crate::engine::{DeviceReply, Engine, Identity};
use crate::error::Error;
use crate::ids::TenantId;

/// A whole body must arrive within this time.
const BODY_TIME: Duration = Duration::from_secs(60);
/// Between two pieces of a body no more time may pass.
const PIECE_TIME: Duration = Duration::from_secs(10);
/// When a request is refused because too much waits, the device may come back after this.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("30");

#[derive(Clone)]
struct DeviceState {
    engine: Engine,
    source: IdentitySource,
    pace: Arc<Pace>,
}

/// The routes of the device's URL, for a listener that takes identities from `source`.
pub(super) fn router(engine: Engine, source: IdentitySource) -> Router {
    let state = DeviceState {
        engine,
        source,
        pace: Arc::new(Pace::default()),
    };
    Router::new()
        .route("/mdm/{tenant}", any(handle))
        .with_state(state)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    CheckIn,
    Report,
}

impl Kind {
    fn limit(self) -> usize {
        match self {
            Self::CheckIn => pomona_protocol::checkin::MAX_CHECK_IN_BYTES,
            Self::Report => pomona_protocol::report::MAX_REPORT_BYTES,
        }
    }
}

async fn handle(
    State(state): State<DeviceState>,
    Path(tenant): Path<String>,
    request: Request,
) -> Response {
    let begin = tokio::time::Instant::now();
    let (kind, response) = match answer(&state, &tenant, request).await {
        Ok((kind, reply)) => (Some(kind), reply_response(reply)),
        Err(response) => (None, response),
    };
    let kind = match kind {
        Some(Kind::CheckIn) => "check_in",
        Some(Kind::Report) => "report",
        None => "refused",
    };
    metrics::counter!("pomona_device_requests_total", "kind" => kind, "status" => response.status().as_u16().to_string())
        .increment(1);
    metrics::histogram!("pomona_device_request_seconds", "kind" => kind)
        .record(begin.elapsed().as_secs_f64());
    response
}

async fn answer(
    state: &DeviceState,
    tenant: &str,
    request: Request,
) -> Result<(Kind, DeviceReply), Response> {
    let tenant = Uuid::parse_str(tenant)
        .map(TenantId)
        .map_err(|_| plain(StatusCode::NOT_FOUND))?;
    if request.method() != Method::PUT {
        return Err(plain(StatusCode::METHOD_NOT_ALLOWED));
    }
    let kind = kind(request.headers()).ok_or_else(|| plain(StatusCode::UNSUPPORTED_MEDIA_TYPE))?;
    let (parts, body) = request.into_parts();
    if parts.headers.contains_key(header::TRANSFER_ENCODING)
        && parts.headers.contains_key(header::CONTENT_LENGTH)
    {
        return Err(plain(StatusCode::BAD_REQUEST));
    }
    if parts.headers.contains_key(header::CONTENT_ENCODING) {
        return Err(plain(StatusCode::UNSUPPORTED_MEDIA_TYPE));
    }
    let shown =
        identity::shown(&state.source, &parts.headers, &parts.extensions).map_err(unidentified)?;
    let body = read(body, &parts.headers, kind.limit()).await?;
    let identity = identity::identify(tenant, shown, &body).map_err(unidentified)?;
    if !state
        .pace
        .admit(&identity.fingerprint, state.engine.store().now())
    {
        return Err(wait(StatusCode::TOO_MANY_REQUESTS));
    }
    // A tenant that does not exist is told apart from a database that does not answer before work is handed in.
    let known = state.engine.store().keys(tenant).await;
    known.map_err(|error| failed(&error))?;
    let reply = match kind {
        Kind::CheckIn => check_in(state, &identity, &body).await?,
        Kind::Report => report(state, &identity, &body).await?,
    };
    Ok((kind, reply))
}

async fn check_in(
    state: &DeviceState,
    identity: &Identity,
    body: &[u8],
) -> Result<DeviceReply, Response> {
    let message = parse_check_in(body, &GuardLimits::default())
        .map_err(|error| unreadable(identity, &error))?;
    state
        .engine
        .check_in(identity, message)
        .await
        .map_err(|error| failed(&error))
}

async fn report(
    state: &DeviceState,
    identity: &Identity,
    body: &[u8],
) -> Result<DeviceReply, Response> {
    let report = parse_report(body, &GuardLimits::default())
        .map_err(|error| unreadable(identity, &error))?;
    state
        .engine
        .report(identity, report)
        .await
        .map_err(|error| failed(&error))
}

/// The content type decides, whatever its case; a charset may follow.
fn kind(headers: &HeaderMap) -> Option<Kind> {
    let value = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    let value = value.split(';').next()?.trim();
    if value.eq_ignore_ascii_case("application/x-apple-aspen-mdm-checkin") {
        Some(Kind::CheckIn)
    } else if value.eq_ignore_ascii_case("application/x-apple-aspen-mdm") {
        Some(Kind::Report)
    } else {
        None
    }
}

/// Reads a body, never past its limit and never slower than allowed.
async fn read(mut body: Body, headers: &HeaderMap, limit: usize) -> Result<Bytes, Response> {
    let announced = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.parse::<usize>().ok());
    if announced.is_some_and(|length| length > limit) {
        return Err(closing(StatusCode::PAYLOAD_TOO_LARGE));
    }
    let deadline = tokio::time::Instant::now() + BODY_TIME;
    let mut out = BytesMut::with_capacity(announced.unwrap_or(0).min(64 << 10));
    loop {
        let until = deadline.min(tokio::time::Instant::now() + PIECE_TIME);
        match tokio::time::timeout_at(until, body.frame()).await {
            Err(_) => return Err(closing(StatusCode::REQUEST_TIMEOUT)),
            Ok(None) => return Ok(out.freeze()),
            Ok(Some(Err(_))) => return Err(closing(StatusCode::BAD_REQUEST)),
            Ok(Some(Ok(frame))) => {
                let Ok(data) = frame.into_data() else {
                    continue;
                };
                if out.len() + data.len() > limit {
                    return Err(closing(StatusCode::PAYLOAD_TOO_LARGE));
                }
                out.extend_from_slice(&data);
            }
        }
    }
}

fn reply_response(reply: DeviceReply) -> Response {
    match reply {
        DeviceReply::Empty => StatusCode::OK.into_response(),
        DeviceReply::Plist(body) => {
            ([(header::CONTENT_TYPE, "application/xml")], body).into_response()
        }
        DeviceReply::Json(body) => {
            ([(header::CONTENT_TYPE, "application/json")], body).into_response()
        }
        DeviceReply::BadRequest => plain(StatusCode::BAD_REQUEST),
        DeviceReply::Refused => plain(StatusCode::FORBIDDEN),
        DeviceReply::NotFound => plain(StatusCode::NOT_FOUND),
        DeviceReply::UserDeclined => plain(StatusCode::GONE),
    }
}

fn unidentified(why: Unidentified) -> Response {
    metrics::counter!("pomona_identity_refused_total", "code" => "unidentified").increment(1);
    plain(match why {
        Unidentified::Malformed => StatusCode::BAD_REQUEST,
        Unidentified::Refused => StatusCode::FORBIDDEN,
        Unidentified::TooLong => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
    })
}

fn unreadable(identity: &Identity, error: &ParseError) -> Response {
    // The code says what is wrong; the body is never logged.
    tracing::debug!(tenant.id = %identity.tenant, code = error.code(), "a message could not be read");
    metrics::counter!("pomona_unreadable_total", "code" => error.code()).increment(1);
    if error.is_too_large() {
        plain(StatusCode::PAYLOAD_TOO_LARGE)
    } else if error.is_wrong_channel() {
        plain(StatusCode::FORBIDDEN)
    } else {
        plain(StatusCode::BAD_REQUEST)
    }
}

fn failed(error: &Error) -> Response {
    match error {
        Error::Unavailable { .. } => wait(StatusCode::SERVICE_UNAVAILABLE),
        Error::NotFound(_) => plain(StatusCode::NOT_FOUND),
        Error::Refused(_) | Error::Forbidden(_) => plain(StatusCode::FORBIDDEN),
        Error::Invalid(_) | Error::Conflict(_) => plain(StatusCode::BAD_REQUEST),
        Error::Internal { .. } => {
            let cause = std::error::Error::source(error)
                .map(ToString::to_string)
                .unwrap_or_default();
            tracing::error!(error = %error, cause, "a device request failed");
            plain(StatusCode::INTERNAL_SERVER_ERROR)
        }
    }
}

fn plain(status: StatusCode) -> Response {
    status.into_response()
}

fn wait(status: StatusCode) -> Response {
    (status, [(header::RETRY_AFTER, RETRY_AFTER)]).into_response()
}

/// For an answer that leaves an unread body on the connection.
fn closing(status: StatusCode) -> Response {
    (status, [(header::CONNECTION, "close")]).into_response()
}
