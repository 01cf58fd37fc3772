//! Declarative management as a device does it: compare tokens, fetch what is new, tell the state.
//!
//! Owns the synchronisation and the status report of one channel. Never interprets a
//! declaration beyond its class, type and references. Source: Apple, "Declarative management",
//! "Integrating declarative management".

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::device::checkin::declarative_management;
use crate::device::transport::Kind;
use crate::device::{Device, DeviceError};
use crate::record::FaultKind;

/// The classes by the names that `declaration-items` and the endpoints use.
const CLASSES: [(&str, &str); 4] = [
    ("Activations", "activation"),
    ("Assets", "asset"),
    ("Configurations", "configuration"),
    ("Management", "management"),
];

/// What a channel holds.
#[derive(Debug, Default)]
pub(crate) struct Declarations {
    /// The DeclarationsToken of the set that was applied last.
    token: Option<String>,
    /// By class and identifier.
    held: BTreeMap<(&'static str, String), Declaration>,
    reported: bool,
}

#[derive(Debug)]
struct Declaration {
    server_token: String,
    body: Value,
}

impl Declarations {
    pub(crate) fn identifiers(&self) -> Vec<&str> {
        self.held
            .keys()
            .map(|(_, identifier)| identifier.as_str())
            .collect()
    }

    /// A configuration applies when an activation that is held names it.
    fn is_active(&self, class: &str, identifier: &str) -> bool {
        if class != "configuration" {
            return true;
        }
        let activations = self.held.iter().filter(|((c, _), _)| *c == "activation");
        activations
            .filter_map(|(_, activation)| {
                activation
                    .body
                    .pointer("/Payload/StandardConfigurations")?
                    .as_array()
            })
            .flatten()
            .any(|name| name.as_str() == Some(identifier))
    }

    fn status(&self, device: Value, full: bool) -> Value {
        let mut classes = serde_json::Map::new();
        for (plural, class) in CLASSES {
            let held = self.held.iter().filter(|((c, _), _)| *c == class);
            let items: Vec<Value> = held
                .map(|((_, identifier), declaration)| {
                    json!({
                        "identifier": identifier,
                        "server-token": declaration.server_token,
                        "active": self.is_active(class, identifier),
                        "valid": "valid",
                    })
                })
                .collect();
            classes.insert(plural.to_lowercase(), Value::Array(items));
        }
        json!({
            "StatusItems": {
                "device": device,
                "management": {
                    "declarations": classes,
                    "client-capabilities": {
                        "supported-versions": ["1.0.0"],
                        "supported-features": {},
                        "supported-payloads": {
                            "declarations": {
                                "activations": ["com.apple.activation.simple"],
                                "assets": ["com.apple.asset.data", "com.apple.asset.useridentity"],
                                "configurations": [
                                    "com.apple.configuration.legacy",
                                    "com.apple.configuration.management.status-subscriptions",
                                    "com.apple.configuration.management.test",
                                    "com.apple.configuration.passcode.settings",
                                ],
                                "management": [
                                    "com.apple.management.organization-info",
                                    "com.apple.management.properties",
                                    "com.apple.management.server-capabilities",
                                ],
                            },
                            "status-items": [
                                "device.identifier.serial-number",
                                "device.model.family",
                                "device.operating-system.version",
                                "management.client-capabilities",
                                "management.declarations",
                            ],
                        },
                    },
                },
            },
            "Errors": [],
            "FullReport": full,
        })
    }
}

impl Device {
    /// The algorithm that a DeclarativeManagement command starts, `data` being its tokens.
    pub(super) async fn synchronise(
        &mut self,
        channel: usize,
        data: Option<&[u8]>,
    ) -> Result<(), DeviceError> {
        let told = data.and_then(|bytes| serde_json::from_slice::<Value>(bytes).ok());
        let tokens = match told {
            Some(tokens) => tokens,
            None => match self.ask(channel, "tokens").await? {
                Some(tokens) => tokens,
                None => return Ok(()),
            },
        };
        let token = tokens
            .pointer("/SyncTokens/DeclarationsToken")
            .and_then(Value::as_str);
        if token.is_some() && token == self.channel(channel)?.declarations.token.as_deref() {
            return Ok(());
        }
        let Some(items) = self.ask(channel, "declaration-items").await? else {
            return Ok(());
        };
        let Some(token) = items.get("DeclarationsToken").and_then(Value::as_str) else {
            self.fault(
                channel,
                FaultKind::Unreadable,
                "declaration-items without a token",
            );
            return Ok(());
        };
        let token = token.to_owned();
        if self.take_items(channel, &items).await? {
            self.channel_mut(channel)?.declarations.token = Some(token);
        }
        self.report_status(channel).await
    }

    /// Drops what is not listed and fetches what is new; false when something listed was gone.
    async fn take_items(&mut self, channel: usize, items: &Value) -> Result<bool, DeviceError> {
        let mut listed = BTreeMap::new();
        for (plural, class) in CLASSES {
            let pointer = format!("/Declarations/{plural}");
            let Some(items) = items.pointer(&pointer).and_then(Value::as_array) else {
                let detail = format!("declaration-items without {plural}");
                self.fault(channel, FaultKind::Unreadable, &detail);
                return Ok(false);
            };
            for item in items {
                let text = |key| item.get(key).and_then(Value::as_str).map(str::to_owned);
                if let (Some(identifier), Some(token)) = (text("Identifier"), text("ServerToken")) {
                    listed.insert((class, identifier), token);
                }
            }
        }
        let held = &mut self.channel_mut(channel)?.declarations.held;
        held.retain(|key, _| listed.contains_key(key));
        let mut complete = true;
        for ((class, identifier), server_token) in listed {
            let key = (class, identifier.clone());
            let held = &self.channel(channel)?.declarations.held;
            if held
                .get(&key)
                .is_some_and(|have| have.server_token == server_token)
            {
                continue;
            }
            let endpoint = format!("declaration/{class}/{identifier}");
            let Some(body) = self.ask(channel, &endpoint).await? else {
                complete = false;
                continue;
            };
            let given = body
                .get("ServerToken")
                .and_then(Value::as_str)
                .unwrap_or_default();
            let named = body.get("Identifier").and_then(Value::as_str);
            if named != Some(&identifier) {
                self.fault(
                    channel,
                    FaultKind::Unreadable,
                    &format!("{endpoint}: another one"),
                );
            }
            let server_token = given.to_owned();
            let declaration = Declaration { server_token, body };
            let held = &mut self.channel_mut(channel)?.declarations.held;
            held.insert(key, declaration);
        }
        Ok(complete)
    }

    async fn report_status(&mut self, channel: usize) -> Result<(), DeviceError> {
        let hardware = &self.hardware;
        let device = json!({
            "identifier": { "serial-number": hardware.serial_number, "udid": hardware.udid },
            "model": { "family": hardware.model_name, "identifier": hardware.product_name },
            "operating-system": {
                "version": hardware.os_version,
                "build-version": hardware.build_version,
            },
        });
        let declarations = &self.channel(channel)?.declarations;
        let status = declarations.status(device, !declarations.reported);
        let data = status.to_string().into_bytes();
        let sender = self.channel(channel)?;
        let body = declarative_management(&self.hardware, sender, "status", Some(&data));
        let answer = self.put(channel, Kind::CheckIn, body.into()).await?;
        match answer.status {
            200 => self.channel_mut(channel)?.declarations.reported = true,
            429 | 503 => {}
            status => {
                let detail = format!("status report: {status}");
                self.fault(channel, FaultKind::UnexpectedStatus, &detail);
            }
        }
        Ok(())
    }

    /// One question; `None` when the server had no answer to it.
    async fn ask(&mut self, channel: usize, endpoint: &str) -> Result<Option<Value>, DeviceError> {
        let sender = self.channel(channel)?;
        let body = declarative_management(&self.hardware, sender, endpoint, None);
        let answer = self.put(channel, Kind::CheckIn, body.into()).await?;
        match answer.status {
            200 => {}
            // The declaration went away since it was listed.
            404 if endpoint.starts_with("declaration/") => return Ok(None),
            429 | 503 => return Ok(None),
            status => {
                let detail = format!("{endpoint}: {status}");
                self.fault(channel, FaultKind::UnexpectedStatus, &detail);
                return Ok(None);
            }
        }
        let value = serde_json::from_slice(&answer.body).ok();
        if value.is_none() {
            self.fault(channel, FaultKind::Unreadable, endpoint);
        }
        Ok(value)
    }
}
