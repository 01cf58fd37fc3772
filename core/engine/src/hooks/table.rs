//! Which hooks are in force, and for whom.
//!
//! Owns: the sets of hooks by tenant, replaced as a whole while the engine runs. Calls no hook: who asks, gets a set that
//! stays the same for as long as he holds it.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use tokio::sync::watch;

use super::{CommandValidateHook, EventObserver, Hooks};
use crate::event::EventKind;
use crate::ids::TenantId;

/// The number of the judges of a tenant that has no hooks of its own.
const EVERYWHERE: u64 = 0;

/// The hooks in force. Clones share it.
#[derive(Clone)]
pub struct HookTable(Arc<Inner>);

struct Inner {
    sets: ArcSwap<Sets>,
    changes: watch::Sender<u64>,
    /// Names what judges commands; never the same number twice.
    judges: AtomicU64,
}

#[derive(Default)]
struct Sets {
    everywhere: Arc<Hooks>,
    tenants: HashMap<TenantId, Own>,
    observers: Vec<Watching>,
}

/// The hooks of a tenant.
#[derive(Clone)]
struct Own {
    hooks: Arc<Hooks>,
    judges: u64,
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
            }),
            changes,
            judges: AtomicU64::new(EVERYWHERE),
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
        self.judging(tenant).0
    }

    /// The same with a number that names those of them that judge commands: with others it is another one.
    pub(crate) fn judging(&self, tenant: TenantId) -> (Arc<Hooks>, u64) {
        let sets = self.0.sets.load();
        match sets.tenants.get(&tenant) {
            Some(own) => (own.hooks.clone(), own.judges),
            None => (sets.everywhere.clone(), EVERYWHERE),
        }
    }

    /// Puts other hooks in force for the tenants that are named; what holds everywhere stays and comes first. Calls
    /// that are under way end with the hooks they began with.
    pub fn replace(&self, tenants: HashMap<TenantId, Hooks>) {
        self.0.sets.rcu(|before| {
            let everywhere = before.everywhere.clone();
            let mut observers: Vec<Watching> = watching(None, &everywhere).collect();
            let mut own = HashMap::with_capacity(tenants.len());
            for (tenant, hooks) in &tenants {
                observers.extend(watching(Some(*tenant), hooks));
                let hooks = Arc::new(everywhere.followed_by(hooks.clone()));
                let former = before.tenants.get(tenant);
                let judges = match former.filter(|former| same_judges(&former.hooks, &hooks)) {
                    Some(former) => former.judges,
                    None => self.0.judges.fetch_add(1, Ordering::Relaxed) + 1,
                };
                own.insert(*tenant, Own { hooks, judges });
            }
            Sets {
                everywhere,
                tenants: own,
                observers,
            }
        });
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
            .map(|(tenant, own)| (*tenant, own.hooks.clone()))
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

/// Whether somebody who judged commands does so no more.
pub(crate) fn lost_judge(before: &Hooks, now: Option<&Hooks>) -> bool {
    let now: Vec<_> = now.into_iter().flat_map(judges).collect();
    judges(before).any(|judge| !now.contains(&judge))
}

/// Whether the same hooks judge commands, in the same order.
fn same_judges(one: &Hooks, other: &Hooks) -> bool {
    judges(one).eq(judges(other))
}

/// Which hooks judge commands, by the place in which each stands for as long as it is held.
fn judges(hooks: &Hooks) -> impl Iterator<Item = *const ()> {
    let place = |hook: &Arc<dyn CommandValidateHook>| Arc::as_ptr(hook).cast();
    hooks.validate.iter().map(place)
}

fn watching(tenant: Option<TenantId>, hooks: &Hooks) -> impl Iterator<Item = Watching> {
    hooks.observers.iter().map(move |observer| Watching {
        tenant,
        observer: observer.clone(),
    })
}
