//! `pomona plugin diff`: two versions over an exported fleet.
//!
//! Owns: the questions that are asked about each device, and counting where the answers differ. Changes nothing anywhere.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use pomona_plugin_host::{HookName, Plugin, Question, Replay};
use serde_json::{Map, Value, json};

use super::compare::differences;
use super::{open, play};
use crate::client::{Output, clean, print};

/// Differences that are shown; all are counted.
const SHOWN: usize = 20;

/// `pomona plugin diff`
#[derive(Debug, clap::Args)]
pub(crate) struct Diff {
    /// The version to compare with: a folder, which is built, or a package.
    old: PathBuf,
    /// The other version.
    new: PathBuf,
    /// The devices as snapshots of the contract: a JSON list, or one JSON object a line.
    #[arg(long, value_name = "FILE")]
    fleet: PathBuf,
    /// A file with the tenant's settings, as JSON.
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
    /// Commands that command-validate is asked about; those of the manifests when left out.
    #[arg(long = "request-type", value_name = "TYPE")]
    request_types: Vec<String>,
}

/// A question about any device: its name for people, the hook, and the parameters without the device.
struct About {
    name: String,
    hook: HookName,
    rest: Map<String, Value>,
}

/// Asks both versions about every device.
pub(super) async fn diff(asked: &Diff, out: &Output) -> anyhow::Result<()> {
    let fleet = fleet(&super::super::read(&asked.fleet)?)
        .with_context(|| asked.fleet.display().to_string())?;
    let settings: Value = match &asked.settings {
        None => json!({}),
        Some(path) => serde_json::from_slice(&super::super::read(path)?)
            .with_context(|| format!("{} is no JSON", path.display()))?,
    };
    let (old, new) = (
        open(&asked.old).await?.plugin,
        open(&asked.new).await?.plugin,
    );
    let abouts = abouts(&old, &new, &asked.request_types)?;
    let (mut counts, mut shown) = (Vec::new(), Vec::new());
    for about in &abouts {
        let mut differing = 0_usize;
        for (line, device) in &fleet {
            let mut answers = Vec::new();
            for plugin in [&old, &new] {
                let answer = ask(plugin, about, device, &settings).await;
                answers.push(answer.with_context(|| place(&asked.fleet, *line))?);
            }
            let (left, right) = (&answers[0], &answers[1]);
            if left == right {
                continue;
            }
            differing += 1;
            if shown.len() < SHOWN {
                let places = differences(left, right, "");
                let told = places
                    .first()
                    .map(|one| format!("{}: {}", one.pointer, one.told("old", "new")));
                shown.push(json!({
                    "question": about.name,
                    "device": device.get("id"),
                    "old": left,
                    "new": right,
                    "first": told,
                }));
            }
        }
        counts.push(json!({ "question": about.name, "devices": fleet.len(), "differ": differing }));
    }
    if out.is_json() {
        return out.value(&json!({ "questions": counts, "differences": shown }));
    }
    let mut text = String::new();
    for count in &counts {
        let (question, differ) = (
            count["question"].as_str().unwrap_or_default(),
            &count["differ"],
        );
        text.push_str(&format!(
            "{question}: {differ} of {} devices differ\n",
            fleet.len()
        ));
    }
    for one in &shown {
        let text_of = |member: &str| one[member].as_str().unwrap_or_default().to_owned();
        let (question, device) = (text_of("question"), text_of("device"));
        text.push_str(&format!("  {device}: {question}: {}\n", text_of("first")));
    }
    print(&clean(&text, true))
}

fn place(file: &Path, line: usize) -> String {
    format!("{}:{line}", file.display())
}

/// The devices of an export with their lines; those of a list count as lines.
fn fleet(bytes: &[u8]) -> anyhow::Result<Vec<(usize, Value)>> {
    let text = std::str::from_utf8(bytes).context("it is no UTF-8")?;
    let devices: Vec<(usize, Value)> = if text.trim_start().starts_with('[') {
        let list: Vec<Value> = serde_json::from_str(text).context("it is no JSON list")?;
        list.into_iter()
            .enumerate()
            .map(|(n, one)| (n + 1, one))
            .collect()
    } else {
        let lines = text
            .lines()
            .enumerate()
            .filter(|(_, line)| !line.trim().is_empty());
        let read = lines.map(|(n, line)| {
            let device = serde_json::from_str(line);
            let device = device.with_context(|| format!("line {} is no JSON", n + 1))?;
            anyhow::Ok((n + 1, device))
        });
        read.collect::<Result<_, _>>()?
    };
    if devices.is_empty() {
        bail!(
            "it holds no device; write snapshots such as {{\"id\": \"…\", \"platform\": \"ipados\"}}, one a line"
        );
    }
    if let Some((line, _)) = devices.iter().find(|(_, device)| !device.is_object()) {
        bail!("line {line} is no snapshot: expected a JSON object");
    }
    Ok(devices)
}

/// What can be asked about a device of both versions.
fn abouts(old: &Plugin, new: &Plugin, types: &[String]) -> anyhow::Result<Vec<About>> {
    let mut abouts = Vec::new();
    for (hook, matching) in &new.manifest().hooks {
        let Some(before) = old.manifest().hooks.get(hook) else {
            continue;
        };
        let plain = |rest: Map<String, Value>| About {
            name: hook.as_str().to_owned(),
            hook: *hook,
            rest,
        };
        match hook {
            HookName::Enrollment | HookName::Compliance | HookName::Declarations => {
                abouts.push(plain(Map::new()));
            }
            HookName::CommandValidate => {
                let mut wanted = types.to_vec();
                if wanted.is_empty() {
                    wanted = [&before.request_types[..], &matching.request_types[..]].concat();
                    wanted.sort();
                    wanted.dedup();
                }
                if wanted.is_empty() {
                    bail!("command-validate sees every command; name some with --request-type");
                }
                for request_type in wanted {
                    let command = json!({ "request-type": request_type, "payload-json": {} });
                    let rest = Map::from_iter([("command".to_owned(), command)]);
                    let name = format!("{} {request_type}", hook.as_str());
                    abouts.push(About {
                        name,
                        ..plain(rest)
                    });
                }
            }
            HookName::CommandAmend
            | HookName::Events
            | HookName::Jobs
            | HookName::Routes
            | HookName::Panels => {}
        }
    }
    if abouts.is_empty() {
        bail!("the two have no hook in common that is asked about a device");
    }
    Ok(abouts)
}

/// What a version says of a device, which it sees as its manifest asks.
async fn ask(
    plugin: &Plugin,
    about: &About,
    device: &Value,
    settings: &Value,
) -> anyhow::Result<Value> {
    let rights = &plugin.manifest().capabilities.devices;
    let core = rights.read.iter().any(|right| right == "core");
    let members = device.as_object().into_iter().flatten();
    let told = members.filter(|(name, _)| {
        core || ["id", "channel", "platform", "revision", "facts"].contains(&name.as_str())
    });
    let mut seen: Map<String, Value> = told
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    if let Some(facts) = seen.get_mut("facts").and_then(Value::as_array_mut) {
        facts.retain(|fact| rights.shows(fact["key"].as_str().unwrap_or_default()));
    }
    let mut input = about.rest.clone();
    match about.hook {
        HookName::Enrollment => input.insert("request".into(), json!({ "device": seen })),
        _ => input.insert("device".into(), Value::Object(seen)),
    };
    let question = Question {
        hook: about.hook.as_str().to_owned(),
        function: None,
        settings: settings.clone(),
        context: Map::new(),
        input,
        services: Some(std::sync::Arc::new(Replay::new(Vec::new()))),
    };
    let called = plugin.call_json(std::slice::from_ref(&question)).await?;
    let mut answer = called.last().map(play::exact).unwrap_or_default();
    // Findings and declarations are sets: another order is no other decision.
    if let Some(items) = answer.get_mut("ok").and_then(Value::as_array_mut) {
        let sorted: BTreeMap<String, Value> = items
            .drain(..)
            .map(|item| (item.to_string(), item))
            .collect();
        items.extend(sorted.into_values());
    }
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_export_is_a_list_or_lines() {
        let lines = b"{\"id\": \"a\"}\n\n{\"id\": \"b\"}\n";
        let expected = vec![(1, json!({"id": "a"})), (3, json!({"id": "b"}))];
        assert_eq!(fleet(lines).unwrap(), expected);
        assert_eq!(fleet(b" [{\"id\": \"a\"}]").unwrap(), expected[..1]);
        for (text, told) in [
            (&b""[..], "no device"),
            (b"[]", "no device"),
            (b"{\"id\": 1}\n{", "line 2 is no JSON"),
            (b"1", "line 1 is no snapshot"),
        ] {
            let error = format!("{:#}", fleet(text).unwrap_err());
            assert!(error.contains(told), "{error}");
        }
    }
}
