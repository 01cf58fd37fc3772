//! Lost and found: a panel with devices that have been silent, the same as CSV, and an address where the front desk's system reports what
//! was handed in.
//!
//! Shows a panel, a route behind a token, and an open route that trusts a signature instead. The secret is the host's: the plugin asks
//! what a body's signature must be and compares.
#![forbid(unsafe_code)]

use pomona_sdk::host::AccessError;
use pomona_sdk::serde_json::{self, Value, json};
use pomona_sdk::{
    CallContext, Channel, Effect, HookError, Keyed, Panels, RouteRequest, RouteResponse, Routes,
    Snapshot, Target, host,
};

const DAY_MS: u64 = 24 * 60 * 60 * 1_000;
/// Silent for so long counts as lost, unless a panel asks otherwise.
const DAYS: u64 = 14;

struct LostAndFound;
pomona_sdk::export!(LostAndFound: Routes, Panels);

impl Panels for LostAndFound {
    fn render(context: &CallContext, _: &str, parameters_json: &str) -> Result<String, HookError> {
        let asked: Value = serde_json::from_str(parameters_json).unwrap_or_default();
        let days = asked["days"].as_u64().unwrap_or(DAYS);
        Ok(table(&silent(&everybody()?, context.now_ms, days)).to_string())
    }
}

impl Routes for LostAndFound {
    fn handle(context: &CallContext, request: &RouteRequest) -> Result<RouteResponse, HookError> {
        match (request.method.as_str(), request.path.as_str()) {
            ("GET", "silent.csv") => {
                let text = csv(&silent(&everybody()?, context.now_ms, DAYS));
                Ok(reply(200, "text/csv", text))
            }
            ("POST", "found") => {
                let expected =
                    host::secrets::hmac_sha256("front-desk", &request.body).map_err(unsigned)?;
                Ok(found(context, request, &expected))
            }
            _ => Ok(reply(404, "text/plain", "there is nothing here".into())),
        }
    }
}

/// Why nothing can be held against a signature.
fn unsigned(error: AccessError) -> HookError {
    match error {
        AccessError::NotFound => {
            HookError::Misconfigured("the secret front-desk is not set".into())
        }
        AccessError::Denied(why) | AccessError::Invalid(why) => HookError::Misconfigured(why),
        other => HookError::Retryable(format!("{other:?}")),
    }
}

/// Every device of the tenant.
fn everybody() -> Result<Vec<Snapshot>, HookError> {
    let mut all = Vec::new();
    let mut after = None;
    loop {
        let page = host::devices::search(None, after.as_deref(), 100)
            .map_err(|error| HookError::Retryable(format!("{error:?}")))?;
        all.extend(page.items);
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok(all),
        }
    }
}

/// A silent device, and for how many days.
fn silent(devices: &[Snapshot], now_ms: u64, days: u64) -> Vec<(&Snapshot, u64)> {
    let mut all: Vec<_> = devices
        .iter()
        .map(|device| (device, now_ms.saturating_sub(device.seen_ms) / DAY_MS))
        .filter(|(_, silent)| *silent >= days)
        .collect();
    all.sort_by_key(|(_, silent)| std::cmp::Reverse(*silent));
    all
}

fn table(silent: &[(&Snapshot, u64)]) -> Value {
    let rows: Vec<Value> = silent
        .iter()
        .map(|(device, days)| json!([device.serial, device.model, days, where_it_is(device)]))
        .collect();
    json!({
        "kind": "table",
        "columns": ["Serial number", "Model", "Silent for days", "Handed in at"],
        "rows": rows,
    })
}

fn csv(silent: &[(&Snapshot, u64)]) -> String {
    let mut text = String::from("serial,model,days\n");
    for (device, days) in silent {
        let serial = device.serial.as_deref().unwrap_or_default();
        text.push_str(&format!("{serial},\"{}\",{days}\n", device.model));
    }
    text
}

/// Where the front desk says that a device is.
fn where_it_is(device: &Snapshot) -> Option<String> {
    device.fact("org.pomona.lost-and-found.at")
}

/// Notes that a device was handed in, if the body is signed: `{"device": "ID", "at": "Room 12"}`.
fn found(context: &CallContext, request: &RouteRequest, expected: &[u8]) -> RouteResponse {
    let told = request
        .headers
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case("x-signature"))
        .map(|(_, value)| value.as_str());
    if !told.is_some_and(|told| same(told, expected)) {
        return reply(403, "text/plain", "the signature is not good".into());
    }
    let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
    let (Some(device), Some(at)) = (body["device"].as_str(), body["at"].as_str()) else {
        return reply(400, "text/plain", "name a device and where it is".into());
    };
    let target = Target {
        device: device.into(),
        channel: Channel::Device,
    };
    let mut reply = reply(202, "text/plain", "noted".into());
    reply.effects.push(Keyed {
        key: format!("found/{}", context.call_id),
        item: Effect::SetFact((target, "at".into(), json!(at).to_string())),
    });
    reply
}

/// Whether a text in hexadecimal is these bytes. Looks at all of them, whatever the first say.
fn same(told: &str, expected: &[u8]) -> bool {
    let wanted: String = expected.iter().map(|byte| format!("{byte:02x}")).collect();
    told.len() == wanted.len()
        && told
            .bytes()
            .zip(wanted.bytes())
            .fold(0, |differs, (left, right)| differs | (left ^ right))
            == 0
}

fn reply(status: u16, kind: &str, text: String) -> RouteResponse {
    RouteResponse {
        status,
        headers: vec![("content-type".into(), format!("{kind}; charset=utf-8"))],
        body: text.into_bytes(),
        effects: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pomona_sdk::testing;

    fn device(serial: &str, seen_ms: u64) -> Snapshot {
        Snapshot {
            serial: Some(serial.into()),
            seen_ms,
            ..testing::device()
        }
    }

    #[test]
    fn the_longest_silence_comes_first() {
        let all = [
            device("A", 9 * DAY_MS),
            device("B", DAY_MS),
            device("C", 30 * DAY_MS),
        ];
        let text = csv(&silent(&all, 30 * DAY_MS, 14));
        assert_eq!(
            text,
            "serial,model,days\nB,\"iPad13,18\",29\nA,\"iPad13,18\",21\n"
        );
        assert_eq!(table(&silent(&all, 30 * DAY_MS, 14))["rows"][0][2], 29);
    }

    #[test]
    fn only_a_signed_report_is_noted() {
        let context = testing::context(0);
        let request = |signature: &str, body: &str| RouteRequest {
            method: "POST".into(),
            path: "found".into(),
            query: String::new(),
            headers: vec![("X-Signature".into(), signature.into())],
            body: body.into(),
            actor: None,
            roles: Vec::new(),
        };
        let good = r#"{"device": "d", "at": "Room 12"}"#;
        for (signature, body, status, effects) in [
            ("0aff", good, 202, 1),
            ("0afe", good, 403, 0),
            ("0a", good, 403, 0),
            ("", good, 403, 0),
            ("0aff", "{}", 400, 0),
        ] {
            let reply = found(&context, &request(signature, body), &[0x0a, 0xff]);
            assert_eq!(
                (reply.status, reply.effects.len()),
                (status, effects),
                "{signature}"
            );
        }
    }
}
