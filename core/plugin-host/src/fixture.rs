//! Fixtures: a question to a plugin with the answer that it must give.
//!
//! Owns: the file's format, what is told when it cannot be read, and writing an answer into it without touching the rest of what
//! its author wrote. Asks no plugin.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::replay::{HostCall, Replay};
use crate::span::{line_of, span_of};
use crate::workbench::Question;

/// Why a fixture is refused.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("{file}:{line}: {problem}")]
pub struct FixtureError {
    /// Its file.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// What is wrong and what would be right.
    pub problem: String,
}

/// A question with its answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Fixture {
    /// What a person calls it: the file's name without its ending.
    pub name: String,
    /// The file, as messages name it.
    pub file: String,
    text: String,
    said: Said,
}

/// What stands in the file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Said {
    hook: String,
    #[serde(default)]
    function: Option<String>,
    #[serde(default = "empty")]
    settings: Value,
    #[serde(default)]
    context: Map<String, Value>,
    #[serde(default)]
    input: Map<String, Value>,
    #[serde(default)]
    host: Vec<HostCall>,
    #[serde(default)]
    expect: Option<Value>,
}

fn empty() -> Value {
    Value::Object(Map::new())
}

impl Fixture {
    /// Reads a fixture; `file` is what messages name.
    ///
    /// # Errors
    /// [`FixtureError`] with the line.
    pub fn read(file: &str, text: &str) -> Result<Self, FixtureError> {
        let said: Said = serde_json::from_str(text).map_err(|error| {
            let told = error.to_string();
            // The line stands in front already.
            let problem = told.split(" at line ").next().unwrap_or_default();
            FixtureError {
                file: file.to_owned(),
                line: error.line(),
                problem: problem.to_owned(),
            }
        })?;
        for (n, call) in said.host.iter().enumerate() {
            call.check(&format!("/host/{n}"))
                .map_err(|error| FixtureError {
                    file: file.to_owned(),
                    line: line_of(text, &error.pointer),
                    problem: format!("{error}, for {}", call.call),
                })?;
        }
        let name = file.rsplit('/').next().unwrap_or(file);
        Ok(Self {
            name: name.strip_suffix(".json").unwrap_or(name).to_owned(),
            file: file.to_owned(),
            text: text.to_owned(),
            said,
        })
    }

    /// The hook's interface.
    #[must_use]
    pub fn hook(&self) -> &str {
        &self.said.hook
    }

    /// Its function, where the fixture names one.
    #[must_use]
    pub fn function(&self) -> Option<&str> {
        self.said.function.as_deref()
    }

    /// The answer that the plugin must give, where there is one.
    #[must_use]
    pub fn expect(&self) -> Option<&Value> {
        self.said.expect.as_ref()
    }

    /// The question, with a host that answers as is recorded. A host answers one question only.
    #[must_use]
    pub fn question(&self) -> (Question, Arc<Replay>) {
        let host = Arc::new(Replay::new(self.said.host.clone()));
        let question = Question {
            hook: self.said.hook.clone(),
            function: self.said.function.clone(),
            settings: self.said.settings.clone(),
            context: self.said.context.clone(),
            input: self.said.input.clone(),
            services: Some(host.clone()),
        };
        (question, host)
    }

    /// A remark about the value at `pointer` in this file.
    #[must_use]
    pub fn remark(&self, pointer: &str, problem: &str) -> FixtureError {
        FixtureError {
            file: self.file.clone(),
            line: line_of(&self.text, pointer),
            problem: format!("{pointer}: {problem}"),
        }
    }

    /// The file's text with this answer in it, and with the calls of the host that had no answer yet.
    #[must_use]
    pub fn blessed(&self, answer: &Value, unanswered: &[HostCall]) -> String {
        let mut text = self.text.clone();
        if !unanswered.is_empty() {
            let calls = [self.said.host.as_slice(), unanswered].concat();
            let calls = serde_json::to_value(calls).unwrap_or_default();
            text = with_member(&text, "host", &calls);
        }
        if self.expect() != Some(answer) {
            text = with_member(&text, "expect", answer);
        }
        text
    }
}

/// The object's text with this member, in its place or as the last.
fn with_member(text: &str, name: &str, value: &Value) -> String {
    let shown = indented(value);
    let mut changed = text.to_owned();
    if let Some(span) = span_of(text, &format!("/{name}")) {
        changed.replace_range(span, &shown);
    } else if let Some(end) = text.trim_end().strip_suffix('}').map(str::trim_end) {
        let comma = if end.ends_with('{') { "" } else { "," };
        changed = format!("{end}{comma}\n  \"{name}\": {shown}\n}}\n");
    }
    changed
}

/// JSON as it stands in a file that is indented by two; what fits a line stands on one.
fn indented(value: &Value) -> String {
    let short = value.to_string();
    if short.len() <= 80 {
        return short;
    }
    serde_json::to_string_pretty(value)
        .unwrap_or(short)
        .replace('\n', "\n  ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const TEXT: &str = "{\n  \"hook\": \"command-validate\",\n  \"input\": {\"device\": {\"groups\":   [\"Kitchen\"]}}\n}\n";

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        for (text, expected) in [
            (
                "{\n  \"hook\": \"events\",\n  \"inputs\": {}\n}",
                "f.json:3: unknown field `inputs`",
            ),
            ("{\n  \"hook\": \n}", "f.json:3: expected value"),
            ("{}", "f.json:1: missing field `hook`"),
            (
                "{\n  \"hook\": \"events\",\n  \"host\": [\n    {\"call\": \"pomona:host/kv.scan\", \"arguments\": [],\n     \"answer\": {\"ok\": {}}}]}",
                "f.json:5: /host/0/answer/ok: expected a list of pairs [key, bytes], got {}, for pomona:host/kv.scan",
            ),
            (
                "{\n  \"hook\": \"events\",\n  \"host\": [{\"call\": \"kv.scan\", \"arguments\": [], \"answer\": {}}]}",
                "f.json:3: /host/0/call: expected pomona:host/",
            ),
        ] {
            let told = Fixture::read("f.json", text).unwrap_err().to_string();
            assert!(told.starts_with(expected), "{told}");
        }
        let fixture = Fixture::read("fixtures/f.json", TEXT).unwrap();
        assert_eq!(fixture.name, "f");
        assert_eq!(
            fixture.remark("/input/device/groups/0", "no").to_string(),
            "fixtures/f.json:3: /input/device/groups/0: no"
        );
    }

    #[test]
    fn an_answer_is_written_and_nothing_else_is_touched() {
        let fixture = Fixture::read("f.json", TEXT).unwrap();
        let once = fixture.blessed(&json!({"ok": "x"}), &[]);
        assert_eq!(
            once,
            TEXT.replace("}}\n}", "}},\n  \"expect\": {\"ok\":\"x\"}\n}")
        );
        let again = Fixture::read("f.json", &once).unwrap();
        assert_eq!(again.expect(), Some(&json!({"ok": "x"})));
        let twice = again.blessed(&json!({"ok": "y"}), &[]);
        assert_eq!(twice, once.replace("\"x\"", "\"y\""));
        let call = HostCall {
            call: "pomona:host/kv.get".into(),
            arguments: vec![json!("n")],
            answer: json!({"ok": null}),
        };
        let third = Fixture::read("f.json", &twice).unwrap();
        let third = third.blessed(&json!({"ok": "y"}), &[call]);
        let read = Fixture::read("f.json", &third).unwrap();
        assert_eq!(read.said.host.len(), 1, "{third}");
        assert!(third.contains("[\"Kitchen\"]"), "{third}");
    }
}
