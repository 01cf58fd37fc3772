//! `pomona plugin test`: the real component against its fixtures.
//!
//! Owns: what is demanded of an answer. It is the expected one; a second instance gives it too; an instance that has answered before gives
//! it too; a command, changed by the rules of a server, needs no further change; the question shows nothing that the manifest does
//! not ask for, and its settings fit their schema.

use std::path::PathBuf;

use anyhow::{Context, bail};
use pomona_plugin_host::{
    DeviceRights, Fixture, Plugin, Question, QuestionError, amended, facts_of, shows_member,
};
use serde_json::{Map, Value, json};

use super::compare::differences;
use super::{open, play};
use crate::client::{Output, print};

/// Problems that are told of one fixture's settings, at most.
const MOST_TOLD: usize = 20;

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
        let mut problems = settings_problems(fixture, opened.schema.as_ref());
        let blessed = look(&opened.plugin, fixture, asked.bless, &mut problems).await;
        let note = note(&opened.plugin, fixture);
        if let Some(text) = blessed.filter(|_| problems.is_empty()) {
            std::fs::write(file, text)
                .with_context(|| format!("cannot write {}", file.display()))?;
        }
        failed += usize::from(!problems.is_empty());
        if !out.is_json() {
            let mark = if problems.is_empty() { "ok  " } else { "FAIL" };
            let lines: String = problems.iter().map(|one| format!("  {one}\n")).collect();
            let noted = note.iter().map(|note| format!("  note: {note}\n"));
            let line = format!(
                "{mark} {}\n{lines}{}",
                fixture.name,
                noted.collect::<String>()
            );
            print(&crate::client::clean(&line, true))?;
        }
        told.push(json!({ "fixture": fixture.name, "problems": problems, "note": note }));
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

/// Settings that the package's own schema refuses reach no plugin on a server. What the plugin says to wrong ones is asked of the hook `settings`.
fn settings_problems(fixture: &Fixture, schema: Option<&jsonschema::Validator>) -> Vec<String> {
    let Some(schema) = schema.filter(|_| fixture.hook() != "settings") else {
        return Vec::new();
    };
    let (question, _) = fixture.question();
    let errors = schema.iter_errors(&question.settings).take(MOST_TOLD);
    errors
        .map(|error| {
            let pointer = format!("/settings{}", error.instance_path());
            let problem = format!("the settings' schema refuses it: {error}");
            fixture.remark(&pointer, &problem).to_string()
        })
        .collect()
}

/// What its author should know of a fixture that is in order.
fn note(plugin: &Plugin, fixture: &Fixture) -> Option<String> {
    let (question, _) = fixture.question();
    (!plugin.is_asked(&question)).then(|| {
        let what = format!(
            "a server never asks this: [hooks.{}] in plugin.toml leaves it out by its request-types, kinds, platforms, groups or facts",
            fixture.hook()
        );
        fixture.remark("/input", &what).to_string()
    })
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
    let rights = &plugin.manifest().capabilities.devices;
    for (pointer, problem) in beyond_rights(rights, &question.input) {
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
fn beyond_rights(rights: &DeviceRights, input: &Map<String, Value>) -> Vec<(String, String)> {
    let places = ["/device", "/request/device"];
    let input = Value::Object(input.clone());
    let mut beyond = Vec::new();
    for place in places {
        let Some(device) = input.pointer(place).and_then(Value::as_object) else {
            continue;
        };
        for name in device.keys().filter(|name| !shows_member(rights, name)) {
            beyond.push((
                format!("/input{place}/{name}"),
                "a server does not show this; put \"core\" into capabilities.devices.read of plugin.toml".into(),
            ));
        }
        for key in facts_of(device).keys() {
            if !rights.shows(key) {
                beyond.push((
                    format!("/input{place}/facts-json"),
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
    let payload = match payload_of(command) {
        Ok(payload) => payload,
        Err(problem) => {
            let remark = fixture.remark("/input/command/payload-json", &problem);
            problems.push(remark.to_string());
            return Ok(());
        }
    };
    let payload = match amended(&payload, changes) {
        Ok(payload) => Value::Object(payload),
        Err(problem) => {
            problems.push(format!(
                "{}: a server carries out none of its changes: {problem}",
                fixture.file
            ));
            return Ok(());
        }
    };
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

/// The payload of a command in a question, as far as one is given.
fn payload_of(command: Option<&Value>) -> Result<Map<String, Value>, String> {
    let payload = match command.and_then(|command| command.get("payload-json")) {
        None => Some(json!({})),
        Some(Value::String(text)) => serde_json::from_str(text).ok(),
        Some(value) => Some(value.clone()),
    };
    match payload {
        Some(Value::Object(members)) => Ok(members),
        _ => Err("expected a JSON object, as a server gives it".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_is_an_object_however_it_is_written() {
        let payload = |command: Value| payload_of(Some(&command)).map(Value::Object);
        let expected = Ok(json!({"a": 1}));
        assert_eq!(payload(json!({"payload-json": {"a": 1}})), expected);
        assert_eq!(payload(json!({"payload-json": "{\"a\": 1}"})), expected);
        assert_eq!(payload(json!({})), Ok(json!({})));
        assert_eq!(payload_of(None), Ok(Map::new()));
        for written in [json!(""), json!("[]"), json!(7), json!([])] {
            assert!(payload(json!({ "payload-json": written })).is_err());
        }
    }

    #[test]
    fn what_a_question_shows_beyond_the_rights_is_named() {
        let input = json!({
            "device": {
                "id": "a", "platform": "ipados", "kind": "profile", "model": "iPad13,18",
                "facts-json": { "a.b": {}, "c": {} },
            },
        });
        let rights = |read: &[&str]| DeviceRights {
            read: read.iter().map(|right| (*right).to_owned()).collect(),
            ..DeviceRights::default()
        };
        let places = |rights: DeviceRights| {
            let beyond = beyond_rights(&rights, input.as_object().unwrap());
            beyond
                .into_iter()
                .map(|(place, _)| place)
                .collect::<Vec<_>>()
        };
        let all = ["/input/device/model", "/input/device/facts-json"];
        assert_eq!(places(rights(&["fact:a.*"])), all);
        assert_eq!(places(rights(&["core", "fact:a.*"])), all[1..]);
        assert_eq!(places(rights(&["core", "fact:a.b", "fact:c"])), all[2..]);
    }
}
