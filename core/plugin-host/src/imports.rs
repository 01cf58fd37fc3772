//! Host functions behind a right: devices, values, requests to the outside, secrets, counters.
//!
//! Owns: what each of them checks before it is served: the count of the call, the right, the argument. The serving itself is
//! behind [`Services`]. A refusal comes back to the guest as a value and names the right that is missing.

use std::sync::Arc;

use pomona_engine::DeviceId;
use pomona_engine::hooks::DeviceSnapshot;
use url::Url;

use crate::bindings::pomona::host::errors::AccessError;
use crate::bindings::pomona::host::{
    catalogue, devices, errors, http_out, kv, metrics, recipients, secrets,
};
use crate::bindings::pomona::types::common::Fact;
use crate::bindings::pomona::types::device::Snapshot;
use crate::call::CallState;
use crate::convert;
use crate::manifest::HookName;
use crate::rights::Wish;
use crate::services::{ForPlugin, OutRequest, ServiceError, Services};

/// Entries of a page.
const PAGE: u32 = 100;
/// The longest key of a value.
pub(crate) const MAX_KEY: usize = 512;
/// The largest body of a request to the outside.
const MAX_BODY: usize = 1 << 20;
/// Headers of a request to the outside.
const MAX_HEADERS: usize = 32;

type Served<T> = wasmtime::Result<Result<T, AccessError>>;

impl From<ServiceError> for AccessError {
    fn from(error: ServiceError) -> Self {
        match error {
            ServiceError::Denied(why) => Self::Denied(why),
            ServiceError::Quota(why) => Self::Quota(why),
            ServiceError::NotFound => Self::NotFound,
            ServiceError::Unavailable(why) => Self::Unavailable(why),
            ServiceError::Invalid(why) => Self::Invalid(why),
            ServiceError::Other(why) => Self::Other(why),
        }
    }
}

impl CallState {
    /// Counts the call and asks for the right; gives whoever serves.
    fn admitted(&mut self, wish: Wish<'_>) -> Served<Arc<dyn Services>> {
        self.counted()?;
        if let Err(why) = self.whose.check(self.hook, wish) {
            return Ok(Err(AccessError::Denied(why)));
        }
        Ok(self.whose.services.clone().ok_or_else(|| {
            AccessError::Unavailable("nothing is served in a call that looks at a plugin".into())
        }))
    }

    fn whose(&self) -> ForPlugin<'_> {
        let schema = self.whose.rights.granted.kv.map_or(1, |kv| kv.schema);
        ForPlugin {
            tenant: self.whose.tenant,
            plugin: self.plugin(),
            schema,
        }
    }

    fn seen(&self, device: &DeviceSnapshot) -> Snapshot {
        convert::snapshot(&self.whose.rights.granted, device)
    }
}

fn device_id(text: &str) -> Result<DeviceId, AccessError> {
    // What is no id names nothing of this tenant.
    text.parse().map_err(|_| AccessError::NotFound)
}

/// Unwraps what was admitted, or hands the refusal to the guest.
macro_rules! served {
    ($admitted:expr) => {
        match $admitted {
            Ok(served) => served,
            Err(refusal) => return Ok(Err(refusal.into())),
        }
    };
}

impl errors::Host for CallState {}

impl devices::Host for CallState {
    async fn get(&mut self, id: String) -> Served<Snapshot> {
        let services = served!(self.admitted(Wish::ReadDevice)?);
        let id = served!(device_id(&id));
        let device = served!(services.device(self.whose(), id).await);
        Ok(Ok(self.seen(&device)))
    }

    async fn get_fact(&mut self, id: String, key: String) -> Served<Option<Fact>> {
        let services = served!(self.admitted(Wish::ReadFact(&key))?);
        let id = served!(device_id(&id));
        let device = served!(services.device(self.whose(), id).await);
        let rights = &self.whose.rights.granted.devices;
        Ok(Ok(convert::fact(rights, &device, &key)))
    }

    async fn search(
        &mut self,
        group: Option<String>,
        after: Option<String>,
        limit: u32,
    ) -> Served<devices::Page> {
        let services = served!(self.admitted(Wish::Search)?);
        let after = served!(after.as_deref().map(device_id).transpose());
        let limit = limit.clamp(1, PAGE);
        let whose = self.whose();
        let found = served!(
            services
                .devices(whose, group.as_deref(), after, limit)
                .await
        );
        let more = found.len() == limit as usize;
        let items: Vec<Snapshot> = found.iter().map(|device| self.seen(device)).collect();
        let next = items
            .last()
            .filter(|_| more)
            .map(|device| device.id.clone());
        Ok(Ok(devices::Page { items, next }))
    }

    async fn history(&mut self, id: String, topic: String, limit: u32) -> Served<Vec<String>> {
        let services = served!(self.admitted(Wish::History)?);
        let id = served!(device_id(&id));
        let limit = limit.clamp(1, PAGE);
        let events = served!(services.history(self.whose(), id, &topic, limit).await);
        Ok(Ok(events.iter().map(ToString::to_string).collect()))
    }
}

impl recipients::Host for CallState {
    async fn kinds(&mut self) -> Served<Vec<catalogue::Subject>> {
        let admitted = self.admitted(Wish::ReadRecipients)?;
        if let Err(AccessError::Denied(why)) = admitted {
            return Ok(Err(AccessError::Denied(why)));
        }
        if self.hook != Some(HookName::CommandAmend) {
            let why = "only command-amend is about a command for several devices".to_owned();
            return Ok(Err(AccessError::Invalid(why)));
        }
        let kinds = match &self.kinds {
            Some(kinds) => kinds.clone(),
            None => served!(served!(admitted).kinds()),
        };
        Ok(Ok(kinds.iter().map(convert::subject).collect()))
    }
}

impl kv::Host for CallState {
    async fn get(&mut self, key: String) -> Served<Option<Vec<u8>>> {
        let services = served!(self.admitted(Wish::Keep)?);
        if key.len() > MAX_KEY {
            let why = format!("a key has at most {MAX_KEY} bytes");
            return Ok(Err(AccessError::Invalid(why)));
        }
        Ok(Ok(served!(services.value(self.whose(), &key).await)))
    }

    async fn scan(
        &mut self,
        prefix: String,
        after: Option<String>,
        limit: u32,
    ) -> Served<Vec<(String, Vec<u8>)>> {
        let services = served!(self.admitted(Wish::Keep)?);
        let limit = limit.clamp(1, PAGE);
        let whose = self.whose();
        let found = services.values(whose, &prefix, after.as_deref(), limit);
        Ok(Ok(served!(found.await)))
    }
}

impl http_out::Host for CallState {
    async fn send(&mut self, request: http_out::Message) -> Served<http_out::Reply> {
        let Ok(url) = Url::parse(&request.url) else {
            self.counted()?;
            let why = "the url is none; write it like https://api.example.org/path".to_owned();
            return Ok(Err(AccessError::Invalid(why)));
        };
        let services = served!(self.admitted(Wish::Ask(&url, &request.method))?);
        if request.body.len() > MAX_BODY || request.headers.len() > MAX_HEADERS {
            let why =
                format!("a request has at most {MAX_BODY} bytes of body and {MAX_HEADERS} headers");
            return Ok(Err(AccessError::Invalid(why)));
        }
        for (_, value) in &request.headers {
            if let Some(name) = value.strip_prefix("secret:") {
                served!(self.admitted(Wish::Secret(name))?);
            }
        }
        let granted = &self.whose.rights.granted;
        let request = OutRequest {
            method: request.method,
            url,
            headers: request.headers,
            body: request.body,
            timeout_ms: request.timeout_ms,
            private: granted.http.private,
            secrets: granted.secrets.clone(),
        };
        let reply = served!(services.send(self.whose(), request).await);
        Ok(Ok(http_out::Reply {
            status: reply.status,
            headers: reply.headers,
            body: reply.body,
        }))
    }
}

impl secrets::Host for CallState {
    async fn names(&mut self) -> wasmtime::Result<Vec<String>> {
        self.counted()?;
        Ok(self.whose.rights.granted.secrets.iter().cloned().collect())
    }

    async fn hmac_sha256(&mut self, name: String, data: Vec<u8>) -> Served<Vec<u8>> {
        let services = served!(self.admitted(Wish::Secret(&name))?);
        Ok(Ok(served!(services.sign(self.whose(), &name, &data).await)))
    }
}

impl metrics::Host for CallState {
    async fn add(&mut self, name: String, delta: u32) -> wasmtime::Result<()> {
        self.counted()?;
        // The function has no way to refuse: what is not granted is counted as refused, and nothing else.
        let allowed = self.whose.check(self.hook, Wish::Count(&name)).is_ok();
        if allowed && !self.whose.aside {
            let plugin = format!("{}{}", self.plugin(), self.whose.mark);
            ::metrics::counter!("pomona_plugin_own_total", "plugin" => plugin, "name" => name)
                .increment(u64::from(delta));
        }
        Ok(())
    }
}
