//! Devices that nobody supervises wait for an administrator.
#![forbid(unsafe_code)]

use pomona_sdk::{CallContext, Decision, Enrollment, EnrollmentRequest, HookError};

struct Plugin;
pomona_sdk::export!(Plugin: Enrollment);

impl Enrollment for Plugin {
    fn decide(
        _context: &CallContext,
        request: &EnrollmentRequest,
    ) -> Result<Decision, HookError> {
        if request.device.supervised == Some(false) {
            return Ok(Decision::Hold("it is not supervised".into()));
        }
        Ok(Decision::Allow)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pomona_sdk::testing;

    #[test]
    fn only_what_is_not_supervised_waits() {
        let mut request = EnrollmentRequest {
            device: testing::device(),
            quarantine: false,
        };
        let context = testing::context(0);
        assert_eq!(Plugin::decide(&context, &request).unwrap(), Decision::Allow);
        request.device.supervised = Some(false);
        assert!(matches!(Plugin::decide(&context, &request), Ok(Decision::Hold(_))));
    }
}
