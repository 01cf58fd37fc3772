//! `pomona posture`: what plugins find out about devices.

use clap::Subcommand;
use serde_json::json;

use super::access::More;
use super::api::{Api, query, segment};
use super::output::{Column, Output};

const FINDING: &[Column] = &[
    Column("VERDICT", "verdict"),
    Column("SEVERITY", "severity"),
    Column("RULE", "title"),
    Column("SINCE", "since"),
    Column("WHY", "message"),
    Column("PLUGIN", "plugin"),
    Column("DEVICE", "device_id"),
];
const ASSESSMENT: &[Column] = &[
    Column("PLUGIN", "plugin"),
    Column("HOOK", "hook"),
    Column("STATE", "state"),
    Column("ASKED", "assessed_at"),
    Column("WHY", "error"),
];
const DECLARATION: &[Column] = &[
    Column("IDENTIFIER", "identifier"),
    Column("TYPE", "type"),
    Column("PLUGIN", "plugin"),
    Column("CHANGED", "changed_at"),
    Column("SERVER TOKEN", "server_token"),
];

/// `pomona posture …`
#[derive(Debug, Subcommand)]
pub(crate) enum PostureVerb {
    /// Show what the rules of plugins say of a device, and when each plugin was asked.
    Show {
        /// Its id, UDID or serial number.
        device: String,
        /// Ask every plugin now.
        #[arg(long)]
        now: bool,
    },
    /// List findings of all devices.
    Findings {
        /// `pass`, `fail`, `unknown` or `not-applicable`.
        #[arg(long)]
        verdict: Option<String>,
        /// Of this plugin.
        #[arg(long)]
        plugin: Option<String>,
        /// Of this rule.
        #[arg(long)]
        rule: Option<String>,
        #[command(flatten)]
        more: More,
    },
    /// Show the declarations that plugins have for a device. They are kept and shown; they are not sent yet.
    Declarations {
        /// Its id, UDID or serial number.
        device: String,
    },
    /// Ask a plugin again what it was asked last about a device, and say whether the answer is the same.
    Explain {
        /// Its id, UDID or serial number.
        device: String,
        /// The plugin.
        plugin: String,
        /// `compliance` or `declarations`.
        #[arg(long, default_value = "compliance")]
        hook: String,
    },
}

/// Runs a verb.
pub(super) async fn run(verb: PostureVerb, api: &Api, out: &Output) -> anyhow::Result<()> {
    match verb {
        PostureVerb::Show { device, now } => {
            let of = |what: &str| format!("devices/{}/{what}", segment(&device));
            let posture = match now {
                true => {
                    let path = api.in_tenant(&of("assess")).await?;
                    api.post(&path, &json!({})).await?
                }
                false => api.get(&api.in_tenant(&of("posture")).await?).await?,
            };
            if out.is_json() {
                return out.value(&posture);
            }
            let list = |name: &str| posture[name].as_array().cloned().unwrap_or_default();
            out.list(&list("findings"), FINDING)?;
            out.list(&list("assessments"), ASSESSMENT)
        }
        PostureVerb::Findings {
            verdict,
            plugin,
            rule,
            more,
        } => {
            let path = query(
                "findings",
                &[
                    ("verdict", verdict.as_deref()),
                    ("plugin", plugin.as_deref()),
                    ("rule", rule.as_deref()),
                ],
            );
            let path = api.in_tenant(&path).await?;
            out.list(&api.list(&path, more.most()).await?, FINDING)
        }
        PostureVerb::Declarations { device } => {
            let path = format!("devices/{}/declarations", segment(&device));
            let path = api.in_tenant(&path).await?;
            out.list(&api.list(&path, usize::MAX).await?, DECLARATION)
        }
        PostureVerb::Explain {
            device,
            plugin,
            hook,
        } => {
            let path = query(
                &format!("devices/{}/explain", segment(&device)),
                &[("plugin", Some(&plugin)), ("hook", Some(&hook))],
            );
            let told = api.get(&api.in_tenant(&path).await?).await?;
            let word = match told["same"] == true {
                true => "the same answer as then",
                false => "not the answer of then",
            };
            let answer = serde_json::to_string_pretty(&told["answer"]).unwrap_or_default();
            let when = told["assessed_at"].as_str().unwrap_or_default();
            out.said(&format!("asked as at {when}: {word}\n{answer}"), &told)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    #[test]
    fn columns_name_members_that_findings_have() {
        let finding = json!({ "verdict": "fail", "severity": "high", "title": "T", "since": "s", "message": "m", "plugin": "p", "device_id": "d" });
        let all: Vec<&Value> = FINDING.iter().map(|column| &finding[column.1]).collect();
        assert!(all.iter().all(|value| value.is_string()), "{all:?}");
    }
}
