//! `pomona device` and `pomona group`.

use std::io::IsTerminal;

use anyhow::Context;
use clap::Subcommand;
use http::Method;
use http_body_util::BodyExt;
use serde_json::{Value, json};

use super::access::More;
use super::api::{Api, query, segment};
use super::output::{Column, Output};

const DEVICE: &[Column] = &[
    Column("SERIAL", "serial_number"),
    Column("NAME", "device_name"),
    Column("PRODUCT", "product_name"),
    Column("OS", "os_version"),
    Column("STATE", "state"),
    Column("LAST SEEN", "last_seen_at"),
    Column("ID", "id"),
];
const ENROLLMENT: &[Column] = &[
    Column("CHANNEL", "channel"),
    Column("USER", "user/key"),
    Column("GEN", "generation"),
    Column("STATE", "state"),
    Column("OPEN", "open_commands"),
    Column("LAST SEEN", "last_seen_at"),
    Column("PUSH", "push/last_status"),
    Column("PUSHED", "push/last_at"),
    Column("CERTIFICATE ENDS", "certificates/0/not_after"),
    Column("ENDED", "end_reason"),
    Column("ID", "id"),
];
const EVENT: &[Column] = &[
    Column("SEQ", "seq"),
    Column("AT", "at"),
    Column("KIND", "kind"),
    Column("BY", "actor_kind"),
    Column("FACTS", "body"),
];

/// `pomona device …`
#[derive(Debug, Subcommand)]
pub(crate) enum DeviceVerb {
    /// List devices.
    List {
        /// With this serial number.
        #[arg(long)]
        serial: Option<String>,
        /// With this UDID.
        #[arg(long)]
        udid: Option<String>,
        /// `enrolled`, `quarantined`, `pending` or `left`.
        #[arg(long)]
        state: Option<String>,
        /// In this group.
        #[arg(long)]
        group: Option<String>,
        /// Heard since this time, such as 2026-03-01T08:00:00Z.
        #[arg(long, value_name = "TIME")]
        seen_since: Option<String>,
        #[command(flatten)]
        more: More,
    },
    /// Write the enrolled devices as plugins are shown them, one JSON object a line, for `pomona plugin diff`.
    Export {
        /// In this group.
        #[arg(long)]
        group: Option<String>,
    },
    /// Show a device with its channels.
    Show {
        /// Its id, UDID or serial number.
        device: String,
    },
    /// Show what happened to a device, the newest last.
    Timeline {
        /// Its id, UDID or serial number.
        device: String,
        /// Only these kinds of events, separated by commas.
        #[arg(long)]
        kinds: Option<String>,
        /// The most entries.
        #[arg(long, value_name = "N", default_value_t = 50)]
        limit: usize,
        /// Go on with what happens next, until interrupted.
        #[arg(long, short, conflicts_with = "kinds")]
        follow: bool,
    },
    /// Release a device from quarantine.
    Release {
        /// Its id, UDID or serial number.
        device: String,
        /// Which enrollment, when several wait.
        #[arg(long, value_name = "ID")]
        enrollment: Option<String>,
    },
    /// Refuse an enrollment that waits in quarantine.
    Refuse {
        /// Its id, UDID or serial number.
        device: String,
        /// Which enrollment, when several wait.
        #[arg(long, value_name = "ID")]
        enrollment: Option<String>,
    },
    /// Remove a device: its enrollments end and its certificates are refused for ever.
    Remove {
        /// Its id, UDID or serial number.
        device: String,
        /// A note for the timeline.
        #[arg(long, default_value = "")]
        reason: String,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
    },
    /// Send a device a new certificate before the old one ends.
    Renew {
        /// Its id, UDID or serial number.
        device: String,
    },
    /// Show the facts about a device.
    Facts {
        /// Its id, UDID or serial number.
        device: String,
    },
    /// Show what a device has told of itself.
    Inventory {
        /// Its id, UDID or serial number.
        device: String,
        /// One section, such as device, security or apps; without it, what there is.
        section: Option<String>,
    },
    /// Set a fact about a device, or take it away.
    SetFact {
        /// Its id, UDID or serial number.
        device: String,
        /// The name of the fact.
        name: String,
        /// The value: JSON, or else a text. The fact is taken away when there is none.
        value: Option<String>,
    },
}

pub(crate) async fn device(verb: DeviceVerb, api: &Api, out: &Output) -> anyhow::Result<()> {
    match verb {
        DeviceVerb::List {
            serial,
            udid,
            state,
            group,
            seen_since,
            more,
        } => {
            let path = query(
                &api.in_tenant("devices").await?,
                &[
                    ("serial", serial.as_deref()),
                    ("udid", udid.as_deref()),
                    ("state", state.as_deref()),
                    ("group", group.as_deref()),
                    ("seen_since", seen_since.as_deref()),
                ],
            );
            out.list(&api.list(&path, more.most()).await?, DEVICE)
        }
        DeviceVerb::Export { group } => super::export::export(group.as_deref(), api, out).await,
        DeviceVerb::Show { device } => show(&device, api, out).await,
        DeviceVerb::Timeline {
            device,
            kinds,
            limit,
            follow,
        } => timeline(&device, kinds.as_deref(), limit, follow, api, out).await,
        DeviceVerb::Release { device, enrollment } => {
            let body = json!({ "enrollment_id": enrollment });
            let answer = act(api, &device, "release", Some(&body)).await?;
            out.said("The device is released.", &answer)
        }
        DeviceVerb::Refuse { device, enrollment } => {
            let body = json!({ "enrollment_id": enrollment });
            let answer = act(api, &device, "refuse", Some(&body)).await?;
            out.said("The enrollment is refused.", &answer)
        }
        DeviceVerb::Remove {
            device,
            reason,
            yes,
        } => {
            if !yes && !agreed(&device)? {
                anyhow::bail!("nothing was removed");
            }
            let body = json!({ "reason": reason });
            let answer = act(api, &device, "remove", Some(&body)).await?;
            out.said("The device is removed.", &answer)
        }
        DeviceVerb::Renew { device } => {
            let answer = act(api, &device, "renew", None).await?;
            out.said("A new certificate is on its way.", &answer)
        }
        DeviceVerb::Facts { device } => {
            let path = format!("devices/{}/facts", segment(&device));
            let answer = api.get(&api.in_tenant(&path).await?).await?;
            let columns = &[
                Column("NAME", "name"),
                Column("USER", "user"),
                Column("VALUE", "value"),
                Column("SOURCE", "source"),
                Column("AT", "observed_at"),
            ];
            let items = answer["items"].as_array().map(Vec::as_slice);
            out.list(items.unwrap_or_default(), columns)
        }
        DeviceVerb::Inventory { device, section } => {
            inventory(&device, section.as_deref(), api, out).await
        }
        DeviceVerb::SetFact {
            device,
            name,
            value,
        } => {
            let path = format!("devices/{}/facts/{}", segment(&device), segment(&name));
            let path = api.in_tenant(&path).await?;
            let (answer, sentence) = match value {
                Some(text) => {
                    let value = serde_json::from_str(&text).unwrap_or(Value::String(text));
                    let body = json!({ "value": value });
                    (
                        api.call(Method::PUT, &path, Some(&body), &[]).await?,
                        "The fact is set.",
                    )
                }
                None => (
                    api.call(Method::DELETE, &path, None, &[]).await?,
                    "The fact is taken away.",
                ),
            };
            out.said(sentence, &answer)
        }
    }
}

async fn inventory(
    device: &str,
    section: Option<&str>,
    api: &Api,
    out: &Output,
) -> anyhow::Result<()> {
    let mut path = format!("devices/{}/inventory", segment(device));
    if let Some(section) = section {
        path = format!("{path}/{}", segment(section));
    }
    let answer = api.get(&api.in_tenant(&path).await?).await?;
    let items = answer["items"].as_array().map(Vec::as_slice);
    let items = items.unwrap_or_default();
    out.list(
        items,
        &[
            Column("SECTION", "section"),
            Column("USER", "user"),
            Column("ENTRIES", "entries"),
            Column("TOLD BY", "source"),
            Column("AT", "observed_at"),
            Column("CHANGED", "changed_at"),
        ],
    )?;
    if out.is_json() {
        return Ok(());
    }
    for item in items {
        if let Some(value) = item.get("value") {
            out.said("", &Value::Null)?;
            out.value(value)?;
        }
    }
    Ok(())
}

async fn act(api: &Api, device: &str, verb: &str, body: Option<&Value>) -> anyhow::Result<Value> {
    let path = format!("devices/{}/{verb}", segment(device));
    let path = api.in_tenant(&path).await?;
    api.call(Method::POST, &path, body, &[]).await
}

/// Asks a person. A program that cannot be asked must say --yes.
fn agreed(device: &str) -> anyhow::Result<bool> {
    if !std::io::stdin().is_terminal() {
        anyhow::bail!("removing a device cannot be taken back; say --yes");
    }
    let device = super::output::clean(device, false);
    eprint!("Remove {device}? It cannot come back with the certificate it has. [y/N] ");
    let mut line = String::new();
    std::io::stdin()
        .read_line(&mut line)
        .context("reading the answer")?;
    Ok(matches!(line.trim(), "y" | "Y" | "yes"))
}

async fn show(device: &str, api: &Api, out: &Output) -> anyhow::Result<()> {
    let path = api
        .in_tenant(&format!("devices/{}", segment(device)))
        .await?;
    let mut shown = api.get(&path).await?;
    let facts = api.list(&format!("{path}/facts"), 1_000).await?;
    shown["facts"] = Value::Array(facts);
    out.one(
        &shown,
        &[
            Column("ID", "id"),
            Column("UDID", "udid"),
            Column("ENROLLMENT ID", "enrollment_id"),
            Column("SERIAL", "serial_number"),
            Column("NAME", "device_name"),
            Column("MODEL", "model"),
            Column("PRODUCT", "product_name"),
            Column("OS", "os_version"),
            Column("BUILD", "build_version"),
            Column("STATE", "state"),
            Column("LAST SEEN", "last_seen_at"),
            Column("FIRST ENROLLED", "created_at"),
            Column("LEFT", "left_at"),
        ],
    )?;
    if out.is_json() {
        return Ok(());
    }
    let groups: Vec<&str> = shown["groups"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|group| group["name"].as_str())
        .collect();
    if !groups.is_empty() {
        out.said(&format!("GROUPS  {}", groups.join(", ")), &Value::Null)?;
    }
    out.said("", &Value::Null)?;
    let items = shown["enrollments"].as_array().map(Vec::as_slice);
    out.list(items.unwrap_or_default(), ENROLLMENT)?;
    let facts = shown["facts"].as_array().map(Vec::as_slice);
    match facts.unwrap_or_default() {
        [] => Ok(()),
        facts => {
            out.said("", &Value::Null)?;
            out.list(
                facts,
                &[
                    Column("FACT", "name"),
                    Column("VALUE", "value"),
                    Column("USER", "user"),
                    Column("BY", "source"),
                    Column("OBSERVED", "observed_at"),
                ],
            )
        }
    }
}

async fn timeline(
    device: &str,
    kinds: Option<&str>,
    limit: usize,
    follow: bool,
    api: &Api,
    out: &Output,
) -> anyhow::Result<()> {
    let base = format!("devices/{}/timeline", segment(device));
    let base = api.in_tenant(&base).await?;
    let path = query(&base, &[("kinds", kinds), ("order", Some("newest"))]);
    let mut events = api.list(&path, limit).await?;
    events.reverse();
    let seen = events.last().and_then(|event| event["seq"].as_u64());
    if !follow {
        return out.list(&events, EVENT);
    }
    for event in &events {
        line(event, out)?;
    }
    let path = format!("{base}/stream?after={}", seen.unwrap_or(0));
    let mut body = api.stream(&path).await?;
    let mut text = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.context("the stream broke off; start again")?;
        if let Some(data) = frame.data_ref() {
            text.extend_from_slice(data);
        }
        // Messages end with an empty line.
        while let Some(end) = text.windows(2).position(|pair| pair == b"\n\n") {
            let message: Vec<u8> = text.drain(..end + 2).collect();
            for row in String::from_utf8_lossy(&message).lines() {
                if let Some(data) = row.strip_prefix("data:")
                    && let Ok(event) = serde_json::from_str(data.trim_start())
                {
                    line(&event, out)?;
                }
            }
        }
    }
    Ok(())
}

fn line(event: &Value, out: &Output) -> anyhow::Result<()> {
    let text = match out.is_json() {
        true => event.to_string(),
        false => {
            let text = |name: &str| event[name].as_str().unwrap_or("-").to_owned();
            let body = &event["body"];
            let line = format!(
                "{:>6}  {}  {:<22} {:<7} {body}",
                event["seq"],
                text("at"),
                text("kind"),
                text("actor_kind")
            );
            super::output::clean(&line, false)
        }
    };
    super::output::print(&format!("{text}\n"))
}

const GROUP: &[Column] = &[
    Column("NAME", "name"),
    Column("DEVICES", "devices"),
    Column("ID", "id"),
    Column("CREATED", "created_at"),
];

/// `pomona group …`
#[derive(Debug, Subcommand)]
pub(crate) enum GroupVerb {
    /// Make a group.
    Create {
        /// Its name.
        name: String,
    },
    /// List groups.
    List(More),
    /// Remove a group. Its devices stay.
    Delete {
        /// Its id or name.
        group: String,
    },
    /// Put devices into a group.
    Add {
        /// Its id or name.
        group: String,
        /// Devices, by id, UDID or serial number.
        #[arg(value_name = "DEVICE", required = true)]
        devices: Vec<String>,
    },
    /// Take devices out of a group.
    Remove {
        /// Its id or name.
        group: String,
        /// Devices, by id, UDID or serial number.
        #[arg(value_name = "DEVICE", required = true)]
        devices: Vec<String>,
    },
}

pub(crate) async fn group(verb: GroupVerb, api: &Api, out: &Output) -> anyhow::Result<()> {
    let path = api.in_tenant("groups").await?;
    match verb {
        GroupVerb::Create { name } => {
            out.one(&api.post(&path, &json!({ "name": name })).await?, GROUP)
        }
        GroupVerb::List(more) => out.list(&api.list(&path, more.most()).await?, GROUP),
        GroupVerb::Delete { group } => {
            let path = format!("{path}/{}", segment(&group));
            let answer = api.call(Method::DELETE, &path, None, &[]).await?;
            out.said("The group is removed.", &answer)
        }
        GroupVerb::Add { group, devices } => {
            let path = format!("{path}/{}/add", segment(&group));
            let answer = api.post(&path, &json!({ "devices": devices })).await?;
            out.said(&format!("{} put in.", answer["changed"]), &answer)
        }
        GroupVerb::Remove { group, devices } => {
            let path = format!("{path}/{}/remove", segment(&group));
            let answer = api.post(&path, &json!({ "devices": devices })).await?;
            out.said(&format!("{} taken out.", answer["changed"]), &answer)
        }
    }
}
