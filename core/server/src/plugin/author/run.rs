//! `pomona plugin run`: one question by hand.
//!
//! Owns: putting the question together from files and flags. The answer goes to standard output, what the call said and cost to
//! standard error.

use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use pomona_plugin_host::{Called, Question, Replay};
use serde_json::{Map, Value, json};

use super::{open, play};
use crate::client::Output;

/// `pomona plugin run`
#[derive(Debug, clap::Args)]
pub(crate) struct Run {
    /// The folder of a plugin, which is built, or a package.
    #[arg(default_value = ".")]
    plugin: PathBuf,
    /// The hook that is asked, such as command-validate.
    #[arg(long)]
    hook: String,
    /// Its function; the one that decides when left out.
    #[arg(long)]
    function: Option<String>,
    /// A file with the question: a JSON object with the hook's parameters, or - for standard input. What is left out is empty.
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// A file with the tenant's settings, as JSON.
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
}

/// Asks the question and shows the answer.
pub(super) async fn run(asked: &Run, out: &Output) -> anyhow::Result<()> {
    let input = match &asked.input {
        None => Map::new(),
        Some(path) => object(path)?,
    };
    let settings = match &asked.settings {
        None => Map::new(),
        Some(path) => object(path)?,
    };
    let opened = open(&asked.plugin).await?;
    let host = std::sync::Arc::new(Replay::new(Vec::new()));
    let question = Question {
        hook: asked.hook.clone(),
        function: asked.function.clone(),
        settings: Value::Object(settings),
        context: Map::new(),
        input,
        services: Some(host.clone()),
    };
    let questions = std::slice::from_ref(&question);
    let from = asked
        .input
        .as_ref()
        .map_or("the question".into(), |path| path.display().to_string());
    let mut called = opened.plugin.call_json(questions).await.context(from)?;
    let called = called.pop().context("the question was not asked")?;
    for line in &called.log {
        eprintln!("{}: {} {}", line.level, line.message, line.fields);
    }
    for call in host.unanswered() {
        let arguments = Value::Array(call.arguments);
        eprintln!(
            "asked the host for {} {arguments} and was told {}",
            call.call, call.answer
        );
    }
    eprintln!("{}", cost(&called));
    let answer = play::answered(&called)?;
    match out.is_json() {
        false => out.value(&answer.readable),
        true => out.value(&json!({ "answer": answer.readable, "cost": costs(&called) })),
    }
}

/// What a call cost, for programs.
pub(super) fn costs(called: &Called) -> Value {
    let cost = &called.cost;
    json!({
        "wall_us": u64::try_from(cost.wall.as_micros()).unwrap_or(u64::MAX),
        "cpu_us": u64::try_from(cost.cpu.as_micros()).unwrap_or(u64::MAX),
        "memory_bytes": cost.memory,
        "instructions": cost.fuel,
        "host_calls": cost.host_calls,
    })
}

/// What a call cost, in a sentence.
pub(super) fn cost(called: &Called) -> String {
    let cost = &called.cost;
    let fuel = cost.fuel.map(|fuel| format!(", {fuel} instructions"));
    format!(
        "took {} µs, {} µs of the processor, {} KiB of memory{}",
        cost.wall.as_micros(),
        cost.cpu.as_micros(),
        cost.memory >> 10,
        fuel.unwrap_or_default()
    )
}

/// The JSON object in a file, or on standard input.
fn object(path: &Path) -> anyhow::Result<Map<String, Value>> {
    let mut text = Vec::new();
    if path == Path::new("-") {
        std::io::stdin()
            .read_to_end(&mut text)
            .context("cannot read standard input")?;
    } else {
        text = super::super::read(path)?;
    }
    let value: Value =
        serde_json::from_slice(&text).with_context(|| format!("{} is no JSON", path.display()))?;
    match value {
        Value::Object(members) => Ok(members),
        _ => bail!("{}: expected a JSON object", path.display()),
    }
}
