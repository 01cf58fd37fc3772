//! Which hooks are in force, and for whom.
//!
//! Owns: the sets of hooks by tenant, replaced as a whole while the engine runs. Calls no hook: who asks, gets a set that
//! stays the same for as long as he holds it.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::watch;

use super::{EventObserver, Hooks};
use crate::event::EventKind;
use crate::ids::TenantId;

/// The hooks in force. Clones share it.
#[derive(Clone)]
pub struct HookTable(Arc<Inner>);

struct Inner {
    sets: ArcSwap<Sets>,
    changes: watch::Sender<u64>,
}

#[derive(Default)]
struct Sets {
    everywhere: Arc<Hooks>,
    tenants: HashMap<TenantId, Arc<Hooks>>,
    observers: Vec<Watching>,
    generation: u64,
}

/// An observer, and whose events it gets: those of one tenant, or of all.
#[derive(Clone)]
pub(crate) struct Watching {
    pub(crate) tenant: Option<TenantId>,
    pub(crate) observer: Arc<dyn EventObserver>,
}

impl From<Hooks> for HookTable {
    /// The same hooks for every tenant.
    fn from(everywhere: Hooks) -> Self {
        let observers = watching(None, &everywhere).collect();
        let (changes, _) = watch::channel(0);
        Self(Arc::new(Inner {
            sets: ArcSwap::from_pointee(Sets {
                everywhere: Arc::new(everywhere),
                tenants: HashMap::new(),
                observers,
                generation: 0,
            }),
            changes,
        }))
    }
}

impl Default for HookTable {
    fn default() -> Self {
        Hooks::default().into()
    }
}

impl std::fmt::Debug for HookTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let sets = self.0.sets.load();
        f.debug_struct("HookTable")
            .field("everywhere", &sets.everywhere)
            .field("tenants", &sets.tenants.len())
            .finish()
    }
}

impl HookTable {
    /// The hooks of a tenant.
    pub fn of(&self, tenant: TenantId) -> Arc<Hooks> {
        let sets = self.0.sets.load();
        sets.tenants
            .get(&tenant)
            .unwrap_or(&sets.everywhere)
            .clone()
    }

    /// The number of the hooks that are in force, raised with every replacement. Who reads it before the hooks never takes
    /// what former hooks said for the word of the present ones.
    pub(crate) fn generation(&self) -> u64 {
        self.0.sets.load().generation
    }

    /// Puts other hooks in force for the tenants that are named; what holds everywhere stays and comes first. Calls
    /// that are under way end with the hooks they began with.
    pub fn replace(&self, tenants: HashMap<TenantId, Hooks>) {
        let before = self.0.sets.load();
        let everywhere = before.everywhere.clone();
        let mut observers: Vec<Watching> = watching(None, &everywhere).collect();
        for (tenant, hooks) in &tenants {
            observers.extend(watching(Some(*tenant), hooks));
        }
        let tenants = tenants
            .into_iter()
            .map(|(tenant, own)| (tenant, Arc::new(everywhere.followed_by(own))))
            .collect();
        self.0.sets.store(Arc::new(Sets {
            everywhere,
            tenants,
            observers,
            generation: before.generation + 1,
        }));
        self.0.changes.send_modify(|changes| *changes += 1);
    }

    /// Everyone who watches events now.
    pub(crate) fn observers(&self) -> Vec<Watching> {
        self.0.sets.load().observers.clone()
    }

    /// The tenants that have hooks of their own, and those hooks.
    pub(crate) fn tenants(&self) -> Vec<(TenantId, Arc<Hooks>)> {
        let sets = self.0.sets.load();
        sets.tenants
            .iter()
            .map(|(tenant, hooks)| (*tenant, hooks.clone()))
            .collect()
    }

    /// The hooks that hold in every tenant.
    pub(crate) fn everywhere(&self) -> Arc<Hooks> {
        self.0.sets.load().everywhere.clone()
    }

    /// Tells of every replacement.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.0.changes.subscribe()
    }

    /// Who must handle an event of this kind in this tenant, by name.
    pub(crate) fn readers(&self, tenant: TenantId, kind: EventKind) -> Vec<String> {
        self.0
            .sets
            .load()
            .observers
            .iter()
            .filter(|watching| watching.tenant.is_none_or(|only| only == tenant))
            .filter(|watching| watching.observer.wants(kind))
            .map(|watching| watching.observer.name().to_owned())
            .collect()
    }

    /// Whether anybody watches events at all.
    pub(crate) fn watched(&self) -> bool {
        !self.0.sets.load().observers.is_empty()
    }
}

fn watching(tenant: Option<TenantId>, hooks: &Hooks) -> impl Iterator<Item = Watching> {
    hooks.observers.iter().map(move |observer| Watching {
        tenant,
        observer: observer.clone(),
    })
}
