//! The line to APNs, as the pusher sees it.
//!
//! Owns: what is handed to a transport and what it answers. Types that hold a token, a push magic or a key do not
//! print them.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::clock::Micros;
use crate::ids::TenantId;

/// Carries wake-ups to APNs, or to what stands in for it.
#[async_trait]
pub trait ApnsTransport: Send + Sync {
    /// Sends one wake-up and waits for the answer, for a bounded time.
    ///
    /// # Errors
    /// [`PushFailure`] for every answer other than 200, and when there was none.
    async fn send(
        &self,
        certificate: &PushCertificate,
        note: Notification,
    ) -> Result<Accepted, PushFailure>;
}

/// A push certificate with its key, opened for use.
pub struct PushCertificate {
    /// Changes with every import: connections made under another id are closed.
    pub id: Uuid,
    /// The tenant that pushes with it.
    pub tenant: TenantId,
    /// The topic that it stands for.
    pub topic: String,
    /// The certificate in PEM, the leaf first.
    pub certificate_pem: String,
    /// The private key in DER: PKCS#8, PKCS#1 or SEC1.
    pub key_der: Zeroizing<Vec<u8>>,
    /// When it ends.
    pub not_after: Micros,
}

impl fmt::Debug for PushCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PushCertificate")
            .field("id", &self.id)
            .field("tenant", &self.tenant)
            .field("topic", &self.topic)
            .finish_non_exhaustive()
    }
}

/// One wake-up.
pub struct Notification {
    token: Zeroizing<Vec<u8>>,
    push_magic: Zeroizing<String>,
    /// The topic to ring under.
    pub topic: String,
    /// Until when APNs keeps trying.
    pub expires_at: Micros,
}

impl Notification {
    /// A wake-up for the device with this push token and magic.
    pub fn new(token: Vec<u8>, push_magic: String, topic: String, expires_at: Micros) -> Self {
        Self {
            token: Zeroizing::new(token),
            push_magic: Zeroizing::new(push_magic),
            topic,
            expires_at,
        }
    }

    /// The device's push token. Never log it.
    pub fn token(&self) -> &[u8] {
        &self.token
    }

    /// The device's push magic. Never log it.
    pub fn push_magic(&self) -> &str {
        &self.push_magic
    }
}

impl fmt::Debug for Notification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Notification")
            .field("topic", &self.topic)
            .finish_non_exhaustive()
    }
}

/// APNs took the wake-up, which does not mean that the device got it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Accepted {
    /// The id under which APNs knows it.
    pub apns_id: Option<String>,
}

/// Why a wake-up was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PushFailure {
    /// APNs answered, but not 200.
    #[error("APNs answered {}", .0.status)]
    Refused(Refusal),
    /// APNs ended the TLS connection because of our certificate, or it is of no use to begin with.
    #[error("the push certificate cannot be used: {0}")]
    CertificateRejected(String),
    /// No connection could be made.
    #[error("no connection to APNs: {0}")]
    Connect(String),
    /// The connection broke before the answer.
    #[error("the connection to APNs broke: {0}")]
    Broken(String),
    /// No answer came in time.
    #[error("APNs did not answer in time")]
    Timeout,
    /// What we hold of this device cannot be sent.
    #[error("{0}")]
    Unusable(&'static str),
}

/// An answer other than 200.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Refusal {
    /// The HTTP status.
    pub status: u16,
    /// The reason as APNs spelled it, known to us or not.
    pub reason: Option<String>,
    /// The id under which APNs knows the request.
    pub apns_id: Option<String>,
    /// With 410: when the token was last known to be dead.
    pub dead_since: Option<Micros>,
    /// How long APNs asks us to wait.
    pub retry_after: Option<Duration>,
}
