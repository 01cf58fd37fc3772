//! What plugins are served with in the middle of a call.
//!
//! Owns: the line from the host functions to the engine, to kept values, to secrets and to the outside. Rights were checked
//! before; a tenant is never named by a guest.

use async_trait::async_trait;
use aws_lc_rs::hmac;
use pomona_engine::hooks::DeviceSnapshot;
use pomona_engine::{DeviceId, Engine, Error};
use pomona_plugin_host::{ForPlugin, OutReply, OutRequest, ServiceError, Services};
use serde_json::Value;
use zeroize::Zeroizing;

use super::outside::Outside;

/// Serves plugins.
pub(super) struct Served {
    pub(super) engine: Engine,
    pub(super) outside: Outside,
}

fn told(error: Error) -> ServiceError {
    match error {
        Error::NotFound(_) => ServiceError::NotFound,
        Error::Invalid(why) => ServiceError::Invalid(why),
        // What went wrong inside is for the operator's log alone.
        error => {
            tracing::warn!(%error, "a plugin could not be served");
            ServiceError::Unavailable("the server cannot look it up now".into())
        }
    }
}

impl Served {
    async fn secret(
        &self,
        whose: ForPlugin<'_>,
        name: &str,
    ) -> Result<(String, Zeroizing<Vec<u8>>), ServiceError> {
        let store = self.engine.store();
        let found = store.plugin_secret(whose.tenant, whose.plugin, name).await;
        let (host, secret) = found.map_err(told)?;
        Ok((host, Zeroizing::new(secret)))
    }
}

#[async_trait]
impl Services for Served {
    async fn device(
        &self,
        whose: ForPlugin<'_>,
        id: DeviceId,
    ) -> Result<DeviceSnapshot, ServiceError> {
        self.engine.look_at(whose.tenant, id).await.map_err(told)
    }

    async fn devices(
        &self,
        whose: ForPlugin<'_>,
        group: Option<&str>,
        after: Option<DeviceId>,
        limit: u32,
    ) -> Result<Vec<DeviceSnapshot>, ServiceError> {
        let found = self.engine.look_for(whose.tenant, group, after, limit);
        found.await.map_err(told)
    }

    async fn history(
        &self,
        whose: ForPlugin<'_>,
        id: DeviceId,
        topic: &str,
        limit: u32,
    ) -> Result<Vec<Value>, ServiceError> {
        let found = self.engine.look_back(whose.tenant, id, topic, limit);
        found.await.map_err(told)
    }

    async fn value(
        &self,
        whose: ForPlugin<'_>,
        key: &str,
    ) -> Result<Option<Vec<u8>>, ServiceError> {
        let store = self.engine.store();
        let found = store.plugin_value(whose.tenant, whose.plugin, whose.schema, key);
        found.await.map_err(told)
    }

    async fn values(
        &self,
        whose: ForPlugin<'_>,
        prefix: &str,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<(String, Vec<u8>)>, ServiceError> {
        let store = self.engine.store();
        let place = (whose.tenant, whose.plugin, whose.schema);
        let found = store.plugin_values(place, prefix, after, limit);
        found.await.map_err(told)
    }

    async fn send(
        &self,
        whose: ForPlugin<'_>,
        mut request: OutRequest,
    ) -> Result<OutReply, ServiceError> {
        for (_, value) in &mut request.headers {
            let Some(name) = value.strip_prefix("secret:") else {
                continue;
            };
            if !request.secrets.contains(name) {
                return Err(ServiceError::Denied(format!(
                    "{name} in capabilities.secrets is not granted"
                )));
            }
            let (host, secret) = self.secret(whose, name).await?;
            let bound = request.url.host_str().is_some_and(|to| to == host);
            if request.url.scheme() != "https" || !bound {
                return Err(ServiceError::Denied(format!(
                    "the secret {name} goes to https://{host} only"
                )));
            }
            *value = String::from_utf8(secret.to_vec())
                .map_err(|_| ServiceError::Invalid("the secret is no text".into()))?;
        }
        self.outside.send(request).await
    }

    async fn sign(
        &self,
        whose: ForPlugin<'_>,
        secret: &str,
        data: &[u8],
    ) -> Result<Vec<u8>, ServiceError> {
        let (_, secret) = self.secret(whose, secret).await?;
        let key = hmac::Key::new(hmac::HMAC_SHA256, &secret);
        Ok(hmac::sign(&key, data).as_ref().to_vec())
    }
}
