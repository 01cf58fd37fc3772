//! What the guard does when it hears of a device.
//!
//! Owns: asking a device that has just enrolled, remembering what it was at its best, and telling once what it has lost and what has come
//! back. The device is read as it is now: an event says that something is otherwise, not what.

use pomona_sdk::host::{AccessError, devices};
use pomona_sdk::serde_json::{self, Value, json};
use pomona_sdk::{Channel, Effect, Event, HookError, Keyed, Snapshot, Target};

use crate::drift;
use crate::known::{self, State};
use crate::poll;
use crate::settings::Settings;

/// Handles events of one device.
pub(crate) fn heard(settings: &Settings, batch: &[Event]) -> Result<Vec<Keyed>, HookError> {
    let mut effects = Vec::new();
    let of_device = batch.iter().filter(|event| event.user.is_none());
    for event in of_device {
        match event.kind.as_str() {
            "enrolled" if settings.drift_poll_hours.0 > 0 => {
                effects.extend(poll::questions(&event.id, &event.device, None));
            }
            "bootstrap_token_set" => {
                let body: Value = serde_json::from_str(&event.body_json).unwrap_or_default();
                let kept = body["deleted"] != json!(true);
                let told = fact(&event.device, known::TOKEN, json!(kept));
                effects.push(keyed(&event.id, "token", told));
            }
            _ => {}
        }
    }
    // The last one stands for all: each is about the device as it is now.
    let told = batch.iter().rev().find(|event| event.kind == "device_told");
    if let Some(event) = told {
        match devices::get(&event.device) {
            Ok(device) => effects.extend(looked_at(event, &device)),
            // It has left meanwhile.
            Err(AccessError::NotFound) => {}
            Err(AccessError::Denied(why)) => return Err(HookError::Misconfigured(why)),
            Err(other) => return Err(HookError::Retryable(format!("{other:?}"))),
        }
    }
    Ok(effects)
}

/// What is to be done about a device that has told something.
fn looked_at(event: &Event, device: &Snapshot) -> Vec<Keyed> {
    let mut effects = Vec::new();
    let best = drift::best(device);
    if best != known::states(device, known::BEST) {
        let told = fact(&event.device, known::BEST, words(&best));
        effects.push(keyed(&event.id, "best", told));
    }
    let (lost, before) = (drift::lost(device), known::states(device, known::LOST));
    if lost == before {
        return effects;
    }
    let told = fact(&event.device, known::LOST, words(&lost));
    effects.push(keyed(&event.id, "lost", told));
    for state in State::ALL {
        let (is, was) = (lost.contains(&state), before.contains(&state));
        if is == was || (!is && state.now(device).is_none()) {
            continue;
        }
        let name = device.serial.as_deref().unwrap_or(&device.id);
        let (topic, text) = match is {
            true => ("drift", format!("{name} is not {} any more", state.told())),
            false => ("mended", format!("{name} is {} again", state.told())),
        };
        let body = json!({ "rule": state.rule(), "text": text });
        let emitted = Effect::Emit((event.device.clone(), topic.into(), body.to_string()));
        effects.push(keyed(
            &event.id,
            &format!("{topic}/{}", state.word()),
            emitted,
        ));
        if is {
            let notice = Effect::Notify(("warning".into(), text));
            effects.push(keyed(
                &event.id,
                &format!("notice/{}", state.word()),
                notice,
            ));
        }
    }
    effects
}

fn words(states: &[State]) -> Value {
    states.iter().map(|state| state.word()).collect()
}

/// A fact of a device, below the plugin's id.
fn fact(device: &str, name: &str, value: Value) -> Effect {
    let target = Target {
        device: device.into(),
        channel: Channel::Device,
    };
    Effect::SetFact((target, name.into(), value.to_string()))
}

fn keyed(event: &str, what: &str, item: Effect) -> Keyed {
    Keyed {
        key: format!("{event}/{what}"),
        item,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pomona_sdk::testing::{self, Host};

    fn device(best: &[&str], lost: &[&str], now: Option<bool>) -> Snapshot {
        let own = |name: &str, value: &[&str]| {
            testing::fact(
                &format!("org.pomona.supervision-guard.{name}"),
                &json!(value),
            )
        };
        Snapshot {
            serial: Some("C02".into()),
            supervised: now,
            facts_json: testing::facts(&[own("best", best), own("lost", lost)]),
            ..testing::device()
        }
    }

    fn done(device: Snapshot, kind: &str, body: &Value) -> Vec<String> {
        let batch = [
            testing::event("device_told", &json!({})),
            testing::event(kind, body),
        ];
        let host = Host::default().device(device);
        let (effects, _) = host.run(|| heard(&Settings::default(), &batch));
        let told = effects.unwrap().into_iter().map(|one| match one.item {
            Effect::SetFact((_, name, value)) => format!("{name} = {value}"),
            Effect::Emit((_, topic, _)) => topic,
            Effect::Notify((severity, text)) => format!("{severity}: {text}"),
            Effect::Enqueue((_, request)) => request.request_type,
            other => format!("{other:?}"),
        });
        told.collect()
    }

    #[test]
    fn a_loss_is_told_once_and_so_is_its_end() {
        let told = |device| done(device, "device_told", &json!({}));
        assert_eq!(
            told(device(&[], &[], Some(true))),
            ["best = [\"supervised\"]"]
        );
        assert_eq!(
            told(device(&["supervised"], &[], Some(false))),
            [
                "lost = [\"supervised\"]",
                "drift",
                "warning: C02 is not supervised any more"
            ]
        );
        let nothing: [&str; 0] = [];
        assert_eq!(
            told(device(&["supervised"], &["supervised"], Some(false))),
            nothing
        );
        assert_eq!(
            told(device(&["supervised"], &["supervised"], Some(true))),
            ["lost = []", "mended"]
        );
        assert_eq!(told(device(&[], &[], Some(false))), nothing, "it never was");
        assert_eq!(told(device(&["supervised"], &[], None)), nothing);
    }

    #[test]
    fn a_new_device_is_asked_and_a_token_is_noted() {
        let known = || device(&["supervised"], &[], Some(true));
        assert_eq!(
            done(known(), "enrolled", &json!({})),
            ["DeviceInformation", "SecurityInfo"]
        );
        for (deleted, expected) in [(false, "true"), (true, "false")] {
            let body = json!({ "deleted": deleted });
            let told = done(known(), "bootstrap_token_set", &body);
            assert_eq!(told, [format!("bootstrap-token = {expected}")]);
        }
    }
}
