//! `pomona profile …`

use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, Subcommand};
use http::Method;
use serde_json::{Value, json};

use super::access::More;
use super::api::{Api, query, segment};
use super::output::{Column, Output};

const PROFILE: &[Column] = &[
    Column("NAME", "name"),
    Column("IDENTIFIER", "identifier"),
    Column("VERSION", "version"),
    Column("CHANNEL", "channel"),
    Column("KIND", "kind"),
    Column("STATES", "states"),
];
const STATE: &[Column] = &[
    Column("SERIAL", "serial_number"),
    Column("DEVICE", "device_name"),
    Column("USER", "user"),
    Column("PROFILE", "profile"),
    Column("VERSION", "version"),
    Column("STATE", "state"),
    Column("SINCE", "changed_at"),
    Column("TRIES", "tries"),
    Column("AGAIN", "again_at"),
    Column("REASON", "reason"),
];
const CONFLICT: &[Column] = &[
    Column("WITH", "with"),
    Column("PAYLOAD", "payload_type"),
    Column("CONFLICT", "kind"),
    Column("KEYS", "keys"),
];
const NEED: &[Column] = &[
    Column("PLATFORM", "platform"),
    Column("PAYLOAD", "payload"),
    Column("KEY", "key"),
    Column("WEIGHT", "weight"),
    Column("WHAT", "message"),
];

/// Whom a profile is for.
#[derive(Debug, Args)]
pub(crate) struct Whom {
    /// A device, by id, UDID or serial number; repeat it for several.
    #[arg(long, value_name = "DEVICE")]
    device: Vec<String>,
    /// A group, by id or name; repeat it for several.
    #[arg(long, value_name = "GROUP")]
    group: Vec<String>,
    /// Every device, also those that come later.
    #[arg(long)]
    everything: bool,
    /// Only show what would be.
    #[arg(long)]
    dry_run: bool,
}

/// `pomona profile …`
#[derive(Debug, Subcommand)]
pub(crate) enum ProfileVerb {
    /// Keep a profile, or a new version of the one that has the same identifier.
    Upload {
        /// A .mobileconfig file (XML, binary or signed), or a .json file with payloads.
        file: PathBuf,
        /// Its name; its PayloadDisplayName when absent.
        #[arg(long)]
        name: Option<String>,
        /// Texts such as {{device.serial-number}} are meant as they stand, not as variables.
        #[arg(long)]
        literal: bool,
        /// Only show what it would be and need.
        #[arg(long)]
        dry_run: bool,
    },
    /// List profiles.
    List(More),
    /// Show a profile: what it holds, needs and is assigned to.
    Show {
        /// Its id, name or identifier.
        profile: String,
    },
    /// Assign a profile, and show what it does not go with.
    Assign {
        /// Its id, name or identifier.
        profile: String,
        #[command(flatten)]
        whom: Whom,
    },
    /// Take assignments back; devices that it is not assigned to any more lose it.
    Unassign {
        /// Its id, name or identifier.
        profile: String,
        #[command(flatten)]
        whom: Whom,
    },
    /// Show where a profile stands on each device.
    Status {
        /// Its id, name or identifier.
        profile: String,
        /// In this state only: installing, installed, verified, failed, given-up, refused, removing or not-removed.
        #[arg(long)]
        state: Option<String>,
        #[command(flatten)]
        more: More,
    },
    /// Show where the profiles of a device and its users stand.
    On {
        /// The device, by id, UDID or serial number.
        device: String,
    },
    /// Try a profile again wherever it failed or was given up.
    Retry {
        /// Its id, name or identifier.
        profile: String,
    },
    /// Remove a profile that is assigned to nothing and that no device has any more.
    Delete {
        /// Its id, name or identifier.
        profile: String,
    },
}

pub(crate) async fn profile(verb: ProfileVerb, api: &Api, out: &Output) -> anyhow::Result<()> {
    let path = api.in_tenant("profiles").await?;
    let one = |profile: &str| format!("{path}/{}", segment(profile));
    match verb {
        ProfileVerb::Upload {
            file,
            name,
            literal,
            dry_run,
        } => {
            let bytes =
                std::fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
            let yes = |wish: bool| wish.then_some("true");
            let asked = [
                ("name", name.as_deref()),
                ("literal", yes(literal)),
                ("dry_run", yes(dry_run)),
            ];
            let path = query(&path, &asked);
            let is_json = file
                .extension()
                .is_some_and(|end| end.eq_ignore_ascii_case("json"));
            let kept = match is_json {
                true => {
                    let made: Value = serde_json::from_slice(&bytes)
                        .with_context(|| format!("{} is no JSON", file.display()))?;
                    api.post(&path, &made).await?
                }
                false => api.upload(Method::POST, &path, bytes).await?,
            };
            if out.is_json() {
                return out.value(&kept);
            }
            let name = kept["name"].as_str().unwrap_or_default();
            let version = &kept["version"];
            let sentence = match (dry_run, kept["unchanged"] == true) {
                (true, _) => format!("It would be version {version} of {name}."),
                (false, true) => format!("Version {version} of {name} is just that already."),
                (false, false) => format!("It is version {version} of {name}."),
            };
            out.said(&sentence, &kept)?;
            for remark in kept["remarks"].as_array().into_iter().flatten() {
                out.said(remark.as_str().unwrap_or_default(), remark)?;
            }
            needs(&kept, out)
        }
        ProfileVerb::List(more) => out.list(&api.list(&path, more.most()).await?, PROFILE),
        ProfileVerb::Show { profile } => {
            let shown = api.get(&one(&profile)).await?;
            if out.is_json() {
                return out.value(&shown);
            }
            let mut plain = shown.clone();
            if let Some(members) = plain.as_object_mut() {
                members.remove("needs");
            }
            out.members(&plain)?;
            needs(&shown, out)
        }
        ProfileVerb::Assign { profile, whom } => {
            let path = format!("{}/assign", one(&profile));
            let became = api.post(&path, &whom.body()).await?;
            if out.is_json() {
                return out.value(&became);
            }
            let devices = &became["devices"];
            let sentence = match whom.dry_run {
                true => format!("It would be for {devices} devices."),
                false => format!(
                    "{} targets are new; {devices} devices are concerned.",
                    became["changed"]
                ),
            };
            out.said(&sentence, &became)?;
            let conflicts = became["conflicts"].as_array().cloned().unwrap_or_default();
            match conflicts.is_empty() {
                true => Ok(()),
                false => out.list(&conflicts, CONFLICT),
            }
        }
        ProfileVerb::Unassign { profile, whom } => {
            let path = format!("{}/unassign", one(&profile));
            let became = api.post(&path, &whom.body()).await?;
            let sentence = match whom.dry_run {
                true => format!(
                    "It would be taken from {} devices, unless it is assigned to them in another way too.",
                    became["devices"]
                ),
                false => format!("{} targets are gone.", became["changed"]),
            };
            out.said(&sentence, &became)
        }
        ProfileVerb::Status {
            profile,
            state,
            more,
        } => {
            let path = format!("{}/devices", one(&profile));
            let path = query(&path, &[("state", state.as_deref())]);
            out.list(&api.list(&path, more.most()).await?, STATE)
        }
        ProfileVerb::On { device } => {
            let path = api
                .in_tenant(&format!("devices/{}/profiles", segment(&device)))
                .await?;
            out.list(&api.list(&path, usize::MAX).await?, STATE)
        }
        ProfileVerb::Retry { profile } => {
            let became = api
                .post(&format!("{}/retry", one(&profile)), &json!({}))
                .await?;
            let sentence = format!("It is tried again on {} channels.", became["channels"]);
            out.said(&sentence, &became)
        }
        ProfileVerb::Delete { profile } => {
            let answer = api.call(Method::DELETE, &one(&profile), None, &[]).await?;
            out.said("The profile is removed.", &answer)
        }
    }
}

impl Whom {
    fn body(&self) -> Value {
        json!({
            "devices": self.device,
            "groups": self.group,
            "everything": self.everything,
            "dry_run": self.dry_run,
        })
    }
}

/// What keeps a profile off, or must be known, by platform: one line each.
fn needs(shown: &Value, out: &Output) -> anyhow::Result<()> {
    let needs = shown["needs"].as_array().into_iter().flatten();
    let lines: Vec<Value> = needs
        .flat_map(|need| {
            let findings = need["findings"].as_array().into_iter().flatten();
            findings.map(|finding| {
                json!({
                    "platform": need["platform"],
                    "payload": need["payload_type"],
                    "key": finding["key"],
                    "weight": finding["weight"],
                    "message": finding["message"],
                })
            })
        })
        .collect();
    match lines.is_empty() {
        true => Ok(()),
        false => out.list(&lines, NEED),
    }
}
