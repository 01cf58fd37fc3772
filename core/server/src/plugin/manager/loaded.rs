//! A plugin of this node, as far as it could be made ready.
//!
//! Owns: reading and starting what is installed, and what is known of how that went: then it stays with why it cannot be run, or is
//! tried again. Which of it runs, and for whom, is for the manager.

use std::sync::Arc;
use std::time::{Duration, Instant};

use pomona_engine::admin::trust::Revocations;
use pomona_engine::clock::Micros;
use pomona_engine::{PluginRow, SwitchRow};
use pomona_plugin_host::{Capabilities, Enabled, Manifest, Package, Plugin, PluginError, Switch};

use super::{Manager, trial};
use crate::plugin::trust::keys_of;

/// A plugin that was made ready in this round, or could not be: its id, when it was installed, and its rights.
pub(super) type Tried = (String, Micros, Option<String>);

/// A plugin as it could be loaded.
#[derive(Clone)]
pub(super) struct Loaded {
    pub(super) digest: String,
    /// When it was installed: the same package may have been put in the place of a damaged one.
    pub(super) installed_at: Micros,
    /// The keys of its signatures.
    pub(super) keys: Vec<String>,
    /// Why it is not run any more, if it is revoked.
    pub(super) revoked: Option<String>,
    /// What the operator grants, as it stands in the row.
    pub(super) rights: Option<String>,
    pub(super) granted: Capabilities,
    pub(super) manifest: Manifest,
    pub(super) plugin: Result<Arc<Plugin>, PluginError>,
    /// How often loading it has failed for a reason that may pass, and when it is tried again.
    pub(super) again: Option<(u32, Instant)>,
}

impl Loaded {
    /// Whether it is what is installed, as far as it may be run.
    pub(super) fn is(&self, row: &PluginRow, revocations: &Revocations) -> bool {
        self.installed_at == row.installed_at
            && self.digest == row.digest
            && self.rights == row.rights
            && self.revoked == self.revoked_by(revocations)
            && self.again.is_none_or(|(_, when)| Instant::now() < when)
    }

    /// Lets go of what it may not do any more. What it may do besides needs its code linked anew.
    pub(super) fn narrow(&mut self, row: &PluginRow) {
        if self.digest == row.digest && self.rights != row.rights {
            self.granted = self.granted.and(&granted(row, &self.manifest));
        }
    }

    fn revoked_by(&self, revocations: &Revocations) -> Option<String> {
        revocations.of(&self.digest, self.keys.iter().map(String::as_str))
    }

    /// Lets go of what is revoked.
    pub(super) fn stop_if_revoked(&mut self, revocations: &Revocations) {
        if let Some(reason) = self.revoked_by(revocations) {
            self.plugin = Err(PluginError::Unfit(reason.clone()));
            self.revoked = Some(reason);
            self.again = None;
        }
    }
}

impl Manager {
    /// Loads what is installed, or keeps why it cannot be: then it is asked like any other and gives no answer, so that the
    /// failure policies of its hooks hold.
    pub(super) async fn load(&self, row: &PluginRow, failures: u32) -> pomona_engine::Result<()> {
        let store = self.engine.store();
        let read = match trial::on_trial(&row.id) {
            Some(plugin) => (store.plugin_trial_package(plugin).await).map(|(package, _)| package),
            None => store.plugin_package(&row.id).await,
        };
        let bytes = match read {
            // It was removed a moment ago.
            Err(pomona_engine::Error::NotFound(_)) => return Ok(()),
            read => read?,
        };
        let (package, problem) = match Package::read_kept(&bytes) {
            Ok(read) => read,
            Err(error) => {
                tracing::error!(plugin = row.id, %error, "an installed package cannot be read, and none of its hooks is asked; install it again");
                self.loaded.lock().remove(&row.id);
                let why = (row.installed_at, error.to_string());
                self.unreadable.lock().insert(row.id.clone(), why);
                return Ok(());
            }
        };
        let revocations = store.plugin_revocations().await?;
        let (digest, keys) = (package.digest(), keys_of(&package));
        if digest != row.digest {
            let mut now = store.plugins().await?;
            now.extend(trial::rows(&now, &store.plugin_trials().await?));
            // Another version was installed between the two looks.
            if now
                .iter()
                .all(|it| it.id != row.id || it.digest != row.digest)
            {
                return Ok(());
            }
        }
        let granted = granted(row, &package.manifest);
        let revoked = revocations.of(&row.digest, keys.iter().map(String::as_str));
        // Nothing of what is revoked is started, not even to look at it.
        let plugin = match (&revoked, problem) {
            (Some(reason), _) => Err(PluginError::Unfit(reason.clone())),
            (_, Some(problem)) => Err(PluginError::Unfit(problem.to_string())),
            _ if digest != row.digest => Err(PluginError::Unfit(
                "its package is not the one that was installed; install it again".into(),
            )),
            _ => self.start_once(&package, &granted).await,
        };
        let passes = plugin.as_ref().err().is_some_and(PluginError::passes);
        let again = passes.then(|| (failures + 1, Instant::now() + pause(failures)));
        if let Err(error) = &plugin {
            tracing::error!(
                plugin = row.id, %error, tried_again = passes,
                "a plugin cannot be run; the failure policies of its hooks hold"
            );
        }
        let loaded = Loaded {
            digest: row.digest.clone(),
            installed_at: row.installed_at,
            keys,
            revoked,
            rights: row.rights.clone(),
            granted,
            manifest: package.manifest,
            plugin: plugin.map(Arc::new),
            again,
        };
        self.loaded.lock().insert(row.id.clone(), loaded);
        Ok(())
    }

    pub(super) async fn start_once(
        &self,
        package: &Package,
        granted: &Capabilities,
    ) -> Result<Plugin, PluginError> {
        let artefacts = self.compiler.code(package).await?;
        let manifest = package.manifest.clone();
        Plugin::load(
            &self.runtime,
            manifest,
            package.digest(),
            granted,
            &artefacts,
        )
        .await
    }

    /// A plugin as a tenant has it: with what the operator grants, as far as the tenant does.
    pub(super) fn switched_on(&self, loaded: &Loaded, row: &SwitchRow) -> Enabled {
        let granted = match &row.rights {
            None => loaded.granted.clone(),
            Some(own) => {
                let own: Capabilities = serde_json::from_str(own).unwrap_or_default();
                loaded.granted.and(&own)
            }
        };
        let switch = Switch {
            tenant: row.tenant,
            principal: row.principal,
            settings: row.settings.clone(),
            granted,
        };
        Enabled::new(
            loaded.manifest.clone(),
            &loaded.digest,
            loaded.plugin.clone(),
            switch,
            Some(self.services.clone()),
        )
    }
}

/// What an operator grants to a plugin.
fn granted(row: &PluginRow, manifest: &Manifest) -> Capabilities {
    match &row.rights {
        None => manifest.capabilities.clone(),
        // Rights that cannot be read are none.
        Some(rights) => serde_json::from_str(rights).unwrap_or_default(),
    }
}

/// How long to wait before a plugin is loaded again that could not be made ready so often.
fn pause(failures: u32) -> Duration {
    Duration::from_secs(10) * 2_u32.pow(failures.min(6))
}
