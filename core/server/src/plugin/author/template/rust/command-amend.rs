//! A locked device tells where it belongs.
#![forbid(unsafe_code)]

use pomona_sdk::{CallContext, Change, CommandAmend, Draft, HookError};

struct Plugin;
pomona_sdk::export!(Plugin: CommandAmend);

impl CommandAmend for Plugin {
    fn amend(_context: &CallContext, command: &Draft) -> Result<Vec<Change>, HookError> {
        // Asked again with the change in it, there is nothing left to change.
        if command.payload("Message").is_some() {
            return Ok(Vec::new());
        }
        let message = "\"Please bring me back to the library\"";
        Ok(vec![Change::Set(("/Message".into(), message.into()))])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pomona_sdk::{serde_json::json, testing};

    #[test]
    fn a_message_that_is_there_stays() {
        let context = testing::context(0);
        let without = testing::draft("DeviceLock", &json!({}));
        assert_eq!(Plugin::amend(&context, &without).unwrap().len(), 1);
        let with = testing::draft("DeviceLock", &json!({"Message": "Hello"}));
        assert!(Plugin::amend(&context, &with).unwrap().is_empty());
    }
}
