//! A management server of the smallest kind, for this crate's own tests.
//!
//! Owns a SCEP authority, check-in, a queue for each channel and switches for misbehaving. Has
//! no security worth the name. Built for tests alone. Over 500 lines because it is a whole server,
//! and reads best in one piece.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, OnceLock};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use der::{Decode, Encode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use url::Url;

use crate::apns::identity::Authority;
use crate::asn1::{self, tag};
use crate::cms::{self, Identity, SignatureStyle, Signed};
use crate::keys::{DeviceKey, Digest, KeyPool};
use crate::reading::dictionary;
use crate::xml;

/// One of two keys that all tests share: making one takes a moment without optimization.
pub(crate) fn test_key(index: usize) -> Arc<DeviceKey> {
    static KEYS: [OnceLock<Arc<DeviceKey>>; 2] = [const { OnceLock::new() }; 2];
    let key = || Arc::new(DeviceKey::generate().unwrap());
    Arc::clone(KEYS[index].get_or_init(key))
}

/// The second of them, for all devices.
pub(crate) fn test_pool() -> KeyPool {
    KeyPool::of(vec![test_key(1)])
}

/// A command with this UUID and type and further keys.
pub(crate) fn command(uuid: &str, request_type: &str, keys: &str) -> Bytes {
    let inner = [xml::string("RequestType", request_type), keys.to_owned()].concat();
    let top = [
        xml::dict("Command", &inner),
        xml::string("CommandUUID", uuid),
    ];
    xml::document(&top.concat()).into()
}

/// What the server knows and how it is set up.
#[derive(Default)]
pub(crate) struct Inner {
    /// The next profile asks for signed messages.
    pub(crate) sign_message: bool,
    /// Answers the next check-in of this type with this status.
    pub(crate) refuse: Option<(&'static str, u16)>,
    /// Re-sends a command although it was answered.
    pub(crate) doubles: bool,
    /// Changes a command's bytes when it is sent again.
    pub(crate) alters: bool,
    /// Answers requests under any name.
    pub(crate) careless: bool,
    /// Message types seen, with the user's short name.
    pub(crate) messages: Vec<String>,
    /// Magic by token.
    pub(crate) magics: HashMap<Vec<u8>, String>,
    /// UUID and status of reports.
    pub(crate) reports: Vec<(String, String)>,
    /// The last report's body.
    pub(crate) last_report: Vec<u8>,
    /// Declarations by `class/identifier`.
    pub(crate) declarations: Vec<(String, String)>,
    pub(crate) status_reports: usize,
    pub(crate) bootstrap: Option<Vec<u8>>,
    queues: HashMap<String, VecDeque<(String, Bytes)>>,
    put_off: HashMap<String, HashSet<String>>,
    owners: HashMap<Vec<u8>, String>,
}

pub(crate) struct Fake {
    /// Scheme, address and port.
    origin: String,
    pub(crate) trust_pem: String,
    pub(crate) inner: Arc<Mutex<Inner>>,
    authority: Identity,
}

impl Fake {
    /// Without TLS.
    pub(crate) async fn start() -> Arc<Self> {
        Self::start_with(None).await
    }

    /// With TLS and optional client certificates; trust is in `trust_pem`.
    pub(crate) async fn start_tls() -> Arc<Self> {
        Self::start_with(Some(Authority::generate("Fake").unwrap())).await
    }

    async fn start_with(tls: Option<Authority>) -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let key = test_key(0);
        let name = asn1::seq(&[]);
        let certificate = crate::scep::self_signed(&key, &name).unwrap();
        let authority = Identity::new(key, certificate).unwrap();
        let acceptor = tls
            .as_ref()
            .map(|tls| acceptor(tls, &authority.certificate));
        let address = listener.local_addr().unwrap();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let fake = Arc::new(Self {
            origin: format!("{scheme}://{address}"),
            trust_pem: tls.map(|tls| tls.pem).unwrap_or_default(),
            inner: Arc::default(),
            authority,
        });
        let server = Arc::clone(&fake);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let server = Arc::clone(&server);
                match &acceptor {
                    None => drop(tokio::spawn(server.connection(stream, None))),
                    Some(acceptor) => {
                        let accepting = acceptor.accept(stream);
                        tokio::spawn(async move {
                            let Ok(stream) = accepting.await else { return };
                            let chain = stream.get_ref().1.peer_certificates();
                            let peer = chain.and_then(|chain| Some(chain.first()?.to_vec()));
                            server.connection(stream, peer).await;
                        });
                    }
                }
            }
        });
        fake
    }

    async fn connection(
        self: Arc<Self>,
        stream: impl AsyncRead + AsyncWrite + Unpin,
        peer: Option<Vec<u8>>,
    ) {
        let service = service_fn(move |request| {
            let (server, peer) = (Arc::clone(&self), peer.clone());
            async move { Ok::<_, std::convert::Infallible>(server.serve(request, peer).await) }
        });
        let _ = hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(stream), service)
            .await;
    }

    pub(crate) fn link(&self) -> Url {
        self.base().join("enroll/abc").unwrap()
    }

    pub(crate) fn base(&self) -> Url {
        Url::parse(&self.origin).unwrap()
    }

    pub(crate) fn enqueue(&self, channel: &str, uuid: &str, request_type: &str, keys: &str) {
        let body = command(uuid, request_type, keys);
        let mut inner = self.inner.lock();
        let queue = inner.queues.entry(channel.to_owned()).or_default();
        queue.push_back((uuid.to_owned(), body));
    }

    pub(crate) fn open(&self) -> usize {
        self.inner.lock().queues.values().map(VecDeque::len).sum()
    }

    /// The enrollment profile, with another challenge and payload UUID each time.
    pub(crate) fn profile(&self) -> String {
        let sign = self.inner.lock().sign_message;
        let scep = [
            xml::string("URL", &format!("{}/scep", self.origin)),
            xml::string("Name", "fake"),
            "<key>Subject</key><array><array><array><string>CN</string><string>device</string>\
             </array></array></array>"
                .to_owned(),
            xml::string("Challenge", "letmein"),
            xml::integer("Keysize", 2048),
            xml::string("Key Type", "RSA"),
            xml::integer("Key Usage", 5),
            xml::data(
                "CAFingerprint",
                &Digest::Sha256.of(&self.authority.certificate),
            ),
        ];
        let scep = [
            xml::string("PayloadType", "com.apple.security.scep"),
            xml::string("PayloadIdentifier", "fake.scep"),
            xml::string("PayloadUUID", "U-1"),
            xml::dict("PayloadContent", &scep.concat()),
        ];
        let url = |path: &str| format!("{}/{path}", self.origin);
        let capabilities = [
            "com.apple.mdm.per-user-connections",
            "com.apple.mdm.bootstraptoken",
        ];
        let capabilities = capabilities.map(|c| format!("<string>{c}</string>"));
        let mdm = [
            xml::string("PayloadType", "com.apple.mdm"),
            xml::string("PayloadIdentifier", "fake.mdm"),
            xml::string("PayloadUUID", "U-2"),
            xml::string("ServerURL", &url("mdm")),
            xml::string("CheckInURL", &url("checkin")),
            xml::string("Topic", "com.apple.mgmt.External.fake"),
            xml::string("IdentityCertificateUUID", "U-1"),
            xml::boolean("SignMessage", sign),
            xml::boolean("CheckOutWhenRemoved", true),
            xml::array("ServerCapabilities", &capabilities),
        ];
        xml::document(
            &[
                xml::string("PayloadType", "Configuration"),
                xml::string("PayloadIdentifier", "fake.enrollment"),
                xml::string("PayloadUUID", "U-0"),
                xml::array(
                    "PayloadContent",
                    &[xml::item(&scep.concat()), xml::item(&mdm.concat())],
                ),
            ]
            .concat(),
        )
    }

    async fn serve(
        &self,
        request: Request<Incoming>,
        peer: Option<Vec<u8>>,
    ) -> Response<Full<Bytes>> {
        let (parts, body) = request.into_parts();
        let body = body
            .collect()
            .await
            .map(http_body_util::Collected::to_bytes);
        let Ok(body) = body else {
            return answer(400, "", Vec::new());
        };
        let query = parts.uri.query().unwrap_or_default();
        match parts.uri.path() {
            "/enroll/abc" => {
                let style = SignatureStyle::CURRENT;
                let profile = self.profile();
                let signed =
                    cms::attached_signature(&self.authority, style, profile.as_bytes(), vec![]);
                answer(200, "application/x-apple-aspen-config", signed.unwrap())
            }
            "/scep" if query.contains("GetCACaps") => {
                let caps = "POSTPKIOperation\nSHA-256\nAES\nSCEPStandard\nRenewal\n";
                answer(200, "text/plain", caps.into())
            }
            "/scep" if query.contains("GetCACert") => {
                let certificate = self.authority.certificate.clone();
                answer(200, "application/x-x509-ca-cert", certificate)
            }
            "/scep" => {
                let message = match body.is_empty() {
                    false => body.to_vec(),
                    true => {
                        let mut pairs = url::form_urlencoded::parse(query.as_bytes());
                        let (_, message) = pairs.find(|(key, _)| key == "message").unwrap();
                        STANDARD.decode(message.as_bytes()).unwrap()
                    }
                };
                let reply = self.issue(&message);
                answer(200, "application/x-pki-message", reply)
            }
            "/mdm" | "/checkin" => {
                let proven = self.caller(&parts.headers, &body);
                let Some(certificate) = proven.or(peer) else {
                    return answer(400, "", Vec::new());
                };
                self.mdm(certificate, parts.uri.path(), &body)
            }
            _ => answer(404, "", Vec::new()),
        }
    }

    /// The certificate that the request proves or claims.
    fn caller(&self, headers: &hyper::HeaderMap, body: &[u8]) -> Option<Vec<u8>> {
        if let Some(value) = headers.get("client-cert") {
            let value = value.to_str().ok()?.strip_prefix(':')?.strip_suffix(':')?;
            return STANDARD.decode(value).ok();
        }
        let signature = headers.get("mdm-signature")?.to_str().ok()?;
        let mut signed = Signed::parse(&STANDARD.decode(signature).ok()?).ok()?;
        signed.content = body.to_vec();
        let certificate = signed.certificates().first()?.clone();
        signed.verify(&certificate).ok()?;
        Some(certificate)
    }

    fn mdm(&self, certificate: Vec<u8>, path: &str, body: &[u8]) -> Response<Full<Bytes>> {
        let keys = dictionary(body).unwrap();
        let text = |key: &str| keys.get(key).and_then(plist::Value::as_string);
        let udid = text("UDID").unwrap().to_owned();
        let user = text("UserShortName");
        let channel = user.map_or(udid.clone(), |user| format!("{udid}:{user}"));
        let mut inner = self.inner.lock();
        if text("MessageType") == Some("Authenticate") {
            inner.owners.insert(certificate.clone(), udid.clone());
        }
        let own = inner.owners.get(&certificate) == Some(&udid);
        if !own && !inner.careless {
            return answer(403, "", Vec::new());
        }
        if path == "/checkin" {
            let message = text("MessageType").unwrap();
            let label = user.map_or(message.to_owned(), |user| format!("{message} {user}"));
            inner.messages.push(label);
            if let Some((refused, status)) = inner.refuse
                && refused == message
            {
                return answer(status, "", Vec::new());
            }
            return inner.check_in(message, &keys);
        }
        let status = text("Status").unwrap();
        inner.last_report = body.to_vec();
        if status == "Idle" {
            inner.put_off.remove(&channel);
        } else if own {
            let uuid = text("CommandUUID").unwrap().to_owned();
            inner.reports.push((uuid.clone(), status.to_owned()));
            if status == "NotNow" {
                inner
                    .put_off
                    .entry(channel.clone())
                    .or_default()
                    .insert(uuid);
            } else if !inner.doubles {
                let queue = inner.queues.entry(channel.clone()).or_default();
                queue.retain(|(known, _)| *known != uuid);
            }
        }
        if inner.doubles && inner.reports.len() > 1 {
            inner.queues.clear();
        }
        let put_off = inner.put_off.get(&channel);
        let open = |uuid: &String| put_off.is_none_or(|put_off| !put_off.contains(uuid));
        let next = inner.queues.get(&channel);
        let next = next.and_then(|queue| queue.iter().find(|(uuid, _)| open(uuid)).cloned());
        let mut next = next.map(|(_, body)| body.to_vec()).unwrap_or_default();
        if inner.alters && !next.is_empty() {
            let count = inner.reports.len();
            next.extend(format!("<!-- {count} -->").bytes());
        }
        answer(200, "application/xml", next)
    }

    /// PKCSReq or RenewalReq in, CertRep out.
    fn issue(&self, message: &[u8]) -> Vec<u8> {
        let signed = Signed::parse(message).unwrap();
        signed.verify(&signed.certificates()[0]).unwrap();
        let attribute = |oid: &str| signed.attribute(oid).unwrap();
        let request = cms::open_envelope(&self.authority.key, &signed.content).unwrap();
        let challenge = b"letmein";
        let allowed = request.windows(challenge.len()).any(|w| w == challenge);
        let request = x509_cert::request::CertReq::from_der(&request).unwrap();
        let spki = request.info.public_key.to_der().unwrap();
        let name = request.info.subject.to_der().unwrap();
        let now = crate::clock::unix_seconds();
        let algorithm = asn1::algorithm("1.2.840.113549.1.1.11");
        let validity = [asn1::utc_time(now - 60), asn1::utc_time(now + 86_400)];
        let tbs = asn1::seq(&[
            &asn1::tlv(tag::CONTEXT_0, &asn1::unsigned(&[2])),
            &asn1::unsigned(&Digest::Sha256.of(message)[..8]),
            &algorithm,
            &asn1::seq(&[]),
            &asn1::seq(&[&validity[0], &validity[1]]),
            &name,
            &spki,
        ]);
        let key = &self.authority.key;
        let signature = key.sign(Digest::Sha256, &tbs).unwrap();
        let issued = asn1::seq(&[&tbs, &algorithm, &asn1::bits(&signature)]);
        let holder = Identity::new(Arc::clone(key), issued).unwrap();
        // A degenerate message would carry no signature; the reader looks at certificates only.
        let degenerate =
            cms::attached_signature(&holder, SignatureStyle::CURRENT, b"", vec![]).unwrap();
        let sealed = cms::envelope(
            &signed.certificates()[0],
            cms::Cipher::Aes128,
            &degenerate,
            false,
        );
        let status = if allowed { b"0" } else { b"2" };
        let printable = |value: &[u8]| asn1::tlv(tag::PRINTABLE_STRING, value);
        let mut attributes = vec![
            cms::attribute("2.16.840.1.113733.1.9.2", &printable(b"3")),
            cms::attribute("2.16.840.1.113733.1.9.3", &printable(status)),
            cms::attribute(
                "2.16.840.1.113733.1.9.6",
                &asn1::tlv(tag::OCTET_STRING, &attribute("2.16.840.1.113733.1.9.5")),
            ),
            cms::attribute(
                "2.16.840.1.113733.1.9.7",
                &printable(&attribute("2.16.840.1.113733.1.9.7")),
            ),
        ];
        if !allowed {
            attributes.push(cms::attribute("2.16.840.1.113733.1.9.4", &printable(b"2")));
        }
        let style = SignatureStyle::CURRENT;
        cms::attached_signature(&self.authority, style, &sealed.unwrap(), attributes).unwrap()
    }
}

impl Inner {
    fn check_in(&mut self, message: &str, keys: &plist::Dictionary) -> Response<Full<Bytes>> {
        let data = |key: &str| {
            keys.get(key)
                .and_then(plist::Value::as_data)
                .map(<[u8]>::to_vec)
        };
        match message {
            "TokenUpdate" => {
                let magic = keys["PushMagic"].as_string().unwrap().to_owned();
                self.magics.insert(data("Token").unwrap(), magic);
                answer(200, "", Vec::new())
            }
            "SetBootstrapToken" => {
                self.bootstrap = data("BootstrapToken");
                answer(200, "", Vec::new())
            }
            "GetBootstrapToken" => {
                let token = self.bootstrap.clone().unwrap_or_default();
                let body = xml::document(&xml::data("BootstrapToken", &token));
                answer(200, "application/xml", body.into())
            }
            "DeclarativeManagement" => {
                let endpoint = keys["Endpoint"].as_string().unwrap();
                self.declarative(endpoint)
            }
            _ => answer(200, "", Vec::new()),
        }
    }

    fn declarative(&mut self, endpoint: &str) -> Response<Full<Bytes>> {
        let token = format!("{:?}", self.declarations);
        let json = |value: serde_json::Value| {
            answer(200, "application/json", value.to_string().into_bytes())
        };
        match endpoint {
            "tokens" => json(serde_json::json!({
                "SyncTokens": { "DeclarationsToken": token, "Timestamp": "2026-01-01T00:00:00Z" }
            })),
            "declaration-items" => {
                let of = |class: &str| -> Vec<serde_json::Value> {
                    let all = self.declarations.iter();
                    all.filter_map(|(path, token)| {
                        let identifier = path.strip_prefix(class)?.strip_prefix('/')?;
                        Some(serde_json::json!({
                            "Identifier": identifier, "ServerToken": token
                        }))
                    })
                    .collect()
                };
                json(serde_json::json!({
                    "DeclarationsToken": token,
                    "Declarations": {
                        "Activations": of("activation"), "Assets": of("asset"),
                        "Configurations": of("configuration"), "Management": of("management"),
                    },
                }))
            }
            "status" => {
                self.status_reports += 1;
                answer(200, "", Vec::new())
            }
            path => {
                let path = path.strip_prefix("declaration/").unwrap();
                match self.declarations.iter().find(|(known, _)| known == path) {
                    None => answer(404, "", Vec::new()),
                    Some((_, token)) => json(serde_json::json!({
                        "Identifier": path.split_once('/').unwrap().1,
                        "ServerToken": token,
                        "Type": "com.apple.configuration.management.test",
                        "Payload": {},
                    })),
                }
            }
        }
    }
}

fn answer(status: u16, content_type: &str, body: Vec<u8>) -> Response<Full<Bytes>> {
    Response::builder()
        .status(status)
        .header("content-type", content_type)
        .body(Full::new(body.into()))
        .unwrap()
}

fn acceptor(tls: &Authority, device_ca: &[u8]) -> TlsAcceptor {
    let usage = rcgen::ExtendedKeyUsagePurpose::ServerAuth;
    let names = ["127.0.0.1".to_owned()];
    let subject = rcgen::DistinguishedName::new();
    let (certificate, key) = tls.issue(subject, &names, usage).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = rustls::RootCertStore::empty();
    roots.add(device_ca.to_vec().into()).unwrap();
    let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(
        Arc::new(roots),
        Arc::clone(&provider),
    )
    .allow_unauthenticated()
    .build()
    .unwrap();
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(
            vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()],
            PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
        )
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}
