//! Asks devices what they are, so that what is known of them stays true.
//!
//! Owns: the two questions, and the walk through the fleet that sends them where the last answer is old. Asks one device at most once in
//! the time that is set.

use pomona_sdk::host::devices;
use pomona_sdk::serde_json::{Value, json};
use pomona_sdk::{
    Channel, CommandRequest, Effect, HookError, Keyed, Snapshot, Step, Target, command,
};

use crate::known::is_mac;
use crate::settings::Settings;

const HOUR_MS: u64 = 60 * 60 * 1_000;
/// Devices of one step.
const PAGE: u32 = 100;

/// Asks some devices, and says where the next begin.
pub(crate) fn step(
    settings: &Settings,
    now_ms: u64,
    cursor: Option<&str>,
) -> Result<Step, HookError> {
    let mut step = Step {
        effects: Vec::new(),
        cursor: None,
        again_in_ms: None,
    };
    let every_ms = settings.drift_poll_hours.0.saturating_mul(HOUR_MS);
    if every_ms == 0 {
        return Ok(step);
    }
    let page = devices::search(None, cursor, PAGE)
        .map_err(|error| HookError::Retryable(format!("{error:?}")))?;
    for device in page
        .items
        .iter()
        .filter(|one| is_due(one, now_ms, every_ms))
    {
        let key = format!("poll/{}/{}", device.id, now_ms / every_ms);
        let until = now_ms.saturating_add(every_ms);
        step.effects
            .extend(questions(&key, &device.id, Some(until)));
    }
    step.cursor = page.next;
    Ok(step)
}

/// Whether the last answer is older than the time that is set.
fn is_due(device: &Snapshot, now_ms: u64, every_ms: u64) -> bool {
    let name = match is_mac(device) {
        true => "security.management-status",
        false => "device.is-supervised",
    };
    let known = device.known(name).filter(|fact| fact.source == "device");
    known.is_none_or(|fact| fact.observed_ms.saturating_add(every_ms) <= now_ms)
}

/// The two questions to a device.
pub(crate) fn questions(key: &str, device: &str, not_after_ms: Option<u64>) -> [Keyed; 2] {
    let queries = json!({ "Queries": [
        "IsSupervised", "IsMultiUser", "IsActivationLockEnabled", "OSVersion", "BuildVersion", "ProductName",
    ] });
    let ask = |name: &str, payload: &Value| Keyed {
        key: format!("{key}/{name}"),
        item: Effect::Enqueue((
            Target {
                device: device.into(),
                channel: Channel::Device,
            },
            CommandRequest {
                not_after_ms,
                ..command(
                    name,
                    payload,
                    "the supervision guard asks what the device is",
                )
            },
        )),
    };
    [
        ask("DeviceInformation", &queries),
        ask("SecurityInfo", &json!({})),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use pomona_sdk::testing::{self, Host, fact};

    #[test]
    fn a_device_is_asked_where_the_answer_is_old_and_once_in_a_while() {
        let named = |id: &str, observed_ms: u64, source: &str| {
            let told = pomona_sdk::Fact {
                observed_ms,
                source: source.into(),
                ..fact("device.is-supervised", &json!(true))
            };
            Snapshot {
                id: id.into(),
                facts_json: testing::facts(&[told]),
                ..testing::device()
            }
        };
        let now = 100 * 24 * HOUR_MS;
        let host = Host::default()
            .device(named("fresh", now - HOUR_MS, "device"))
            .device(named("old", now - 25 * HOUR_MS, "device"))
            .device(named("said", now, "person:ada"));
        let (told, _) = host
            .clone()
            .run(|| step(&Settings::default(), now, None).unwrap());
        let keys: Vec<&str> = told.effects.iter().map(|one| one.key.as_str()).collect();
        assert_eq!(
            keys,
            [
                "poll/old/100/DeviceInformation",
                "poll/old/100/SecurityInfo",
                "poll/said/100/DeviceInformation",
                "poll/said/100/SecurityInfo"
            ]
        );
        let off = pomona_sdk::host::read_settings(r#"{"drift_poll_hours": 0}"#).unwrap();
        let (told, _) = host.run(|| step(&off, now, None).unwrap());
        assert_eq!(told.effects, []);
    }
}
