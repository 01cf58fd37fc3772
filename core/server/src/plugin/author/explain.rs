//! `pomona plugin explain`: how an answer came about.
//!
//! Owns: showing a recorded question, what the plugin asked and was told on the way, its log, its answer and its cost. The plugin is asked
//! again; what it answers is shown, whatever the fixture expects.

use std::path::PathBuf;

use anyhow::Context;
use serde_json::{Value, json};

use super::run::{cost, costs};
use super::{open, play};
use crate::client::Output;

/// `pomona plugin explain`
#[derive(Debug, clap::Args)]
pub(crate) struct Explain {
    /// The fixture: the file's name without its ending.
    fixture: String,
    /// The folder of a plugin, which is built, or a package.
    #[arg(default_value = ".")]
    plugin: PathBuf,
}

/// Asks again and tells everything.
pub(super) async fn explain(asked: &Explain, out: &Output) -> anyhow::Result<()> {
    let opened = open(&asked.plugin).await?;
    for (_, fixture) in opened.fixtures(Some(&asked.fixture))? {
        let (question, _) = fixture.question();
        let played = play::play(&opened.plugin, &fixture, 1)
            .await
            .with_context(|| fixture.file.clone())?;
        let called = &played.called;
        let answer = match &called.outcome {
            Ok(answer) => Ok(answer.readable.clone()),
            Err(_) => Err(play::failure(called).unwrap_or_default()),
        };
        let log: Vec<Value> = called
            .log
            .iter()
            .map(|line| json!({ "level": line.level, "message": line.message, "fields": line.fields }))
            .collect();
        let manifest = opened.plugin.manifest();
        let mut text = format!(
            "{}: {} of {} {}\n",
            fixture.file, question.hook, manifest.id, manifest.version
        );
        let mut tell = |head: &str, what: &str| text.push_str(&format!("  {head:<9} {what}\n"));
        for (name, value) in &question.input {
            tell("given", &format!("{name} {value}"));
        }
        tell("settings", &question.settings.to_string());
        for call in &played.made {
            let arguments = Value::Array(call.arguments.clone());
            tell(
                "asked",
                &format!("{} {arguments}, told {}", call.call, call.answer),
            );
        }
        for line in &called.log {
            tell(
                "logged",
                &format!("{}: {} {}", line.level, line.message, line.fields),
            );
        }
        match &answer {
            Ok(answer) => tell("answered", &answer.to_string()),
            Err(failure) => tell("no answer", failure),
        }
        tell("", &cost(called));
        let told = json!({
            "fixture": fixture.name,
            "hook": question.hook,
            "input": question.input,
            "settings": question.settings,
            "host": played.made,
            "log": log,
            "answer": answer.as_ref().ok(),
            "failure": answer.as_ref().err(),
            "cost": costs(called),
        });
        out.said(text.trim_end(), &told)?;
    }
    Ok(())
}
