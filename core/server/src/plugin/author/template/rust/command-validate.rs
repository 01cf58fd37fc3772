//! Nobody erases the kitchen's iPads.
#![forbid(unsafe_code)]

use pomona_sdk::{CallContext, CommandValidate, Draft, HookError, Snapshot, Stage, Verdict, allow};

struct Plugin;
pomona_sdk::export!(Plugin: CommandValidate);

impl CommandValidate for Plugin {
    fn validate(
        _context: &CallContext,
        _stage: Stage,
        device: &Snapshot,
        _command: &Draft,
    ) -> Result<Verdict, HookError> {
        if device.groups.iter().any(|group| group == "Kitchen") {
            return Ok(Verdict::Veto("nobody erases the kitchen's iPads".into()));
        }
        Ok(allow())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pomona_sdk::{serde_json::json, testing};

    #[test]
    fn only_the_kitchen_is_spared() {
        let mut device = testing::device();
        let context = testing::context(0);
        let erase = testing::draft("EraseDevice", &json!({}));
        let judge = |device: &Snapshot| Plugin::validate(&context, Stage::Enqueue, device, &erase);
        assert_eq!(judge(&device).unwrap(), allow());
        device.groups.push("Kitchen".into());
        assert!(matches!(judge(&device), Ok(Verdict::Veto(_))));
    }
}
