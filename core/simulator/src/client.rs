//! The device's HTTP client: one kept-alive HTTP/1.1 connection, over TLS or plain.
//!
//! Owns connecting, trust, the client certificate, time-outs, and cutting a connection on
//! purpose. Never retries a request that the server may have seen: what a lost answer means is
//! the caller's business. Stands below `scep` and the device.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{CONTENT_TYPE, HOST, RETRY_AFTER, USER_AGENT};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::task::AbortHandle;
use tokio_rustls::TlsConnector;
use url::Url;

use crate::cms::Identity;

/// Replies beyond this size are refused.
const MAX_ANSWER: usize = 64 * 1024 * 1024;

/// A request that brought no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The URL is not one that a device can call.
    #[error("the address {0} cannot be called")]
    Address(String),
    /// The certificates that the caller trusts cannot be read.
    #[error("the trusted certificates cannot be read")]
    Trust,
    /// The device's own certificate and key do not fit together.
    #[error("the client certificate was refused by the TLS library")]
    Certificate,
    /// No connection.
    #[error("connecting failed: {0}")]
    Connect(std::io::Error),
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Broken(#[from] hyper::Error),
    /// The request could not be formed.
    #[error("the request cannot be formed: {0}")]
    Request(#[from] http::Error),
    /// The answer did not come in time, or its body broke off or was too long.
    #[error("the answer did not arrive: {0}")]
    Answer(&'static str),
}

/// Which servers a device believes.
#[derive(Clone, Debug)]
pub struct Trust {
    roots: Arc<RootCertStore>,
    config: Arc<ClientConfig>,
}

impl Trust {
    /// Trust in the root certificates of a PEM text; empty text trusts nobody, which is enough
    /// for plain connections.
    ///
    /// # Errors
    /// [`ClientError::Trust`] when the text holds something else.
    pub fn from_pem(pem: &str) -> Result<Self, ClientError> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
            let certificate = certificate.map_err(|_| ClientError::Trust)?;
            roots.add(certificate).map_err(|_| ClientError::Trust)?;
        }
        Self::from_roots(roots)
    }

    /// This trust and that in further DER certificates. Certificates that cannot be a root are
    /// passed over: a profile may carry intermediate ones.
    ///
    /// # Errors
    /// [`ClientError::Trust`] when TLS cannot be set up.
    pub fn with_roots(&self, certificates: &[Vec<u8>]) -> Result<Self, ClientError> {
        let mut roots = (*self.roots).clone();
        let before = roots.len();
        for certificate in certificates {
            let mut alone = RootCertStore::empty();
            if alone
                .add(CertificateDer::from(certificate.clone()))
                .is_err()
            {
                continue;
            }
            for anchor in alone.roots {
                if !roots.roots.contains(&anchor) {
                    roots.roots.push(anchor);
                }
            }
        }
        // Devices of one fleet mostly get the root that they trust already, and share one set-up.
        if roots.len() == before {
            return Ok(self.clone());
        }
        Self::from_roots(roots)
    }

    pub(crate) fn plain(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.config)
    }

    pub(crate) fn with_identity(
        &self,
        identity: &Identity,
    ) -> Result<Arc<ClientConfig>, ClientError> {
        let certificate = CertificateDer::from(identity.certificate.clone());
        let key = PrivatePkcs8KeyDer::from(identity.key.pkcs8().to_vec());
        let mut config = builder()?
            .with_root_certificates(Arc::clone(&self.roots))
            .with_client_auth_cert(vec![certificate], PrivateKeyDer::Pkcs8(key))
            .map_err(|_| ClientError::Certificate)?;
        // One server to remember, and perhaps a hundred thousand devices that do.
        config.resumption = Resumption::in_memory_sessions(1);
        Ok(Arc::new(config))
    }

    fn from_roots(roots: RootCertStore) -> Result<Self, ClientError> {
        let roots = Arc::new(roots);
        let config = builder()?
            .with_root_certificates(Arc::clone(&roots))
            .with_no_client_auth();
        Ok(Self {
            roots,
            config: Arc::new(config),
        })
    }
}

type Builder = rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>;

fn builder() -> Result<Builder, ClientError> {
    // Named, never the process default: another crate of the process may link a second one.
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|_| ClientError::Trust)
}

/// What came back.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    /// The HTTP status.
    pub(crate) status: u16,
    /// The content type without parameters, in lower case; empty when there is none.
    pub(crate) content_type: String,
    /// The Retry-After header, in seconds.
    pub(crate) retry_after: Option<u64>,
    /// The body.
    pub(crate) body: Bytes,
}

/// How a connection is cut on purpose.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Cut {
    /// This long after the request was handed to the connection, whatever has come back.
    After(Duration),
    /// When the answer has arrived, before it is read.
    BeforeReading,
}

/// A client with at most one open connection.
#[derive(Debug)]
pub(crate) struct Client {
    tls: Arc<ClientConfig>,
    timeout: Duration,
    agent: &'static str,
    connection: Option<Connection>,
}

impl Client {
    /// A client that is not connected yet.
    pub(crate) fn new(trust: &Trust, timeout: Duration, agent: &'static str) -> Self {
        Self {
            tls: trust.plain(),
            timeout,
            agent,
            connection: None,
        }
    }

    /// Uses another TLS set-up from the next connection on, and closes the present one.
    pub(crate) fn set_tls(&mut self, tls: Arc<ClientConfig>) {
        self.tls = tls;
        self.disconnect();
    }

    /// Closes the connection.
    pub(crate) fn disconnect(&mut self) {
        self.connection = None;
    }

    /// Sends a request and reads the whole answer.
    ///
    /// # Errors
    /// [`ClientError`] when there is no complete answer within the time-out.
    pub(crate) async fn send(
        &mut self,
        method: Method,
        url: &Url,
        headers: &[(&'static str, String)],
        body: Bytes,
    ) -> Result<Answer, ClientError> {
        let timeout = self.timeout;
        let result =
            match tokio::time::timeout(timeout, self.exchange(method, url, headers, body)).await {
                Ok(result) => result,
                Err(_) => Err(ClientError::Answer("time-out")),
            };
        if result.is_err() {
            self.disconnect();
        }
        result
    }

    /// Sends a request and closes the connection without reading the answer.
    ///
    /// # Errors
    /// [`ClientError`] when not even the sending worked.
    pub(crate) async fn send_and_cut(
        &mut self,
        method: Method,
        url: &Url,
        headers: &[(&'static str, String)],
        body: Bytes,
        cut: Cut,
    ) -> Result<(), ClientError> {
        let request = self.request(method, url, headers, body)?;
        let limit = match cut {
            Cut::After(limit) => limit,
            Cut::BeforeReading => self.timeout,
        };
        let connection = self.connected(url).await?;
        let sent = connection.sender.send_request(request);
        // Its outcome is what the device never learns.
        let _ = tokio::time::timeout(limit, sent).await;
        self.disconnect();
        Ok(())
    }

    async fn exchange(
        &mut self,
        method: Method,
        url: &Url,
        headers: &[(&'static str, String)],
        body: Bytes,
    ) -> Result<Answer, ClientError> {
        let mut request = self.request(method, url, headers, body)?;
        let mut tries = 0;
        let response = loop {
            let connection = self.connected(url).await?;
            match connection.sender.try_send_request(request).await {
                Ok(response) => break response,
                Err(mut error) => {
                    self.disconnect();
                    // The request comes back only when none of it was written: a kept-alive
                    // connection that the server had closed meanwhile.
                    match error.take_message() {
                        Some(unsent) if tries < 2 => {
                            tries += 1;
                            request = unsent;
                        }
                        _ => return Err(error.into_error().into()),
                    }
                }
            }
        };
        let status = response.status().as_u16();
        let header = |name| {
            let value = response.headers().get(name);
            value.and_then(|value: &http::HeaderValue| value.to_str().ok())
        };
        let content_type = header(CONTENT_TYPE).and_then(|value| value.split(';').next());
        let content_type = content_type.unwrap_or_default().trim().to_ascii_lowercase();
        let retry_after = header(RETRY_AFTER).and_then(|value| value.trim().parse().ok());
        let close = header(hyper::header::CONNECTION)
            .is_some_and(|value| value.eq_ignore_ascii_case("close"));
        let body = Limited::new(response.into_body(), MAX_ANSWER).collect();
        let body = body
            .await
            .map_err(|_| ClientError::Answer("its body broke off"))?
            .to_bytes();
        if close {
            self.disconnect();
        }
        Ok(Answer {
            status,
            content_type,
            retry_after,
            body,
        })
    }

    fn request(
        &self,
        method: Method,
        url: &Url,
        headers: &[(&'static str, String)],
        body: Bytes,
    ) -> Result<Request<Full<Bytes>>, ClientError> {
        let (host, port, _) = origin(url)?;
        let path = url.path();
        let target = match url.query() {
            Some(query) => format!("{path}?{query}"),
            None => path.to_owned(),
        };
        let host = match url.port() {
            Some(_) => format!("{host}:{port}"),
            None => host,
        };
        let mut request = Request::builder()
            .method(method)
            .uri(target)
            .header(HOST, host)
            .header(USER_AGENT, self.agent);
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        Ok(request.body(Full::new(body))?)
    }

    async fn connected(&mut self, url: &Url) -> Result<&mut Connection, ClientError> {
        let (host, port, secure) = origin(url)?;
        let name = (host, port, secure);
        let reusable = match &mut self.connection {
            Some(connection) if connection.origin == name => {
                connection.sender.ready().await.is_ok()
            }
            _ => false,
        };
        if !reusable {
            self.connection = None;
            let connection = Connection::open(name, Arc::clone(&self.tls)).await?;
            return Ok(self.connection.insert(connection));
        }
        match &mut self.connection {
            Some(connection) => Ok(connection),
            None => Err(ClientError::Answer("the connection is gone")),
        }
    }
}

/// Host, port, and whether TLS is spoken.
pub(crate) type Origin = (String, u16, bool);

pub(crate) fn origin(url: &Url) -> Result<Origin, ClientError> {
    let wrong = || ClientError::Address(url.origin().ascii_serialization());
    let secure = match url.scheme() {
        "https" => true,
        "http" => false,
        _ => return Err(wrong()),
    };
    let host = url.host_str().ok_or_else(wrong)?.to_owned();
    let port = url.port_or_known_default().ok_or_else(wrong)?;
    Ok((host, port, secure))
}

#[derive(Debug)]
struct Connection {
    origin: Origin,
    sender: SendRequest<Full<Bytes>>,
    driver: AbortHandle,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Connection {
    async fn open(origin: Origin, tls: Arc<ClientConfig>) -> Result<Self, ClientError> {
        let (host, port, secure) = &origin;
        let plain_host = host.trim_start_matches('[').trim_end_matches(']');
        let stream = TcpStream::connect((plain_host, *port))
            .await
            .map_err(ClientError::Connect)?;
        stream.set_nodelay(true).map_err(ClientError::Connect)?;
        let (sender, driver) = if *secure {
            let name = ServerName::try_from(plain_host.to_owned())
                .map_err(|_| ClientError::Address(host.clone()))?;
            let stream = TlsConnector::from(tls)
                .connect(name, stream)
                .await
                .map_err(ClientError::Connect)?;
            let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
            (sender, tokio::spawn(connection).abort_handle())
        } else {
            let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
            (sender, tokio::spawn(connection).abort_handle())
        };
        Ok(Self {
            origin,
            sender,
            driver,
        })
    }
}
