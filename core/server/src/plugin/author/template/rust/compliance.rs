//! A passcode is set.
#![forbid(unsafe_code)]

use pomona_sdk::{
    CallContext, Compliance, Finding, HookError, RuleInfo, RuleVerdict, Severity, Snapshot, finding,
    rule,
};

struct Plugin;
pomona_sdk::export!(Plugin: Compliance);

impl Compliance for Plugin {
    fn rules() -> Vec<RuleInfo> {
        vec![rule("passcode", "A passcode is set", Severity::High)]
    }

    fn evaluate(_context: &CallContext, device: &Snapshot) -> Result<Vec<Finding>, HookError> {
        // What is not known is never a pass.
        let (verdict, message) = match device.fact::<bool>("security.passcode-present") {
            Some(true) => (RuleVerdict::Pass, "a passcode is set"),
            Some(false) => (RuleVerdict::Fail, "no passcode is set"),
            None => (RuleVerdict::Unknown, "nobody has said whether a passcode is set"),
        };
        Ok(vec![finding("passcode", verdict, message)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pomona_sdk::{serde_json::json, testing};

    #[test]
    fn what_is_not_known_is_no_pass() {
        let mut device = testing::device();
        let context = testing::context(0);
        let verdict = |device: &Snapshot| Plugin::evaluate(&context, device).unwrap()[0].verdict;
        assert_eq!(verdict(&device), RuleVerdict::Unknown);
        device.facts_json = testing::facts(&[testing::fact("security.passcode-present", &json!(true))]);
        assert_eq!(verdict(&device), RuleVerdict::Pass);
    }
}
