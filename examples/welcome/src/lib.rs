//! Welcome: every device that enrolls is asked what it is, and a fact tells when it came.
//!
//! Shows how events become effects: nothing is written here, the host carries out what is returned.
#![forbid(unsafe_code)]

use pomona_sdk::{
    CallContext, Channel, Effect, Event, Events, HookError, Keyed, Target, command,
    serde_json::json,
};

struct Welcome;
pomona_sdk::export!(Welcome: Events);

impl Events for Welcome {
    fn on_events(_context: &CallContext, batch: &[Event]) -> Result<Vec<Keyed>, HookError> {
        Ok(batch
            .iter()
            // A user channel belongs to a device that was welcomed already.
            .filter(|event| event.kind == "enrolled" && event.user.is_none())
            .flat_map(welcome)
            .collect())
    }
}

fn welcome(event: &Event) -> [Keyed; 2] {
    let target = || Target {
        device: event.device.clone(),
        channel: Channel::Device,
    };
    let queries = json!({ "Queries": ["DeviceName", "OSVersion", "IsSupervised"] });
    let inventory = command(
        "DeviceInformation",
        &queries,
        "the device has just enrolled",
    );
    // The event's id in the key: whatever is delivered twice is done once.
    [
        Keyed {
            key: format!("ask/{}", event.id),
            item: Effect::Enqueue((target(), inventory)),
        },
        Keyed {
            key: format!("note/{}", event.id),
            item: Effect::SetFact((target(), "since-ms".into(), event.at_ms.to_string())),
        },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use pomona_sdk::testing;

    fn event(kind: &str, user: Option<&str>) -> Event {
        Event {
            id: "d/2".into(),
            user: user.map(Into::into),
            ..testing::event(kind, &json!({}))
        }
    }

    #[test]
    fn only_a_device_that_enrolls_is_welcomed() {
        let context = testing::context(8);
        let batch = [
            event("enrolled", None),
            event("enrolled", Some("ada")),
            event("renewed", None),
        ];
        let effects = Welcome::on_events(&context, &batch).unwrap();
        let keys: Vec<&str> = effects.iter().map(|effect| effect.key.as_str()).collect();
        assert_eq!(keys, ["ask/d/2", "note/d/2"]);
    }
}
