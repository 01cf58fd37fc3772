//! A listener: takes connections, as many as it may.
//!
//! Owns: the limit of connections and the check of where they come from. A connection beyond the limit waits
//! in the system's queue, where it costs nothing.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;
use axum::Router;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::connection;
use super::limits::Limits;
use super::tls::Reloading;
use crate::settings::Trusted;

/// Whose connections are taken.
#[derive(Clone, Debug)]
pub(crate) enum Peers {
    /// Everybody's.
    All,
    /// Those of a proxy.
    Only(Trusted),
}

/// An open listener.
pub(crate) struct Listener {
    pub(crate) name: &'static str,
    pub(crate) address: SocketAddr,
    pub(crate) tls: Option<Reloading>,
    socket: TcpListener,
    router: Router,
    connections: Arc<Semaphore>,
    peers: Peers,
}

impl Listener {
    /// Opens the socket.
    pub(crate) async fn bind(
        name: &'static str,
        address: SocketAddr,
        router: Router,
        tls: Option<Reloading>,
        max_connections: u32,
        peers: Peers,
    ) -> anyhow::Result<Self> {
        let socket = TcpListener::bind(address).await.with_context(|| {
            format!("cannot listen on {address}; is another server running? ({name}.listen)")
        })?;
        Ok(Self {
            name,
            address: socket.local_addr().context("the address of a socket")?,
            tls,
            socket,
            router,
            connections: Arc::new(Semaphore::new(max_connections.try_into()?)),
            peers,
        })
    }

    /// Takes connections until `stop`.
    pub(crate) async fn run(self, limits: Limits, stop: CancellationToken, tasks: TaskTracker) {
        loop {
            let permit = tokio::select! {
                () = stop.cancelled() => return,
                permit = self.connections.clone().acquire_owned() => permit,
            };
            let Ok(permit) = permit else { return };
            let accepted = tokio::select! {
                () = stop.cancelled() => return,
                accepted = self.socket.accept() => accepted,
            };
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of files, or the peer is gone already; without a pause the first would spin.
                    tracing::warn!(listener = self.name, %error, "a connection was not accepted");
                    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                    continue;
                }
            };
            if let Peers::Only(trusted) = &self.peers
                && !trusted.contains(peer.ip())
            {
                metrics::counter!("pomona_connections_refused", "listener" => self.name)
                    .increment(1);
                tracing::debug!(listener = self.name, %peer, "the peer is not in proxy.trusted");
                continue;
            }
            let _ = stream.set_nodelay(true);
            let open = connection::Open {
                listener: self.name,
                stream,
                peer,
                tls: self.tls.as_ref().map(Reloading::current),
                router: self.router.clone(),
                limits,
            };
            let stop = stop.clone();
            tasks.spawn(async move {
                let gauge = metrics::gauge!("pomona_connections", "listener" => open.listener);
                gauge.increment(1);
                connection::run(open, stop).await;
                gauge.decrement(1);
                drop(permit);
            });
        }
    }
}
