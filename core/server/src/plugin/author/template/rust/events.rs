//! Every device that enrolls is asked for its name.
#![forbid(unsafe_code)]

use pomona_sdk::{
    CallContext, Channel, Effect, Event, Events, HookError, Keyed, Target, command,
    serde_json::json,
};

struct Plugin;
pomona_sdk::export!(Plugin: Events);

impl Events for Plugin {
    fn on_events(_context: &CallContext, batch: &[Event]) -> Result<Vec<Keyed>, HookError> {
        let ask = |event: &Event| Keyed {
            // Events come at least once: what has the same key is done once.
            key: format!("name/{}", event.id),
            item: Effect::Enqueue((
                Target { device: event.device.clone(), channel: Channel::Device },
                command("DeviceInformation", &json!({"Queries": ["DeviceName"]}), "it is new"),
            )),
        };
        Ok(batch.iter().map(ask).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pomona_sdk::testing;

    #[test]
    fn each_event_asks_once() {
        let event = testing::event("enrolled", &json!({}));
        let effects = Plugin::on_events(&testing::context(0), &[event]).unwrap();
        assert_eq!(effects.len(), 1);
        assert_eq!(effects[0].key, "name/e");
    }
}
