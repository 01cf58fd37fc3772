//! `pomona device export`: the fleet as plugins are shown it.
//!
//! Owns: turning what the API says of a device into a snapshot of the plugins' contract, one JSON object a line, for
//! `pomona plugin diff`. An export holds serial numbers and facts: it is the administrator's to keep.

use pomona_plugin_host::{milliseconds, platform_of};
use serde_json::{Map, Value, json};

use super::api::{Api, segment};
use super::output::{Output, print};

/// Writes every enrolled device of the tenant, or of a group, to standard output.
pub(super) async fn export(group: Option<&str>, api: &Api, out: &Output) -> anyhow::Result<()> {
    let devices = api.in_tenant("devices").await?;
    let wanted = [("state", Some("enrolled")), ("group", group)];
    let list = super::api::query(&devices, &wanted);
    let mut all = Vec::new();
    for device in api.list(&list, usize::MAX).await? {
        let path = format!(
            "{devices}/{}",
            segment(device["id"].as_str().unwrap_or_default())
        );
        let mut shown = api.get(&path).await?;
        let facts = api.list(&format!("{path}/facts"), usize::MAX).await?;
        shown["facts"] = Value::Array(facts);
        let snapshot = snapshot(&shown);
        match out.is_json() {
            true => all.push(snapshot),
            false => print(&format!("{snapshot}\n"))?,
        }
    }
    match out.is_json() {
        true => out.value(&Value::Array(all)),
        false => Ok(()),
    }
}

/// A device in the words of the contract. What the API does not say is left out.
fn snapshot(device: &Value) -> Value {
    let mut snapshot = Map::new();
    let mut tell = |name: &str, value: Value| {
        if !value.is_null() {
            snapshot.insert(name.to_owned(), value);
        }
    };
    for (name, member) in [
        ("id", "id"),
        ("udid", "udid"),
        ("serial", "serial_number"),
        ("model", "product_name"),
        ("os-version", "os_version"),
        ("os-build", "build_version"),
        ("seen-ms", "last_seen_at"),
        ("revision", "revision"),
    ] {
        tell(name, device[member].clone());
    }
    tell("kind", json!("profile"));
    let model = device["product_name"].as_str().unwrap_or_default();
    tell("platform", platform_of(model));
    let groups = device["groups"].as_array().into_iter().flatten();
    let mut groups: Vec<&str> = groups.filter_map(|group| group["name"].as_str()).collect();
    groups.sort_unstable();
    tell("groups", json!(groups));
    // Facts about users are told on the user's channel alone.
    let facts = device["facts"].as_array().into_iter().flatten();
    let facts: Vec<&Value> = facts.filter(|fact| fact["user"].is_null()).collect();
    for name in ["supervised", "shared-ipad", "time-zone"] {
        let known = facts.iter().find(|fact| fact["name"] == name);
        tell(
            name,
            known.map_or(Value::Null, |fact| fact["value"].clone()),
        );
    }
    let facts = facts.iter().map(|fact| {
        let name = fact["name"].as_str().unwrap_or_default();
        let told = json!({
            "value": fact["value"],
            "source": fact["source"],
            "observed-ms": fact["observed_at"].as_str().and_then(milliseconds),
        });
        (name.to_owned(), told)
    });
    tell("facts-json", Value::Object(facts.collect()));
    Value::Object(snapshot)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_told_as_a_plugin_is_shown_it() {
        let told = snapshot(&json!({
            "id": "d",
            "serial_number": null,
            "product_name": "iPad13,18",
            "last_seen_at": "2026-11-25T07:30:00.250Z",
            "revision": 7,
            "groups": [{ "name": "labs" }, { "name": "Kitchen" }],
            "facts": [
                { "name": "supervised", "user": null, "value": true, "source": "device", "observed_at": "2026-11-25T07:30:00Z" },
                { "name": "logged-in", "user": "u", "value": true, "source": "device", "observed_at": "2026-11-25T07:30:00Z" },
            ],
        }));
        let expected = json!({
            "id": "d",
            "model": "iPad13,18",
            "platform": "ipados",
            "kind": "profile",
            "seen-ms": "2026-11-25T07:30:00.250Z",
            "revision": 7,
            "groups": ["Kitchen", "labs"],
            "supervised": true,
            "facts-json": {
                "supervised": { "value": true, "source": "device", "observed-ms": 1_795_591_800_000_u64 },
            },
        });
        assert_eq!(told, expected);
        let car = snapshot(&json!({ "id": "d", "product_name": "Car1,1" }));
        assert_eq!(car["platform"], json!({ "other": "Car1,1" }));
    }
}
