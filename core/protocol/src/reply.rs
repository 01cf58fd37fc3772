//! The bodies that the server sends back, other than commands.
//!
//! Owns their bytes. Never chooses a status. Declarative management answers in JSON and is not here.
//!
//! Source: Apple, Device Management, the response of each check-in message; "Error Code" pages of the enrollment protocol.

use plist::{Dictionary, Value};

/// The `Content-Type` of every body of this module.
pub const CONTENT_TYPE: &str = "application/xml";

/// The device unenrolls on receiving this code with a 403.
pub const UNRECOGNIZED_DEVICE: &str = "com.apple.unrecognized.device";
/// The device updates before it enrolls.
pub const SOFTWARE_UPDATE_REQUIRED: &str = "com.apple.softwareupdate.required";
/// The device installs a single sign-on extension before it enrolls.
pub const PSSO_REQUIRED: &str = "com.apple.psso.required";
/// The watch needs a pairing token before it enrolls.
pub const WATCH_PAIRING_TOKEN_MISSING: &str = "com.apple.watch.pairing.token.missing";
/// Service discovery is refused.
pub const WELL_KNOWN_FAILED: &str = "com.apple.well-known.failed";

/// Answers `GetBootstrapToken`; without a token the data is empty, which devices expect with a 200.
#[must_use]
pub fn bootstrap_token(token: Option<&[u8]>) -> Vec<u8> {
    one(
        "BootstrapToken",
        Value::Data(token.unwrap_or_default().to_vec()),
    )
}

/// Answers the first `UserAuthenticate`; an empty challenge waives the password. Printable text only.
#[must_use]
pub fn digest_challenge(challenge: &str) -> Vec<u8> {
    one("DigestChallenge", Value::String(challenge.to_owned()))
}

/// Answers the second `UserAuthenticate`. Printable text only.
#[must_use]
pub fn auth_token(token: &str) -> Vec<u8> {
    one("AuthToken", Value::String(token.to_owned()))
}

/// Answers `GetToken`.
#[must_use]
pub fn token_data(token: &[u8]) -> Vec<u8> {
    one("TokenData", Value::Data(token.to_vec()))
}

/// Answers `ReturnToService` with a no: the device stays in Setup Assistant.
#[must_use]
pub fn return_to_service_refused() -> Vec<u8> {
    let mut inner = Dictionary::new();
    inner.insert("Enabled".to_owned(), Value::Boolean(false));
    one("ReturnToService", Value::Dictionary(inner))
}

/// The body of a 403 with a code: `description` is for the device's log, `message` may be shown to its user. Control characters in
/// either become spaces.
#[must_use]
pub fn error(code: &str, description: Option<&str>, message: Option<&str>) -> Vec<u8> {
    let mut body = Dictionary::new();
    body.insert("code".to_owned(), Value::String(code.to_owned()));
    for (key, text) in [("description", description), ("message", message)] {
        if let Some(text) = text {
            let text = text.replace(char::is_control, " ");
            body.insert(key.to_owned(), Value::String(text));
        }
    }
    write(Value::Dictionary(body))
}

fn one(key: &str, value: Value) -> Vec<u8> {
    let mut body = Dictionary::new();
    body.insert(key.to_owned(), value);
    write(Value::Dictionary(body))
}

/// Strings must be free of control characters, which XML cannot say; the writer does not check.
#[expect(
    clippy::expect_used,
    reason = "the writer fails on I/O and on UID values; a Vec has no I/O errors and this module builds no UID"
)]
fn write(value: Value) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(512);
    value
        .to_writer_xml(&mut bytes)
        .expect("a vector takes all bytes and the value holds no UID");
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guard::{self, GuardLimits};

    fn read(bytes: &[u8]) -> Dictionary {
        guard::check(bytes, &GuardLimits::default())
            .unwrap()
            .dictionary()
            .unwrap()
    }

    #[test]
    fn each_reply_reads_back() {
        let data = |bytes: &[u8], key: &str| read(bytes)[key].as_data().unwrap().to_vec();
        let text = |bytes: &[u8], key: &str| read(bytes)[key].as_string().unwrap().to_owned();
        assert_eq!(
            data(&bootstrap_token(Some(b"abc")), "BootstrapToken"),
            b"abc"
        );
        assert_eq!(data(&bootstrap_token(None), "BootstrapToken"), b"");
        assert_eq!(data(&token_data(b"jwt"), "TokenData"), b"jwt");
        assert_eq!(text(&digest_challenge(""), "DigestChallenge"), "");
        assert_eq!(text(&auth_token("a<b&c"), "AuthToken"), "a<b&c");
        let refused = read(&return_to_service_refused());
        let inner = refused["ReturnToService"].as_dictionary().unwrap();
        assert_eq!(inner["Enabled"].as_boolean(), Some(false));
    }

    #[test]
    fn an_error_has_a_code_and_only_the_texts_given() {
        let body = read(&error(
            UNRECOGNIZED_DEVICE,
            None,
            Some("Gone\u{1b}for good"),
        ));
        assert_eq!(body["code"].as_string(), Some(UNRECOGNIZED_DEVICE));
        assert_eq!(body["message"].as_string(), Some("Gone for good"));
        assert_eq!(body.len(), 2);
    }
}
