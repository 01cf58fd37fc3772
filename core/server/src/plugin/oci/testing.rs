//! What the tests of this folder share: a package, and a registry that does as it is told.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{Request, Response, StatusCode};
use axum::serve::Listener;
use parking_lot::Mutex;
use pomona_plugin_host::{Package, Role, SigningKey};
use rustls_pki_types::PrivateKeyDer;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// A small package with everything that one can hold.
pub(super) fn package() -> Package {
    let toml = "id = \"org.example.a\"\nversion = \"1.0.0+b\"\napi = \"0.9\"\ntitle = \"Ä\"\n[hooks.events]\n";
    let fixtures = BTreeMap::from([("one.json".to_owned(), "{\"ü\": \"\\u0000\"}".into())]);
    let schema = Some("{ \"type\": \"object\" }".to_owned());
    let component = wat::parse_str(r#"(component (import "example:a/b" (instance)))"#).unwrap();
    let mut package = Package::new(toml, component, schema, fixtures).unwrap();
    let key = SigningKey::read(&"07".repeat(32)).unwrap();
    package.sign(Role::Publisher, &key);
    package.sign(Role::Organisation, &key);
    package
}

/// A request as it arrived.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) line: String,
    /// The server, as whoever asked calls it.
    pub(super) host: String,
    pub(super) authorization: Option<String>,
}

type All = Arc<Mutex<Vec<Seen>>>;
type Answer = dyn Fn(&Seen) -> Response<Body> + Send + Sync;

/// An HTTP server on loopback that keeps what it was asked.
#[derive(Clone)]
pub(super) struct Server {
    pub(super) address: SocketAddr,
    seen: All,
}

impl Server {
    pub(super) async fn start(
        answer: impl Fn(&Seen) -> Response<Body> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = All::default();
        let router = router(seen.clone(), Arc::new(answer));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { address, seen }
    }

    /// As [`start`](Self::start), with TLS for `localhost`; the certificate is its own authority, PEM.
    pub(super) async fn start_tls(
        answer: impl Fn(&Seen) -> Response<Body> + Send + Sync + 'static,
    ) -> (Self, String) {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let config = rustls::ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        let listener = Tls {
            plain: TcpListener::bind("127.0.0.1:0").await.unwrap(),
            acceptor: Arc::new(config).into(),
        };
        let address = listener.local_addr().unwrap();
        let seen = All::default();
        let router = router(seen.clone(), Arc::new(answer));
        tokio::spawn(async move { axum::serve(listener, router).await });
        (Self { address, seen }, made.cert.pem())
    }

    pub(super) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().clone()
    }
}

fn router(seen: All, answer: Arc<Answer>) -> Router {
    // As the program does at its start.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    Router::new().fallback(serve).with_state((seen, answer))
}

struct Tls {
    plain: TcpListener,
    acceptor: TlsAcceptor,
}

impl axum::serve::Listener for Tls {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, SocketAddr) {
        loop {
            let (stream, address) = self.plain.accept().await.unwrap();
            if let Ok(stream) = self.acceptor.accept(stream).await {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.plain.local_addr()
    }
}

async fn serve(
    State((all, answer)): State<(All, Arc<Answer>)>,
    request: Request<Body>,
) -> Response<Body> {
    let header = |name: &str| {
        let value = request.headers().get(name);
        value.map(|value| value.to_str().unwrap().to_owned())
    };
    let seen = Seen {
        line: format!("{} {}", request.method(), request.uri()),
        host: header("host").unwrap(),
        authorization: header("authorization"),
    };
    all.lock().push(seen.clone());
    answer(&seen)
}

/// An answer with one header.
pub(super) fn answer(status: StatusCode, header: (&str, String), body: Vec<u8>) -> Response<Body> {
    Response::builder()
        .status(status)
        .header(header.0, header.1)
        .body(Body::from(body))
        .unwrap()
}

/// The plain answer.
pub(super) fn ok(body: Vec<u8>) -> Response<Body> {
    answer(StatusCode::OK, ("x-test", "x".into()), body)
}
