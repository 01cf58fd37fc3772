//! HTTP: what devices and administrators say to the engine.
//!
//! Owns: routes, reading of requests and writing of answers. axum is used only under this folder.

mod admin;
mod enroll;
mod error;
mod identity;
mod mdm;
mod pace;
mod plugins;
mod scep;

use std::net::IpAddr;

use axum::Router;

use crate::engine::Engine;

pub use admin::{Access, admin_router, openapi_json};
pub use enroll::enroll_router;
pub use identity::IdentitySource;
pub use plugins::plugin_router;
pub use scep::scep_router;

/// The certificate that the peer of a TLS connection showed, as DER. The listener puts it into the extensions
/// of each request; it has checked that the peer holds the key, and nothing else.
#[derive(Clone, Debug)]
pub struct TlsPeer(pub Option<Vec<u8>>);

/// The address of the peer of a connection. The listener puts it into the extensions of each request.
#[derive(Clone, Copy, Debug)]
pub struct PeerAddress(pub IpAddr);

/// Everything that devices reach on one listener.
pub fn device_router(engine: Engine, source: IdentitySource) -> Router {
    let issuer = engine.issuer().clone();
    mdm::router(engine, source)
        .merge(scep_router(issuer.clone()))
        .merge(enroll_router(issuer))
}
