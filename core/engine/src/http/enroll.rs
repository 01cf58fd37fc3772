//! The page behind an enrollment link, and the profile that it hands out.
//!
//! Owns: `/enroll/{token}`. GET tells in plain words who would manage the device and what that means; POST hands out
//! the enrollment profile. The page is complete without scripts, styles or pictures from elsewhere. A link that
//! cannot be used gives one kind of page, told apart only by words, with status 404. Looking at the page or
//! fetching the profile uses nothing up. Never decides whether a link is good: `identity::link` does.
//!
//! Source: Apple, "Configuration Profile Reference" (media type `application/x-apple-aspen-config`).

use std::net::IpAddr;
use std::sync::LazyLock;

use aws_lc_rs::digest;
use axum::Router;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use time::OffsetDateTime;

use super::PeerAddress;
use crate::error::Error;
use crate::identity::{Issuer, Link, LinkState};

const PROFILE: &str = "application/x-apple-aspen-config";

/// The routes of enrollment links.
pub fn enroll_router(issuer: Issuer) -> Router {
    Router::new()
        .route("/enroll/{token}", get(page).post(profile))
        .with_state(issuer)
}

async fn page(
    State(issuer): State<Issuer>,
    Path(token): Path<String>,
    request: Request,
) -> Response {
    let peer = peer(&request);
    match find(&issuer, &token, peer).await {
        Ok((link, organization)) => html(StatusCode::OK, &invitation(&link, &organization)),
        Err(response) => response,
    }
}

async fn profile(
    State(issuer): State<Issuer>,
    Path(token): Path<String>,
    request: Request,
) -> Response {
    let peer = peer(&request);
    let link = match find(&issuer, &token, peer).await {
        Ok((link, _)) => link,
        Err(response) => return response,
    };
    let plain = wants_plain(request.headers(), request.uri().query());
    let profile = if plain {
        issuer.enrollment_profile(&link).await
    } else {
        issuer.signed_enrollment_profile(&link).await
    };
    match profile {
        Ok(bytes) => {
            let media_type = if plain { "application/xml" } else { PROFILE };
            let mut response = (StatusCode::OK, bytes).into_response();
            let headers = response.headers_mut();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
            // Without a name the browser would take the token out of the URL.
            headers.insert(
                header::CONTENT_DISPOSITION,
                HeaderValue::from_static("inline; filename=\"enrollment.mobileconfig\""),
            );
            guard(headers);
            response
        }
        Err(error) => failure(&error),
    }
}

/// Finds an open link or answers for one that is not.
async fn find(
    issuer: &Issuer,
    token: &str,
    peer: Option<IpAddr>,
) -> Result<(Link, String), Response> {
    if let Some(seconds) = issuer.must_wait(peer) {
        return Err(too_many(seconds));
    }
    match issuer.open_link(token).await {
        Ok(Some((link, organization))) if link.state == LinkState::Open => Ok((link, organization)),
        Ok(Some((link, organization))) => Err(html(
            StatusCode::NOT_FOUND,
            &closed(link.state, &organization),
        )),
        Ok(None) => {
            issuer.refused(peer);
            Err(html(StatusCode::NOT_FOUND, &unknown()))
        }
        Err(error) => Err(failure(&error)),
    }
}

fn peer(request: &Request) -> Option<IpAddr> {
    request.extensions().get::<PeerAddress>().map(|peer| peer.0)
}

fn wants_plain(headers: &HeaderMap, query: Option<&str>) -> bool {
    let accept = headers
        .get(header::ACCEPT)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    // A browser lists application/xml among others; only who asks for nothing else means it.
    accept.trim() == "application/xml"
        || query.is_some_and(|query| query.split('&').any(|pair| pair == "plain=1"))
}

const STYLE: &str = "body{font:1.125rem/1.6 system-ui,sans-serif;max-width:38rem;margin:0 auto;padding:1.5rem;\
color:#1b1b1b;background:#fff}h1{font-size:1.6rem;line-height:1.25}h2{font-size:1.2rem}\
button{font:inherit;font-weight:600;padding:.75rem 1.25rem;border:2px solid #0b4f9e;border-radius:.5rem;\
background:#0b4f9e;color:#fff;cursor:pointer}button:focus-visible{outline:3px solid #e08a00;outline-offset:2px}\
@media(prefers-color-scheme:dark){body{color:#f0f0f0;background:#161616}\
button{background:#8fc1ff;border-color:#8fc1ff;color:#0a0a0a}}";

static POLICY: LazyLock<String> = LazyLock::new(|| {
    let style = STANDARD.encode(digest::digest(&digest::SHA256, STYLE.as_bytes()));
    format!(
        "default-src 'none'; style-src 'sha256-{style}'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    )
});

fn html(status: StatusCode, body: &str) -> Response {
    let mut response = (status, body.to_owned()).into_response();
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/html; charset=utf-8"),
    );
    if let Ok(policy) = HeaderValue::from_str(&POLICY) {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    guard(headers);
    response
}

/// The URL is a secret: it must not be kept by a cache nor be told to another site.
fn guard(headers: &mut HeaderMap) {
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(
        header::REFERRER_POLICY,
        HeaderValue::from_static("no-referrer"),
    );
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
}

fn document(title: &str, body: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"robots\" content=\"noindex\">\n<title>{title}</title>\n<style>{STYLE}</style>\n</head>\n\
         <body>\n<main>\n<h1>{title}</h1>\n{body}</main>\n</body>\n</html>\n"
    )
}

fn invitation(link: &Link, organization: &str) -> String {
    let organization = escape(organization);
    let mut limits = String::new();
    if let Some(serial) = &link.device_serial {
        limits.push_str(&format!(
            "<li>It works only on the device with the serial number {}.</li>\n",
            escape(serial)
        ));
    }
    if let Some(udid) = &link.device_udid {
        limits.push_str(&format!(
            "<li>It works only on the device with the identifier {}.</li>\n",
            escape(udid)
        ));
    }
    let left = link.max_uses.saturating_sub(link.uses);
    limits.push_str(&match left {
        1 => "<li>It enrolls one more device.</li>\n".to_owned(),
        left => format!("<li>It enrolls {left} more devices.</li>\n"),
    });
    limits.push_str(&format!(
        "<li>It ends on {}.</li>\n",
        day(link.expires_at.0)
    ));
    let body = format!(
        "<p>If you go on, <strong>{organization}</strong> will manage this device. \
         Do this only if you know {organization} and expect this invitation.</p>\n\
         <h2>What {organization} will be able to do</h2>\n<ul>\n\
         <li>See which model it is, its serial number, its system version and which apps are installed.</li>\n\
         <li>Install, update and remove apps, settings and certificates.</li>\n\
         <li>Set rules, for example for the passcode, and switch functions off.</li>\n\
         <li>Lock the device, remove its passcode, or erase everything on it.</li>\n\
         </ul>\n\
         <h2>What it does not include</h2>\n\
         <p>Management does not show your messages, mail, photos or calls to {organization}.</p>\n\
         <h2>Steps</h2>\n<ol>\n\
         <li>Choose the button and allow the download.</li>\n\
         <li>Open the settings of this device; the downloaded profile is shown there.</li>\n\
         <li>Read what it says, then install it.</li>\n</ol>\n\
         <form method=\"post\"><p><button type=\"submit\">Download the profile</button></p></form>\n\
         <h2>About this link</h2>\n<ul>\n{limits}</ul>\n\
         <p>You can end the management at any time by removing the profile in the settings, \
         unless {organization} owns the device and has ruled that out.</p>\n"
    );
    document(&format!("Let {organization} manage this device"), &body)
}

fn closed(state: LinkState, organization: &str) -> String {
    let reason = match state {
        LinkState::Expired => "Its time is over.",
        LinkState::UsedUp => "It has enrolled as many devices as it was made for.",
        LinkState::Revoked => "It was taken back.",
        LinkState::Open => "",
    };
    document(
        "This link does not work any more",
        &format!(
            "<p>{reason} Ask {} for a new one.</p>\n<p>Nothing was changed on this device.</p>\n",
            escape(organization)
        ),
    )
}

fn unknown() -> String {
    document(
        "This link is not known here",
        "<p>Check that the whole link was copied, or ask whoever sent it to you for a new one.</p>\n\
         <p>Nothing was changed on this device.</p>\n",
    )
}

fn too_many(seconds: i64) -> Response {
    let body = document(
        "Please wait a moment",
        "<p>There were too many attempts with links that do not exist. Try again in a minute.</p>\n",
    );
    let mut response = html(StatusCode::TOO_MANY_REQUESTS, &body);
    response
        .headers_mut()
        .insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    response
}

/// Says what the error allows to be said; `http::error` is for the admin API and speaks JSON.
fn failure(error: &Error) -> Response {
    match error {
        Error::Conflict(message) => html(
            StatusCode::NOT_FOUND,
            &document(
                "This link cannot be used now",
                &format!("<p>The reason: {}.</p>\n", escape(message)),
            ),
        ),
        Error::Unavailable { message, .. } => {
            tracing::warn!(error = %error, "an enrollment page could not be served");
            html(
                StatusCode::SERVICE_UNAVAILABLE,
                &document(
                    "Please try again later",
                    &format!("<p>The reason: {}.</p>\n", escape(message)),
                ),
            )
        }
        _ => {
            tracing::error!(error = %error, "an enrollment page could not be made");
            html(
                StatusCode::INTERNAL_SERVER_ERROR,
                &document(
                    "Something went wrong here",
                    "<p>It is not your fault. Nothing was changed on this device.</p>\n",
                ),
            )
        }
    }
}

/// `1 March 2027, 08:00 UTC`.
fn day(at: i64) -> String {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(at) * 1_000)
        .map(|at| {
            format!(
                "{} {} {}, {:02}:{:02} UTC",
                at.day(),
                at.month(),
                at.year(),
                at.hour(),
                at.minute()
            )
        })
        .unwrap_or_default()
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}
