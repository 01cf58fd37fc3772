//! A server that plays APNs: HTTP/2 over TLS with client certificates, and faults on demand.

use std::convert::Infallible;
use std::future::pending;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use parking_lot::Mutex;
use pomona_cms::x509::Certificate;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::RootCertStore;
use rustls::pki_types::PrivateKeyDer;
use rustls::server::WebPkiClientVerifier;
use rustls::version::{TLS12, TLS13};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

/// A certificate authority of the test.
pub(crate) struct Authority {
    params: CertificateParams,
    key: KeyPair,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        Self { params, key }
    }

    pub(crate) fn pem(&self) -> String {
        self.params.self_signed(&self.key).unwrap().pem()
    }

    /// A leaf with this common name, for localhost: certificate in PEM and key in DER.
    pub(crate) fn issue(&self, name: &str) -> (String, Vec<u8>) {
        let (certificate, key) = self.leaf(name);
        (certificate.pem(), key.serialize_der())
    }

    fn leaf(&self, name: &str) -> (rcgen::Certificate, KeyPair) {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let issuer = Issuer::from_params(&self.params, &self.key);
        (params.signed_by(&key, &issuer).unwrap(), key)
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        let certificate = self.params.self_signed(&self.key).unwrap();
        roots.add(certificate.der().clone()).unwrap();
        roots
    }
}

/// Which versions of TLS the server speaks.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Tls {
    Both,
    Only12,
    Only13,
}

/// An answer.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    status: u16,
    headers: Vec<(&'static str, &'static str)>,
    body: Bytes,
}

impl Answer {
    pub(crate) fn new(status: u16, body: &str) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: Bytes::from(body.to_owned()),
        }
    }

    pub(crate) fn accept() -> Self {
        Self::new(200, "").with("apns-id", "00000000-0000-0000-0000-000000000001")
    }

    pub(crate) fn with(mut self, name: &'static str, value: &'static str) -> Self {
        self.headers.push((name, value));
        self
    }

    fn response(self) -> Response<Full<Bytes>> {
        let mut response = Response::builder().status(self.status);
        for (name, value) in self.headers {
            response = response.header(name, value);
        }
        response.body(Full::new(self.body)).unwrap()
    }
}

/// What the server does with a request.
pub(crate) enum Behaviour {
    Answer(Answer),
    /// Never answers, and keeps the connection.
    Silence,
    /// Closes the connection without a word.
    Drop,
    /// Answers, finishes what is under way and takes no more on this connection.
    AnswerAndGoAway(Answer),
    /// Answers, and from the next request on neither reads nor writes on this connection.
    AnswerAndFreeze(Answer),
}

impl Behaviour {
    pub(crate) fn accept() -> Self {
        Self::Answer(Answer::accept())
    }
}

/// Where a request stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    /// The number of its connection, from 0.
    pub(crate) connection: usize,
    /// Its number on that connection, from 0.
    pub(crate) on_connection: usize,
}

/// A request as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Recorded {
    pub(crate) method: String,
    pub(crate) path: String,
    /// `name: value`, sorted.
    pub(crate) headers: Vec<String>,
    pub(crate) body: Vec<u8>,
    /// The common name of the client's certificate.
    pub(crate) peer: String,
}

struct Shared {
    behaviour: Box<dyn Fn(Seen) -> Behaviour + Send + Sync>,
    connections: AtomicUsize,
    requests: Mutex<Vec<Recorded>>,
}

/// The server; it ends, with all its connections, when it is dropped.
pub(crate) struct Server {
    address: SocketAddr,
    root: Authority,
    clients: Authority,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    pub(crate) async fn start(
        tls: Tls,
        behaviour: impl Fn(Seen) -> Behaviour + Send + Sync + 'static,
    ) -> Self {
        let (root, clients) = (Authority::new("server root"), Authority::new("push root"));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(
            Arc::new(clients.roots()),
            provider.clone(),
        )
        .build()
        .unwrap();
        let versions: &[_] = match tls {
            Tls::Both => &[&TLS13, &TLS12],
            Tls::Only12 => &[&TLS12],
            Tls::Only13 => &[&TLS13],
        };
        let (certificate, key) = root.leaf("localhost");
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .with_client_cert_verifier(verifier)
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            behaviour: Box::new(behaviour),
            connections: AtomicUsize::new(0),
            requests: Mutex::default(),
        });
        let task = tokio::spawn(accept(listener, acceptor, shared.clone()));
        Self {
            address,
            root,
            clients,
            shared,
            task,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("https://localhost:{}", self.address.port())
    }

    pub(crate) fn root_pem(&self) -> String {
        self.root.pem()
    }

    /// The authority whose certificates the server accepts.
    pub(crate) fn clients(&self) -> &Authority {
        &self.clients
    }

    /// Connections that got as far as HTTP/2.
    pub(crate) fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    pub(crate) fn requests(&self) -> Vec<Recorded> {
        self.shared.requests.lock().clone()
    }
}

async fn accept(listener: TcpListener, acceptor: TlsAcceptor, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Ok((tcp, _)) = listener.accept() => {
                connections.spawn(serve(tcp, acceptor.clone(), shared.clone()));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// What a request can do to its connection.
#[derive(Default)]
struct Levers {
    drop: Notify,
    go_away: Notify,
    freeze: Notify,
}

async fn serve(tcp: TcpStream, acceptor: TlsAcceptor, shared: Arc<Shared>) {
    tcp.set_nodelay(true).unwrap();
    let Ok(tls) = acceptor.accept(tcp).await else {
        return;
    };
    let peer = peer(&tls);
    let number = shared.connections.fetch_add(1, Ordering::SeqCst);
    let count = AtomicUsize::new(0);
    let levers = Arc::new(Levers::default());
    let service = service_fn(|request| {
        let seen = Seen {
            connection: number,
            on_connection: count.fetch_add(1, Ordering::SeqCst),
        };
        answer(request, seen, peer.clone(), shared.clone(), levers.clone())
    });
    let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
        .max_concurrent_streams(1_000)
        .serve_connection(TokioIo::new(tls), service);
    tokio::pin!(connection);
    loop {
        tokio::select! {
            _ = connection.as_mut() => return,
            () = levers.drop.notified() => return,
            () = levers.go_away.notified() => connection.as_mut().graceful_shutdown(),
            () = levers.freeze.notified() => pending::<()>().await,
        }
    }
}

fn peer(tls: &tokio_rustls::server::TlsStream<TcpStream>) -> String {
    let (_, session) = tls.get_ref();
    let der = &session.peer_certificates().unwrap()[0];
    let certificate = Certificate::from_der(der).unwrap();
    certificate.subject().common_name().unwrap()
}

async fn answer(
    request: Request<Incoming>,
    seen: Seen,
    peer: String,
    shared: Arc<Shared>,
    levers: Arc<Levers>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let mut headers: Vec<_> = head
        .headers
        .iter()
        .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
        .collect();
    headers.sort();
    shared.requests.lock().push(Recorded {
        method: head.method.to_string(),
        path: head.uri.path().to_owned(),
        headers,
        body: body.to_vec(),
        peer,
    });
    match (shared.behaviour)(seen) {
        Behaviour::Answer(answer) => Ok(answer.response()),
        Behaviour::Silence => pending().await,
        Behaviour::Drop => {
            levers.drop.notify_one();
            pending().await
        }
        Behaviour::AnswerAndGoAway(answer) => {
            levers.go_away.notify_one();
            Ok(answer.response())
        }
        Behaviour::AnswerAndFreeze(answer) => {
            if seen.on_connection > 0 {
                levers.freeze.notify_one();
                return pending().await;
            }
            Ok(answer.response())
        }
    }
}
