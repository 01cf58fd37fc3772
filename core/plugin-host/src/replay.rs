//! A host that answers as is recorded.
//!
//! Owns: the form of a recorded host call, and serving a plugin from such records. Rights are checked before it is asked, as on a
//! server. What is not recorded gets the plainest answer and is remembered, so that a test can say so or a file can take it up.

use std::collections::HashMap;

use async_trait::async_trait;
use parking_lot::Mutex;
use pomona_engine::DeviceId;
use pomona_engine::clock::Micros;
use pomona_engine::hooks::{DeviceSnapshot, KnownFact};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::convert::micros;
use crate::json::{bytes_of, lift_bytes};
use crate::services::{ForPlugin, OutReply, OutRequest, ServiceError, Services};

/// A call of a host function with its answer, in the words of the contract.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostCall {
    /// The function: `pomona:host/kv.get`.
    pub call: String,
    /// Its arguments.
    pub arguments: Vec<Value>,
    /// `{"ok": …}`, or `{"err": …}` with the case of `access-error`.
    pub answer: Value,
}

/// A host made of records. Equal calls get their answers in the order of the records; the last stays.
#[derive(Debug)]
pub struct Replay {
    recorded: Vec<HostCall>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// How often each call has been made, by its text.
    times: HashMap<String, usize>,
    made: Vec<HostCall>,
    unanswered: Vec<HostCall>,
}

impl Replay {
    /// A host that answers so.
    #[must_use]
    pub fn new(recorded: Vec<HostCall>) -> Self {
        Self {
            recorded,
            state: Mutex::default(),
        }
    }

    /// The calls that were made, with their answers.
    #[must_use]
    pub fn made(&self) -> Vec<HostCall> {
        self.state.lock().made.clone()
    }

    /// The calls that no record answered, each once, with the answer that was made up.
    #[must_use]
    pub fn unanswered(&self) -> Vec<HostCall> {
        self.state.lock().unanswered.clone()
    }

    /// Forgets the calls that were made.
    pub fn rewind(&self) {
        *self.state.lock() = State::default();
    }

    /// The recorded answer of a call, or `plain`.
    fn answer(
        &self,
        call: &str,
        arguments: Vec<Value>,
        plain: Value,
    ) -> Result<Value, ServiceError> {
        let call = format!("pomona:host/{call}");
        let fits = |one: &&HostCall| one.call == call && one.arguments == arguments;
        let fitting: Vec<&HostCall> = self.recorded.iter().filter(fits).collect();
        let mut state = self.state.lock();
        let text = Value::Array(arguments.clone()).to_string();
        let times = state.times.entry(format!("{call} {text}")).or_default();
        let recorded = fitting.get(*times).or(fitting.last());
        *times += 1;
        let first = *times == 1;
        let made = HostCall {
            call,
            arguments,
            answer: recorded.map_or(plain, |one| one.answer.clone()),
        };
        if recorded.is_none() && first {
            state.unanswered.push(made.clone());
        }
        state.made.push(made.clone());
        refusal(&made)
    }
}

/// What a record says, if it is an answer that can be given.
fn refusal(made: &HostCall) -> Result<Value, ServiceError> {
    if let Some(given) = made.answer.get("ok") {
        return Ok(given.clone());
    }
    let refused = made.answer.get("err");
    let why = |case: &str| refused?.get(case)?.as_str().map(str::to_owned);
    if refused.and_then(Value::as_str) == Some("not-found") {
        return Err(ServiceError::NotFound);
    }
    Err(why("denied")
        .map(ServiceError::Denied)
        .or_else(|| why("unavailable").map(ServiceError::Unavailable))
        .or_else(|| why("invalid").map(ServiceError::Invalid))
        .unwrap_or_else(|| unusable(made)))
}

/// A record whose answer is not in the contract's words.
fn unusable(made: &HostCall) -> ServiceError {
    ServiceError::Unavailable(format!(
        "the recorded answer of {} cannot be used: {}; write {{\"ok\": …}} as the contract has it, or {{\"err\": \"not-found\"}}",
        made.call, made.answer
    ))
}

fn bad(call: &str, answer: &Value) -> ServiceError {
    ServiceError::Unavailable(format!(
        "the recorded answer of pomona:host/{call} cannot be used: {answer}"
    ))
}

#[async_trait]
impl Services for Replay {
    async fn device(
        &self,
        _whose: ForPlugin<'_>,
        id: DeviceId,
    ) -> Result<DeviceSnapshot, ServiceError> {
        let call = "devices.get";
        let absent = json!({ "err": "not-found" });
        let answer = self.answer(call, vec![json!(id.to_string())], absent)?;
        device(&answer).ok_or_else(|| bad(call, &answer))
    }

    async fn devices(
        &self,
        _whose: ForPlugin<'_>,
        group: Option<&str>,
        after: Option<DeviceId>,
        limit: u32,
    ) -> Result<Vec<DeviceSnapshot>, ServiceError> {
        let call = "devices.search";
        let after = after.map(|id| id.to_string());
        let arguments = vec![json!(group), json!(after), json!(limit)];
        let answer = self.answer(call, arguments, json!({ "ok": [] }))?;
        let devices = answer.as_array().into_iter().flatten().map(device);
        devices
            .collect::<Option<_>>()
            .ok_or_else(|| bad(call, &answer))
    }

    async fn history(
        &self,
        _whose: ForPlugin<'_>,
        id: DeviceId,
        topic: &str,
        limit: u32,
    ) -> Result<Vec<Value>, ServiceError> {
        let call = "devices.history";
        let arguments = vec![json!(id.to_string()), json!(topic), json!(limit)];
        let answer = self.answer(call, arguments, json!({ "ok": [] }))?;
        answer.as_array().cloned().ok_or_else(|| bad(call, &answer))
    }

    async fn value(
        &self,
        _whose: ForPlugin<'_>,
        key: &str,
    ) -> Result<Option<Vec<u8>>, ServiceError> {
        let call = "kv.get";
        let answer = self.answer(call, vec![json!(key)], json!({ "ok": null }))?;
        if answer.is_null() {
            return Ok(None);
        }
        bytes_of(&answer)
            .map(Some)
            .ok_or_else(|| bad(call, &answer))
    }

    async fn values(
        &self,
        _whose: ForPlugin<'_>,
        prefix: &str,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<(String, Vec<u8>)>, ServiceError> {
        let call = "kv.scan";
        let arguments = vec![json!(prefix), json!(after), json!(limit)];
        let answer = self.answer(call, arguments, json!({ "ok": [] }))?;
        let pairs = answer.as_array().into_iter().flatten();
        let pairs = pairs.map(|pair| {
            let key = pair.get(0)?.as_str()?;
            Some((key.to_owned(), bytes_of(pair.get(1)?)?))
        });
        pairs
            .collect::<Option<_>>()
            .ok_or_else(|| bad(call, &answer))
    }

    async fn send(
        &self,
        _whose: ForPlugin<'_>,
        request: OutRequest,
    ) -> Result<OutReply, ServiceError> {
        let call = "http-out.send";
        let message = json!({
            "method": request.method,
            "url": request.url.to_string(),
            "headers": request.headers,
            "body": lift_bytes(&request.body),
        });
        let closed = "a fixture reaches nobody outside; write what the service answers";
        let answer = self.answer(
            call,
            vec![message],
            json!({ "err": { "unavailable": closed } }),
        )?;
        reply(&answer).ok_or_else(|| bad(call, &answer))
    }

    async fn sign(
        &self,
        _whose: ForPlugin<'_>,
        secret: &str,
        data: &[u8],
    ) -> Result<Vec<u8>, ServiceError> {
        let call = "secrets.hmac-sha256";
        let arguments = vec![json!(secret), lift_bytes(data)];
        let answer = self.answer(call, arguments, json!({ "err": "not-found" }))?;
        bytes_of(&answer).ok_or_else(|| bad(call, &answer))
    }
}

fn reply(answer: &Value) -> Option<OutReply> {
    let headers = answer.get("headers").and_then(Value::as_array);
    let headers = headers.into_iter().flatten().map(|pair| {
        let text = |n: usize| pair.get(n)?.as_str().map(str::to_owned);
        Some((text(0)?, text(1)?))
    });
    Some(OutReply {
        status: u16::try_from(answer.get("status")?.as_u64()?).ok()?,
        headers: headers.collect::<Option<_>>()?,
        body: match answer.get("body") {
            None => Vec::new(),
            Some(body) => bytes_of(body)?,
        },
    })
}

/// A device of the engine from a snapshot in the contract's words, given as far as a test needs it.
fn device(snapshot: &Value) -> Option<DeviceSnapshot> {
    let members = snapshot.as_object()?;
    let text = |name: &str| members.get(name).and_then(Value::as_str).map(str::to_owned);
    let number = |name: &str| members.get(name).and_then(Value::as_u64).unwrap_or(0);
    let mut facts = Vec::new();
    for fact in members
        .get("facts")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        let value = fact.get("value-json")?;
        let parsed = value.as_str().map(serde_json::from_str);
        facts.push(KnownFact {
            name: fact.get("key")?.as_str()?.to_owned(),
            value: match parsed {
                None => value.clone(),
                Some(parsed) => parsed.ok()?,
            },
            source: fact
                .get("source")
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned(),
            observed_at: micros(fact.get("observed-ms").and_then(Value::as_u64).unwrap_or(0)),
        });
    }
    // What the contract has as members, the engine has as facts.
    for name in ["supervised", "shared-ipad", "time-zone", "os-build"] {
        let told = members.get(name).filter(|value| !value.is_null());
        if let Some(value) = told.filter(|_| facts.iter().all(|fact| fact.name != name)) {
            facts.push(KnownFact {
                name: name.to_owned(),
                value: value.clone(),
                source: String::new(),
                observed_at: Micros::default(),
            });
        }
    }
    let user = members
        .get("channel")
        .and_then(|channel| channel.get("user"));
    let groups = members
        .get("groups")
        .and_then(Value::as_array)
        .into_iter()
        .flatten();
    Some(DeviceSnapshot {
        device: Some(text("id")?.parse().ok()?),
        user_key: user.and_then(Value::as_str).unwrap_or_default().to_owned(),
        ident: text("udid").unwrap_or_default(),
        serial_number: text("serial"),
        product_name: text("model"),
        os_version: text("os-version"),
        facts,
        groups: groups
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect(),
        seen_at: micros(number("seen-ms")),
        revision: i64::try_from(number("revision")).unwrap_or(i64::MAX),
        ..DeviceSnapshot::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use pomona_engine::TenantId;
    use uuid::Uuid;

    fn whose() -> ForPlugin<'static> {
        ForPlugin {
            tenant: TenantId(Uuid::nil()),
            plugin: "org.example.a",
            schema: 1,
        }
    }

    fn call(call: &str, arguments: Value, answer: Value) -> HostCall {
        HostCall {
            call: format!("pomona:host/{call}"),
            arguments: arguments.as_array().unwrap().clone(),
            answer,
        }
    }

    #[tokio::test]
    async fn equal_calls_get_their_answers_in_turn_and_the_last_stays() {
        let host = Replay::new(vec![
            call("kv.get", json!(["n"]), json!({ "ok": { "text": "1" } })),
            call("kv.get", json!(["m"]), json!({ "ok": null })),
            call(
                "kv.get",
                json!(["n"]),
                json!({ "ok": { "base64": "Mg==" } }),
            ),
        ]);
        for expected in ["1", "2", "2"] {
            let value = host.value(whose(), "n").await.unwrap().unwrap();
            assert_eq!(value, expected.as_bytes());
        }
        assert_eq!(host.value(whose(), "m").await, Ok(None));
        assert_eq!(host.made().len(), 4);
        assert_eq!(host.unanswered(), Vec::new());
    }

    #[tokio::test]
    async fn a_call_without_a_record_is_remembered_once() {
        let host = Replay::new(Vec::new());
        let id = DeviceId(Uuid::from_u128(7));
        for _ in 0..2 {
            let told = host.device(whose(), id).await.unwrap_err();
            assert_eq!(told, ServiceError::NotFound);
        }
        let left = host.unanswered();
        let expected = json!([Uuid::from_u128(7).to_string()]);
        assert_eq!(
            left,
            [call("devices.get", expected, json!({"err": "not-found"}))]
        );
        host.rewind();
        assert_eq!(host.unanswered(), Vec::new());
    }

    #[tokio::test]
    async fn a_record_that_cannot_be_used_says_so() {
        for answer in [
            json!({ "ok": 7 }),
            json!("ok"),
            json!({ "err": "nonsense" }),
        ] {
            let host = Replay::new(vec![call("kv.get", json!(["n"]), answer.clone())]);
            let told = host.value(whose(), "n").await.unwrap_err().to_string();
            assert!(
                told.contains("pomona:host/kv.get cannot be used"),
                "{answer}: {told}"
            );
        }
    }

    #[test]
    fn a_device_is_read_as_far_as_it_is_given() {
        let told = device(&json!({
            "id": Uuid::from_u128(7).to_string(),
            "model": "iPad13,18",
            "supervised": true,
            "groups": ["Kitchen"],
            "facts": [{ "key": "a.b", "value-json": "[1]" }, { "key": "a.c", "value-json": 2 }],
        }))
        .unwrap();
        assert_eq!(told.groups, ["Kitchen"]);
        let facts: Vec<_> = told
            .facts
            .iter()
            .map(|f| (f.name.as_str(), f.value.clone()))
            .collect();
        assert_eq!(
            facts,
            [
                ("a.b", json!([1])),
                ("a.c", json!(2)),
                ("supervised", json!(true))
            ]
        );
        assert!(device(&json!({ "id": "kitchen" })).is_none());
    }
}
