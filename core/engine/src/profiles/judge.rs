//! What the catalogue says of a profile for a kind of device.
//!
//! Owns: which payloads a device does not take at all, and why. A key that it does not know, or only when it is supervised, keeps nothing back:
//! the device takes the rest of the payload. The judging is the catalogue's.

use plist::{Dictionary, Value};
use pomona_catalogue::{Catalogue, Cause, Class, Finding, Form, Target, Weight};

use crate::judged::members;

/// What all payloads have, whatever they are.
const COMMON: [&str; 7] = [
    "PayloadIdentifier",
    "PayloadUUID",
    "PayloadType",
    "PayloadVersion",
    "PayloadDescription",
    "PayloadDisplayName",
    "PayloadOrganization",
];
/// Reasons in one sentence, at most.
const MOST_REASONS: usize = 3;

/// What is said of one payload.
pub(crate) struct Judged {
    pub(crate) payload_type: String,
    pub(crate) findings: Vec<Finding>,
}

/// Looks at the payloads of a profile.
pub(crate) fn judge(target: &Target, profile: &Dictionary) -> Vec<Judged> {
    let payloads = match profile.get("PayloadContent") {
        Some(Value::Array(payloads)) => payloads.as_slice(),
        _ => &[],
    };
    let catalogue = Catalogue::shipped();
    let payloads = payloads.iter().filter_map(Value::as_dictionary);
    payloads
        .filter_map(|payload| {
            let payload_type = payload.get("PayloadType")?.as_string()?.to_owned();
            let mut body = members(payload);
            body.retain(|key, _| !COMMON.contains(&key.as_str()));
            let told =
                catalogue.preflight(target, Class::Profile, &payload_type, &body, Form::Marked);
            let mut findings = told.findings;
            for finding in &mut findings {
                // What a device does with a value is for the device to say.
                if !finding.key.is_empty() && finding.weight == Weight::Refuses {
                    finding.weight = Weight::Warns;
                }
            }
            Some(Judged {
                payload_type,
                findings,
            })
        })
        .collect()
}

/// Why a device does not take a profile, if that is so.
pub(crate) fn refusal(target: &Target, profile: &Dictionary) -> Option<String> {
    let judged = judge(target, profile);
    let mut said: Vec<String> = Vec::new();
    for one in &judged {
        let refuses = |finding: &&Finding| {
            finding.weight == Weight::Refuses
                && !matches!(finding.cause, Cause::Value | Cause::Missing)
        };
        for finding in one.findings.iter().filter(refuses) {
            let mends = [("", &finding.fix), ("instead: ", &finding.alternative)];
            let mends = mends
                .into_iter()
                .filter_map(|(lead, mend)| Some(format!("; {lead}{}", mend.as_ref()?)));
            let told = format!("{}{}", finding.message, mends.collect::<String>());
            if said.len() < MOST_REASONS && !said.contains(&told) {
                said.push(told);
            }
        }
    }
    (!said.is_empty()).then(|| said.join(" | "))
}
