//! A host that answers as is recorded.
//!
//! Owns: the form of a recorded host call, and serving a plugin from such records. Rights are checked before it is asked, as on a
//! server. What is not recorded gets the plainest answer and is remembered, so that a test can say so or a file can take it up.
//! How an answer is read is in `answer`.

mod answer;
mod device;
mod members;
mod subject;

use std::collections::HashMap;

use async_trait::async_trait;
use parking_lot::Mutex;
use pomona_engine::DeviceId;
use pomona_engine::hooks::{DeviceKind, DeviceSnapshot};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::json::{JsonError, lift_bytes};
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

impl HostCall {
    /// Holds it against the contract. `at` is the JSON pointer to it.
    ///
    /// # Errors
    /// The place that cannot be read, and what was expected there.
    pub(crate) fn check(&self, at: &str) -> Result<(), JsonError> {
        answer::check(self, at)
    }
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

    /// The recorded answer of a call, or `plain`, as it is read.
    fn answer<T>(
        &self,
        call: &str,
        arguments: Vec<Value>,
        plain: Value,
        read: impl FnOnce(&Value, &str) -> Result<T, JsonError>,
    ) -> Result<T, ServiceError> {
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
        drop(state);
        let answered = match answer::outcome(&made.answer, "/answer") {
            Ok(Ok(given)) => read(given, "/answer/ok"),
            Ok(Err(refused)) => return Err(refused),
            Err(error) => Err(error),
        };
        answered.map_err(|error| {
            let call = &made.call;
            ServiceError::Unavailable(format!(
                "the recorded answer of {call} cannot be used: {error}"
            ))
        })
    }
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
        let arguments = vec![json!(id.to_string())];
        self.answer(call, arguments, absent, device::device)
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
        let nobody = json!({ "ok": { "items": [], "next": null } });
        self.answer(call, arguments, nobody, |told, at| {
            answer::page(told, at, Some(limit.into()))
        })
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
        self.answer(call, arguments, json!({ "ok": [] }), answer::history)
    }

    async fn value(
        &self,
        _whose: ForPlugin<'_>,
        key: &str,
    ) -> Result<Option<Vec<u8>>, ServiceError> {
        let call = "kv.get";
        let nothing = json!({ "ok": null });
        self.answer(call, vec![json!(key)], nothing, answer::value)
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
        self.answer(call, arguments, json!({ "ok": [] }), answer::pairs)
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
        let nobody = json!({ "err": { "unavailable": closed } });
        self.answer(call, vec![message], nobody, answer::reply)
    }

    fn kinds(&self) -> Result<Vec<DeviceKind>, ServiceError> {
        let call = "recipients.kinds";
        let nobody = json!({ "err": "not-found" });
        self.answer(call, Vec::new(), nobody, subject::kinds)
    }

    async fn sign(
        &self,
        _whose: ForPlugin<'_>,
        secret: &str,
        data: &[u8],
    ) -> Result<Vec<u8>, ServiceError> {
        let call = "secrets.hmac-sha256";
        let arguments = vec![json!(secret), lift_bytes(data)];
        let absent = json!({ "err": "not-found" });
        self.answer(call, arguments, absent, answer::bytes)
    }
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
    async fn every_refusal_of_the_contract_can_be_recorded() {
        let why = || "why".to_owned();
        for (written, expected) in [
            (json!("not-found"), ServiceError::NotFound),
            (json!({ "denied": "why" }), ServiceError::Denied(why())),
            (json!({ "quota": "why" }), ServiceError::Quota(why())),
            (
                json!({ "unavailable": "why" }),
                ServiceError::Unavailable(why()),
            ),
            (json!({ "invalid": "why" }), ServiceError::Invalid(why())),
            (json!({ "other": "why" }), ServiceError::Other(why())),
        ] {
            let answer = json!({ "err": written });
            let host = Replay::new(vec![call("kv.get", json!(["n"]), answer)]);
            assert_eq!(host.value(whose(), "n").await, Err(expected));
        }
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

    #[tokio::test]
    async fn an_answer_in_the_words_of_the_contract_is_served() {
        let id = DeviceId(Uuid::from_u128(7));
        let device = json!({ "id": id.to_string(), "model": "iPad13,18" });
        let page = json!({ "ok": { "items": [device], "next": id.to_string() } });
        let events = json!({ "ok": ["{\"n\":1}"] });
        let host = Replay::new(vec![
            call("devices.search", json!([null, null, 1]), page),
            call("devices.history", json!([id.to_string(), "t", 5]), events),
            call("kv.scan", json!(["", null, 5]), json!({ "ok": {} })),
        ]);
        let found = host.devices(whose(), None, None, 1).await.unwrap();
        assert_eq!(found[0].device, Some(id));
        let events = host.history(whose(), id, "t", 5).await;
        assert_eq!(events, Ok(vec![json!({ "n": 1 })]));
        let told = host.values(whose(), "", None, 5).await.unwrap_err();
        let told = told.to_string();
        assert!(
            told.contains("kv.scan cannot be used: /answer/ok: expected a list"),
            "{told}"
        );
        assert_eq!(host.devices(whose(), None, None, 2).await, Ok(Vec::new()));
        let plain = json!({ "ok": { "items": [], "next": null } });
        assert_eq!(host.unanswered()[0].answer, plain);
    }

    #[tokio::test]
    async fn what_is_made_up_is_in_the_words_of_the_contract() {
        let host = Replay::new(Vec::new());
        let id = DeviceId(Uuid::from_u128(7));
        let request = OutRequest {
            method: "GET".into(),
            url: "https://a.example/".parse().unwrap(),
            headers: Vec::new(),
            body: Vec::new(),
            timeout_ms: 1,
            private: false,
            secrets: std::collections::BTreeSet::new(),
        };
        assert!(host.device(whose(), id).await.is_err());
        assert!(host.devices(whose(), None, None, 5).await.is_ok());
        assert!(host.history(whose(), id, "t", 5).await.is_ok());
        assert!(host.value(whose(), "k").await.is_ok());
        assert!(host.values(whose(), "", None, 5).await.is_ok());
        assert!(host.send(whose(), request).await.is_err());
        assert!(host.sign(whose(), "s", b"x").await.is_err());
        let made_up = host.unanswered();
        assert_eq!(made_up.len(), 7);
        for call in made_up {
            assert_eq!(call.check("/host/0"), Ok(()), "{call:?}");
        }
    }
}
