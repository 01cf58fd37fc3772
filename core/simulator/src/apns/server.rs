//! The push service's HTTP/2 side: connections, the checks of a request, the answers.
//!
//! Owns what Apple checks and in which order, and the mischief on a connection. Never keeps a
//! notification: the registry does. Source: Apple, "Sending notification requests to APNs",
//! "Handling notification responses from APNs".

use std::convert::Infallible;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{HeaderMap, Method, Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::apns::faults::{Reaction, Reason};
use crate::apns::identity::topic;
use crate::apns::registry::{Outcome, Push, Token};
use crate::apns::{ApnsError, Service};

/// The limit for a payload.
const MAX_PAYLOAD: usize = 4_096;
/// What a client has to get through TLS.
const HANDSHAKE_TIME: Duration = Duration::from_secs(10);
/// Violations kept with their text.
const MAX_VIOLATIONS: usize = 100;

pub(super) fn tls(
    certificate: &str,
    key: &str,
    client_cas: &str,
) -> Result<Arc<ServerConfig>, ApnsError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    for root in CertificateDer::pem_slice_iter(client_cas.as_bytes()) {
        let root = root.map_err(|_| ApnsError::Tls)?;
        roots.add(root).map_err(|_| ApnsError::Tls)?;
    }
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .build()
            .map_err(|_| ApnsError::Tls)?;
    let chain = CertificateDer::pem_slice_iter(certificate.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| ApnsError::Tls)?;
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|_| ApnsError::Tls)?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|_| ApnsError::Tls)?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .map_err(|_| ApnsError::Tls)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Arc::new(config))
}

pub(super) async fn accept(listener: TcpListener, service: Weak<Service>, stop: CancellationToken) {
    loop {
        let stream = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                // Out of descriptors: the next moment may be better.
                Err(_) => {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            },
        };
        let Some(service) = service.upgrade() else {
            return;
        };
        let connection = connection(
            stream,
            Arc::downgrade(&service),
            tls_of(&service),
            stop.clone(),
        );
        tokio::spawn(connection);
    }
}

fn tls_of(service: &Service) -> Arc<ServerConfig> {
    Arc::clone(&service.tls.read())
}

async fn connection(
    stream: TcpStream,
    service: Weak<Service>,
    tls: Arc<ServerConfig>,
    stop: CancellationToken,
) {
    let _ = stream.set_nodelay(true);
    let accepted = tokio::time::timeout(HANDSHAKE_TIME, TlsAcceptor::from(tls).accept(stream));
    let Ok(Ok(stream)) = accepted.await else {
        return;
    };
    let certificates = stream.get_ref().1.peer_certificates();
    let topic = certificates.and_then(|chain| topic(chain.first()?));
    if let Some(service) = service.upgrade() {
        let mut figures = service.figures.lock();
        figures.connections = figures.connections.saturating_add(1);
    }
    let shared = Arc::new(Connection {
        service,
        topic,
        requests: AtomicU64::new(0),
        cut: CancellationToken::new(),
        leave: Notify::new(),
    });
    let handler = Arc::clone(&shared);
    let serve = service_fn(move |request| {
        let handler = Arc::clone(&handler);
        async move { Ok::<_, Infallible>(handler.serve(request).await) }
    });
    let served = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
        .max_concurrent_streams(1_000)
        .serve_connection(TokioIo::new(stream), serve);
    let mut served = pin!(served);
    let mut leaving = false;
    loop {
        tokio::select! {
            _ = served.as_mut() => return,
            () = stop.cancelled() => return,
            () = shared.cut.cancelled() => return,
            () = shared.leave.notified(), if !leaving => {
                leaving = true;
                served.as_mut().graceful_shutdown();
            }
        }
    }
}

struct Connection {
    service: Weak<Service>,
    /// The topic of the client's certificate.
    topic: Option<String>,
    requests: AtomicU64,
    cut: CancellationToken,
    leave: Notify,
}

/// A refusal, with the time that goes with Unregistered.
struct Refusal(Reason, Option<i64>);

impl From<Reason> for Refusal {
    fn from(reason: Reason) -> Self {
        Self(reason, None)
    }
}

impl Connection {
    async fn serve(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let Some(service) = self.service.upgrade() else {
            return refusal(&Reason::Shutdown.into(), "");
        };
        let count = self
            .requests
            .fetch_add(1, Ordering::Relaxed)
            .saturating_add(1);
        let (reaction, go_away_after, race) = {
            let mut chance = service.chance.lock();
            let (faults, dice) = &mut *chance;
            (faults.next(dice), faults.go_away_after, faults.push_race)
        };
        if go_away_after == Some(count) || reaction == Reaction::GoAway {
            self.leave.notify_one();
        }
        {
            let mut figures = service.figures.lock();
            figures.requests = figures.requests.saturating_add(1);
        }
        let id = request
            .headers()
            .get("apns-id")
            .and_then(|id| id.to_str().ok());
        let id = id.map_or_else(|| uuid::Uuid::new_v4().to_string(), str::to_owned);
        match reaction {
            Reaction::Drop => self.cut.cancel(),
            Reaction::Slow(time) => tokio::time::sleep(time).await,
            _ => {}
        }
        let outcome = match reaction {
            Reaction::Answer(reason) => {
                let gone = reason == Reason::Unregistered;
                Err(Refusal(reason, gone.then(crate::clock::unix_ms)))
            }
            _ => self.push(&service, request, race).await,
        };
        match outcome {
            Ok(()) => reply(200, &id, Bytes::new()),
            Err(refused) => {
                let mut figures = service.figures.lock();
                let count = figures.refused.entry(refused.0).or_default();
                *count = count.saturating_add(1);
                drop(figures);
                refusal(&refused, &id)
            }
        }
    }

    async fn push(
        &self,
        service: &Service,
        request: Request<Incoming>,
        race: Duration,
    ) -> Result<(), Refusal> {
        let (parts, body) = request.into_parts();
        let (token, topic, expires) = self
            .check(&parts.method, parts.uri.path(), &parts.headers)
            .inspect_err(|refused| violation(service, refused.0))?;
        let body = Limited::new(body, MAX_PAYLOAD).collect().await;
        let body = body.map_err(|_| Reason::PayloadTooLarge)?.to_bytes();
        let magic = magic(&body).inspect_err(|reason| violation(service, *reason))?;
        let push = Push { magic, expires };
        let outcome = service.registry.deliver(&token, &topic, push, race);
        let mut figures = service.figures.lock();
        let count = match outcome {
            Outcome::Delivered => &mut figures.delivered,
            Outcome::Stored => &mut figures.stored,
            Outcome::Lost => &mut figures.lost,
            Outcome::Unknown => return Err(Reason::BadDeviceToken.into()),
            Outcome::OtherTopic => return Err(Reason::DeviceTokenNotForTopic.into()),
            Outcome::Gone(at) => return Err(Refusal(Reason::Unregistered, Some(at))),
        };
        *count = count.saturating_add(1);
        Ok(())
    }

    /// Everything but the payload: token, topic, and when the notification expires.
    fn check(
        &self,
        method: &Method,
        path: &str,
        headers: &HeaderMap,
    ) -> Result<(Token, String, i64), Refusal> {
        if method != Method::POST {
            return Err(Reason::MethodNotAllowed.into());
        }
        let token = path.strip_prefix("/3/device/").ok_or(Reason::BadPath)?;
        if token.is_empty() {
            return Err(Reason::MissingDeviceToken.into());
        }
        let token: Vec<u8> = hex::decode(token).map_err(|_| Reason::BadDeviceToken)?;
        let token = Token::try_from(token).map_err(|_| Reason::BadDeviceToken)?;
        let header = |name: &str| match headers.get_all(name).iter().count() {
            0 => Ok(None),
            1 => Ok(headers.get(name).and_then(|value| value.to_str().ok())),
            _ => Err(Reason::DuplicateHeaders),
        };
        let own = self.topic.as_deref().ok_or(Reason::MissingTopic)?;
        let topic = match header("apns-topic")? {
            None => own,
            Some(topic) if topic == own => topic,
            Some(topic) if topic.starts_with("com.apple.mgmt.") => {
                return Err(Reason::TopicDisallowed.into());
            }
            Some(_) => return Err(Reason::BadTopic.into()),
        };
        if header("apns-push-type")? != Some("mdm") {
            return Err(Reason::InvalidPushType.into());
        }
        if !matches!(header("apns-priority")?, None | Some("10" | "5" | "1")) {
            return Err(Reason::BadPriority.into());
        }
        let expires = match header("apns-expiration")? {
            // Without the header nothing is kept for a device that is away.
            None => 0,
            Some(text) => text.parse().map_err(|_| Reason::BadExpirationDate)?,
        };
        if header("apns-id")?.is_some_and(|id| uuid::Uuid::parse_str(id).is_err()) {
            return Err(Reason::BadMessageId.into());
        }
        Ok((token, topic.to_owned(), expires))
    }
}

/// The one key of an MDM push, and nothing beside it.
fn magic(body: &[u8]) -> Result<String, Reason> {
    if body.is_empty() {
        return Err(Reason::PayloadEmpty);
    }
    let value = serde_json::from_slice::<serde_json::Value>(body);
    let object = value.ok().and_then(|value| match value {
        serde_json::Value::Object(object) => Some(object),
        _ => None,
    });
    let object = object.ok_or(Reason::NotAnMdmPayload)?;
    match (
        object.len(),
        object.get("mdm").and_then(|magic| magic.as_str()),
    ) {
        (1, Some(magic)) => Ok(magic.to_owned()),
        _ => Err(Reason::NotAnMdmPayload),
    }
}

fn violation(service: &Service, reason: Reason) {
    let mut figures = service.figures.lock();
    if figures.violations.len() < MAX_VIOLATIONS {
        figures.violations.push(reason.text());
    }
}

fn refusal(refused: &Refusal, id: &str) -> Response<Full<Bytes>> {
    let body = match refused.1 {
        Some(at) => json!({ "reason": refused.0.text(), "timestamp": at }),
        None => json!({ "reason": refused.0.text() }),
    };
    reply(refused.0.status(), id, body.to_string().into())
}

fn reply(status: u16, id: &str, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    if let Ok(status) = hyper::StatusCode::from_u16(status) {
        *response.status_mut() = status;
    }
    if let Ok(id) = id.parse() {
        response.headers_mut().insert("apns-id", id);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_exact_payload_is_an_mdm_push() {
        assert_eq!(magic(br#"{"mdm":"m"}"#), Ok("m".to_owned()));
        for (body, reason) in [
            (&b""[..], Reason::PayloadEmpty),
            (br#"{"mdm":"m","aps":{}}"#, Reason::NotAnMdmPayload),
            (br#"{"mdm":1}"#, Reason::NotAnMdmPayload),
            (br#"{"aps":{}}"#, Reason::NotAnMdmPayload),
            (b"mdm", Reason::NotAnMdmPayload),
        ] {
            assert_eq!(magic(body), Err(reason));
        }
    }
}
