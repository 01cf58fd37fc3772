//! One connection, from handshake to end.
//!
//! Owns: the handshake, the choice of HTTP version, the time limits around each request, and what a handler
//! learns of its peer.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{Request, Response, StatusCode};
use hyper::body::Incoming as HyperBody;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use pomona_engine::http::{PeerAddress, TlsPeer};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::TICK;
use super::activity::{Activity, Incoming, Outgoing};
use super::limits::{CONNECTION_WINDOW, HEADER_BYTES, Limits, STREAM_WINDOW, STREAMS};

/// A connection that was just taken.
pub(crate) struct Open {
    pub(crate) listener: &'static str,
    pub(crate) stream: TcpStream,
    pub(crate) peer: SocketAddr,
    pub(crate) tls: Option<Arc<ServerConfig>>,
    pub(crate) router: Router,
    pub(crate) limits: Limits,
}

/// Serves it to its end.
pub(crate) async fn run(open: Open, stop: CancellationToken) {
    let Open {
        listener,
        stream,
        peer,
        tls,
        router,
        limits,
    } = open;
    let Some(config) = tls else {
        return serve(stream, peer, TlsPeer(None), router, limits, stop).await;
    };
    let handshake = TlsAcceptor::from(config).accept(stream);
    let stream = tokio::select! {
        () = stop.cancelled() => return,
        done = tokio::time::timeout(limits.handshake, handshake) => match done {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                metrics::counter!("pomona_handshakes_failed", "listener" => listener).increment(1);
                tracing::debug!(listener, %peer, %error, "a TLS handshake failed");
                return;
            }
            Err(_) => {
                metrics::counter!("pomona_handshakes_failed", "listener" => listener).increment(1);
                tracing::debug!(listener, %peer, "a TLS handshake took too long");
                return;
            }
        },
    };
    let shown = stream.get_ref().1.peer_certificates();
    let shown = shown
        .and_then(|chain| chain.first())
        .map(|der| der.to_vec());
    serve(stream, peer, TlsPeer(shown), router, limits, stop).await;
}

async fn serve<S>(
    stream: S,
    peer: SocketAddr,
    tls_peer: TlsPeer,
    router: Router,
    limits: Limits,
    stop: CancellationToken,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let activity = Activity::new();
    let service = service_fn({
        let activity = activity.clone();
        move |request: Request<HyperBody>| {
            let (router, tls_peer, activity) = (router.clone(), tls_peer.clone(), activity.clone());
            async move {
                Ok::<_, std::convert::Infallible>(
                    answer(request, router, peer, tls_peer, activity, limits).await,
                )
            }
        }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header)
        .max_buf_size(HEADER_BYTES);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(HEADER_BYTES.try_into().unwrap_or(u32::MAX))
        .max_concurrent_streams(STREAMS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .keep_alive_interval(limits.header)
        .keep_alive_timeout(limits.handshake);
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let mut leaving = false;
    loop {
        tokio::select! {
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%peer, %error, "a connection broke");
                }
                return;
            }
            () = stop.cancelled(), if !leaving => {
                leaving = true;
                connection.as_mut().graceful_shutdown();
            }
            () = tokio::time::sleep(TICK) => {
                if activity.is_idle(limits.header) {
                    if leaving {
                        // It was asked to end and still stands: it is dropped.
                        return;
                    }
                    leaving = true;
                    activity.touch();
                    connection.as_mut().graceful_shutdown();
                }
            }
        }
    }
}

async fn answer(
    request: Request<HyperBody>,
    router: Router,
    peer: SocketAddr,
    tls_peer: TlsPeer,
    activity: Arc<Activity>,
    limits: Limits,
) -> Response<Outgoing<Body>> {
    let running = activity.begin();
    let mut request =
        request.map(|body| Body::new(Incoming::new(body, activity.clone(), limits.body_idle)));
    request.extensions_mut().insert(tls_peer);
    request
        .extensions_mut()
        .insert(PeerAddress(peer.ip().to_canonical()));
    request.extensions_mut().insert(ConnectInfo(peer));
    let response = match tokio::time::timeout(limits.request, router.oneshot(request)).await {
        Ok(Ok(response)) => response,
        Ok(Err(never)) => match never {},
        Err(_) => {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::REQUEST_TIMEOUT;
            response
        }
    };
    drop(running);
    response.map(|body| Outgoing::new(body, activity))
}
