//! The limits of connections and requests.
//!
//! Owns: how long and how large things may be. Nothing that a peer does or leaves undone holds memory or a
//! connection for longer.

use std::time::Duration;

use crate::settings::Settings;

/// The most bytes of a request's header.
pub(crate) const HEADER_BYTES: usize = 64 * 1024;
/// The most streams of one HTTP/2 connection at a time.
pub(crate) const STREAMS: u32 = 64;
/// The most bytes in flight of one HTTP/2 stream, and of one connection.
pub(crate) const STREAM_WINDOW: u32 = 256 * 1024;
pub(crate) const CONNECTION_WINDOW: u32 = 1024 * 1024;

/// How long things may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) handshake: Duration,
    pub(crate) header: Duration,
    pub(crate) body_idle: Duration,
    pub(crate) request: Duration,
}

impl From<&Settings> for Limits {
    fn from(settings: &Settings) -> Self {
        Self {
            handshake: settings.limits_handshake,
            header: settings.limits_header,
            body_idle: settings.limits_body_idle,
            request: settings.limits_request,
        }
    }
}
