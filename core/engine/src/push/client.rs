//! The line to APNs over HTTP/2.
//!
//! Owns: several connections for each push certificate, kept alive by pings and replaced when they go silent or
//! the certificate changes, and the reading of answers. Decides nothing about devices or topics. Base URL and trusted
//! roots come from the settings, so that a simulated APNs can stand in.
//!
//! Source: Apple, "Establishing a certificate-based connection to APNs"; RFC 9113 (HTTP/2).

use std::collections::HashMap;
use std::error::Error as StdError;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::header::RETRY_AFTER;
use http::{HeaderMap, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use parking_lot::Mutex;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;
use uuid::Uuid;

use super::alert::{Alerts, Watched};
use super::apple;
use super::transport::{Accepted, ApnsTransport, Notification, PushCertificate, PushFailure};
use crate::clock::{Clock, SECOND};
use crate::error::{Error, Result};
use crate::ids::TenantId;

/// Apple's host for devices in production.
pub const APNS_PRODUCTION: &str = "https://api.push.apple.com:443";

const ANSWER_LIMIT: usize = 4 * 1024;

/// How to reach APNs.
#[derive(Clone, Debug)]
pub struct ApnsOptions {
    /// Scheme (https), host and port; Apple serves ports 443 and 2197.
    pub base_url: String,
    /// Whom to believe that it is APNs.
    pub roots: ApnsRoots,
    /// Connections for each push certificate, 1 to 16. One carries 1,000 pushes at a time.
    pub connections: usize,
    /// How long a push may take, from the first byte to the last of the answer, a new connection included.
    pub timeout: Duration,
    /// How long the TCP connection may take.
    pub connect_timeout: Duration,
    /// How often a connection is pinged, also while idle.
    pub ping_interval: Duration,
    /// How long the answer to a ping may take.
    pub ping_timeout: Duration,
}

impl Default for ApnsOptions {
    fn default() -> Self {
        Self {
            base_url: APNS_PRODUCTION.to_owned(),
            roots: ApnsRoots::Web,
            connections: 4,
            timeout: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(5),
            ping_interval: Duration::from_secs(30),
            ping_timeout: Duration::from_secs(10),
        }
    }
}

/// The certificate authorities that may vouch for APNs.
#[derive(Clone, Debug)]
pub enum ApnsRoots {
    /// The web's.
    Web,
    /// These alone, in PEM.
    Pem(Vec<u8>),
}

/// APNs over HTTP/2, with certificates.
pub struct ApnsClient {
    options: ApnsOptions,
    base: Uri,
    roots: Arc<RootCertStore>,
    clock: Arc<dyn Clock>,
    lines: Mutex<HashMap<(TenantId, String), Arc<Line>>>,
}

type Http = Client<Watched<hyper_rustls::HttpsConnector<HttpConnector>>, Full<Bytes>>;

/// The connections under one certificate.
struct Line {
    certificate: Uuid,
    tls: Arc<ClientConfig>,
    alerts: Alerts,
    next: AtomicUsize,
    slots: Vec<Mutex<Arc<Http>>>,
}

impl std::fmt::Debug for ApnsClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ApnsClient")
            .field("base", &self.base)
            .finish_non_exhaustive()
    }
}

impl ApnsClient {
    /// A line to APNs; connects at the first push.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the base URL is not one of https, or the roots hold no certificate.
    pub fn new(options: ApnsOptions, clock: Arc<dyn Clock>) -> Result<Self> {
        let invalid = || Error::Invalid("the URL of APNs must read https://host:port".into());
        let base = options
            .base_url
            .trim_end_matches('/')
            .parse::<Uri>()
            .map_err(|_| invalid())?;
        if base.scheme_str() != Some("https") || base.host().is_none() || base.path() != "/" {
            return Err(invalid());
        }
        let roots = Arc::new(trusted(&options.roots)?);
        Ok(Self {
            options,
            base,
            roots,
            clock,
            lines: Mutex::default(),
        })
    }

    fn line(&self, certificate: &PushCertificate) -> Result<Arc<Line>, PushFailure> {
        let key = (certificate.tenant, certificate.topic.clone());
        // Held while the line is made, so that many first pushes share its connections.
        let mut lines = self.lines.lock();
        if let Some(line) = lines.get(&key)
            && line.certificate == certificate.id
        {
            return Ok(line.clone());
        }
        let line = Arc::new(self.open(certificate)?);
        // Pushes under way on the former connections hold on to them until they are answered.
        lines.insert(key, line.clone());
        Ok(line)
    }

    fn open(&self, certificate: &PushCertificate) -> Result<Line, PushFailure> {
        let tls = Arc::new(tls(certificate, self.roots.clone())?);
        let alerts = Alerts::default();
        let slots = (0..self.options.connections.clamp(1, 16))
            .map(|_| Mutex::new(Arc::new(self.connect(&tls, &alerts))))
            .collect();
        Ok(Line {
            certificate: certificate.id,
            tls,
            alerts,
            next: AtomicUsize::new(0),
            slots,
        })
    }

    /// One client, which keeps one HTTP/2 connection and makes a new one when that has ended.
    fn connect(&self, tls: &Arc<ClientConfig>, alerts: &Alerts) -> Http {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(self.options.connect_timeout));
        let https = HttpsConnectorBuilder::new()
            .with_tls_config((**tls).clone())
            .https_only()
            .enable_http2()
            .wrap_connector(tcp);
        Client::builder(TokioExecutor::new())
            .http2_only(true)
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(None)
            .http2_keep_alive_interval(self.options.ping_interval)
            .http2_keep_alive_timeout(self.options.ping_timeout)
            .http2_keep_alive_while_idle(true)
            .build(Watched::new(https, alerts.clone()))
    }

    async fn exchange(
        &self,
        http: &Http,
        request: Request<Bytes>,
        alerts: &Alerts,
    ) -> Result<Accepted, PushFailure> {
        let answer = http
            .request(request.map(Full::new))
            .await
            .map_err(|error| failure(&error, alerts))?;
        alerts.clear();
        let (head, body) = answer.into_parts();
        let apns_id = word(&head.headers, "apns-id");
        if head.status == StatusCode::OK {
            return Ok(Accepted { apns_id });
        }
        // An answer whose body cannot be read is still an answer.
        let body = Limited::new(body, ANSWER_LIMIT)
            .collect()
            .await
            .map(|body| body.to_bytes())
            .unwrap_or_default();
        Err(PushFailure::Refused(apple::refusal(
            head.status.as_u16(),
            apns_id,
            self.retry_after(&head.headers),
            &body,
        )))
    }

    /// Seconds, or a date.
    fn retry_after(&self, headers: &HeaderMap) -> Option<Duration> {
        let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
        if let Ok(seconds) = text.parse() {
            return Some(Duration::from_secs(seconds));
        }
        let at = OffsetDateTime::parse(text, &Rfc2822).ok()?;
        let left = at.unix_timestamp() - self.clock.now() / SECOND;
        u64::try_from(left).ok().map(Duration::from_secs)
    }
}

#[async_trait]
impl ApnsTransport for ApnsClient {
    async fn send(
        &self,
        certificate: &PushCertificate,
        note: Notification,
    ) -> Result<Accepted, PushFailure> {
        let line = self.line(certificate)?;
        let request = apple::request(&self.base, &note)?;
        let place = line.next.fetch_add(1, Ordering::Relaxed) % line.slots.len().max(1);
        let Some(slot) = line.slots.get(place) else {
            return Err(PushFailure::Unusable("no connection is configured"));
        };
        let http = slot.lock().clone();
        let work = async {
            match self.exchange(&http, request.clone(), &line.alerts).await {
                // The server closed it (GOAWAY) or the network did: a wake-up may be sent twice, so once
                // more, on the new connection.
                Err(PushFailure::Broken(_)) => self.exchange(&http, request, &line.alerts).await,
                other => other,
            }
        };
        match tokio::time::timeout(self.options.timeout, work).await {
            Ok(result) => result,
            Err(_) => {
                // What has gone silent is left to those who still wait on it; the next push gets a new connection.
                let mut slot = slot.lock();
                if Arc::ptr_eq(&slot, &http) {
                    *slot = Arc::new(self.connect(&line.tls, &line.alerts));
                }
                Err(PushFailure::Timeout)
            }
        }
    }
}

fn trusted(roots: &ApnsRoots) -> Result<RootCertStore> {
    let mut store = RootCertStore::empty();
    match roots {
        ApnsRoots::Web => store
            .roots
            .extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        ApnsRoots::Pem(pem) => {
            for certificate in CertificateDer::pem_slice_iter(pem) {
                let unreadable = "the trusted roots of APNs are not certificates in PEM";
                let certificate = certificate.map_err(|_| Error::Invalid(unreadable.into()))?;
                store
                    .add(certificate)
                    .map_err(|_| Error::Invalid(unreadable.into()))?;
            }
        }
    }
    if store.is_empty() {
        return Err(Error::Invalid(
            "no trusted root for APNs is configured".into(),
        ));
    }
    Ok(store)
}

fn tls(
    certificate: &PushCertificate,
    roots: Arc<RootCertStore>,
) -> Result<ClientConfig, PushFailure> {
    let unusable = |what: &str| PushFailure::CertificateRejected(what.to_owned());
    let chain = CertificateDer::pem_slice_iter(certificate.certificate_pem.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| unusable("it is not PEM"))?;
    let key = PrivateKeyDer::try_from(certificate.key_der.to_vec())
        .map_err(|_| unusable("its key is not DER"))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|_| unusable("no TLS version is left"))?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)
        .map_err(|_| unusable("it or its key cannot be used"))
}

fn word(headers: &HeaderMap, name: &str) -> Option<String> {
    let text = headers.get(name)?.to_str().ok()?;
    Some(text.chars().take(64).collect())
}

fn failure(error: &hyper_util::client::legacy::Error, alerts: &Alerts) -> PushFailure {
    if let Some(alert) = alerts.about_certificate() {
        return PushFailure::CertificateRejected(format!("{alert:?}"));
    }
    let cause = cause(error);
    if error.is_connect() {
        PushFailure::Connect(cause)
    } else {
        PushFailure::Broken(cause)
    }
}

/// The innermost cause, which names what happened; the layers above only repeat that something did.
fn cause(error: &(dyn StdError + 'static)) -> String {
    let mut innermost = error;
    loop {
        let within = innermost
            .downcast_ref::<io::Error>()
            .and_then(|error| error.get_ref())
            .map(|error| error as &(dyn StdError + 'static));
        match within.or_else(|| innermost.source()) {
            Some(next) => innermost = next,
            None => return innermost.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    fn client(base_url: &str) -> Result<ApnsClient> {
        let options = ApnsOptions {
            base_url: base_url.to_owned(),
            ..ApnsOptions::default()
        };
        // 1994-11-06 08:49:00
        ApnsClient::new(options, Arc::new(ManualClock::at(784_111_740 * SECOND)))
    }

    #[test]
    fn only_an_https_origin_is_taken() {
        for good in [
            APNS_PRODUCTION,
            "https://localhost:2197/",
            "https://[::1]:1",
        ] {
            assert!(client(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "http://api.push.apple.com",
            "https://",
            "https://host/path",
            "host:443",
        ] {
            assert!(client(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn retry_after_is_read_as_seconds_or_as_a_date() {
        let client = client(APNS_PRODUCTION).unwrap();
        for (text, expected) in [
            ("120", Some(120)),
            ("0", Some(0)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(37)),
            ("Sun, 06 Nov 1994 08:48:37 GMT", None),
            ("-5", None),
            ("soon", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, text.parse().unwrap());
            let expected = expected.map(Duration::from_secs);
            assert_eq!(client.retry_after(&headers), expected, "{text}");
        }
    }

    #[test]
    fn roots_must_hold_a_certificate() {
        let options = ApnsOptions {
            roots: ApnsRoots::Pem(b"nothing".to_vec()),
            ..ApnsOptions::default()
        };
        assert!(ApnsClient::new(options, Arc::new(ManualClock::at(0))).is_err());
    }
}
