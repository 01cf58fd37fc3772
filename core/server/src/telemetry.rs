//! The log and the metrics of the process.
//!
//! Owns: where they go. What is logged never holds a body, a token, a key or an address with a secret in it;
//! those who log see to that.

use std::io::IsTerminal;

use anyhow::Context;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;

use crate::settings::{Filter, LogFormat};

/// Sends the log to standard error.
pub(crate) fn log(format: LogFormat, filter: &Filter) -> anyhow::Result<()> {
    let filter: EnvFilter = filter.0.parse().context("log.filter")?;
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    let started = match format {
        LogFormat::Human => log.try_init(),
        LogFormat::Json => log.json().flatten_event(true).try_init(),
    };
    started.map_err(|error| anyhow::anyhow!("cannot start the log: {error}"))
}

/// Collects metrics; the handle writes them out.
pub(crate) fn metrics() -> anyhow::Result<PrometheusHandle> {
    const SECONDS: &[f64] = &[
        0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0,
    ];
    PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), SECONDS)
        .context("the buckets of histograms")?
        .install_recorder()
        .context("cannot start the metrics")
}
