//! `/healthz`, `/readyz` and `/metrics`, on the admin listener.
//!
//! Owns: what it means to be alive and to be ready. They tell no names and no counts by tenant. `/metrics` is
//! answered to loopback addresses only, since it takes no token.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{ConnectInfo, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use metrics_exporter_prometheus::PrometheusHandle;
use pomona_engine::Engine;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::settings::Settings;

#[derive(Clone)]
struct Health {
    engine: Engine,
    metrics: PrometheusHandle,
    /// The folder of a SQLite database, and the free space that it needs.
    disk: Option<(Arc<PathBuf>, u64)>,
    stop: CancellationToken,
}

/// The three routes.
pub(crate) fn router(
    engine: Engine,
    metrics: PrometheusHandle,
    settings: &Settings,
    stop: CancellationToken,
) -> Router {
    let folder = settings.database_url.strip_prefix("sqlite:").map(|path| {
        let mut path = PathBuf::from(path);
        path.pop();
        Arc::new(path)
    });
    let health = Health {
        engine,
        metrics,
        disk: folder.map(|folder| (folder, settings.limits_free_disk)),
        stop,
    };
    Router::new()
        .route("/healthz", get(|| async { "alive\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(render))
        .with_state(health)
}

async fn ready(State(health): State<Health>) -> Response {
    let asked = tokio::time::timeout(Duration::from_secs(2), health.engine.store().ping()).await;
    let database = matches!(asked, Ok(Ok(())));
    let disk = health
        .disk
        .as_ref()
        .is_none_or(|(folder, needed)| free(folder).is_none_or(|free| free >= *needed));
    let running = !health.stop.is_cancelled();
    let writes = health.engine.condition().writes_failing_since.is_none();
    // Devices poll by themselves after a NotNow and at the next push: a line to APNs that is down is told, but
    // what comes from devices is taken all the same.
    let push = health.engine.push().status();
    let stopped = push
        .topics
        .iter()
        .filter(|topic| topic.stopped.is_some())
        .count();
    let checks = json!({
        "database": database,
        "writes": writes,
        "disk": disk,
        "running": running,
        "push": { "reachable": push.outage_since.is_none(), "stopped_topics": stopped },
    });
    let status = match database && writes && disk && running {
        true => StatusCode::OK,
        false => StatusCode::SERVICE_UNAVAILABLE,
    };
    (status, Json(checks)).into_response()
}

/// The free bytes of the disk that holds `folder`.
fn free(folder: &PathBuf) -> Option<u64> {
    let about = rustix::fs::statvfs(folder).ok()?;
    about.f_bavail.checked_mul(about.f_frsize)
}

async fn render(
    State(health): State<Health>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
) -> Response {
    if !peer.ip().to_canonical().is_loopback() {
        return StatusCode::NOT_FOUND.into_response();
    }
    health.metrics.run_upkeep();
    health.metrics.render().into_response()
}
