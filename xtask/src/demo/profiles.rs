//! What an administrator does in the demo beside the stream of commands: a profile for everybody, a question that is refused, a device that is wiped.
//!
//! Owns these three acts and what is shown of them. Each goes through the admin API.

use std::fmt::Write as _;

use anyhow::{Result, ensure};
use pomona_tests::Lab;
use serde_json::{Value, json};

const IDENTIFIER: &str = "com.example.orchard.wifi";

/// A profile for everybody, filled in for each device.
pub(super) async fn assign(lab: &Lab) -> Result<()> {
    let made = json!({
        "identifier": IDENTIFIER,
        "display_name": "Orchard Wi-Fi",
        "payloads": [{
            "PayloadType": "com.apple.wifi.managed",
            "SSID_STR": "Orchard",
            "EncryptionType": "WPA2",
            "Password": "{{device.udid}}",
        }],
    });
    let (admin, tenant) = (lab.tenant.admin(), &lab.tenant);
    admin.post(&tenant.path("profiles"), &made).await?;
    let path = tenant.path(&format!("profiles/{IDENTIFIER}/assign"));
    admin.post(&path, &json!({ "everything": true })).await?;
    Ok(())
}

/// Where the profile stands: how many devices are in which state.
async fn states(lab: &Lab) -> Result<Value> {
    let path = lab.tenant.path(&format!("profiles/{IDENTIFIER}"));
    let mut shown = lab.tenant.admin().get(&path).await?;
    Ok(shown["states"].take())
}

/// Whether nothing is under way for the profile.
pub(super) async fn settled(lab: &Lab) -> Result<bool> {
    let states = states(lab).await?;
    let moving = |word: &str| matches!(word, "installing" | "installed" | "removing");
    Ok(!states
        .as_object()
        .into_iter()
        .flatten()
        .any(|(word, _)| moving(word)))
}

/// What is shown of it at the end.
pub(super) async fn told(lab: &Lab) -> Result<String> {
    let mut text = String::from("the profile Orchard Wi-Fi, assigned to everything:\n");
    let states = states(lab).await?;
    for (word, count) in states.as_object().into_iter().flatten() {
        let count = count.as_u64().unwrap_or_default();
        let _ = writeln!(text, "{count:>9}  {word}");
    }
    let verified = states["verified"].as_u64().unwrap_or_default();
    ensure!(verified > 0, "no device has the profile: {states}");
    Ok(text)
}

/// Asks what would become of Lost Mode on every device, and shows the first refusal.
pub(super) async fn refusal(lab: &Lab, channels: &[String]) -> Result<String> {
    let body = json!({
        "request_type": "EnableLostMode",
        "parameters": { "Message": "Please call the orchard" },
        "targets": { "enrollments": channels },
        "dry_run": true,
    });
    let told = lab
        .tenant
        .admin()
        .post(&lab.tenant.path("commands"), &body)
        .await?;
    let looked = told["preflight"].as_array().into_iter().flatten();
    let refused: Vec<&Value> = looked.filter(|one| one["verdict"] == "refused").collect();
    let Some(first) = refused.first().map(|one| &one["findings"][0]) else {
        return Ok("asked before sending: every device would take EnableLostMode".to_owned());
    };
    let text = |key: &str| first[key].as_str().unwrap_or_default();
    let mut said = format!(
        "asked before sending: {} of {} devices refuse EnableLostMode, for example:\n  {}",
        refused.len(),
        channels.len(),
        text("message")
    );
    for (lead, key) in [("to mend it", "fix"), ("instead", "alternative")] {
        if !text(key).is_empty() {
            let _ = write!(said, "\n  {lead}: {}", text(key));
        }
    }
    Ok(said)
}

/// Wipes one iPhone, if there is one; says which.
pub(super) async fn wipe(lab: &Lab) -> Result<Option<String>> {
    let (admin, tenant) = (lab.tenant.admin(), &lab.tenant);
    let devices = admin.list(&tenant.path("devices")).await?;
    let phone = devices.iter().find(|device| {
        let product = device["product_name"].as_str().unwrap_or_default();
        product.starts_with("iPhone") && device["state"] == "enrolled"
    });
    let Some(id) = phone.and_then(|phone| phone["id"].as_str()) else {
        return Ok(None);
    };
    let body = json!({ "request_type": "EraseDevice", "targets": { "devices": [id] } });
    let sent = admin.post(&tenant.path("commands"), &body).await?;
    ensure!(
        sent["targets"][0]["accepted"] == true,
        "the wipe was not taken: {sent}"
    );
    let name = phone.and_then(|phone| phone["device_name"].as_str());
    Ok(Some(name.unwrap_or(id).to_owned()))
}
