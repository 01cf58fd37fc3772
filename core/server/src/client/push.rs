//! `pomona push` and `pomona pushcert`.

use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, Subcommand};
use http::Method;
use serde_json::json;

use super::api::{Api, segment};
use super::output::{Column, Output};

/// `pomona push`
#[derive(Debug, Args)]
pub(crate) struct Push {
    /// Devices, by id, UDID or serial number.
    #[arg(value_name = "DEVICE", required_unless_present = "group")]
    devices: Vec<String>,
    /// A group, by id or name; repeat it for several.
    #[arg(long, value_name = "GROUP")]
    group: Vec<String>,
    /// The channel of this user, not the device's own.
    #[arg(long, value_name = "USER")]
    user: Option<String>,
}

pub(crate) async fn push(verb: Push, api: &Api, out: &Output) -> anyhow::Result<()> {
    let body = json!({ "devices": verb.devices, "groups": verb.group, "user": verb.user });
    let rung = api.post(&api.in_tenant("push").await?, &body).await?;
    let skipped = rung["skipped"].as_array().map_or(0, Vec::len);
    let mut sentence = format!("{} will be rung.", rung["channels"]);
    if skipped > 0 {
        sentence.push_str(&format!(" {skipped} have no channel to ring."));
    }
    out.said(&sentence, &rung)
}

const CERTIFICATE: &[Column] = &[
    Column("TOPIC", "topic"),
    Column("CURRENT", "current"),
    Column("ENDS", "not_after"),
    Column("STOPPED", "stopped_at"),
    Column("REASON", "stopped_reason"),
    Column("ISSUER", "issuer"),
];

/// `pomona pushcert …`
#[derive(Debug, Subcommand)]
pub(crate) enum PushcertVerb {
    /// Import a push certificate with its key, for use at once.
    Import {
        /// PEM files that hold the certificate and its private key between them.
        #[arg(value_name = "FILE", required = true)]
        files: Vec<PathBuf>,
        /// Take a topic that the tenant does not have, although it has another.
        #[arg(long)]
        accept_other_topic: bool,
    },
    /// Show the push certificates.
    Show,
    /// Let a stopped topic push again with the certificate that it has.
    Resume {
        /// The topic.
        topic: String,
    },
}

pub(crate) async fn pushcert(verb: PushcertVerb, api: &Api, out: &Output) -> anyhow::Result<()> {
    let path = api.in_tenant("push/certificates").await?;
    match verb {
        PushcertVerb::Import {
            files,
            accept_other_topic,
        } => {
            let mut pem = String::new();
            for file in files {
                let text = std::fs::read_to_string(&file)
                    .with_context(|| format!("cannot read {}", file.display()))?;
                pem.push_str(&text);
                pem.push('\n');
            }
            let body = json!({ "pem": pem, "accept_other_topic": accept_other_topic });
            out.one(&api.post(&path, &body).await?, CERTIFICATE)
        }
        PushcertVerb::Show => {
            let answer = api.get(&path).await?;
            let items = answer["items"].as_array().map(Vec::as_slice);
            out.list(items.unwrap_or_default(), CERTIFICATE)
        }
        PushcertVerb::Resume { topic } => {
            let path = format!("{path}/{}/resume", segment(&topic));
            let answer = api.call(Method::POST, &path, None, &[]).await?;
            let sentence = match answer["resumed"].as_bool() {
                Some(true) => "The topic pushes again.",
                _ => "The topic was not stopped.",
            };
            out.said(sentence, &answer)
        }
    }
}
