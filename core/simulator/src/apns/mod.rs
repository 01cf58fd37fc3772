//! A push service: Apple's interface towards the server, a registry towards simulated devices.
//!
//! Owns the handle that starts, steers and stops it. Pushes come in by HTTP/2 (`server`), wait
//! in the `registry`, and are taken by devices in this process. Never prints a token or a push
//! magic. Source: Apple, "Sending notification requests to APNs".

mod faults;
pub(crate) mod identity;
mod registry;
mod server;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

pub use faults::{ApnsFaults, Reaction, Reason};
pub use identity::PushIdentity;
pub use registry::{Push, Registration, Token};

use crate::dice::Dice;
use identity::Authority;
use registry::Registry;

/// Why the push service does not start.
#[derive(Debug, thiserror::Error)]
pub enum ApnsError {
    /// The address is taken or not ours.
    #[error("listening failed: {0}")]
    Listen(#[from] std::io::Error),
    /// A certificate could not be made.
    #[error("a certificate cannot be made: {0}")]
    Certificate(#[from] rcgen::Error),
    /// TLS could not be set up with these certificates.
    #[error("TLS cannot be set up with these certificates")]
    Tls,
}

/// How a push service starts.
#[derive(Clone, Debug)]
pub struct ApnsOptions {
    /// Where it listens; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Names in its certificate, addresses included.
    pub names: Vec<String>,
    /// The authorities (PEM) whose push certificates are accepted.
    pub client_ca_pem: String,
    /// Mischief.
    pub faults: ApnsFaults,
    /// For the chances in it.
    pub seed: u64,
}

impl ApnsOptions {
    /// On a free port of this machine, for certificates of this authority, without mischief.
    #[must_use]
    pub fn new(client_ca_pem: &str) -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            names: vec!["localhost".to_owned(), "127.0.0.1".to_owned()],
            client_ca_pem: client_ca_pem.to_owned(),
            faults: ApnsFaults::default(),
            seed: 0,
        }
    }
}

/// What the push service has seen.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ApnsFigures {
    /// Connections accepted, TLS included.
    pub connections: u64,
    /// Requests, refused ones included.
    pub requests: u64,
    /// Handed to a device that was there.
    pub delivered: u64,
    /// Kept for a device that was not.
    pub stored: u64,
    /// Accepted and lost.
    pub lost: u64,
    /// Refusals by reason.
    pub refused: BTreeMap<Reason, u64>,
    /// Requests that Apple would not have liked, the first hundred, without secrets.
    pub violations: Vec<String>,
    /// Tokens ever registered.
    pub tokens: usize,
}

/// A running push service. It stops when [`ApnsHandle::stop`] is called or the last handle is
/// dropped.
#[derive(Clone, Debug)]
pub struct ApnsHandle {
    service: Arc<Service>,
}

/// The parts that connections share.
#[derive(Debug)]
pub(crate) struct Service {
    address: SocketAddr,
    ca_pem: String,
    server_certificate: String,
    server_key: String,
    registry: Arc<Registry>,
    tls: RwLock<Arc<ServerConfig>>,
    client_cas: Mutex<String>,
    chance: Mutex<(ApnsFaults, Dice)>,
    figures: Mutex<ApnsFigures>,
    stop: CancellationToken,
}

impl ApnsHandle {
    /// Starts the service.
    ///
    /// # Errors
    /// [`ApnsError`] when it cannot listen or the certificates are no good.
    pub async fn start(options: ApnsOptions) -> Result<Self, ApnsError> {
        let authority = Authority::generate("Simulated Push Service")?;
        let mut name = rcgen::DistinguishedName::new();
        name.push(rcgen::DnType::CommonName, "Simulated Push Service");
        let usage = rcgen::ExtendedKeyUsagePurpose::ServerAuth;
        let (certificate, key) = authority.issue(name, &options.names, usage)?;
        let tls = server::tls(&certificate, &key, &options.client_ca_pem)?;
        let listener = TcpListener::bind(options.listen).await?;
        let service = Arc::new(Service {
            address: listener.local_addr()?,
            ca_pem: authority.pem,
            server_certificate: certificate,
            server_key: key,
            registry: Arc::default(),
            tls: RwLock::new(tls),
            client_cas: Mutex::new(options.client_ca_pem),
            chance: Mutex::new((options.faults, Dice::new(options.seed))),
            figures: Mutex::default(),
            stop: CancellationToken::new(),
        });
        // The task holds no strong reference, so that dropping the handles ends it.
        let weak = Arc::downgrade(&service);
        let stop = service.stop.clone();
        tokio::spawn(server::accept(listener, weak, stop));
        Ok(Self { service })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.service.address
    }

    /// The root certificate that the server under test must trust to reach it.
    #[must_use]
    pub fn ca_pem(&self) -> &str {
        &self.service.ca_pem
    }

    /// Accepts push certificates of further authorities, from the next connection on.
    ///
    /// # Errors
    /// [`ApnsError::Tls`] when the text holds no certificates.
    pub fn trust_client_ca(&self, pem: &str) -> Result<(), ApnsError> {
        if CertificateDer::from_pem_slice(pem.as_bytes()).is_err() {
            return Err(ApnsError::Tls);
        }
        let service = &self.service;
        let mut all = service.client_cas.lock();
        let wider = format!("{all}\n{pem}");
        let tls = server::tls(&service.server_certificate, &service.server_key, &wider)?;
        *service.tls.write() = tls;
        *all = wider;
        Ok(())
    }

    /// Makes a token known; `waker` is notified when a push for it arrives.
    #[must_use]
    pub fn register(&self, token: Token, topic: &str, waker: Arc<Notify>) -> Registration {
        self.service.registry.register(token, topic, waker)
    }

    /// Rings a token in this process, past HTTP. True when the token is known for the topic.
    pub fn ring(&self, token: &[u8], topic: &str, magic: &str) -> bool {
        let Ok(token) = Token::try_from(token) else {
            return false;
        };
        let push = Push {
            magic: magic.to_owned(),
            expires: i64::MAX,
        };
        let none = std::time::Duration::ZERO;
        let outcome = self.service.registry.deliver(&token, topic, push, none);
        matches!(
            outcome,
            registry::Outcome::Delivered | registry::Outcome::Stored
        )
    }

    /// Replaces the chances of mischief and the rest of the script.
    pub fn set_faults(&self, faults: ApnsFaults) {
        self.service.chance.lock().0 = faults;
    }

    /// Appends to the script: one entry for each of the next requests.
    pub fn script(&self, reactions: impl IntoIterator<Item = Reaction>) {
        self.service.chance.lock().0.script.extend(reactions);
    }

    /// What has happened so far.
    #[must_use]
    pub fn figures(&self) -> ApnsFigures {
        let mut figures = self.service.figures.lock().clone();
        figures.tokens = self.service.registry.len();
        figures
    }

    /// Closes the listener and all connections.
    pub fn stop(&self) {
        self.service.stop.cancel();
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
