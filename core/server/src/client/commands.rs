//! `pomona command`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::{Args, Subcommand};
use http::Method;
use pomona_catalogue::{Catalogue, Class, Object};
use serde_json::{Map, Value, json};

use crate::catalogue::given;

use super::access::More;
use super::api::{Api, query, segment};
use super::output::{Column, Output};

/// While it waits, the client looks this often.
const LOOK: Duration = Duration::from_millis(500);

const COMMAND: &[Column] = &[
    Column("ID", "id"),
    Column("TYPE", "request_type"),
    Column("CREATED", "created_at"),
    Column("FOR", "targets"),
    Column("QUEUED", "counts/queued"),
    Column("SENT", "counts/sent"),
    Column("NOT NOW", "counts/not_now"),
    Column("DONE", "counts/acknowledged"),
    Column("FAILED", "counts/failed"),
    Column("CANCELLED", "counts/cancelled"),
    Column("EXPIRED", "counts/expired"),
];
const DELIVERY: &[Column] = &[
    Column("ENROLLMENT", "enrollment_id"),
    Column("TYPE", "request_type"),
    Column("STATE", "state"),
    Column("OUTCOME", "outcome"),
    Column("SENT", "sends"),
    Column("NOT NOW", "not_now_count"),
    Column("CREATED", "created_at"),
    Column("FINISHED", "finished_at"),
    Column("REASON", "reason"),
    Column("ERRORS", "error_chain"),
];

/// `pomona command …`
#[derive(Debug, Subcommand)]
pub(crate) enum CommandVerb {
    /// Queue a command.
    Send(Box<Send>),
    /// List commands, the newest first.
    List {
        /// Of this RequestType.
        #[arg(long = "type", value_name = "TYPE")]
        request_type: Option<String>,
        /// Only commands that are open somewhere.
        #[arg(long, conflicts_with = "finished")]
        open: bool,
        /// Only commands that are finished everywhere.
        #[arg(long)]
        finished: bool,
        /// The commands of this device, on all its channels.
        #[arg(long, value_name = "DEVICE", conflicts_with = "request_type")]
        device: Option<String>,
        #[command(flatten)]
        more: More,
    },
    /// Show a command with what became of it on each channel.
    Show {
        /// Its id or CommandUUID.
        command: String,
        /// Show the devices' answers as well.
        #[arg(long)]
        reports: bool,
        #[command(flatten)]
        more: More,
    },
    /// Let a destructive command go that somebody else has sent, past the limit of how many leave in an hour.
    Approve {
        /// Its id or CommandUUID.
        command: String,
    },
    /// Cancel a command where it is open.
    Cancel {
        /// Its id or CommandUUID.
        command: String,
        /// On this channel only; repeat it for several.
        #[arg(long, value_name = "ID")]
        enrollment: Vec<String>,
    },
}

/// `pomona command send`
#[derive(Debug, Args)]
pub(crate) struct Send {
    /// The RequestType, such as DeviceInformation.
    #[arg(value_name = "TYPE", required_unless_present = "raw")]
    request_type: Option<String>,
    /// A parameter, such as 'Queries=["OSVersion"]': JSON, or else a text. Repeat it for several.
    #[arg(long, short, value_name = "NAME=VALUE")]
    parameter: Vec<String>,
    /// A key of the command, as KEY=VALUE: the value is read as the key wants it, keys in keys are parted by `/`. Repeat it for several.
    #[arg(long, value_name = "KEY=VALUE", conflicts_with_all = ["parameter", "parameters"])]
    set: Vec<String>,
    /// All parameters, as a file with a JSON object.
    #[arg(long, value_name = "FILE", conflicts_with = "parameter")]
    parameters: Option<PathBuf>,
    /// A whole command as a property list with its CommandUUID; it is sent byte for byte.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["request_type", "parameter", "parameters", "set"])]
    raw: Option<PathBuf>,
    /// What each device fills into the blanks of the command ({{input:NAME}}): a file with a JSON object
    /// {"DEVICE or channel id": {"NAME": "text"}}.
    #[arg(long, value_name = "FILE", conflicts_with = "user")]
    inputs: Option<PathBuf>,
    /// A device, by id, UDID or serial number; repeat it for several.
    #[arg(long, short, value_name = "DEVICE")]
    device: Vec<String>,
    /// A group, by id or name; repeat it for several.
    #[arg(long, short, value_name = "GROUP")]
    group: Vec<String>,
    /// A channel, by id; repeat it for several.
    #[arg(long, value_name = "ID")]
    enrollment: Vec<String>,
    /// The channel of this user, not the device's own.
    #[arg(long, value_name = "USER")]
    user: Option<String>,
    /// -100 to 100; higher goes first.
    #[arg(
        long,
        value_name = "N",
        default_value_t = 0,
        allow_negative_numbers = true
    )]
    priority: i64,
    /// Not before this time, such as 2026-03-01T08:00:00Z.
    #[arg(long, value_name = "TIME")]
    not_before: Option<String>,
    /// Not from this time on.
    #[arg(long, value_name = "TIME")]
    not_after: Option<String>,
    /// Not while this command is open on the channel.
    #[arg(long, value_name = "ID")]
    after: Option<String>,
    /// The same key with the same request queues nothing twice.
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    /// Do not ring the devices.
    #[arg(long)]
    no_push: bool,
    /// Check everything and queue nothing.
    #[arg(long)]
    dry_run: bool,
    /// A lifeline that no plugin may hold back.
    #[arg(long)]
    break_glass: bool,
    /// Send it although the catalogue says that a device refuses it.
    #[arg(long)]
    force: bool,
    /// For a destructive command to several channels: its name and their number, such as 'EraseDevice 12'.
    #[arg(long, value_name = "TEXT")]
    confirm: Option<String>,
    /// Wait for at most this many seconds until every device has answered, and show the answers.
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "60", conflicts_with = "dry_run")]
    wait: Option<u64>,
}

pub(crate) async fn command(verb: CommandVerb, api: &Api, out: &Output) -> anyhow::Result<()> {
    match verb {
        CommandVerb::Send(verb) => send(*verb, api, out).await,
        CommandVerb::List {
            request_type,
            open,
            finished,
            device,
            more,
        } => {
            let open = match (open, finished) {
                (true, _) => Some("true"),
                (_, true) => Some("false"),
                _ => None,
            };
            if let Some(device) = device {
                let path = format!("devices/{}/commands", segment(&device));
                let path = query(&api.in_tenant(&path).await?, &[("open", open)]);
                return out.list(&api.list(&path, more.most()).await?, DELIVERY);
            }
            let path = query(
                &api.in_tenant("commands").await?,
                &[("request_type", request_type.as_deref()), ("open", open)],
            );
            out.list(&api.list(&path, more.most()).await?, COMMAND)
        }
        CommandVerb::Show {
            command,
            reports,
            more,
        } => show(&command, reports, more.most(), api, out).await,
        CommandVerb::Approve { command } => {
            let path = format!("commands/{}/approve", segment(&command));
            let answer = api.post(&api.in_tenant(&path).await?, &json!({})).await?;
            out.said("The command may go.", &answer)
        }
        CommandVerb::Cancel {
            command,
            enrollment,
        } => {
            let path = format!("commands/{}/cancel", segment(&command));
            let body = match enrollment.is_empty() {
                true => json!({}),
                false => json!({ "enrollments": enrollment }),
            };
            let answer = api.post(&api.in_tenant(&path).await?, &body).await?;
            if out.is_json() {
                return out.value(&answer);
            }
            let items = answer["targets"].as_array().map(Vec::as_slice);
            out.list(
                items.unwrap_or_default(),
                &[
                    Column("ENROLLMENT", "enrollment_id"),
                    Column("WHAT BECAME OF IT", "disposition"),
                ],
            )
        }
    }
}

async fn show(
    command: &str,
    reports: bool,
    most: usize,
    api: &Api,
    out: &Output,
) -> anyhow::Result<()> {
    let base = format!("commands/{}", segment(command));
    let base = api.in_tenant(&base).await?;
    let mut shown = api.get(&base).await?;
    let path = query(
        &format!("{base}/deliveries"),
        &[("reports", reports.then_some("true"))],
    );
    let deliveries = api.list(&path, most).await?;
    if out.is_json() {
        shown["deliveries"] = Value::Array(deliveries);
        return out.value(&shown);
    }
    out.one(
        &shown,
        &[
            Column("ID", "id"),
            Column("COMMAND UUID", "command_uuid"),
            Column("TYPE", "request_type"),
            Column("CREATED", "created_at"),
            Column("BY", "actor_kind"),
            Column("PRIORITY", "priority"),
            Column("NOT BEFORE", "not_before"),
            Column("NOT AFTER", "not_after"),
            Column("AFTER", "after"),
            Column("FOR", "targets"),
        ],
    )?;
    out.said("", &Value::Null)?;
    out.list(&deliveries, DELIVERY)?;
    answers(&deliveries, out)
}

/// The devices' answers, one below the other.
fn answers(deliveries: &[Value], out: &Output) -> anyhow::Result<()> {
    for delivery in deliveries {
        if let Some(report) = delivery.get("report") {
            let enrollment = delivery["enrollment_id"].as_str().unwrap_or("?");
            out.said(&format!("\n{enrollment}:"), &Value::Null)?;
            out.value(report)?;
        }
    }
    Ok(())
}

async fn send(verb: Send, api: &Api, out: &Output) -> anyhow::Result<()> {
    let path = api.in_tenant("commands").await?;
    let headers: Vec<(&str, &str)> = verb
        .idempotency_key
        .iter()
        .map(|key| ("idempotency-key", key.as_str()))
        .collect();
    let mut body = request(&verb)?;
    if let Some(file) = &verb.inputs {
        body["inputs"] = Value::Object(inputs(file, api).await?);
    }
    let queued = api.call(Method::POST, &path, Some(&body), &headers).await?;
    let Some(seconds) = verb.wait else {
        return queued_view(&queued, out);
    };
    let id = queued["command_id"]
        .as_str()
        .context("the answer names no command")?;
    wait(id, seconds, api).await?;
    show(id, true, 100, api, out).await
}

fn request(verb: &Send) -> anyhow::Result<Value> {
    let mut body = json!({
        "targets": {
            "devices": verb.device,
            "groups": verb.group,
            "enrollments": verb.enrollment,
            "user": verb.user,
        },
        "priority": verb.priority,
        "not_before": verb.not_before,
        "not_after": verb.not_after,
        "after": verb.after,
        "push": !verb.no_push,
        "dry_run": verb.dry_run,
        "break_glass": verb.break_glass,
        "force": verb.force,
        "confirm": verb.confirm,
    });
    if let Some(file) = &verb.raw {
        let bytes =
            std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
        body["raw_plist_base64"] = STANDARD.encode(bytes).into();
        return Ok(body);
    }
    body["request_type"] = verb.request_type.clone().into();
    body["parameters"] = Value::Object(match &verb.parameters {
        Some(file) => {
            let text = std::fs::read_to_string(file)
                .with_context(|| format!("cannot read {}", file.display()))?;
            serde_json::from_str(&text)
                .with_context(|| format!("{} is no JSON object", file.display()))?
        }
        None if !verb.set.is_empty() => given(verb)?,
        None => parameters(&verb.parameter)?,
    });
    Ok(body)
}

/// The inputs by channel: a device's own channel stands for its name.
async fn inputs(file: &Path, api: &Api) -> anyhow::Result<Map<String, Value>> {
    let text =
        std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let named: Map<String, Value> = serde_json::from_str(&text)
        .with_context(|| format!("{} is no JSON object", file.display()))?;
    let mut by_channel = Map::new();
    for (name, values) in named {
        let path = api
            .in_tenant(&format!("devices/{}", segment(&name)))
            .await?;
        let channel = match api.find(&path).await? {
            Some(device) => own_channel(&device)
                .with_context(|| format!("{name} has no enabled channel"))?
                .to_owned(),
            // No device has this name; it may be a channel's id, which the server judges.
            None if uuid::Uuid::parse_str(&name).is_ok() => name.clone(),
            None => bail!("inputs for {name}: there is no such device"),
        };
        if by_channel.insert(channel, values).is_some() {
            bail!("inputs for {name}: its channel is named twice");
        }
    }
    Ok(by_channel)
}

/// The device channel that is enabled.
fn own_channel(device: &Value) -> Option<&str> {
    device["enrollments"]
        .as_array()?
        .iter()
        .find(|e| e["channel"] == "device" && e["state"] == "enabled")?["id"]
        .as_str()
}

/// Values that are read as the catalogue has their keys; a command that it does not know is for the server to name.
fn given(verb: &Send) -> anyhow::Result<Map<String, Value>> {
    let name = verb.request_type.as_deref().unwrap_or_default();
    let unknown = Object::named_only(Class::Command, name);
    let object = Catalogue::shipped().named(Class::Command, name).next();
    given::body(object.unwrap_or(&unknown), &verb.set)
}

fn parameters(given: &[String]) -> anyhow::Result<Map<String, Value>> {
    let mut all = Map::new();
    for text in given {
        let Some((name, value)) = text.split_once('=') else {
            bail!("`{text}` is no parameter; write NAME=VALUE");
        };
        let value = serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.to_owned()));
        all.insert(name.to_owned(), value);
    }
    Ok(all)
}

fn queued_view(queued: &Value, out: &Output) -> anyhow::Result<()> {
    if out.is_json() {
        return out.value(queued);
    }
    let targets = queued["targets"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    let accepted = targets
        .iter()
        .filter(|target| target["accepted"].as_bool() == Some(true))
        .count();
    let verb = match queued["dry_run"].as_bool() {
        Some(true) => "would be queued",
        _ => "is queued",
    };
    let id = queued["command_id"].as_str().unwrap_or("?");
    let kind = queued["request_type"].as_str().unwrap_or("?");
    out.said(
        &format!(
            "{kind} {verb} for {accepted} of {} channels: {id}",
            targets.len()
        ),
        queued,
    )?;
    let told: Vec<Value> = targets
        .iter()
        .filter(|target| target["reason"].is_string())
        .take(20)
        .cloned()
        .collect();
    if !told.is_empty() {
        out.list(
            &told,
            &[
                Column("ENROLLMENT", "enrollment_id"),
                Column("QUEUED", "accepted"),
                Column("REASON", "reason"),
            ],
        )?;
    }
    preflight_view(queued, out)?;
    let skipped = queued["skipped"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    if !skipped.is_empty() {
        out.list(
            skipped,
            &[Column("DEVICE", "device_id"), Column("REASON", "reason")],
        )?;
    }
    Ok(())
}

/// What stands in the way on the devices, one line a reason and channel.
fn preflight_view(queued: &Value, out: &Output) -> anyhow::Result<()> {
    let channels = queued["preflight"].as_array();
    let mut rows = Vec::new();
    for channel in channels.into_iter().flatten() {
        for finding in channel["findings"].as_array().into_iter().flatten() {
            let mut row = finding.clone();
            row["enrollment_id"] = channel["enrollment_id"].clone();
            row["verdict"] = channel["verdict"].clone();
            row["help"] = match (&finding["fix"], &finding["ask"]) {
                (Value::Null, Value::Null) => Value::Null,
                (Value::Null, ask) => format!("Ask first: {}", ask.as_str().unwrap_or("")).into(),
                (fix, _) => fix.clone(),
            };
            rows.push(row);
        }
    }
    if rows.is_empty() {
        return Ok(());
    }
    out.list(
        rows.get(..20).unwrap_or(&rows),
        &[
            Column("ENROLLMENT", "enrollment_id"),
            Column("VERDICT", "verdict"),
            Column("WHY", "message"),
            Column("WHAT HELPS", "help"),
            Column("INSTEAD", "alternative"),
        ],
    )
}

/// Waits until no channel has the command open.
async fn wait(id: &str, seconds: u64, api: &Api) -> anyhow::Result<()> {
    let path = api.in_tenant(&format!("commands/{}", segment(id))).await?;
    let until = tokio::time::Instant::now() + Duration::from_secs(seconds);
    loop {
        let counts = &api.get(&path).await?["counts"];
        let open: i64 = ["queued", "sent", "not_now"]
            .iter()
            .filter_map(|name| counts[name].as_i64())
            .sum();
        if open == 0 {
            return Ok(());
        }
        if tokio::time::Instant::now() >= until {
            eprintln!("pomona: {open} have not answered after {seconds} s");
            return Ok(());
        }
        tokio::time::sleep(LOOK).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_is_json_or_else_a_text() {
        let given = ["A=[1]", "B=true", "C=hello", "D=a=b", "E=\"7\"", "F="].map(str::to_owned);
        let expected = json!({"A": [1], "B": true, "C": "hello", "D": "a=b", "E": "7", "F": ""});
        assert_eq!(Value::Object(parameters(&given).unwrap()), expected);
        assert!(parameters(&["A".to_owned()]).is_err());
    }

    #[test]
    fn a_device_stands_for_its_own_enabled_channel() {
        let device = json!({ "enrollments": [
            { "id": "old", "channel": "device", "state": "ended" },
            { "id": "user", "channel": "mac_user", "state": "enabled" },
            { "id": "own", "channel": "device", "state": "enabled" },
        ]});
        assert_eq!(own_channel(&device), Some("own"));
        assert_eq!(own_channel(&json!({ "enrollments": [] })), None);
        assert_eq!(own_channel(&json!({})), None);
    }
}
