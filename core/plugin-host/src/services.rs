//! What the host does for a plugin in the middle of a call.
//!
//! Owns: the line to whoever knows devices, keeps values, holds secrets and has a network. Rights were checked before it is
//! asked; a tenant is named by the host, never by the guest.

mod aside;

use async_trait::async_trait;
use pomona_engine::hooks::{DeviceKind, DeviceSnapshot};
use pomona_engine::{DeviceId, TenantId};
use serde_json::Value;
use url::Url;

pub(crate) use aside::nothing_leaves;

/// Why a service gives no answer.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum ServiceError {
    /// It is not allowed.
    #[error("{0}")]
    Denied(String),
    /// A limit is reached.
    #[error("{0}")]
    Quota(String),
    /// There is nothing of that name.
    #[error("there is nothing of that name")]
    NotFound,
    /// It cannot be had now.
    #[error("{0}")]
    Unavailable(String),
    /// The question makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// Anything that a later version of the contract may say.
    #[error("{0}")]
    Other(String),
}

/// A request to an outside service, allowed by the plugin's rights.
#[derive(Clone, Debug)]
pub struct OutRequest {
    /// The method.
    pub method: String,
    /// Where to.
    pub url: Url,
    /// Headers; a value `secret:NAME` stands for a secret.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
    /// Milliseconds that it may take.
    pub timeout_ms: u32,
    /// Whether addresses of private networks may be asked.
    pub private: bool,
    /// Secrets that may be filled in.
    pub secrets: std::collections::BTreeSet<String>,
}

/// What it answered.
#[derive(Clone, Debug)]
pub struct OutReply {
    /// The status.
    pub status: u16,
    /// The headers that a plugin may see.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

/// For whom something is done.
#[derive(Clone, Copy, Debug)]
pub struct ForPlugin<'a> {
    /// The tenant.
    pub tenant: TenantId,
    /// The plugin.
    pub plugin: &'a str,
    /// The number of the form of its values.
    pub schema: u32,
}

/// The host's services.
#[async_trait]
pub trait Services: Send + Sync {
    /// A device of the tenant by its device channel.
    async fn device(
        &self,
        whose: ForPlugin<'_>,
        id: DeviceId,
    ) -> Result<DeviceSnapshot, ServiceError>;
    /// Enrolled devices of a group, or all, after this one, in the order of their ids.
    async fn devices(
        &self,
        whose: ForPlugin<'_>,
        group: Option<&str>,
        after: Option<DeviceId>,
        limit: u32,
    ) -> Result<Vec<DeviceSnapshot>, ServiceError>;
    /// The newest events of a device whose kind or own topic is this one.
    async fn history(
        &self,
        whose: ForPlugin<'_>,
        id: DeviceId,
        topic: &str,
        limit: u32,
    ) -> Result<Vec<Value>, ServiceError>;
    /// A value that the plugin has kept.
    async fn value(&self, whose: ForPlugin<'_>, key: &str)
    -> Result<Option<Vec<u8>>, ServiceError>;
    /// Values whose keys have this prefix, after this key, in order.
    async fn values(
        &self,
        whose: ForPlugin<'_>,
        prefix: &str,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<(String, Vec<u8>)>, ServiceError>;
    /// Sends a request.
    async fn send(
        &self,
        whose: ForPlugin<'_>,
        request: OutRequest,
    ) -> Result<OutReply, ServiceError>;
    /// For whom a command is that is to be changed, where no engine says it: in an author's tools.
    fn kinds(&self) -> Result<Vec<DeviceKind>, ServiceError> {
        Err(ServiceError::NotFound)
    }
    /// HMAC-SHA-256 of data under a secret.
    async fn sign(
        &self,
        whose: ForPlugin<'_>,
        secret: &str,
        data: &[u8],
    ) -> Result<Vec<u8>, ServiceError>;
}
