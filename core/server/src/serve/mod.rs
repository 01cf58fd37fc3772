//! `pomona serve`: starts what there is, and ends it in order.
//!
//! Owns: the order of starting and stopping. At a signal the listeners take nothing more, running requests
//! finish within a time limit, and the engine drains its writer; what is left after that is safe, since nothing
//! was acknowledged that is not stored.

mod activity;
mod connection;
mod engine;
mod health;
mod limits;
mod listener;
mod tls;

use std::time::Duration;

use anyhow::Context;
use metrics_exporter_prometheus::PrometheusHandle;
use pomona_engine::Engine;
use pomona_engine::hooks::Hooks;
use pomona_engine::http::{IdentitySource, admin_router, device_router, plugin_router};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::init::open_store;
use crate::plugin::{Manager, Outside, Trust};
use crate::settings::Settings;
use crate::telemetry;
use listener::{Listener, Peers};
use tls::Reloading;

/// Runs the server until it is told to stop.
pub(crate) async fn serve(settings: Settings) -> anyhow::Result<()> {
    telemetry::log(settings.log_format, &settings.log_filter)?;
    let metrics = telemetry::metrics()?;
    raise_open_files();
    let stop = CancellationToken::new();
    let tasks = TaskTracker::new();
    watch_signals(&stop)?;

    // Files that cannot be read stop the start before anything is touched.
    let tls = Tls::open(&settings)?;
    let options = engine::options(&settings)?;
    let transport = engine::transport(&settings)?;
    let store = open_store(&settings).await?;
    let engine = Engine::start(store.clone(), options, Hooks::default(), transport)
        .await
        .context("cannot start the engine")?;
    let listeners = listeners(&settings, &engine, &tls, metrics, &stop).await?;
    if settings.plugins_enabled {
        let trust = Trust {
            keys: settings.plugins_trusted_keys.0.clone(),
            organisation: settings.plugins_organisation_keys.0.clone(),
            anybody: settings.plugins_allow_unsigned,
        };
        let own = listeners.iter().map(|listener| listener.address.port());
        let outside = Outside::new(engine::plugin_authorities(&settings)?, own.collect());
        let cache = settings.plugins_cache_folder.as_deref();
        Manager::start(&engine, trust, outside, cache, stop.clone())
            .await
            .context(
                "plugins cannot be run here; switch plugins.enabled off to start without them",
            )?;
    }
    for reloading in [Some(tls.devices), tls.admin].into_iter().flatten() {
        tasks.spawn(reloading.watch(stop.clone()));
    }
    for listener in listeners {
        tracing::info!(
            listener = listener.name,
            address = %listener.address,
            tls = listener.tls.is_some(),
            "listening"
        );
        tasks.spawn(listener.run(limits::Limits::from(&settings), stop.clone(), tasks.clone()));
    }
    // Read by people and by programs that started this one: from here on connections are taken.
    tracing::info!(public_url = %settings.public_url, "ready");

    stop.cancelled().await;
    tracing::info!("stopping");
    tasks.close();
    if tokio::time::timeout(settings.limits_stop, tasks.wait())
        .await
        .is_err()
    {
        tracing::warn!("some requests did not finish in time and are cut off");
    }
    engine.stop().await;
    store.close().await;
    tracing::info!("stopped");
    Ok(())
}

/// The TLS of the listeners that have it.
struct Tls {
    devices: Reloading,
    admin: Option<Reloading>,
}

impl Tls {
    fn open(settings: &Settings) -> anyhow::Result<Self> {
        let devices = Reloading::open(
            &settings.devices_tls_certificate,
            &settings.devices_tls_key,
            tls::Ask::Certificate,
        )?;
        let admin = match (&settings.admin_tls_certificate, &settings.admin_tls_key) {
            (Some(certificate), Some(key)) => {
                Some(Reloading::open(certificate, key, tls::Ask::Nothing)?)
            }
            _ => None,
        };
        Ok(Self { devices, admin })
    }
}

/// Opens every listener, or none.
async fn listeners(
    settings: &Settings,
    engine: &Engine,
    tls: &Tls,
    metrics: PrometheusHandle,
    stop: &CancellationToken,
) -> anyhow::Result<Vec<Listener>> {
    let health = health::router(engine.clone(), metrics, settings, stop.clone());
    let admin = admin_router(engine.clone(), stop.clone())
        .merge(health)
        .merge(plugin_router(engine.clone()));
    let mut listeners = vec![
        Listener::bind(
            "admin",
            settings.admin_listen,
            admin,
            tls.admin.clone(),
            settings.admin_max_connections,
            Peers::All,
        )
        .await?,
        Listener::bind(
            "devices",
            settings.devices_listen,
            device_router(engine.clone(), IdentitySource::Tls),
            Some(tls.devices.clone()),
            settings.devices_max_connections,
            Peers::All,
        )
        .await?,
    ];
    if let Some(address) = settings.proxy_listen {
        let source = IdentitySource::Proxy {
            trusted: settings.proxy_trusted.addresses(),
        };
        listeners.push(
            Listener::bind(
                "proxy",
                address,
                device_router(engine.clone(), source),
                None,
                settings.proxy_max_connections,
                Peers::Only(settings.proxy_trusted.clone()),
            )
            .await?,
        );
    }
    Ok(listeners)
}

/// Cancels `stop` at TERM and INT; a second signal ends the process at once.
fn watch_signals(stop: &CancellationToken) -> anyhow::Result<()> {
    let mut term = signal(SignalKind::terminate()).context("cannot wait for signals")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for signals")?;
    let stop = stop.clone();
    tokio::spawn(async move {
        for _ in 0..2 {
            tokio::select! {
                _ = term.recv() => {}
                _ = interrupt.recv() => {}
            }
            if stop.is_cancelled() {
                std::process::exit(1);
            }
            stop.cancel();
        }
    });
    Ok(())
}

/// Every connection is an open file; the soft limit is often far below what the system allows.
fn raise_open_files() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "the limit of open files could not be raised");
    }
}

/// How often files and idle connections are looked at.
const TICK: Duration = Duration::from_secs(5);
