//! `pomona plugin try`, `trial`, `promote` and `withdraw`: a version beside the active one, before it decides.
//!
//! Owns: these verbs. Each is a request to the admin API.

use std::path::Path;

use anyhow::bail;
use clap::Subcommand;
use http::Method;
use serde_json::{Value, json};

use super::INSTALLED;
use super::distribute::of_place;
use super::oci::AccessArgs;
use crate::client::{Api, Column, Output, Place, query, segment};

const HOOKS: &[Column] = &[
    Column("TENANT", "tenant"),
    Column("HOOK", "hook"),
    Column("COMPARED", "compared"),
    Column("SAME", "same"),
    Column("DIFFERENT", "different"),
    Column("ACTIVE FAILED", "active_failed"),
    Column("TRIAL FAILED", "trial_failed"),
    Column("LEFT OUT", "left_out"),
    Column("ACTIVE MEAN µs", "active_mean_micros"),
    Column("TRIAL MEAN µs", "trial_mean_micros"),
    Column("LAST FAILURE", "last_failure"),
];
const TENANTS: &[Column] = &[
    Column("TENANT", "tenant"),
    Column("STATE", "health/state"),
    Column("CALLS", "health/calls"),
    Column("FAILURES", "health/failures"),
    Column("P99 µs", "health/p99_micros"),
    Column("REASON", "health/reason"),
];
const DIFFERENCES: &[Column] = &[
    Column("AT", "at"),
    Column("HOOK", "hook"),
    Column("DEVICE", "device"),
    Column("ABOUT", "about"),
    Column("ACTIVE", "active"),
    Column("TRIAL", "trial"),
];

/// What is done with a version on trial.
#[derive(Debug, Subcommand)]
pub(crate) enum TrialVerb {
    /// Put a version of an installed plugin on trial beside the active one, or change how it is tried.
    Try(Try),
    /// Show what comparing the version on trial with the active one has shown.
    Trial {
        /// The plugin.
        id: String,
        /// In the tenant of --tenant alone; in all of them when left out, which is for the operator.
        #[arg(long)]
        here: bool,
    },
    /// Put the version on trial in force, as if it were installed. The trial ends.
    Promote {
        /// The plugin.
        id: String,
    },
    /// End a trial. The active version goes on alone.
    Withdraw {
        /// The plugin.
        id: String,
    },
}

/// What is put on trial, and how.
#[derive(Debug, clap::Args)]
pub(crate) struct Try {
    /// The package, as for `install`; or the plugin's id, when the version that is on trial already is to be tried otherwise.
    package: String,
    #[command(flatten)]
    manner: Manner,
    #[command(flatten)]
    access: AccessArgs,
}

/// How it is tried.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Manner {
    /// Both are asked, the active version decides; what the other would have decided is noted.
    #[arg(long)]
    shadow: bool,
    /// It decides about so many of a hundred devices, such as 10%; a device that is in stays in.
    #[arg(long, value_name = "SHARE", value_parser = share)]
    canary: Option<u8>,
    /// It decides about the devices of the groups of this name.
    #[arg(long, value_name = "GROUP")]
    canary_group: Option<String>,
}

fn share(text: &str) -> Result<u8, String> {
    let number = text.strip_suffix('%').unwrap_or(text);
    match number.parse() {
        Ok(share @ 1..=99) => Ok(share),
        _ => Err(
            "write a share of the devices from 1% to 99%; for all of them promote the version"
                .into(),
        ),
    }
}

/// Runs a verb.
pub(super) async fn run(
    verb: TrialVerb,
    place: &Place,
    dir: Option<&Path>,
    out: &Output,
) -> anyhow::Result<()> {
    let api = Api::open(place, dir)?;
    match verb {
        TrialVerb::Try(wanted) => begin(wanted, place, &api, out).await,
        TrialVerb::Trial { id, here } => {
            let path = format!("plugins/{}/trial", segment(&id));
            let path = match here {
                true => api.in_tenant(&path).await?,
                false => path,
            };
            show(&api.get(&path).await?, out)
        }
        TrialVerb::Promote { id } => {
            let path = format!("plugins/{}/trial/promote", segment(&id));
            out.one(&api.post(&path, &json!({})).await?, INSTALLED)
        }
        TrialVerb::Withdraw { id } => {
            let path = format!("plugins/{}/trial", segment(&id));
            let gone = api.call(Method::DELETE, &path, None, &[]).await?;
            out.said(&format!("the trial of {id} has ended"), &gone)
        }
    }
}

async fn begin(wanted: Try, place: &Place, api: &Api, out: &Output) -> anyhow::Result<()> {
    let named = &wanted.package;
    let is_id = !named.contains(['/', ':']) && !Path::new(named).exists();
    let (id, bytes, source) = if is_id {
        if named.ends_with(".pomona") {
            bail!(
                "there is no file {named}; name a package, or the id of a plugin with a version on trial"
            );
        }
        (named.clone(), Vec::new(), None)
    } else {
        let (sent, source) = of_place(named, &wanted.access, place).await?;
        (sent.id, sent.bytes, source)
    };
    let manner = wanted.manner;
    let share = manner.canary.map(|share| share.to_string());
    let mode = if manner.shadow { "shadow" } else { "canary" };
    let to = query(
        &format!("plugins/{}/trial", segment(&id)),
        &[
            ("mode", Some(mode)),
            ("share", share.as_deref()),
            ("group", manner.canary_group.as_deref()),
            ("source", source.as_deref()),
        ],
    );
    out.one(&api.upload(Method::PUT, &to, bytes).await?, INSTALLED)
}

fn show(report: &Value, out: &Output) -> anyhow::Result<()> {
    if out.is_json() {
        return out.value(report);
    }
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let trial = &report["trial"];
    let whom = match (&trial["share"], &trial["group"]) {
        (Value::Number(share), _) => format!(" about {share}% of the devices"),
        (_, Value::String(group)) => format!(" about the devices of {group}"),
        _ => String::new(),
    };
    let sentence = format!(
        "{}: {} is in force, {} on trial as {}{whom} since {}",
        text(&report["plugin"]),
        text(&report["active_version"]),
        text(&trial["version"]),
        text(&trial["mode"]),
        text(&trial["mode_since"]),
    );
    out.said(&sentence, report)?;
    for (member, columns) in [
        ("tenants", TENANTS),
        ("hooks", HOOKS),
        ("differences", DIFFERENCES),
    ] {
        let all = report[member].as_array().cloned().unwrap_or_default();
        if !all.is_empty() {
            out.list(&all, columns)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_of_a_hundred() {
        assert_eq!(share("10%"), Ok(10));
        assert_eq!(share("99"), Ok(99));
        for no in ["0%", "100%", "-1", "1.5%", "ten", "%"] {
            assert!(share(no).unwrap_err().contains("1% to 99%"), "{no}");
        }
    }
}
