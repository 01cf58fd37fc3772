//! Instances that are used again.
//!
//! Owns: the instances of one hook of a plugin in a tenant that wait for their next call, where the plugin holds the right `reuse`:
//! how many, how long, and for how many calls. What ended in a trap, at a limit or with a caller who left never comes here, nor does
//! a rehearsal; and with the settings, the rights or the version the whole rack goes. Makes no call.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;
use wasmtime::Store;
use wasmtime::component::Instance;

use crate::call::{CallState, seed_of};
use crate::rooms::WarmPlace;

/// Instances of a hook of a plugin in a tenant that wait at the same time.
const OF_A_HOOK: usize = 4;
/// How long one waits; it goes when somebody looks for such ones, at most as long again later.
const IDLE: Duration = Duration::from_secs(30);
/// Calls that an instance serves: at least so many, at most twice as many. How many is drawn, so that nobody relies on it.
const CALLS: u32 = 50;

/// An instance between two calls.
pub(crate) struct Warm {
    pub(crate) store: Store<CallState>,
    pub(crate) instance: Instance,
    /// Calls that it will still serve.
    left: u32,
    since: Instant,
    _place: WarmPlace,
}

impl Warm {
    /// An instance that has answered its first call.
    pub(crate) fn first(store: Store<CallState>, instance: Instance, place: WarmPlace) -> Self {
        let drawn = seed_of(store.data().call_id()) % u64::from(CALLS);
        Self {
            store,
            instance,
            left: CALLS + u32::try_from(drawn).unwrap_or(0) - 1,
            since: Instant::now(),
            _place: place,
        }
    }
}

/// The instances of a hook of a plugin in a tenant that wait.
#[derive(Default)]
pub(crate) struct Rack(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    instances: Vec<Warm>,
    /// Whether somebody will come and look for those that have waited too long.
    watched: bool,
}

impl Rack {
    /// The one that was used last, and has the most in the processor's caches.
    pub(crate) fn take(&self) -> Option<Warm> {
        self.0.lock().instances.pop()
    }

    /// Puts one back that has answered. It is let go when it has served its calls or nothing more has room here.
    pub(crate) fn put(self: &Arc<Self>, mut warm: Warm) {
        if warm.left == 0 {
            return;
        }
        warm.left -= 1;
        warm.since = Instant::now();
        let mut waiting = self.0.lock();
        if waiting.instances.len() < OF_A_HOOK {
            waiting.instances.push(warm);
        }
        if !std::mem::replace(&mut waiting.watched, true) {
            // Nothing here keeps the rack alive: with what it belongs to, its instances go at once.
            let rack = Arc::downgrade(self);
            tokio::spawn(async move {
                loop {
                    tokio::time::sleep(IDLE).await;
                    match rack.upgrade() {
                        Some(rack) if rack.cool() => {}
                        _ => return,
                    }
                }
            });
        }
    }

    /// Lets go of those that have waited too long. Tells whether any is left to look for.
    fn cool(&self) -> bool {
        let mut waiting = self.0.lock();
        waiting.instances.retain(|warm| warm.since.elapsed() < IDLE);
        waiting.watched = !waiting.instances.is_empty();
        waiting.watched
    }
}
