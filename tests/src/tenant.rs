//! The calls of the admin API that suites and tasks make on one tenant.
//!
//! Owns the routes and the few fields that are read of the answers. What an answer lacks is an error here, so that a
//! change of the API is seen at its first use.

use std::collections::HashMap;

use anyhow::{Context, Result};
use http::{Method, StatusCode};
use serde_json::{Value, json};
use url::Url;

use crate::{
    admin::Admin,
    audit::{Delivery, ServerSays},
};

/// The slug that `pomona init` gives to the first tenant.
const FIRST: &str = "main";

/// One tenant, for an operator.
#[derive(Debug, Clone)]
pub struct Tenant {
    admin: Admin,
    path: String,
    /// The UDIDs behind channels: of devices, not of users.
    names: HashMap<String, String>,
}

/// A device as the server lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedDevice {
    /// The server's id.
    pub id: String,
    /// Its UDID.
    pub udid: String,
    /// `enrolled`, `quarantined`, `pending` or `left`.
    pub state: String,
}

/// A command that the server took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Queued {
    /// The server's id.
    pub command_id: String,
    /// `CommandUUID`.
    pub command_uuid: String,
    /// The channels that have it in their queue.
    pub accepted: Vec<String>,
    /// The answer had been given before, for the same idempotency key.
    pub repeated: bool,
}

impl Tenant {
    /// The first tenant of a server.
    #[must_use]
    pub fn first(admin: Admin) -> Self {
        Self {
            admin,
            path: format!("/api/v1/tenants/{FIRST}"),
            names: HashMap::new(),
        }
    }

    /// The API behind it.
    #[must_use]
    pub const fn admin(&self) -> &Admin {
        &self.admin
    }

    /// The path of the tenant, or of `rest` below it.
    #[must_use]
    pub fn path(&self, rest: &str) -> String {
        format!("{}/{rest}", self.path)
    }

    /// The server's id of the tenant, as it stands in device URLs.
    ///
    /// # Errors
    /// As for [`Admin::get`].
    pub async fn id(&self) -> Result<String> {
        text(&self.admin.get(&self.path).await?, "id")
    }

    /// Imports a push certificate with its key.
    ///
    /// # Errors
    /// As for [`Admin::post`].
    pub async fn import_push_certificate(&self, certificate: &str, key: &str) -> Result<()> {
        let body = json!({ "pem": format!("{certificate}\n{key}") });
        let path = self.path("push/certificates");
        self.admin.post(&path, &body).await.map(drop)
    }

    /// Makes an enrollment link for `uses` devices; its address.
    ///
    /// # Errors
    /// As for [`Admin::post`].
    pub async fn enrollment_link(&self, uses: usize) -> Result<Url> {
        let body = json!({ "name": "simulated fleet", "max_uses": uses });
        let made = self
            .admin
            .post(&self.path("enrollment-links"), &body)
            .await?;
        Url::parse(&text(&made, "url")?).context("the link's address")
    }

    /// All devices.
    ///
    /// # Errors
    /// As for [`Admin::list`].
    pub async fn devices(&self) -> Result<Vec<ListedDevice>> {
        let all = self.admin.list(&self.path("devices?limit=500")).await?;
        all.iter()
            .filter(|device| device.get("udid").is_some())
            .map(|device| {
                Ok(ListedDevice {
                    id: text(device, "id")?,
                    udid: text(device, "udid")?,
                    state: text(device, "state")?,
                })
            })
            .collect()
    }

    /// The running device channel of a device.
    ///
    /// # Errors
    /// As for [`Admin::get`], or the device has none.
    pub async fn device_channel(&self, id: &str) -> Result<String> {
        let detail = self.admin.get(&self.path(&format!("devices/{id}"))).await?;
        let channels = detail.get("enrollments").and_then(Value::as_array);
        channels
            .into_iter()
            .flatten()
            .find(|channel| {
                word(channel, "channel") == "device" && word(channel, "state") == "enabled"
            })
            .map(|channel| text(channel, "id"))
            .with_context(|| format!("the device {id} has no running channel"))?
    }

    /// Learns which device stands behind each running device channel; gives the channels in the order of the devices.
    ///
    /// # Errors
    /// As for [`Tenant::devices`] and [`Tenant::device_channel`].
    pub async fn learn_channels(&mut self) -> Result<Vec<String>> {
        let mut channels = Vec::new();
        for device in self.devices().await? {
            if device.state == "enrolled" {
                let channel = self.device_channel(&device.id).await?;
                self.names.insert(channel.clone(), device.udid);
                channels.push(channel);
            }
        }
        Ok(channels)
    }

    /// The delivery of a command to a channel that [`Tenant::learn_channels`] found.
    ///
    /// # Errors
    /// The channel is not known.
    pub fn delivery(&self, channel: &str, command_uuid: &str) -> Result<Delivery> {
        let udid = self.names.get(channel);
        Ok(Delivery {
            udid: udid
                .with_context(|| format!("the channel {channel} is unknown"))?
                .clone(),
            command_uuid: command_uuid.to_owned(),
        })
    }

    /// Queues a command for channels. With a key the request can be sent again without doubling the command.
    ///
    /// # Errors
    /// The server was not reached or refused it.
    pub async fn enqueue(
        &self,
        request_type: &str,
        parameters: &Value,
        channels: &[String],
        key: Option<&str>,
    ) -> Result<Queued> {
        let body = json!({
            "request_type": request_type,
            "parameters": parameters,
            "targets": { "enrollments": channels },
        });
        let path = self.path("commands");
        let (status, answer) = self
            .admin
            .call(Method::POST, &path, Some(&body), key)
            .await?;
        anyhow::ensure!(
            status == StatusCode::CREATED,
            "{request_type}: {status}: {answer}"
        );
        let targets = answer.get("targets").and_then(Value::as_array);
        Ok(Queued {
            command_id: text(&answer, "command_id")?,
            command_uuid: text(&answer, "command_uuid")?,
            accepted: targets
                .context("an answer without targets")?
                .iter()
                .filter(|target| target.get("accepted") == Some(&Value::Bool(true)))
                .map(|target| text(target, "enrollment_id"))
                .collect::<Result<_>>()?,
            repeated: answer.get("repeated") == Some(&Value::Bool(true)),
        })
    }

    /// How many deliveries are open, over all commands.
    ///
    /// # Errors
    /// As for [`Admin::list`].
    pub async fn open_deliveries(&self) -> Result<u64> {
        let open = self
            .admin
            .list(&self.path("commands?open=true&limit=500"))
            .await?;
        let counts = open.iter().filter_map(|command| command.get("counts"));
        Ok(counts
            .flat_map(|counts| ["queued", "sent", "not_now"].map(|state| counts.get(state)))
            .filter_map(|count| count.and_then(Value::as_u64))
            .sum())
    }

    /// All commands, whoever queued them: id and `CommandUUID`.
    ///
    /// # Errors
    /// As for [`Admin::list`].
    pub async fn commands(&self) -> Result<Vec<(String, String)>> {
        let all = self.admin.list(&self.path("commands?limit=500")).await?;
        all.iter()
            .map(|command| Ok((text(command, "id")?, text(command, "command_uuid")?)))
            .collect()
    }

    /// What the server says of a command on each channel.
    ///
    /// # Errors
    /// As for [`Admin::list`].
    pub async fn deliveries(&self, command_id: &str) -> Result<Vec<(String, ServerSays)>> {
        let path = self.path(&format!("commands/{command_id}/deliveries?limit=500"));
        let all = self.admin.list(&path).await?;
        all.iter()
            .map(|delivery| {
                let says = match word(delivery, "state") {
                    "queued" | "sent" | "not_now" => ServerSays::Open,
                    "done" => ServerSays::Answered(text(delivery, "outcome")?),
                    other => ServerSays::Ended(other.to_owned()),
                };
                Ok((text(delivery, "enrollment_id")?, says))
            })
            .collect()
    }
}

fn word<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn text(value: &Value, key: &str) -> Result<String> {
    let found = value.get(key).and_then(Value::as_str);
    found
        .map(ToOwned::to_owned)
        .with_context(|| format!("an answer without {key}: {value}"))
}
