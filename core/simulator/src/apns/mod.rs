//! A push service: Apple's interface towards the server, a registry towards simulated devices.

mod registry;

pub use registry::{Push, Registration, Token};

use std::sync::Arc;

use tokio::sync::Notify;

/// A running push service.
#[derive(Clone, Debug)]
pub struct ApnsHandle {
    registry: Arc<registry::Registry>,
}

impl ApnsHandle {
    /// Makes a token known.
    #[must_use]
    pub fn register(&self, token: Token, topic: &str, waker: Arc<Notify>) -> Registration {
        self.registry.register(token, topic, waker)
    }
}
