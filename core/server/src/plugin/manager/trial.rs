//! Versions on trial beside the active ones: which are run, with whose settings, and how they are doing.
//!
//! Owns: the pairs of this node. A version on trial is loaded like any other, under a key of its own, with the rights of the
//! active one; here it is put beside it. One that cannot be run, or whose own look at a tenant's settings finds them unusable,
//! is shown as failed, and the active version goes on alone.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use pomona_engine::admin::plugin_host::PluginHealth;
use pomona_engine::hooks::Hooks;
use pomona_engine::{Engine, PluginRow, SwitchRow, TenantId, TrialMode, TrialRow};
use pomona_plugin_host::{Capabilities, Enabled, Package, Pair, Plugin, hooks_of};
use serde_json::Value;

use super::Manager;
use super::asked::health_of;
use super::loaded::Loaded;
use super::settings::against_schema;
use crate::plugin::tally::Tally;

/// What stands behind the id of a plugin whose version on trial is meant. No id holds a space.
const BESIDE: &str = " (trial)";

/// The key of a plugin's version on trial among what is loaded.
pub(super) fn key(plugin: &str) -> String {
    format!("{plugin}{BESIDE}")
}

/// The plugin, when the version on trial is meant.
pub(super) fn on_trial(key: &str) -> Option<&str> {
    key.strip_suffix(BESIDE)
}

/// The versions on trial in the form of installed ones: with the rights and the suspension of the active version.
pub(super) fn rows(plugins: &[PluginRow], trials: &[TrialRow]) -> Vec<PluginRow> {
    let row = |trial: &TrialRow| {
        let active = plugins.iter().find(|row| row.id == trial.plugin)?;
        let granted = || Some(trial.rights.clone());
        Some(PluginRow {
            id: key(&trial.plugin),
            version: trial.version.clone(),
            title: trial.title.clone(),
            digest: trial.digest.clone(),
            vouched: trial.vouched.clone(),
            source: trial.source.clone(),
            suspended: active.suspended,
            installed_at: trial.begun_at,
            rights: active.rights.clone().or_else(granted),
            kv_schema: trial.kv_schema,
        })
    };
    trials.iter().filter_map(row).collect()
}

/// What a version on trial says of settings: nothing, or why it cannot work with them.
type Remark = Option<String>;

/// The versions on trial of this node.
pub(super) struct Trials {
    tally: Arc<Tally>,
    /// As they were read the last time.
    rows: Mutex<Vec<TrialRow>>,
    /// By the digest of a package and the settings of a tenant.
    judged: Mutex<HashMap<(String, String), Remark>>,
    standing: Mutex<HashMap<(TenantId, String), Standing>>,
}

/// A version on trial in a tenant.
struct Standing {
    digest: String,
    mode: TrialMode,
    granted: Capabilities,
    row: SwitchRow,
    active: Arc<Enabled>,
    /// Why it is not run.
    failure: Option<String>,
    /// None where it will not be run as long as nothing is changed.
    pair: Option<Arc<Pair>>,
}

impl Trials {
    pub(super) fn new(engine: &Engine) -> Self {
        Self {
            tally: Tally::new(engine),
            rows: Mutex::default(),
            judged: Mutex::default(),
            standing: Mutex::default(),
        }
    }

    pub(super) fn tally(&self) -> Arc<Tally> {
        self.tally.clone()
    }

    /// Notes what is on trial now.
    pub(super) fn note(&self, rows: Vec<TrialRow>) {
        let known = |digest: &String| rows.iter().any(|row| row.digest == *digest);
        self.judged.lock().retain(|(digest, _), _| known(digest));
        *self.rows.lock() = rows;
    }

    /// Begins to put versions on trial beside the active ones anew.
    pub(super) fn begin(&self) -> Taking<'_> {
        Taking {
            trials: self,
            before: std::mem::take(&mut *self.standing.lock()),
            changed: false,
        }
    }

    fn remark(&self, digest: &str, settings: &str) -> Option<Remark> {
        let asked = (digest.to_owned(), settings.to_owned());
        self.judged.lock().get(&asked).cloned()
    }
}

/// Versions on trial that are being put beside the active ones.
pub(super) struct Taking<'a> {
    trials: &'a Trials,
    before: HashMap<(TenantId, String), Standing>,
    changed: bool,
}

impl Taking<'_> {
    /// The hooks of a plugin in a tenant: its own, or those of the pair that it is with a version on trial. `loaded` is that
    /// version, `switch_on` switches it on as `row` says.
    pub(super) fn hooks(
        &mut self,
        active: &Arc<Enabled>,
        row: &SwitchRow,
        loaded: Option<&Loaded>,
        switch_on: impl FnOnce(&Loaded) -> Enabled,
    ) -> Hooks {
        let alone = || hooks_of(active);
        let rows = self.trials.rows.lock();
        let trial = rows.iter().find(|trial| trial.plugin == row.plugin);
        let ready = trial.zip(loaded);
        let Some((trial, loaded)) = ready.filter(|(trial, it)| trial.digest == it.digest) else {
            return alone();
        };
        let failure = match &loaded.plugin {
            Err(error) => Some(error.to_string()),
            // Until it has looked at the settings it is not asked.
            Ok(_) => match self.trials.remark(&loaded.digest, &row.settings) {
                Some(remark) => remark,
                None => return alone(),
            },
        };
        let place = (row.tenant, row.plugin.clone());
        let kept = self.before.remove(&place).filter(|old| {
            old.digest == loaded.digest
                && old.mode == trial.mode
                && old.granted == loaded.granted
                && old.row == *row
                && old.failure == failure
                && Arc::ptr_eq(&old.active, active)
        });
        self.changed |= kept.is_none();
        let now = kept.unwrap_or_else(|| {
            // What passes is no reason to ask all devices anew when it has passed.
            let passes = (loaded.plugin.as_ref().err()).is_some_and(|error| error.passes());
            let pair = (failure.is_none() || passes).then(|| {
                let ledger = self
                    .trials
                    .tally
                    .ledger(row.tenant, &row.plugin, &loaded.digest);
                let (on, mode) = (switch_on(loaded), trial.mode.clone());
                Arc::new(Pair::new(
                    active.clone(),
                    &on,
                    failure.clone(),
                    mode,
                    ledger,
                ))
            });
            Standing {
                digest: loaded.digest.clone(),
                mode: trial.mode.clone(),
                granted: loaded.granted.clone(),
                row: row.clone(),
                active: active.clone(),
                failure,
                pair,
            }
        });
        let hooks = now.pair.as_ref().map_or_else(alone, Pair::hooks);
        self.trials.standing.lock().insert(place, now);
        hooks
    }

    /// Whether any is another one than before.
    pub(super) fn end(self) -> bool {
        self.changed || !self.before.is_empty()
    }
}

impl Manager {
    /// Lets the versions on trial look at the settings of the tenants that they have not seen yet; says whether any has.
    pub(super) async fn judge_trials(&self) -> pomona_engine::Result<bool> {
        let rows = self.trials.rows.lock().clone();
        if rows.is_empty() {
            return Ok(false);
        }
        let switches = self.engine.store().plugin_switches().await?;
        let mut looked = false;
        for trial in rows {
            // Nothing of what is suspended is started, not even to look at settings.
            if self.suspended.lock().contains(&trial.plugin) {
                continue;
            }
            let loaded = self.loaded.lock().get(&key(&trial.plugin)).cloned();
            let Some(plugin) = loaded
                .filter(|loaded| loaded.digest == trial.digest)
                .and_then(|loaded| loaded.plugin.ok())
            else {
                continue;
            };
            for switch in switches.iter().filter(|one| one.plugin == trial.plugin) {
                if self
                    .trials
                    .remark(&trial.digest, &switch.settings)
                    .is_some()
                {
                    continue;
                }
                if let Some(remark) = self.judge(&trial, &plugin, &switch.settings).await? {
                    let asked = (trial.digest.clone(), switch.settings.clone());
                    self.trials.judged.lock().insert(asked, remark);
                    looked = true;
                }
            }
        }
        // What no tenant has set any more is not asked for again.
        let set = |settings: &String| switches.iter().any(|one| one.settings == *settings);
        self.trials
            .judged
            .lock()
            .retain(|(_, settings), _| set(settings));
        Ok(looked)
    }

    /// What a version says of settings; nothing when it could not be asked now.
    async fn judge(
        &self,
        trial: &TrialRow,
        plugin: &Plugin,
        settings: &str,
    ) -> pomona_engine::Result<Option<Remark>> {
        let bytes = match self
            .engine
            .store()
            .plugin_trial_package(&trial.plugin)
            .await
        {
            Err(pomona_engine::Error::NotFound(_)) => return Ok(None),
            read => read?.0,
        };
        let Ok(package) = Package::read(&bytes) else {
            return Ok(None);
        };
        let parsed: Value = serde_json::from_str(settings).unwrap_or(Value::Null);
        let mut problems = against_schema(&package, &parsed).unwrap_or_else(|why| vec![why]);
        if problems.is_empty() {
            match plugin.check_settings(settings).await {
                Ok(remarks) => {
                    let fatal = remarks.into_iter().filter(|remark| remark.fatal);
                    problems
                        .extend(fatal.map(|one| format!("settings{}: {}", one.path, one.message)));
                }
                Err(error) if error.passes() => return Ok(None),
                Err(error) => problems.push(format!("it could not look at its settings: {error}")),
            }
        }
        let told = format!(
            "the settings do not fit the version on trial: {}",
            problems.join("; ")
        );
        Ok(Some((!problems.is_empty()).then_some(told)))
    }

    /// How a version on trial is doing in a tenant.
    pub(super) fn health_on_trial(&self, tenant: TenantId, plugin: &str) -> Option<PluginHealth> {
        let state = |state: &str, reason: Option<String>| PluginHealth {
            state: state.into(),
            reason,
            ..PluginHealth::default()
        };
        if self.suspended.lock().iter().any(|id| id == plugin) {
            return Some(state("suspended", None));
        }
        if let Some((_, reason)) = self.unreadable.lock().get(&key(plugin)) {
            return Some(state("failed", Some(reason.clone())));
        }
        // Whoever puts them beside the active ones holds this, and the others are gone for a moment.
        let _taken_up = self.taken_up.lock();
        let standing = self.trials.standing.lock();
        let found = standing.get(&(tenant, plugin.to_owned()))?;
        if let Some(failure) = &found.failure {
            return Some(state("failed", Some(failure.clone())));
        }
        let figures = found.pair.as_ref()?.trial().figures();
        let (state, reason) = match figures.held_back {
            true => ("degraded", figures.last_failure.clone()),
            false => (found.mode.as_str(), None),
        };
        Some(health_of(figures, state, reason))
    }
}
