//! Enrollment gate: who is let in, by serial number, model and system; the others wait for somebody to look, or are refused.
//!
//! Asked once for each new enrollment. It decides by what the device says of itself, so it keeps out mistakes, not impostors:
//! who a device really is, its certificate and its link tell.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;

use pomona_sdk::{
    CallContext, Decision, Diagnostic, Enrollment, EnrollmentRequest, HookError, Platform,
    Settings, Snapshot, host,
};
use serde::Deserialize;

struct Gate;
pomona_sdk::export!(Gate: Enrollment, Settings);

#[derive(Deserialize)]
struct Rules {
    serials: Option<Vec<String>>,
    models: Option<Vec<String>>,
    #[serde(default)]
    minimum_os: BTreeMap<String, String>,
    #[serde(default)]
    otherwise: Otherwise,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Otherwise {
    #[default]
    Hold,
    Deny,
}

impl Enrollment for Gate {
    fn decide(_context: &CallContext, request: &EnrollmentRequest) -> Result<Decision, HookError> {
        let rules: Rules = host::settings()?;
        Ok(match (against(&rules, &request.device), rules.otherwise) {
            (None, _) => Decision::Allow,
            (Some(reason), Otherwise::Hold) => Decision::Hold(reason),
            (Some(reason), Otherwise::Deny) => Decision::Deny(reason),
        })
    }
}

/// What speaks against a device, in words for an administrator.
fn against(rules: &Rules, device: &Snapshot) -> Option<String> {
    if let Some(serials) = &rules.serials {
        match &device.serial {
            None => return Some("it does not tell its serial number".into()),
            Some(serial) if !serials.contains(serial) => {
                return Some(format!("the serial number {serial} is not on the list"));
            }
            Some(_) => {}
        }
    }
    if let Some(models) = &rules.models
        && !models.iter().any(|model| device.model.starts_with(model))
    {
        return Some(format!(
            "the model {:?} is not one of {}",
            device.model,
            models.join(", ")
        ));
    }
    let least = rules.minimum_os.get(family(&device.platform)?)?;
    match version(&device.os_version) {
        None => Some("it does not tell its system".into()),
        Some(has) if Some(has) < version(least) => Some(format!(
            "its system is {}; at least {least} is let in",
            device.os_version
        )),
        Some(_) => None,
    }
}

/// The family as the settings name it.
fn family(platform: &Platform) -> Option<&'static str> {
    Some(match platform {
        Platform::Ios => "ios",
        Platform::Ipados => "ipados",
        Platform::Macos => "macos",
        Platform::Tvos => "tvos",
        Platform::Watchos => "watchos",
        Platform::Visionos => "visionos",
        Platform::Other(_) => return None,
    })
}

/// Up to three numbers; what is not said is 0.
fn version(text: &str) -> Option<[u32; 3]> {
    let mut numbers = [0; 3];
    for (place, part) in text.split('.').enumerate() {
        *numbers.get_mut(place)? = part.parse().ok()?;
    }
    Some(numbers)
}

impl Settings for Gate {
    fn validate(json: &str) -> Vec<Diagnostic> {
        let remark = |path: &str, message: String, fatal| Diagnostic {
            path: path.into(),
            message,
            fatal,
        };
        let rules: Rules = match pomona_sdk::serde_json::from_str(json) {
            Ok(rules) => rules,
            Err(error) => return vec![remark("", error.to_string(), true)],
        };
        const FAMILIES: [&str; 6] = ["ios", "ipados", "macos", "tvos", "watchos", "visionos"];
        let mut remarks: Vec<Diagnostic> = rules
            .minimum_os
            .keys()
            .filter(|name| !FAMILIES.contains(&name.as_str()))
            .map(|name| {
                let message = format!("{name} is no family; write one of {}", FAMILIES.join(", "));
                remark(&format!("/minimum_os/{name}"), message, true)
            })
            .collect();
        if rules.serials.as_ref().is_some_and(Vec::is_empty) {
            let message = "an empty list lets nobody in; leave it out to let everybody in";
            remarks.push(remark("/serials", message.into(), false));
        }
        remarks
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pomona_sdk::testing;

    fn rules(json: &str) -> Rules {
        pomona_sdk::serde_json::from_str(json).unwrap()
    }

    #[test]
    fn each_rule_has_its_say_and_what_is_not_asked_for_does_not() {
        let ipad = Snapshot {
            serial: Some("C02XK1ZGJG5H".into()),
            os_version: "17.4".into(),
            ..testing::device()
        };
        let silent = Snapshot {
            serial: None,
            os_version: String::new(),
            ..testing::device()
        };
        for (json, device, expected) in [
            ("{}", &ipad, None),
            ("{}", &silent, None),
            (r#"{"serials":["C02XK1ZGJG5H"]}"#, &ipad, None),
            (r#"{"serials":["OTHER"]}"#, &ipad, Some("not on the list")),
            (
                r#"{"serials":["C02XK1ZGJG5H"]}"#,
                &silent,
                Some("does not tell its serial"),
            ),
            (r#"{"models":["iPad"]}"#, &ipad, None),
            (r#"{"models":["iPhone","Mac"]}"#, &ipad, Some("iPhone, Mac")),
            (r#"{"minimum_os":{"ipados":"17.4.0"}}"#, &ipad, None),
            (
                r#"{"minimum_os":{"ipados":"17.10"}}"#,
                &ipad,
                Some("at least 17.10"),
            ),
            (r#"{"minimum_os":{"macos":"26"}}"#, &ipad, None),
            (
                r#"{"minimum_os":{"ipados":"17"}}"#,
                &silent,
                Some("does not tell its system"),
            ),
        ] {
            let told = against(&rules(json), device);
            match expected {
                None => assert_eq!(told, None, "{json}"),
                Some(part) => assert!(told.is_some_and(|told| told.contains(part)), "{json}"),
            }
        }
    }

    #[test]
    fn settings_that_cannot_be_meant_are_remarked_on() {
        let told = Gate::validate(r#"{"minimum_os":{"iPadOS":"17"},"serials":[]}"#);
        let fatal: Vec<bool> = told.iter().map(|remark| remark.fatal).collect();
        assert_eq!(fatal, [true, false]);
        assert!(Gate::validate("{}").is_empty());
    }
}
