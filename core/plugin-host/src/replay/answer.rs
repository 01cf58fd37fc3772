//! Recorded answers of the host, read.
//!
//! Owns: the shape that each function's answer has in the contract's words. What cannot be read, or is not what a server would
//! say, is named by its place with what was expected; nothing is made up for it.

use pomona_engine::hooks::DeviceSnapshot;
use serde_json::{Value, json};
use wasmtime::component::Val;
use wasmtime::component::types::Type;

use super::HostCall;
use super::device::device;
use super::members::{Members, Read, misfit, only_member};
use super::subject::kinds;
use crate::json::{below, bytes_of};
use crate::services::{OutReply, ServiceError};

/// The functions that records answer.
const FUNCTIONS: [&str; 8] = [
    "devices.get",
    "devices.search",
    "devices.history",
    "recipients.kinds",
    "kv.get",
    "kv.scan",
    "http-out.send",
    "secrets.hmac-sha256",
];
const BYTES: &str = r#"bytes: {"text": …}, {"base64": …} or a list of numbers"#;
const REFUSALS: &str = r#""not-found", {"denied": text}, {"quota": text}, {"unavailable": text}, {"invalid": text} or {"other": text}"#;

/// Holds a record against the contract. `at` is the JSON pointer to it.
///
/// # Errors
/// The place that is wrong, and what was expected there.
pub(super) fn check(record: &HostCall, at: &str) -> Read<()> {
    let function = record.call.strip_prefix("pomona:host/");
    let function = function.filter(|function| FUNCTIONS.contains(function));
    let Some(function) = function else {
        let all = FUNCTIONS.join(", ");
        let expected = format!(
            "pomona:host/ with one of {all}; get-fact is answered by devices.get, and what catalogue is asked by the catalogue itself"
        );
        return Err(misfit(&below(at, "call"), &expected, &json!(record.call)));
    };
    let at = below(at, "answer");
    let Ok(ok) = outcome(&record.answer, &at)? else {
        return Ok(());
    };
    let at = &below(&at, "ok");
    match function {
        "devices.get" => device(ok, at).map(drop),
        "devices.search" => {
            let limit = record.arguments.get(2).and_then(Value::as_u64);
            page(ok, at, limit).map(drop)
        }
        "devices.history" => history(ok, at).map(drop),
        "recipients.kinds" => kinds(ok, at).map(drop),
        "kv.get" => value(ok, at).map(drop),
        "kv.scan" => pairs(ok, at).map(drop),
        "http-out.send" => reply(ok, at).map(drop),
        _ => bytes(ok, at).map(drop),
    }
}

/// What stands behind `ok`, or the refusal behind `err`.
pub(super) fn outcome<'a>(answer: &'a Value, at: &str) -> Read<Result<&'a Value, ServiceError>> {
    match only_member(answer) {
        Some(("ok", value)) => Ok(Ok(value)),
        Some(("err", value)) => refusal(value, &below(at, "err")).map(Err),
        _ => Err(misfit(at, r#"{"ok": …} or {"err": …}"#, answer)),
    }
}

fn refusal(written: &Value, at: &str) -> Read<ServiceError> {
    let (case, why) = match written {
        Value::String(case) => (case.as_str(), None),
        _ => {
            let (case, why) = only_member(written).ok_or_else(|| misfit(at, REFUSALS, written))?;
            (case, Some(why).filter(|why| !why.is_null()))
        }
    };
    match (case, why) {
        ("not-found", None) => Ok(ServiceError::NotFound),
        ("denied", Some(Value::String(why))) => Ok(ServiceError::Denied(why.clone())),
        ("unavailable", Some(Value::String(why))) => Ok(ServiceError::Unavailable(why.clone())),
        ("invalid", Some(Value::String(why))) => Ok(ServiceError::Invalid(why.clone())),
        // No server of this version refuses so, but the contract lets a later one.
        ("quota", Some(Value::String(why))) => Ok(ServiceError::Quota(why.clone())),
        ("other", Some(Value::String(why))) => Ok(ServiceError::Other(why.clone())),
        _ => Err(misfit(at, REFUSALS, written)),
    }
}

/// The devices of a page. Where `limit` is known, `next` must be what a server says: the last device of a full page.
pub(super) fn page(told: &Value, at: &str, limit: Option<u64>) -> Read<Vec<DeviceSnapshot>> {
    let page = Members::of(told, at, &["items", "next"])?;
    if page.get("items").is_none() {
        let expected = r#"{"items": […], "next": …}"#;
        return Err(misfit(at, expected, told));
    }
    let items = page.list("items")?.iter().enumerate();
    let items = items.map(|(n, one)| device(one, &format!("{at}/items/{n}")));
    let devices: Vec<DeviceSnapshot> = items.collect::<Read<_>>()?;
    let Some(limit) = limit else {
        return Ok(devices);
    };
    let count = devices.len() as u64;
    if count > limit {
        let expected = format!("at most the {limit} devices that are asked for");
        return Err(misfit(&below(at, "items"), &expected, &json!(count)));
    }
    let last = devices.last().and_then(|device| device.device);
    let next = last.filter(|_| count == limit).map(|id| id.to_string());
    let next = json!(next);
    match page.get("next").filter(|told| **told != next) {
        None => Ok(devices),
        Some(told) => {
            let expected = format!("{next}, as a server says at the end of a page of {count}");
            Err(misfit(&below(at, "next"), &expected, told))
        }
    }
}

/// Events. Each is a JSON text; what it says may be written as it is.
pub(super) fn history(told: &Value, at: &str) -> Read<Vec<Value>> {
    let items = told.as_array();
    let items = items.ok_or_else(|| misfit(at, "a list of JSON texts", told))?;
    let items = items.iter().enumerate().map(|(n, event)| match event {
        Value::String(text) => serde_json::from_str(text)
            .map_err(|_| misfit(&below(at, &n.to_string()), "a JSON text", event)),
        said => Ok(said.clone()),
    });
    items.collect()
}

/// A value that is kept, or none.
pub(super) fn value(told: &Value, at: &str) -> Read<Option<Vec<u8>>> {
    if told.is_null() {
        return Ok(None);
    }
    let value = bytes_of(told).map(Some);
    value.ok_or_else(|| misfit(at, &format!("null, or {BYTES}"), told))
}

/// Keys with their values.
pub(super) fn pairs(told: &Value, at: &str) -> Read<Vec<(String, Vec<u8>)>> {
    let items = told.as_array();
    let items = items.ok_or_else(|| misfit(at, "a list of pairs [key, bytes]", told))?;
    let items = items.iter().enumerate().map(|(n, pair)| {
        let read = match pair.as_array().map(Vec::as_slice) {
            Some([Value::String(key), value]) => bytes_of(value).map(|value| (key.clone(), value)),
            _ => None,
        };
        let expected = || format!("a pair [key, bytes], and of {BYTES}");
        read.ok_or_else(|| misfit(&below(at, &n.to_string()), &expected(), pair))
    });
    items.collect()
}

/// The reply of an outside service.
pub(super) fn reply(told: &Value, at: &str) -> Read<OutReply> {
    let members = Members::of(told, at, &["status", "headers", "body"])?;
    let Some(Val::U16(status)) = members.read("status", &Type::U16)? else {
        return Err(misfit(at, r#"an object with "status""#, told));
    };
    let mut headers = Vec::new();
    for (n, pair) in members.list("headers")?.iter().enumerate() {
        match pair.as_array().map(Vec::as_slice) {
            Some([Value::String(name), Value::String(value)]) => {
                headers.push((name.clone(), value.clone()));
            }
            _ => {
                let at = format!("{at}/headers/{n}");
                return Err(misfit(&at, "a pair of texts [name, value]", pair));
            }
        }
    }
    let body = members.get("body");
    let body = body
        .map(|body| bytes(body, &below(at, "body")))
        .transpose()?;
    Ok(OutReply {
        status,
        headers,
        body: body.unwrap_or_default(),
    })
}

/// Bytes.
pub(super) fn bytes(told: &Value, at: &str) -> Read<Vec<u8>> {
    bytes_of(told).ok_or_else(|| misfit(at, BYTES, told))
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn id() -> String {
        Uuid::from_u128(7).to_string()
    }

    /// What is told of a record of this call with this answer.
    fn told(call: &str, arguments: Value, answer: Value) -> String {
        let record = HostCall {
            call: format!("pomona:host/{call}"),
            arguments: arguments.as_array().unwrap().clone(),
            answer,
        };
        match check(&record, "/host/0") {
            Ok(()) => String::new(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn a_page_is_one_that_a_server_gives() {
        let asked = json!([null, null, 1]);
        let one = json!({ "id": id() });
        for (page, expected) in [
            (json!({ "items": [], "next": null }), ""),
            (json!({ "items": [one], "next": id() }), ""),
            (json!({ "items": [one] }), ""),
            (
                json!([one]),
                "/answer/ok: expected an object with items, next",
            ),
            (json!({}), "/answer/ok: expected {\"items\""),
            (json!({ "items": {} }), "/answer/ok/items: expected a list"),
            (
                json!({ "items": [{}] }),
                "/answer/ok/items/0/id: expected a UUID",
            ),
            (
                json!({ "items": [], "next": "x" }),
                "/answer/ok/next: expected null",
            ),
            (
                json!({ "items": [one], "next": null }),
                "/answer/ok/next: expected \"0",
            ),
            (
                json!({ "items": [one, one] }),
                "/answer/ok/items: expected at most the 1",
            ),
        ] {
            let told = told("devices.search", asked.clone(), json!({ "ok": page }));
            match expected {
                "" => assert_eq!(told, "", "{page}"),
                expected => assert!(told.starts_with(&format!("/host/0{expected}")), "{told}"),
            }
        }
    }

    #[test]
    fn other_answers_are_read_or_refused_with_what_was_expected() {
        let text = json!({ "text": "x" });
        for (call, answer, expected) in [
            (
                "devices.history",
                json!({ "ok": ["{\"n\":1}", { "n": 2 }] }),
                "",
            ),
            (
                "devices.history",
                json!({ "ok": {} }),
                "ok: expected a list of JSON texts",
            ),
            (
                "devices.history",
                json!({ "ok": ["{"] }),
                "ok/0: expected a JSON text",
            ),
            ("kv.get", json!({ "ok": null }), ""),
            (
                "kv.get",
                json!({ "ok": "x" }),
                "ok: expected null, or bytes",
            ),
            ("kv.scan", json!({ "ok": [["a", text]] }), ""),
            (
                "kv.scan",
                json!({ "ok": { "a": text } }),
                "ok: expected a list of pairs",
            ),
            ("kv.scan", json!({ "ok": [["a"]] }), "ok/0: expected a pair"),
            (
                "kv.scan",
                json!({ "ok": [["a", "x"]] }),
                "ok/0: expected a pair",
            ),
            ("http-out.send", json!({ "ok": { "status": 200 } }), ""),
            (
                "http-out.send",
                json!({ "ok": { "status": 200, "headers": [["a", "b"]], "body": text } }),
                "",
            ),
            (
                "http-out.send",
                json!({ "ok": {} }),
                "ok: expected an object with \"status\"",
            ),
            (
                "http-out.send",
                json!({ "ok": { "status": 70_000 } }),
                "ok/status: expected a number",
            ),
            (
                "http-out.send",
                json!({ "ok": { "status": 200, "headers": { "a": "b" } } }),
                "ok/headers: expected a list",
            ),
            (
                "http-out.send",
                json!({ "ok": { "status": 200, "headers": [["a"]] } }),
                "ok/headers/0: expected a pair",
            ),
            (
                "http-out.send",
                json!({ "ok": { "status": 200, "body": "x" } }),
                "ok/body: expected bytes",
            ),
            (
                "http-out.send",
                json!({ "ok": { "state": 200 } }),
                "ok/state: there is no such member",
            ),
            ("secrets.hmac-sha256", json!({ "ok": [1, 2] }), ""),
            (
                "secrets.hmac-sha256",
                json!({ "ok": "x" }),
                "ok: expected bytes",
            ),
            ("kv.get", json!({ "err": "not-found" }), ""),
            ("kv.get", json!({ "err": { "not-found": null } }), ""),
            ("kv.get", json!({ "err": { "denied": "why" } }), ""),
            ("kv.get", json!({ "err": { "invalid": "why" } }), ""),
            (
                "kv.get",
                json!({ "err": "denied" }),
                "err: expected \"not-found\"",
            ),
            ("kv.get", json!({ "err": { "quota": "why" } }), ""),
            ("kv.get", json!({ "err": { "other": "why" } }), ""),
            (
                "kv.get",
                json!({ "err": "quota" }),
                "err: expected \"not-found\"",
            ),
            (
                "kv.get",
                json!({ "err": { "other": 7 } }),
                "err: expected \"not-found\"",
            ),
            (
                "kv.get",
                json!({ "err": { "absent": "why" } }),
                "err: expected \"not-found\"",
            ),
        ] {
            let told = told(call, json!([]), answer.clone());
            match expected {
                "" => assert_eq!(told, "", "{call} {answer}"),
                expected => {
                    let expected = format!("/host/0/answer/{expected}");
                    assert!(told.starts_with(&expected), "{told}\nshould be: {expected}");
                }
            }
        }
        for answer in [json!("ok"), json!({}), json!({ "ok": null, "err": null })] {
            let told = told("kv.get", json!([]), answer);
            assert!(
                told.starts_with("/host/0/answer: expected {\"ok\""),
                "{told}"
            );
        }
        let told = told("devices.get-fact", json!([]), json!({ "ok": null }));
        assert!(
            told.starts_with("/host/0/call: expected pomona:host/ with one of devices.get"),
            "{told}"
        );
    }
}
