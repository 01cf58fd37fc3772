//! Verbs about installed plugins beyond switching them on: rights, secrets, jobs, notices, rehearsals.
//!
//! Owns: those verbs. Each is a request to the admin API.

use std::io::Read;
use std::path::PathBuf;

use anyhow::Context;
use clap::Subcommand;
use http::Method;
use serde_json::json;

use super::{INSTALLED, json_in, read};
use crate::client::{Api, Column, Output, segment};

const JOB: &[Column] = &[
    Column("PLUGIN", "plugin"),
    Column("JOB", "job"),
    Column("DUE", "due_at"),
    Column("RUNNING", "running"),
    Column("STEPS", "steps"),
    Column("FAILED", "attempts"),
    Column("WHY", "last_error"),
    Column("LAST RUN", "last_run_at"),
];
const NOTICE: &[Column] = &[
    Column("AT", "told_at"),
    Column("SEVERITY", "severity"),
    Column("PLUGIN", "plugin"),
    Column("TEXT", "text"),
];
const SECRET: &[Column] = &[
    Column("SECRET", "name"),
    Column("HOST", "host"),
    Column("SET", "set_at"),
];
const DIFFERENCE: &[Column] = &[
    Column("KEY", "key"),
    Column("OUTCOME", "outcome"),
    Column("EFFECT", "effect"),
    Column("BEFORE", "before"),
];

/// What is done with an installed plugin.
#[derive(Debug, Subcommand)]
pub(crate) enum RemoteVerb {
    /// Put a version in force that waits because it asks for more than was granted.
    Approve {
        /// The plugin.
        id: String,
    },
    /// Send away a version that waits.
    Decline {
        /// The plugin.
        id: String,
    },
    /// Put the version before the one in force again, with the rights and settings that it had, for the operator. Said again, it
    /// is undone.
    Rollback {
        /// The plugin.
        id: String,
    },
    /// Set what the operator grants a plugin, in the form of a manifest's `capabilities`, as JSON.
    Grant {
        /// The plugin.
        id: String,
        /// A file with the rights.
        #[arg(long, value_name = "FILE")]
        rights: PathBuf,
    },
    /// Set when a plugin is asked, in every tenant. Where two change the same key of a command, the one that is asked later holds.
    Order {
        /// The plugin.
        id: String,
        /// In which phase: early, default or late.
        #[arg(long, value_parser = ["early", "default", "late"], default_value = "default")]
        phase: String,
        /// Within a phase the higher one is asked first, from -1000 to 1000.
        #[arg(long, default_value_t = 0, allow_negative_numbers = true)]
        priority: i64,
    },
    /// Secrets of a plugin in the tenant of --tenant.
    #[command(subcommand)]
    Secret(SecretVerb),
    /// List the jobs of plugins in the tenant of --tenant.
    Jobs,
    /// List what plugins have told the administrators of the tenant of --tenant.
    Notices,
    /// Run a plugin without carrying anything out, and show what would have changed.
    Rehearse {
        /// The plugin.
        id: String,
        /// A device whose newest events it is to hear.
        #[arg(long, required_unless_present = "job", conflicts_with = "job")]
        device: Option<String>,
        /// How many events.
        #[arg(long, default_value_t = 16)]
        events: u32,
        /// A job of which it is to run a step.
        #[arg(long)]
        job: Option<String>,
        /// Where the step begins.
        #[arg(long, requires = "job")]
        cursor: Option<String>,
    },
}

/// `pomona plugin secret …`
#[derive(Debug, Subcommand)]
pub(crate) enum SecretVerb {
    /// List the secrets that are set; their values are not shown.
    List {
        /// The plugin.
        id: String,
    },
    /// Set a secret, read from a file or from standard input.
    Set {
        /// The plugin.
        id: String,
        /// The secret's name.
        name: String,
        /// The one host that it may be sent to, over https.
        #[arg(long)]
        host: String,
        /// The file; standard input when left out.
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
    },
    /// Take a secret away.
    Forget {
        /// The plugin.
        id: String,
        /// The secret's name.
        name: String,
    },
}

/// Runs a verb.
pub(super) async fn run(verb: RemoteVerb, api: &Api, out: &Output) -> anyhow::Result<()> {
    match verb {
        RemoteVerb::Approve { id } => {
            let path = format!("plugins/{}/approve", segment(&id));
            out.one(&api.post(&path, &json!({})).await?, INSTALLED)
        }
        RemoteVerb::Rollback { id } => {
            let path = format!("plugins/{}/rollback", segment(&id));
            out.one(&api.post(&path, &json!({})).await?, INSTALLED)
        }
        RemoteVerb::Decline { id } => {
            let path = format!("plugins/{}/decline", segment(&id));
            let gone = api.post(&path, &json!({})).await?;
            out.said("the version that waited is gone", &gone)
        }
        RemoteVerb::Grant { id, rights } => {
            let rights = json_in(&rights)?;
            let path = format!("plugins/{}/rights", segment(&id));
            let body = json!({ "rights": rights });
            let granted = api.call(Method::PUT, &path, Some(&body), &[]).await?;
            out.one(&granted, INSTALLED)
        }
        RemoteVerb::Order {
            id,
            phase,
            priority,
        } => {
            let path = format!("plugins/{}/order", segment(&id));
            let body = json!({ "phase": phase, "priority": priority });
            let ordered = api.call(Method::PUT, &path, Some(&body), &[]).await?;
            out.one(&ordered, INSTALLED)
        }
        RemoteVerb::Secret(verb) => secret(verb, api, out).await,
        RemoteVerb::Jobs => {
            let path = api.in_tenant("plugin-jobs").await?;
            out.list(&api.list(&path, usize::MAX).await?, JOB)
        }
        RemoteVerb::Notices => {
            let path = api.in_tenant("notices").await?;
            out.list(&api.list(&path, usize::MAX).await?, NOTICE)
        }
        RemoteVerb::Rehearse {
            id,
            device,
            events,
            job,
            cursor,
        } => {
            let path = format!("plugins/{}/rehearse", segment(&id));
            let path = api.in_tenant(&path).await?;
            let body = match device {
                Some(device) => json!({ "device": device, "events": events }),
                None => json!({ "job": job, "cursor": cursor }),
            };
            let told = api.post(&path, &body).await?;
            let all = told["items"].as_array().cloned().unwrap_or_default();
            out.list(&all, DIFFERENCE)
        }
    }
}

async fn secret(verb: SecretVerb, api: &Api, out: &Output) -> anyhow::Result<()> {
    let place = |id: &str, name: Option<&str>| {
        let name = name.map(|name| format!("/{}", segment(name)));
        format!(
            "plugins/{}/secrets{}",
            segment(id),
            name.unwrap_or_default()
        )
    };
    match verb {
        SecretVerb::List { id } => {
            let path = api.in_tenant(&place(&id, None)).await?;
            out.list(&api.list(&path, usize::MAX).await?, SECRET)
        }
        SecretVerb::Set {
            id,
            name,
            host,
            file,
        } => {
            let value = match file {
                Some(path) => String::from_utf8(read(&path)?).context("the secret is no text")?,
                None => {
                    let mut text = String::new();
                    std::io::stdin()
                        .read_to_string(&mut text)
                        .context("cannot read the secret from standard input")?;
                    text
                }
            };
            let body = json!({ "host": host, "value": value.trim_end_matches(['\r', '\n']) });
            let path = api.in_tenant(&place(&id, Some(&name))).await?;
            let set = api.call(Method::PUT, &path, Some(&body), &[]).await?;
            out.said(&format!("{name} is set"), &set)
        }
        SecretVerb::Forget { id, name } => {
            let path = api.in_tenant(&place(&id, Some(&name))).await?;
            let gone = api.call(Method::DELETE, &path, None, &[]).await?;
            out.said(&format!("{name} is gone"), &gone)
        }
    }
}
