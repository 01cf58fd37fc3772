//! `pomona plugin test`: the real component against its fixtures.
//!
//! Owns: what is demanded of an answer. It is the expected one; a second instance gives it too; an instance that has answered before gives
//! it too; a changed command needs no further change; and the question shows nothing that the manifest does not ask for.

use std::path::PathBuf;

use anyhow::{Context, bail};
use pomona_plugin_host::{Fixture, Plugin, Question, QuestionError};
use serde_json::{Value, json};

use super::compare::differences;
use super::{open, play};
use crate::client::{Output, print};

/// `pomona plugin test`
#[derive(Debug, clap::Args)]
pub(crate) struct Test {
    /// The folder of a plugin, which is built, or a package.
    #[arg(default_value = ".")]
    plugin: PathBuf,
    /// This fixture alone: the file's name without its ending.
    #[arg(long)]
    only: Option<String>,
    /// Take the answers as the ones to expect: writes them into the fixtures of the folder.
    #[arg(long)]
    bless: bool,
}

/// Runs the fixtures and tells what came of each.
pub(super) async fn test(asked: &Test, out: &Output) -> anyhow::Result<()> {
    if asked.bless && !asked.plugin.is_dir() {
        bail!("--bless writes into the fixtures of a folder; name the plugin's folder");
    }
    let opened = open(&asked.plugin).await?;
    let fixtures = opened.fixtures(asked.only.as_deref())?;
    let (mut failed, mut told) = (0, Vec::new());
    for (file, fixture) in &fixtures {
        let mut problems = Vec::new();
        let blessed = look(&opened.plugin, fixture, asked.bless, &mut problems).await;
        if let Some(text) = blessed.filter(|_| problems.is_empty()) {
            std::fs::write(file, text)
                .with_context(|| format!("cannot write {}", file.display()))?;
        }
        failed += usize::from(!problems.is_empty());
        if !out.is_json() {
            let mark = if problems.is_empty() { "ok  " } else { "FAIL" };
            let lines: String = problems.iter().map(|one| format!("  {one}\n")).collect();
            let line = format!("{mark} {}\n{lines}", fixture.name);
            print(&crate::client::clean(&line, true))?;
        }
        told.push(json!({ "fixture": fixture.name, "problems": problems }));
    }
    let all = fixtures.len();
    out.said(
        &format!("{} of {all} fixtures passed", all - failed),
        &json!({ "fixtures": told, "failed": failed }),
    )?;
    if failed > 0 {
        bail!("{failed} of {all} fixtures failed");
    }
    Ok(())
}

/// Looks at one fixture. Gives its new text where it is to be blessed and has changed.
async fn look(
    plugin: &Plugin,
    fixture: &Fixture,
    bless: bool,
    problems: &mut Vec<String>,
) -> Option<String> {
    match asked(plugin, fixture, bless, problems).await {
        Ok(text) => text,
        Err(QuestionError::Json(error)) => {
            let remark = fixture.remark(&error.pointer, &error.problem);
            problems.push(remark.to_string());
            None
        }
        Err(QuestionError::Unknown(problem)) => {
            problems.push(fixture.remark("/hook", &problem).to_string());
            None
        }
    }
}

async fn asked(
    plugin: &Plugin,
    fixture: &Fixture,
    bless: bool,
    problems: &mut Vec<String>,
) -> Result<Option<String>, QuestionError> {
    let (question, _) = fixture.question();
    for (pointer, problem) in beyond_rights(plugin, &question) {
        problems.push(fixture.remark(&pointer, &problem).to_string());
    }
    let first = play::play(plugin, fixture, 1).await?;
    let Ok(answer) = &first.called.outcome else {
        let told = play::failure(&first.called).unwrap_or_default();
        problems.push(format!("{}: no answer: {told}", fixture.file));
        return Ok(None);
    };
    let exact = play::exact(&first.called);
    let others = [
        (
            1,
            "asked again, it answers otherwise; look for what it keeps or draws by itself",
        ),
        (
            2,
            "an instance that has answered before answers otherwise; look for what it keeps in memory",
        ),
    ];
    for (times, meaning) in others {
        let again = play::play(plugin, fixture, times).await?;
        for difference in differences(&exact, &play::exact(&again.called), "") {
            let told = difference.told("first", "then");
            problems.push(format!(
                "{}: {meaning}: {}: {told}",
                fixture.file, difference.pointer
            ));
        }
        if again.made != first.made {
            problems.push(format!(
                "{}: {meaning}: it asks the host for other things",
                fixture.file
            ));
        }
    }
    if fixture.hook() == "command-amend" {
        settled(plugin, fixture, &question, &answer.exact, problems).await?;
    }
    if bless {
        let read = fixture.expect().map(|expect| read(plugin, fixture, expect));
        let same = matches!(read, Some(Ok(read)) if read == answer.readable);
        let changed = !same || !first.unanswered.is_empty();
        return Ok(changed.then(|| fixture.blessed(&answer.readable, &first.unanswered)));
    }
    for call in &first.unanswered {
        let arguments = Value::Array(call.arguments.clone());
        let problem = format!(
            "it asks the host for {} {arguments}, which \"host\" does not answer; add {}, or run with --bless",
            call.call,
            serde_json::to_string(call).unwrap_or_default(),
        );
        problems.push(fixture.remark("/host", &problem).to_string());
    }
    match fixture.expect() {
        None => problems.push(format!(
            "{}: it has no \"expect\"; run with --bless to take this answer: {}",
            fixture.file, answer.readable
        )),
        Some(expect) => {
            let expected = read(plugin, fixture, expect)?;
            for difference in differences(&expected, &answer.readable, "/expect") {
                let told = difference.told("expected", "got");
                problems.push(fixture.remark(&difference.pointer, &told).to_string());
            }
        }
    }
    Ok(None)
}

fn read(plugin: &Plugin, fixture: &Fixture, expect: &Value) -> Result<Value, QuestionError> {
    plugin.read_answer(fixture.hook(), fixture.function(), expect, "/expect")
}

/// What a question shows although no server would: facts and members that the manifest does not ask for.
fn beyond_rights(plugin: &Plugin, question: &Question) -> Vec<(String, String)> {
    let rights = &plugin.manifest().capabilities.devices;
    let places = ["/device", "/request/device"];
    let input = Value::Object(question.input.clone());
    let mut beyond = Vec::new();
    for place in places {
        let Some(device) = input.pointer(place).and_then(Value::as_object) else {
            continue;
        };
        if !rights.read.iter().any(|right| right == "core") {
            // What is told without it, the contract says.
            let told = ["id", "channel", "platform", "revision", "facts"];
            for name in device.keys().filter(|name| !told.contains(&name.as_str())) {
                beyond.push((
                    format!("/input{place}/{name}"),
                    "a server does not show this; put \"core\" into capabilities.devices.read of plugin.toml".into(),
                ));
            }
        }
        let facts = device.get("facts").and_then(Value::as_array);
        for (n, fact) in facts.into_iter().flatten().enumerate() {
            let key = fact.get("key").and_then(Value::as_str).unwrap_or_default();
            if !rights.shows(key) {
                beyond.push((
                    format!("/input{place}/facts/{n}"),
                    format!("a server does not show this; put \"fact:{key}\" into capabilities.devices.read of plugin.toml"),
                ));
            }
        }
    }
    beyond
}

/// Asks about the changed command: there must be nothing left to change.
async fn settled(
    plugin: &Plugin,
    fixture: &Fixture,
    question: &Question,
    answer: &Value,
    problems: &mut Vec<String>,
) -> Result<(), QuestionError> {
    let changes = answer.get("ok").and_then(Value::as_array);
    let Some(changes) = changes.filter(|changes| !changes.is_empty()) else {
        return Ok(());
    };
    let command = question.input.get("command");
    let payload = command.and_then(|command| command.get("payload-json"));
    let mut payload = match payload {
        Some(Value::String(text)) => serde_json::from_str(text).unwrap_or_else(|_| json!({})),
        Some(value) => value.clone(),
        None => json!({}),
    };
    for change in changes {
        if let Err(problem) = apply(&mut payload, change) {
            problems.push(format!("{}: {problem}", fixture.file));
            return Ok(());
        }
    }
    let mut command = command.cloned().unwrap_or_else(|| json!({}));
    if let Some(members) = command.as_object_mut() {
        members.insert("payload-json".into(), json!(payload.to_string()));
    }
    let mut again = question.clone();
    again.input.insert("command".into(), command);
    let called = plugin.call_json(&[again]).await?;
    let rest = called.last().map(play::exact).unwrap_or_default();
    if rest != json!({ "ok": [] }) {
        problems.push(format!(
            "{}: asked about the command as it changed it, it must return no change, and returns {rest}",
            fixture.file
        ));
    }
    Ok(())
}

/// Carries out a change of a payload.
fn apply(payload: &mut Value, change: &Value) -> Result<(), String> {
    let set = change.get("set");
    let text = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or_default().to_owned();
    let pointer = match set {
        Some(set) => text(set.get(0)),
        None => text(change.get("remove")),
    };
    let nowhere = || format!("the change {change} names no place in the payload {payload}");
    let refused = nowhere();
    let (around, last) = pointer.rsplit_once('/').ok_or_else(nowhere)?;
    let last = last.replace("~1", "/").replace("~0", "~");
    let around = payload.pointer_mut(around).ok_or(refused.clone())?;
    let value = match set {
        None => None,
        Some(set) => Some(
            serde_json::from_str::<Value>(&text(set.get(1)))
                .map_err(|error| format!("the change {change} sets no JSON: {error}"))?,
        ),
    };
    match (around, value) {
        (Value::Object(members), Some(value)) => {
            members.insert(last, value);
        }
        (Value::Object(members), None) => {
            members.remove(&last).ok_or(refused)?;
        }
        (Value::Array(items), value) => {
            let n: usize = last.parse().map_err(|_| refused.clone())?;
            match value {
                Some(value) => *items.get_mut(n).ok_or(refused)? = value,
                None if n < items.len() => drop(items.remove(n)),
                None => return Err(refused),
            }
        }
        _ => return Err(refused),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_carried_out_or_refused() {
        let mut payload = json!({"a": {"b": [1, 2]}, "c": 1});
        for change in [
            json!({"set": ["/a/b/0", "7"]}),
            json!({"set": ["/d~1e", "true"]}),
            json!({"remove": "/a/b/1"}),
            json!({"remove": "/c"}),
        ] {
            apply(&mut payload, &change).unwrap();
        }
        assert_eq!(payload, json!({"a": {"b": [7]}, "d/e": true}));
        for change in [
            json!({"set": ["/x/y", "1"]}),
            json!({"set": ["/a", "no json"]}),
            json!({"remove": "/c"}),
            json!({"remove": "/a/b/9"}),
            json!({"other": "x"}),
        ] {
            assert!(apply(&mut payload, &change).is_err(), "{change}");
        }
    }
}
