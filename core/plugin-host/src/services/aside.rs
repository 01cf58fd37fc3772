//! What a version is served with whose answers are not carried out.
//!
//! Owns: that nothing leaves by such a call. What can be looked up can be looked up: devices, and the values that the plugin has
//! kept.

use std::sync::Arc;

use async_trait::async_trait;
use pomona_engine::DeviceId;
use pomona_engine::hooks::{DeviceKind, DeviceSnapshot};
use serde_json::Value;

use super::{ForPlugin, OutReply, OutRequest, ServiceError, Services};

/// The same services, without those that act outside.
pub(crate) fn nothing_leaves(services: Arc<dyn Services>) -> Arc<dyn Services> {
    Arc::new(Aside(services))
}

struct Aside(Arc<dyn Services>);

fn not_in_a_trial<T>(what: &str) -> Result<T, ServiceError> {
    let why = format!("{what} is not in a trial: nothing of this call is carried out");
    Err(ServiceError::Denied(why))
}

#[async_trait]
impl Services for Aside {
    async fn device(
        &self,
        whose: ForPlugin<'_>,
        id: DeviceId,
    ) -> Result<DeviceSnapshot, ServiceError> {
        self.0.device(whose, id).await
    }

    async fn devices(
        &self,
        whose: ForPlugin<'_>,
        group: Option<&str>,
        after: Option<DeviceId>,
        limit: u32,
    ) -> Result<Vec<DeviceSnapshot>, ServiceError> {
        self.0.devices(whose, group, after, limit).await
    }

    async fn history(
        &self,
        whose: ForPlugin<'_>,
        id: DeviceId,
        topic: &str,
        limit: u32,
    ) -> Result<Vec<Value>, ServiceError> {
        self.0.history(whose, id, topic, limit).await
    }

    fn kinds(&self) -> Result<Vec<DeviceKind>, ServiceError> {
        self.0.kinds()
    }

    async fn value(
        &self,
        whose: ForPlugin<'_>,
        key: &str,
    ) -> Result<Option<Vec<u8>>, ServiceError> {
        self.0.value(whose, key).await
    }

    async fn values(
        &self,
        whose: ForPlugin<'_>,
        prefix: &str,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<(String, Vec<u8>)>, ServiceError> {
        self.0.values(whose, prefix, after, limit).await
    }

    async fn send(&self, _: ForPlugin<'_>, _: OutRequest) -> Result<OutReply, ServiceError> {
        not_in_a_trial("http-out.send")
    }

    async fn sign(&self, _: ForPlugin<'_>, _: &str, _: &[u8]) -> Result<Vec<u8>, ServiceError> {
        not_in_a_trial("secrets.hmac-sha256")
    }
}
