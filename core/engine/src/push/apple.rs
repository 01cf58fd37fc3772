//! Apple's names for what a push says and what APNs answers.
//!
//! Owns: the bytes of a wake-up, its headers, and the meaning of each reason. The only file that uses `a2`, and only
//! its types: its client is never constructed, since it can reach no other host, loses unknown reasons and
//! Retry-After, and is slow for want of TCP_NODELAY.
//!
//! Source: Apple, "Sending notification requests to APNs", "Handling notification responses from APNs".

use std::fmt;

use a2::request::notification::{NotificationOptions, Priority, PushType};
use a2::request::payload::PayloadLike;
use a2::response::ErrorReason;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::{HeaderMap, Uri};
use serde::Deserialize;
use serde::de::IntoDeserializer;
use serde::de::value::{Error as WordError, StrDeserializer};

use super::transport::{Notification, PushFailure, Refusal};
use crate::clock::{Micros, SECOND};

const MILLISECOND: Micros = 1_000;
/// What a reason may be long at most; Apple's are below 40.
const LONGEST_REASON: usize = 100;

/// What went wrong, by who has to change something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The token is not one for this topic and environment.
    Token,
    /// The token was good and is dead.
    Gone,
    /// The certificate is not accepted.
    Certificate,
    /// We asked for something that APNs does not do, or with the wrong certificate.
    Request,
    /// Too many pushes for this token.
    Throttled,
    /// APNs has trouble.
    Server,
    /// The connection was at fault.
    Connection,
    /// A reason that nobody has documented.
    Unknown,
}

impl Fault {
    /// Reads a status and the reason that came with it.
    pub(crate) fn of(status: u16, reason: Option<&str>) -> Self {
        // Newer than the list of a2.
        match reason {
            Some("ExpiredToken") => return Self::Gone,
            Some("InvalidPushType") => return Self::Request,
            Some("BadEnvironmentKeyIdInToken" | "UnrelatedKeyIdInToken") => {
                return Self::Certificate;
            }
            _ => {}
        }
        let known = reason.and_then(|word| {
            let word: StrDeserializer<'_, WordError> = word.into_deserializer();
            ErrorReason::deserialize(word).ok()
        });
        match known {
            Some(reason) => Self::of_reason(&reason),
            None => Self::of_status(status),
        }
    }

    fn of_reason(reason: &ErrorReason) -> Self {
        use ErrorReason as R;
        match reason {
            R::BadDeviceToken | R::DeviceTokenNotForTopic => Self::Token,
            R::Unregistered => Self::Gone,
            R::BadCertificate
            | R::BadCertificateEnvironment
            | R::ExpiredProviderToken
            | R::Forbidden
            | R::InvalidProviderToken
            | R::MissingProviderToken => Self::Certificate,
            R::BadCollapseId
            | R::BadExpirationDate
            | R::BadMessageId
            | R::BadPriority
            | R::BadTopic
            | R::DuplicateHeaders
            | R::MissingDeviceToken
            | R::MissingTopic
            | R::PayloadEmpty
            | R::TopicDisallowed
            | R::BadPath
            | R::MethodNotAllowed
            | R::PayloadTooLarge => Self::Request,
            R::TooManyRequests => Self::Throttled,
            R::TooManyProviderTokenUpdates
            | R::InternalServerError
            | R::ServiceUnavailable
            | R::Shutdown => Self::Server,
            R::IdleTimeout => Self::Connection,
        }
    }

    fn of_status(status: u16) -> Self {
        match status {
            403 => Self::Certificate,
            404 | 405 | 413 => Self::Request,
            410 => Self::Gone,
            429 => Self::Throttled,
            500..=599 => Self::Server,
            _ => Self::Unknown,
        }
    }
}

/// The body `{"mdm":"…"}` with the headers that go with it.
#[derive(serde::Serialize)]
struct Doorbell<'a> {
    mdm: &'a str,
    #[serde(skip)]
    token: &'a str,
    #[serde(skip)]
    options: NotificationOptions<'a>,
}

impl fmt::Debug for Doorbell<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Doorbell")
    }
}

impl PayloadLike for Doorbell<'_> {
    fn get_device_token(&self) -> &str {
        self.token
    }

    fn get_options(&self) -> &NotificationOptions<'_> {
        &self.options
    }
}

/// The request that rings `note` at `base` (scheme and authority). No part of it may be logged.
pub(crate) fn request(
    base: &Uri,
    note: &Notification,
) -> Result<http::Request<Bytes>, PushFailure> {
    let token = hex::encode(note.token());
    let doorbell = Doorbell {
        mdm: note.push_magic(),
        token: &token,
        options: NotificationOptions {
            apns_push_type: Some(PushType::Mdm),
            apns_topic: Some(&note.topic),
            apns_priority: Some(Priority::High),
            apns_expiration: Some(u64::try_from(note.expires_at / SECOND).unwrap_or(0)),
            ..NotificationOptions::default()
        },
    };
    let body = doorbell
        .to_json_string()
        .map_err(|_| PushFailure::Unusable("the push magic cannot be written as JSON"))?;
    let mut uri = base.clone().into_parts();
    let path = format!("/3/device/{}", doorbell.get_device_token());
    uri.path_and_query = Some(
        path.try_into()
            .map_err(|_| PushFailure::Unusable("the push token cannot be written as a path"))?,
    );
    let uri = Uri::from_parts(uri)
        .map_err(|_| PushFailure::Unusable("the address of APNs is not a URL"))?;
    let mut request = http::Request::post(uri)
        .body(Bytes::from(body))
        .map_err(|_| PushFailure::Unusable("the push cannot be written as a request"))?;
    *request.headers_mut() = headers(doorbell.get_options())?;
    Ok(request)
}

fn headers(options: &NotificationOptions<'_>) -> Result<HeaderMap, PushFailure> {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let words = [
        (
            "apns-push-type",
            options.apns_push_type.map(|t| t.to_string()),
        ),
        ("apns-topic", options.apns_topic.map(str::to_owned)),
        (
            "apns-priority",
            options.apns_priority.as_ref().map(Priority::to_string),
        ),
        (
            "apns-expiration",
            options.apns_expiration.map(|at| at.to_string()),
        ),
    ];
    for (name, word) in words {
        let Some(word) = word else { continue };
        let value = HeaderValue::try_from(word)
            .map_err(|_| PushFailure::Unusable("the topic is not a header value"))?;
        headers.insert(HeaderName::from_static(name), value);
    }
    Ok(headers)
}

/// Reads an answer other than 200. A body that is not Apple's JSON leaves the reason open.
pub(crate) fn refusal(
    status: u16,
    apns_id: Option<String>,
    retry_after: Option<std::time::Duration>,
    body: &[u8],
) -> Refusal {
    #[derive(Deserialize)]
    struct Body {
        reason: Option<String>,
        timestamp: Option<i64>,
    }
    let body = serde_json::from_slice::<Body>(body).unwrap_or(Body {
        reason: None,
        timestamp: None,
    });
    let reason = body.reason.map(|text| {
        text.chars()
            .filter(|c| c.is_ascii_graphic() || *c == ' ')
            .take(LONGEST_REASON)
            .collect::<String>()
    });
    Refusal {
        status,
        reason,
        apns_id,
        dead_since: body.timestamp.and_then(|ms| ms.checked_mul(MILLISECOND)),
        retry_after,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_documented_reason_is_understood() {
        for (status, reason, expected) in [
            (400, "BadDeviceToken", Fault::Token),
            (400, "DeviceTokenNotForTopic", Fault::Token),
            (400, "BadTopic", Fault::Request),
            (400, "MissingTopic", Fault::Request),
            (400, "TopicDisallowed", Fault::Request),
            (400, "InvalidPushType", Fault::Request),
            (400, "PayloadEmpty", Fault::Request),
            (400, "BadExpirationDate", Fault::Request),
            (400, "BadPriority", Fault::Request),
            (400, "BadMessageId", Fault::Request),
            (400, "BadCollapseId", Fault::Request),
            (400, "DuplicateHeaders", Fault::Request),
            (400, "MissingDeviceToken", Fault::Request),
            (400, "IdleTimeout", Fault::Connection),
            (403, "BadCertificate", Fault::Certificate),
            (403, "BadCertificateEnvironment", Fault::Certificate),
            (403, "ExpiredProviderToken", Fault::Certificate),
            (403, "Forbidden", Fault::Certificate),
            (403, "InvalidProviderToken", Fault::Certificate),
            (403, "MissingProviderToken", Fault::Certificate),
            (403, "UnrelatedKeyIdInToken", Fault::Certificate),
            (404, "BadPath", Fault::Request),
            (405, "MethodNotAllowed", Fault::Request),
            (410, "Unregistered", Fault::Gone),
            (410, "ExpiredToken", Fault::Gone),
            (413, "PayloadTooLarge", Fault::Request),
            (429, "TooManyRequests", Fault::Throttled),
            (429, "TooManyProviderTokenUpdates", Fault::Server),
            (500, "InternalServerError", Fault::Server),
            (503, "ServiceUnavailable", Fault::Server),
            (503, "Shutdown", Fault::Server),
        ] {
            assert_eq!(Fault::of(status, Some(reason)), expected, "{reason}");
        }
    }

    #[test]
    fn an_unknown_reason_is_read_by_its_status() {
        for (status, expected) in [
            (400, Fault::Unknown),
            (403, Fault::Certificate),
            (404, Fault::Request),
            (410, Fault::Gone),
            (418, Fault::Unknown),
            (429, Fault::Throttled),
            (502, Fault::Server),
            (302, Fault::Unknown),
        ] {
            assert_eq!(
                Fault::of(status, Some("SomethingNew")),
                expected,
                "{status}"
            );
            assert_eq!(Fault::of(status, None), expected, "{status}");
        }
    }

    #[test]
    fn the_request_is_exact() {
        let note = Notification::new(
            vec![0xAB, 0x01],
            "A \"magic\"".to_owned(),
            "com.apple.mgmt.External.1".to_owned(),
            1_800_000_000 * SECOND,
        );
        let base = Uri::from_static("https://apns.example:2197");
        let request = request(&base, &note).unwrap();
        assert_eq!(request.method(), "POST");
        assert_eq!(request.uri(), "https://apns.example:2197/3/device/ab01");
        assert_eq!(&request.body()[..], br#"{"mdm":"A \"magic\""}"#);
        let mut headers: Vec<_> = request
            .headers()
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
            .collect();
        headers.sort();
        assert_eq!(
            headers,
            [
                "apns-expiration: 1800000000",
                "apns-priority: 10",
                "apns-push-type: mdm",
                "apns-topic: com.apple.mgmt.External.1",
                "content-type: application/json",
            ]
        );
    }

    #[test]
    fn unknown_reasons_are_kept_and_cut_to_size() {
        let read = |body: &[u8]| refusal(410, None, None, body);
        let gone = read(br#"{"reason":"Unregistered","timestamp":1508249865488}"#);
        assert_eq!(gone.reason.as_deref(), Some("Unregistered"));
        assert_eq!(gone.dead_since, Some(1_508_249_865_488_000));
        assert_eq!(
            read(br#"{"reason":"NewInTheYear2030"}"#).reason.as_deref(),
            Some("NewInTheYear2030")
        );
        let long = format!(r#"{{"reason":"{}\n"}}"#, "x".repeat(5_000));
        assert_eq!(read(long.as_bytes()).reason.unwrap().len(), LONGEST_REASON);
        assert_eq!(read(b"<html>").reason, None);
        assert_eq!(read(b"").reason, None);
        assert_eq!(
            read(br#"{"timestamp":9223372036854775807}"#).dead_since,
            None
        );
    }
}
