//! `pomona plugin revoke`, `unrevoke` and `revocations`, and the warnings of `list`.
//!
//! Owns: these verbs. What a revocation does is the engine's business. Warnings are for people, on standard error: a program
//! reads the level of trust of each plugin.

use http::Method;
use serde_json::{Value, json};

use crate::client::{Api, Column, Output, clean, segment};

const REVOCATIONS: &[Column] = &[
    Column("OF", "kind"),
    Column("VALUE", "value"),
    Column("REVOKED", "revoked_at"),
    Column("REASON", "reason"),
];

/// One package, or everything that a key has signed.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
pub(crate) struct What {
    /// The digest of a package, as `list --installed` shows it.
    #[arg(long)]
    digest: Option<String>,
    /// A public key; every package with a signature by it is meant.
    #[arg(long)]
    key: Option<String>,
}

impl What {
    fn kind_and_value(&self) -> (&'static str, &str) {
        match (&self.digest, &self.key) {
            (Some(digest), _) => ("digest", digest),
            (None, Some(key)) => ("key", key),
            // One of them is required.
            (None, None) => ("digest", ""),
        }
    }
}

/// What is revoked, and why.
#[derive(Debug, clap::Args)]
pub(crate) struct Revoke {
    #[command(flatten)]
    what: What,
    /// Why; shown where the plugin would have run.
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

/// Revokes.
pub(super) async fn revoke(wanted: Revoke, api: &Api, out: &Output) -> anyhow::Result<()> {
    let (kind, value) = wanted.what.kind_and_value();
    let body = json!({ "kind": kind, "value": value, "reason": wanted.reason });
    out.one(&api.post("plugin-revocations", &body).await?, REVOCATIONS)
}

/// Takes a revocation back.
pub(super) async fn unrevoke(what: What, api: &Api, out: &Output) -> anyhow::Result<()> {
    let (kind, value) = what.kind_and_value();
    let path = format!("plugin-revocations/{}", segment(&format!("{kind}:{value}")));
    let gone = api.call(Method::DELETE, &path, None, &[]).await?;
    out.said(&format!("{kind} {value} is not revoked any more"), &gone)
}

/// Lists what is revoked.
pub(super) async fn list(api: &Api, out: &Output) -> anyhow::Result<()> {
    let all = api.list("plugin-revocations", usize::MAX).await?;
    out.list(&all, REVOCATIONS)
}

/// Says on standard error what the server warns of. A server that runs no plugins has nothing to say.
pub(super) async fn warn(api: &Api, out: &Output) {
    if !out.is_json()
        && let Ok(trust) = api.get("plugin-trust").await
        && let Some(warning) = trust["warning"].as_str()
    {
        banner(warning);
    }
}

/// Says on standard error which of these plugins nobody vouches for.
pub(super) fn warn_of_unsigned(plugins: &[Value], out: &Output) {
    let unsigned: Vec<&str> = plugins
        .iter()
        .filter(|plugin| plugin["trust"] == "unsigned" && plugin["enabled"] == true)
        .filter_map(|plugin| plugin["id"].as_str())
        .collect();
    if !unsigned.is_empty() && !out.is_json() {
        banner(&format!(
            "nobody vouches for what runs here: {}",
            unsigned.join(", ")
        ));
    }
}

fn banner(text: &str) {
    eprintln!("WARNING: {}", clean(text, false));
}
