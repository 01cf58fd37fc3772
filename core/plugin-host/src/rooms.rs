//! How many calls are made at the same time.
//!
//! Owns: the places: so many for a plugin in a tenant, for a tenant, and for all; and those of instances that wait. Who finds none waits, in the order of coming, so
//! that no tenant takes the places of the others, and no plugin alone those of its tenant. Ends no call.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use pomona_engine::TenantId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};

/// Calls of one plugin for one tenant at the same time.
const OF_A_PLUGIN: usize = 8;
/// Calls of one tenant at the same time.
const OF_A_TENANT: usize = 16;
/// Calls at the same time in the whole process.
pub(crate) const OF_ALL: u32 = 256;
/// Calls beside them whose answers are only compared.
pub(crate) const ASIDE: u32 = 16;
/// Instances of a tenant that wait for their next call.
const WARM_OF_A_TENANT: usize = 16;
/// Instances that wait for their next call in the whole process.
pub(crate) const WARM: u32 = 64;

/// The places of a plugin in a tenant.
#[derive(Debug)]
pub(crate) struct Room(Semaphore);

impl Default for Room {
    fn default() -> Self {
        Self(Semaphore::new(OF_A_PLUGIN))
    }
}

/// The places of a process.
pub(crate) struct Rooms {
    all: Semaphore,
    aside: Arc<Semaphore>,
    warm: Arc<Semaphore>,
    tenants: Mutex<HashMap<TenantId, OfTenant>>,
}

/// The places of a tenant.
#[derive(Clone)]
struct OfTenant {
    calls: Arc<Semaphore>,
    warm: Arc<Semaphore>,
}

impl Default for OfTenant {
    fn default() -> Self {
        Self {
            calls: Arc::new(Semaphore::new(OF_A_TENANT)),
            warm: Arc::new(Semaphore::new(WARM_OF_A_TENANT)),
        }
    }
}

/// The place of an instance that waits for its next call, as long as it is kept.
pub(crate) struct WarmPlace {
    _tenant: OwnedSemaphorePermit,
    _all: OwnedSemaphorePermit,
}

/// The places that a call has, as long as it is kept; none for a call beside the others.
#[derive(Default)]
pub(crate) struct Place<'a> {
    _own: Option<SemaphorePermit<'a>>,
    _tenant: Option<OwnedSemaphorePermit>,
    _all: Option<SemaphorePermit<'a>>,
}

impl Rooms {
    /// Places for so many calls.
    pub(crate) fn new(all: u32) -> Self {
        Self {
            all: Semaphore::new(all as usize),
            aside: Arc::new(Semaphore::new(ASIDE as usize)),
            warm: Arc::new(Semaphore::new(WARM as usize)),
            tenants: Mutex::default(),
        }
    }

    /// A place for a call whose answer is only compared, if one is free; nobody waits for one.
    pub(crate) fn beside(&self) -> Option<OwnedSemaphorePermit> {
        self.aside.clone().try_acquire_owned().ok()
    }

    /// A place for an instance that waits for its next call, if one is free.
    pub(crate) fn warm(&self, tenant: TenantId) -> Option<WarmPlace> {
        Some(WarmPlace {
            _tenant: self.of(tenant).warm.try_acquire_owned().ok()?,
            _all: self.warm.clone().try_acquire_owned().ok()?,
        })
    }

    fn of(&self, tenant: TenantId) -> OfTenant {
        self.tenants.lock().entry(tenant).or_default().clone()
    }

    /// Waits for a place: first for one of the plugin's `own`, then for one of the tenant's, then for one of all.
    pub(crate) async fn enter<'a>(&'a self, own: &'a Room, tenant: TenantId) -> Place<'a> {
        let of_tenant = self.of(tenant);
        // None of them is ever closed, so there is no error to tell.
        Place {
            _own: own.0.acquire().await.ok(),
            _tenant: of_tenant.calls.acquire_owned().await.ok(),
            _all: self.all.acquire().await.ok(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn now<F: Future>(future: F) -> Option<F::Output> {
        match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(output) => Some(output),
            Poll::Pending => None,
        }
    }

    #[test]
    fn no_tenant_takes_all_places_of_waiting_instances() {
        let rooms = Rooms::new(1);
        let tenant = |n| TenantId(uuid::Uuid::from_u128(n));
        let mut held: Vec<WarmPlace> = Vec::new();
        for n in 0..4 {
            for _ in 0..16 {
                held.push(rooms.warm(tenant(n)).unwrap());
            }
            assert!(rooms.warm(tenant(n)).is_none(), "the tenant's own");
        }
        assert!(rooms.warm(tenant(9)).is_none(), "all of them");
        held.truncate(63);
        assert!(rooms.warm(tenant(9)).is_some());
    }

    #[test]
    fn a_full_tenant_and_a_full_plugin_wait_and_the_others_do_not() {
        let rooms = Rooms::new(20);
        let (a, b) = (
            TenantId(uuid::Uuid::from_u128(1)),
            TenantId(uuid::Uuid::from_u128(2)),
        );
        let plugins: Vec<Room> = (0..4).map(|_| Room::default()).collect();
        let mut held = Vec::new();
        for _ in 0..8 {
            held.push(now(rooms.enter(&plugins[0], a)).unwrap());
        }
        assert!(now(rooms.enter(&plugins[0], a)).is_none(), "its own eight");
        for _ in 0..8 {
            held.push(now(rooms.enter(&plugins[1], a)).unwrap());
        }
        assert!(now(rooms.enter(&plugins[2], a)).is_none(), "the tenant's");
        for _ in 0..4 {
            held.push(now(rooms.enter(&plugins[3], b)).unwrap());
        }
        assert!(now(rooms.enter(&plugins[3], b)).is_none(), "all of them");
        drop(held);
        assert!(
            now(rooms.enter(&plugins[0], a)).is_some(),
            "one who gave up holds no place"
        );
        assert!(now(rooms.enter(&plugins[3], b)).is_some());
    }
}
