//! Requests of plugins to the outside.
//!
//! Owns: the one way out. A name is resolved once, and the connection goes to an address that was looked at; private networks, this
//! machine's own listeners and link-local addresses are refused; no proxy is taken from the environment; no redirect is
//! followed, it is the plugin's to read; reserved headers are refused. Which hosts a plugin may ask was decided before.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use pomona_plugin_host::{OutReply, OutRequest, ServiceError};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// What a request may take when it does not say.
const PATIENCE: u32 = 5_000;
/// What it may take at most, in milliseconds.
const MOST_PATIENCE: u32 = 10_000;
/// The largest body of an answer.
const MAX_BODY: usize = 1 << 20;
/// Headers of an answer that a plugin is shown.
const MAX_HEADERS: usize = 64;
/// Requests at the same time, of all plugins.
const AT_ONCE: usize = 64;

/// Headers that belong to the connection, not to a plugin.
const RESERVED: [&str; 11] = [
    "host",
    "content-length",
    "transfer-encoding",
    "connection",
    "keep-alive",
    "upgrade",
    "te",
    "trailer",
    "expect",
    "cookie",
    "forwarded",
];

/// The way out.
pub(crate) struct Outside {
    tls: TlsConnector,
    /// Ports on which this server listens.
    own: BTreeSet<u16>,
    room: tokio::sync::Semaphore,
}

impl Outside {
    /// A way out that believes these authorities besides the public ones.
    pub(crate) fn new(
        authorities: impl IntoIterator<Item = rustls_pki_types::CertificateDer<'static>>,
        own: BTreeSet<u16>,
    ) -> Self {
        let mut roots = rustls::RootCertStore::empty();
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        roots.add_parsable_certificates(authorities);
        let tls = rustls::ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth();
        Self {
            tls: TlsConnector::from(Arc::new(tls)),
            own,
            room: tokio::sync::Semaphore::new(AT_ONCE),
        }
    }

    /// Sends a request and reads its answer.
    pub(super) async fn send(&self, request: OutRequest) -> Result<OutReply, ServiceError> {
        let patience = match request.timeout_ms {
            0 => PATIENCE,
            asked => asked.min(MOST_PATIENCE),
        };
        let host = request.url.host_str().unwrap_or_default().to_owned();
        let work = async {
            let _room = self.room.acquire().await;
            self.exchange(request).await
        };
        tokio::time::timeout(Duration::from_millis(patience.into()), work)
            .await
            .unwrap_or_else(|_| {
                Err(ServiceError::Unavailable(format!(
                    "{host} did not answer within {patience} ms"
                )))
            })
    }

    async fn exchange(&self, request: OutRequest) -> Result<OutReply, ServiceError> {
        let address = self.address(&request).await?;
        let host = request.url.host_str().unwrap_or_default().to_owned();
        let away = |what: String| ServiceError::Unavailable(format!("{host}: {what}"));
        let tcp = TcpStream::connect(address)
            .await
            .map_err(|error| away(error.to_string()))?;
        if request.url.scheme() == "https" {
            let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned())
                .map_err(|error| away(error.to_string()))?;
            let tls = self.tls.connect(name, tcp).await;
            let tls = tls.map_err(|error| away(error.to_string()))?;
            ask(tls, request).await
        } else {
            ask(tcp, request).await
        }
    }

    /// Resolves the host once. Every address must be one that may be asked: a name that also points into a private network is
    /// refused as a whole.
    async fn address(&self, request: &OutRequest) -> Result<SocketAddr, ServiceError> {
        let host = request.url.host_str().unwrap_or_default();
        let port = request.url.port_or_known_default().unwrap_or(0);
        let plain = host.trim_matches(['[', ']']);
        let found: Vec<SocketAddr> = tokio::net::lookup_host((plain, port))
            .await
            .map_err(|error| ServiceError::Unavailable(format!("{host}: {error}")))?
            .collect();
        for address in &found {
            self.admits(*address, request.private).map_err(|why| {
                ServiceError::Denied(format!("{host} is {}: {why}", address.ip()))
            })?;
        }
        found
            .first()
            .copied()
            .ok_or_else(|| ServiceError::Unavailable(format!("{host} has no address")))
    }

    fn admits(&self, address: SocketAddr, private: bool) -> Result<(), &'static str> {
        match reach(address.ip()) {
            Reach::Never => Err("nobody may be asked there"),
            Reach::Private if !private => Err(
                "it lies in a private network; the operator can grant capabilities.http.private",
            ),
            _ if self.own.contains(&address.port()) && here(address.ip()) => {
                Err("this server listens there itself")
            }
            Reach::Public | Reach::Private => Ok(()),
        }
    }
}

async fn ask<S>(stream: S, request: OutRequest) -> Result<OutReply, ServiceError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let host = request.url.host_str().unwrap_or_default().to_owned();
    let message = message(&request)?;
    let away = |error: hyper::Error| ServiceError::Unavailable(format!("{host}: {error}"));
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(away)?;
    let open = tokio::spawn(async move {
        // How it ended is seen at the request.
        let _ = connection.await;
    });
    let answered = async {
        let (parts, body) = sender
            .send_request(message)
            .await
            .map_err(away)?
            .into_parts();
        let body = Limited::new(body, MAX_BODY).collect().await.map_err(|_| {
            ServiceError::Unavailable(format!(
                "{host}: its answer did not arrive whole; at most {MAX_BODY} bytes are taken"
            ))
        })?;
        let headers = parts
            .headers
            .iter()
            .filter(|(name, _)| **name != header::SET_COOKIE)
            .filter_map(|(name, value)| {
                Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned()))
            })
            .take(MAX_HEADERS)
            .collect();
        Ok(OutReply {
            status: parts.status.as_u16(),
            headers,
            body: body.to_bytes().to_vec(),
        })
    };
    let reply = answered.await;
    open.abort();
    reply
}

/// The request on the wire.
fn message(request: &OutRequest) -> Result<Request<Full<Bytes>>, ServiceError> {
    let invalid = |what: String| ServiceError::Invalid(what);
    let method = Method::from_bytes(request.method.as_bytes())
        .map_err(|_| invalid("the method is none".into()))?;
    let mut target = request.url.path().to_owned();
    if let Some(query) = request.url.query() {
        target.push('?');
        target.push_str(query);
    }
    let mut message = Request::new(Full::from(request.body.clone()));
    *message.method_mut() = method;
    *message.uri_mut() = target
        .parse()
        .map_err(|_| invalid("the path cannot be sent".into()))?;
    let host = request.url.host_str().unwrap_or_default();
    let host = match request.url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    };
    for (name, value) in &request.headers {
        let name = HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| invalid(format!("{name:?} is no name of a header")))?;
        let spelled = name.as_str();
        let reserved = RESERVED.contains(&spelled)
            || spelled.starts_with("proxy-")
            || spelled.starts_with("sec-")
            || spelled.starts_with("x-forwarded-");
        if reserved {
            return Err(ServiceError::Denied(format!(
                "the header {spelled} is the host's to set"
            )));
        }
        // What is wrong with a value is not told with the value: it may be a secret.
        let mut value = HeaderValue::from_str(value)
            .map_err(|_| invalid(format!("the value of {spelled} cannot be sent")))?;
        value.set_sensitive(true);
        message.headers_mut().append(name, value);
    }
    let host = HeaderValue::from_str(&host).map_err(|_| invalid("the host is none".into()))?;
    message.headers_mut().insert(header::HOST, host);
    Ok(message)
}

/// Where an address lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    Public,
    Private,
    Never,
}

/// Whether an address is this machine's own: what is sent to such a one comes from it. Nothing is sent to find that out.
fn here(address: IpAddr) -> bool {
    let address = address.to_canonical();
    let any: IpAddr = match address {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let comes_from = || {
        let socket = std::net::UdpSocket::bind((any, 0))?;
        socket.connect((address, 9))?;
        socket.local_addr()
    };
    address.is_loopback() || comes_from().is_ok_and(|from| from.ip() == address)
}

/// Where an address lies (IANA special-purpose address registries).
fn reach(address: IpAddr) -> Reach {
    match address {
        IpAddr::V4(address) => reach_v4(address),
        IpAddr::V6(address) => reach_v6(address),
    }
}

fn reach_v4(address: Ipv4Addr) -> Reach {
    let [a, b, c, _] = address.octets();
    let never = address.is_link_local()
        || address.is_multicast()
        || address.is_broadcast()
        || address.is_documentation()
        || a == 0
        || a >= 240
        || (a, b, c) == (192, 0, 0)
        || (a == 198 && (18..20).contains(&b));
    let shared = a == 100 && (64..128).contains(&b);
    if never {
        Reach::Never
    } else if address.is_private() || address.is_loopback() || shared {
        Reach::Private
    } else {
        Reach::Public
    }
}

fn reach_v6(address: Ipv6Addr) -> Reach {
    let segments = address.segments();
    let [first, second, third, .., before_last, last] = segments;
    let carried = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    // Addresses that carry one of the old kind lie where that one does.
    if let Some(old) = address.to_ipv4_mapped() {
        return reach_v4(old);
    }
    if segments.get(..6) == Some(&[0x64, 0xff9b, 0, 0, 0, 0]) {
        return reach_v4(carried(before_last, last));
    }
    // The rest of that block is for translators of a network's own (RFC 8215), who know alone where the old address stands.
    if (first, second) == (0x64, 0xff9b) {
        return Reach::Private;
    }
    if first == 0x2002 {
        return reach_v4(carried(second, third));
    }
    if address.is_loopback() {
        Reach::Private
    } else if address.is_unspecified() || address.is_multicast() || first & 0xffc0 == 0xfe80 {
        Reach::Never
    } else if first & 0xfe00 == 0xfc00 || first & 0xffc0 == 0xfec0 {
        Reach::Private
    } else if special_v6(segments) {
        Reach::Never
    } else {
        Reach::Public
    }
}

/// Blocks for protocols, documentation and nothing at all.
fn special_v6(segments: [u16; 8]) -> bool {
    let [first, second, third, fourth, ..] = segments;
    let discard = (first, second, third, fourth) == (0x100, 0, 0, 0);
    let protocols = first == 0x2001 && second < 0x200;
    let documentation = (first, second) == (0x2001, 0xdb8) || (first == 0x3fff && second < 0x1000);
    let routing = first == 0x5f00;
    discard || protocols || documentation || routing || segments.get(..6) == Some(&[0; 6])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(url: &str, private: bool) -> OutRequest {
        OutRequest {
            method: "GET".into(),
            url: url.parse().unwrap(),
            headers: Vec::new(),
            body: Vec::new(),
            timeout_ms: 1_000,
            private,
            secrets: BTreeSet::new(),
        }
    }

    #[test]
    fn an_address_lies_where_the_registries_say() {
        for (address, wanted) in [
            ("93.184.216.34", Reach::Public),
            ("2606:2800:220:1::1", Reach::Public),
            ("10.0.0.1", Reach::Private),
            ("172.16.0.1", Reach::Private),
            ("192.168.1.1", Reach::Private),
            ("127.0.0.1", Reach::Private),
            ("100.64.0.1", Reach::Private),
            ("::1", Reach::Private),
            ("fd00::1", Reach::Private),
            ("::ffff:10.0.0.1", Reach::Private),
            ("64:ff9b::10.0.0.1", Reach::Private),
            ("2002:a00:1::", Reach::Private),
            ("64:ff9b::93.184.216.34", Reach::Public),
            ("169.254.169.254", Reach::Never),
            ("::ffff:169.254.169.254", Reach::Never),
            ("64:ff9b::169.254.169.254", Reach::Never),
            ("fe80::1", Reach::Never),
            ("0.0.0.0", Reach::Never),
            ("::", Reach::Never),
            ("::7f00:1", Reach::Never),
            ("224.0.0.1", Reach::Never),
            ("255.255.255.255", Reach::Never),
            ("198.18.0.1", Reach::Never),
            ("192.0.2.1", Reach::Never),
            ("2001:db8::1", Reach::Never),
            ("3fff:fff::1", Reach::Never),
            ("2001:0:4136:e378:8000:63bf:3fff:fdd2", Reach::Never),
            ("2001:200::1", Reach::Public),
            ("100::1", Reach::Never),
            ("5f00::1", Reach::Never),
            ("64:ff9b:1:a00:0:100:5db8:d822", Reach::Private),
            ("ff02::1", Reach::Never),
        ] {
            assert_eq!(reach(address.parse().unwrap()), wanted, "{address}");
        }
    }

    #[tokio::test]
    async fn nobody_gets_where_he_may_not() {
        let outside = Outside::new([], BTreeSet::from([8443]));
        for (url, private, expected) in [
            ("http://127.0.0.1:1/", false, "private network"),
            ("http://localhost:1/", false, "private network"),
            ("http://[::1]:1/", false, "private network"),
            ("https://127.0.0.1:8443/", true, "listens there itself"),
            // Every address of a machine leads to it, not the first of the loopback alone.
            ("https://127.9.9.9:8443/", true, "listens there itself"),
            ("http://169.254.169.254/latest", true, "nobody may be asked"),
            ("http://0.0.0.0:8443/", true, "nobody may be asked"),
        ] {
            match outside.send(request(url, private)).await {
                Err(ServiceError::Denied(why)) => assert!(why.contains(expected), "{url}: {why}"),
                other => panic!("{url}: {other:?}"),
            }
        }
    }

    #[test]
    fn a_reserved_header_is_refused_and_a_bad_value_is_not_shown() {
        for name in [
            "Host",
            "content-length",
            "Proxy-Authorization",
            "X-Forwarded-For",
        ] {
            let mut bad = request("https://a.example/", false);
            bad.headers.push((name.into(), "x".into()));
            let told = message(&bad).unwrap_err();
            assert!(matches!(told, ServiceError::Denied(_)), "{name}: {told}");
        }
        let mut bad = request("https://a.example/", false);
        bad.headers.push(("authorization".into(), "hush\n".into()));
        let told = message(&bad).unwrap_err().to_string();
        assert!(!told.contains("hush"), "{told}");
        let good = message(&request("https://a.example:444/p?q=1", false)).unwrap();
        assert_eq!(good.uri(), "/p?q=1");
        assert_eq!(good.headers()[header::HOST], "a.example:444");
    }
}
