//! Keeps what runs equal to what is installed and switched on.
//!
//! Owns: the loaded plugins of this node. A reconciler without input: it looks at the database when something was changed here,
//! and from time to time, since another node may have changed it.

mod asked;
mod loaded;
mod settings;
mod states;
mod trial;

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use pomona_engine::admin::plugin_order::PluginOrder;
use pomona_engine::clock::Micros;
use pomona_engine::hooks::Hooks;
use pomona_engine::{Engine, PluginRow, SwitchRow, TenantId};
use pomona_plugin_host::{Capabilities, Enabled, Runtime, Services, Shelf};
use tokio_util::sync::CancellationToken;

use super::compile::Compiler;
use super::outside::Outside;
use super::services::Served;
use super::trust::Trust;
use loaded::{Loaded, Tried};
pub(super) use settings::schema_of;

/// How often the database is looked at when nobody asks for it.
const POLL: Duration = Duration::from_secs(10);

/// A switch as it was taken up.
struct TakenUp {
    digest: String,
    granted: Capabilities,
    failure: Option<String>,
    row: SwitchRow,
    enabled: Arc<Enabled>,
}

/// Runs plugins for the engine.
pub(crate) struct Manager {
    runtime: Runtime,
    compiler: Compiler,
    engine: Engine,
    trust: Trust,
    services: Arc<dyn Services>,
    loaded: Mutex<HashMap<String, Loaded>>,
    /// Packages that cannot even be read: when they were installed, and why.
    unreadable: Mutex<HashMap<String, (Micros, String)>>,
    taken_up: Mutex<HashMap<(TenantId, String), TakenUp>>,
    suspended: Mutex<Vec<String>>,
    orders: Mutex<HashMap<String, PluginOrder>>,
    /// Versions on trial beside them.
    trials: trial::Trials,
    /// What tenants have switched on.
    switched: Mutex<Vec<(TenantId, String)>>,
    states: Mutex<states::Counts>,
    /// Held while what stands in the database is read and put in force, which takes no time.
    settling: tokio::sync::Mutex<()>,
    /// Held while code is made ready, which can take minutes.
    loading: tokio::sync::Mutex<()>,
}

impl Manager {
    /// Attaches itself to the engine and takes up what is switched on.
    pub(crate) async fn start(
        engine: &Engine,
        trust: Trust,
        outside: Outside,
        cache: Option<&Path>,
        stop: CancellationToken,
    ) -> anyhow::Result<()> {
        let runtime = Runtime::new()?;
        let shelf = cache.and_then(|folder| shelf(engine, folder));
        let manager = Arc::new(Self {
            compiler: Compiler::new(&runtime, shelf),
            runtime,
            engine: engine.clone(),
            trust,
            services: Arc::new(Served {
                engine: engine.clone(),
                outside,
            }),
            loaded: Mutex::default(),
            unreadable: Mutex::default(),
            taken_up: Mutex::default(),
            suspended: Mutex::default(),
            orders: Mutex::default(),
            trials: trial::Trials::new(engine),
            switched: Mutex::default(),
            states: Mutex::default(),
            settling: tokio::sync::Mutex::default(),
            loading: tokio::sync::Mutex::default(),
        });
        if let Some(warning) = manager.trust.policy().warning {
            tracing::warn!("{warning}");
        }
        engine.attach_plugins(manager.clone());
        // Nobody is served before everything that is switched on has been taken up.
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            taken_up = manager.reconcile() => taken_up?,
        }
        tokio::spawn(manager.trials.tally().write_all(stop.clone()));
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(POLL) => {}
                }
                // Not waited for: what is to stop is looked for also while code is made ready.
                let manager = manager.clone();
                tokio::spawn(async move { manager.look().await });
            }
        });
        Ok(())
    }

    /// Makes what runs equal to what stands in the database. What is to stop has stopped before the first code is made ready.
    async fn reconcile(&self) -> pomona_engine::Result<()> {
        let settled = async {
            if self.settle(&[]).await?.is_some() {
                let _one = self.loading.lock().await;
                self.load_all().await?;
            }
            self.settle_trials().await
        };
        let settled = settled.await;
        self.tell_states();
        settled
    }

    /// The same from time to time, leaving the loading to whoever is at it.
    async fn look(&self) {
        let looked = async {
            if self.settle(&[]).await?.is_some()
                && let Ok(_one) = self.loading.try_lock()
            {
                self.load_all().await?;
            }
            self.settle_trials().await
        };
        unanswered(looked.await);
        self.tell_states();
    }

    /// Puts versions on trial beside the active ones when they have looked at settings that are new to them.
    async fn settle_trials(&self) -> pomona_engine::Result<()> {
        if self.judge_trials().await? {
            self.settle(&[]).await?;
        }
        Ok(())
    }

    async fn load_all(&self) -> pomona_engine::Result<()> {
        let mut tried = Vec::new();
        // Each time the rows are read again: making one ready can take minutes, in which others are changed.
        while let Some((row, failures)) = self.settle(&tried).await? {
            self.load(&row, failures).await?;
            tried.push((row.id, row.installed_at, row.rights));
        }
        Ok(())
    }

    /// Puts in force what can be without making anything ready. Gives the next plugin that has to be made ready, but for those
    /// that were `tried`, and how often that has failed.
    async fn settle(&self, tried: &[Tried]) -> pomona_engine::Result<Option<(PluginRow, u32)>> {
        let _settling = self.settling.lock().await;
        let store = self.engine.store();
        // The switches first: when a version comes into force in between, its plugin is seen, and its settings a moment later.
        let mut switches = store.plugin_switches().await?;
        let plugins = store.plugins().await?;
        let orders = store.plugin_orders().await?;
        // Stable: within a rank they stay sorted by id.
        switches.sort_by_key(|row| orders.get(&row.plugin).copied().unwrap_or_default().rank());
        let revocations = store.plugin_revocations().await?;
        let trials = store.plugin_trials().await?;
        let on_trial = trial::rows(&plugins, &trials);
        self.trials.note(trials);
        let plugin_of = |row: &PluginRow| trial::on_trial(&row.id).unwrap_or(&row.id).to_owned();
        let wanted: Vec<&PluginRow> = (plugins.iter().chain(&on_trial))
            .filter(|row| {
                switches
                    .iter()
                    .any(|switch| switch.plugin == plugin_of(row))
            })
            .collect();
        let row_of = |id: &str| wanted.iter().find(|row| row.id == id);
        {
            let mut loaded = self.loaded.lock();
            // Of a suspended plugin only what would be resumed is kept.
            loaded.retain(|id, loaded| {
                row_of(id).is_some_and(|row| !row.suspended || loaded.is(row, &revocations))
            });
            for (id, loaded) in loaded.iter_mut() {
                loaded.stop_if_revoked(&revocations);
                row_of(id).into_iter().for_each(|row| loaded.narrow(row));
            }
        }
        self.unreadable
            .lock()
            .retain(|id, (at, _)| row_of(id).is_some_and(|row| row.installed_at == *at));
        let suspended: Vec<String> = (plugins.iter().filter(|row| row.suspended))
            .map(|row| row.id.clone())
            .collect();
        let before = std::mem::replace(&mut *self.suspended.lock(), suspended.clone());
        *self.switched.lock() = (switches.iter())
            .map(|row| (row.tenant, row.plugin.clone()))
            .collect();
        let reordered = std::mem::replace(&mut *self.orders.lock(), orders.clone()) != orders;
        self.take_up(&plugins, &switches, before != suspended || reordered);
        let (loaded, unreadable) = (self.loaded.lock(), self.unreadable.lock());
        let next = wanted.iter().find(|row| {
            let tried = tried.iter().any(|(id, at, rights)| {
                (id, at, rights) == (&row.id, &row.installed_at, &row.rights)
            });
            // What is suspended is not loaded, not even to look whether it could run.
            let stands = loaded
                .get(&row.id)
                .is_some_and(|it| it.is(row, &revocations));
            !row.suspended && !tried && !stands && !unreadable.contains_key(&row.id)
        });
        Ok(next.map(|row| {
            let known = loaded.get(&row.id).filter(|it| it.digest == row.digest);
            let failures = known.and_then(|it| it.again).map_or(0, |(times, _)| times);
            ((*row).clone(), failures)
        }))
    }

    /// Puts the hooks of everything that is switched on in force. What has not changed stays as it is, with its figures.
    /// A version that is about to be replaced goes on with the settings that it had: those in the rows are for the next.
    fn take_up(&self, plugins: &[PluginRow], switches: &[SwitchRow], mut changed: bool) {
        let (by_id, suspended) = (self.loaded.lock().clone(), self.suspended.lock().clone());
        let mut taken_up = self.taken_up.lock();
        let mut before = std::mem::take(&mut *taken_up);
        let mut hooks: HashMap<TenantId, Hooks> = HashMap::new();
        let mut trials = self.trials.begin();
        for row in switches {
            let Some(loaded) = by_id.get(&row.plugin) else {
                continue;
            };
            let key = (row.tenant, row.plugin.clone());
            let mut row = row.clone();
            let installed = plugins.iter().find(|it| it.id == row.plugin);
            if installed.is_some_and(|it| it.digest != loaded.digest)
                && let Some(old) = before.get(&key)
            {
                row.settings = old.row.settings.clone();
                row.switched_at = old.row.switched_at;
            }
            let failure = loaded.plugin.as_ref().err().map(ToString::to_string);
            let kept = before.remove(&key).filter(|old| {
                old.row == row
                    && old.digest == loaded.digest
                    && old.granted == loaded.granted
                    && old.failure == failure
            });
            changed |= kept.is_none();
            let now = kept.unwrap_or_else(|| TakenUp {
                digest: loaded.digest.clone(),
                granted: loaded.granted.clone(),
                failure,
                enabled: Arc::new(self.switched_on(loaded, &row)),
                row,
            });
            if !suspended.contains(&key.1) {
                let beside = by_id.get(&trial::key(&key.1));
                let switch_on = |beside: &Loaded| self.switched_on(beside, &now.row);
                let own = trials.hooks(&now.enabled, &now.row, beside, switch_on);
                hooks.entry(key.0).or_default().extend(own);
            }
            taken_up.insert(key, now);
        }
        // What is left was switched off, or cannot be read any more.
        changed |= !before.is_empty();
        changed |= trials.end();
        drop(taken_up);
        if changed {
            tracing::info!(tenants = hooks.len(), "plugins were taken up");
            self.engine.hooks().replace(hooks);
        }
    }
}

/// Tells why nothing was changed.
fn unanswered(outcome: pomona_engine::Result<()>) {
    if let Err(error) = outcome {
        tracing::warn!(%error, "plugins stay as they are until the database answers");
    }
}

/// Where native code is kept, under a key that is derived from the root key.
fn shelf(engine: &Engine, folder: &Path) -> Option<Shelf> {
    let key = engine.store().plugin_code_key();
    Shelf::open(folder, &key)
        .inspect_err(|error| {
            tracing::warn!(folder = %folder.display(), %error, "the code of plugins cannot be kept; it is made at each start");
        })
        .ok()
}
