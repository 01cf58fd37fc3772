//! `pomona plugin diff`: two versions over an exported fleet.
//!
//! Owns: the questions that are asked about each device, and counting where the answers differ. Changes nothing anywhere.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use pomona_plugin_host::{
    DeviceRights, HookName, Plugin, Question, Replay, facts_of, platform_of, shows_member,
};
use serde_json::{Map, Value, json};

use super::compare::differences;
use super::{open, play};
use crate::client::{Output, clean, print};

/// Differences that are shown; all are counted.
const SHOWN: usize = 20;

/// What a version says of what it is not asked about.
const NOT_ASKED: &str = "not asked";

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

/// A device as a plugin with these rights sees it. What a server knows of every device is filled in.
fn seen(rights: &DeviceRights, device: &Value) -> Map<String, Value> {
    let members = device.as_object().into_iter().flatten();
    let mut seen: Map<String, Value> = members
        .filter(|(name, _)| shows_member(rights, name))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    let model = device["model"].as_str().unwrap_or_default();
    seen.entry("platform").or_insert_with(|| platform_of(model));
    seen.entry("kind").or_insert_with(|| json!("profile"));
    let mut facts = facts_of(&seen);
    facts.retain(|name, _| rights.shows(name));
    seen.insert("facts-json".into(), Value::Object(facts));
    seen
}

/// An answer to be compared. Findings and declarations are no sequence: another order is no other decision, one more is.
fn settled(mut answer: Value) -> Value {
    if let Some(items) = answer.get_mut("ok").and_then(Value::as_array_mut) {
        items.sort_by_cached_key(ToString::to_string);
    }
    answer
}

/// What a version says of a device, which it sees as its manifest asks. It says nothing where a server would not ask it.
async fn ask(
    plugin: &Plugin,
    about: &About,
    device: &Value,
    settings: &Value,
) -> anyhow::Result<Value> {
    let seen = seen(&plugin.manifest().capabilities.devices, device);
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
    if !plugin.is_asked(&question) {
        return Ok(json!(NOT_ASKED));
    }
    let called = plugin.call_json(std::slice::from_ref(&question)).await?;
    Ok(settled(called.last().map(play::exact).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_seen_as_the_manifest_asks() {
        let device = json!({
            "id": "a", "model": "iPad13,18", "kind": "profile", "serial": "C02",
            "facts-json": { "a.b": { "value": 1 }, "c": { "value": 2 } },
        });
        let rights = |read: &[&str]| DeviceRights {
            read: read.iter().map(|right| (*right).to_owned()).collect(),
            ..DeviceRights::default()
        };
        let plain = json!({
            "id": "a", "platform": "ipados", "kind": "profile", "facts-json": { "a.b": { "value": 1 } },
        });
        let told = seen(&rights(&["fact:a.*"]), &device);
        assert_eq!(Value::Object(told), plain);
        let told = seen(&rights(&["core"]), &device);
        assert_eq!(told["serial"], "C02");
        assert_eq!(told["facts-json"], json!({}));
        let told = seen(&rights(&["core"]), &json!({ "id": "a" }));
        assert_eq!(told["platform"], json!({ "other": "" }));
    }

    #[test]
    fn another_order_is_no_difference_and_one_more_is() {
        let answer = |items: Value| settled(json!({ "ok": items }));
        assert_eq!(answer(json!([1, 2])), answer(json!([2, 1])));
        assert_ne!(answer(json!([1, 1, 2])), answer(json!([1, 2])));
        let refused = json!({ "err": { "permanent": "x" } });
        assert_eq!(settled(refused.clone()), refused);
    }

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
