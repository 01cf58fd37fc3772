//! In which state plugins are, in a word: for administrators and for the operator's metrics.
//!
//! Owns: the word, and the gauge that counts tenants by it. Decides nothing.

use std::collections::BTreeMap;

use pomona_engine::TenantId;
use pomona_plugin_host::{Enabled, Figures};

use super::Manager;

/// Tenants by plugin and state, as they were told last.
pub(super) type Counts = BTreeMap<(String, &'static str), u32>;

/// The state of a plugin in a tenant, and why where it is not active.
pub(super) fn state_of(
    suspended: bool,
    enabled: &Enabled,
    figures: &Figures,
) -> (&'static str, Option<String>) {
    match (suspended, enabled.failure(), figures.held_back) {
        (true, ..) => ("suspended", None),
        (_, Some(failure), _) => ("failed", Some(failure)),
        (.., true) => ("degraded", figures.last_failure.clone()),
        _ => ("active", None),
    }
}

impl Manager {
    /// Tells the metrics in how many tenants each plugin is in which state.
    pub(super) fn tell_states(&self) {
        let mut counts = Counts::new();
        for switched in &*self.switched.lock() {
            *counts
                .entry((switched.1.clone(), self.state(switched)))
                .or_default() += 1;
        }
        let before = std::mem::replace(&mut *self.states.lock(), counts.clone());
        let gone = before.into_keys().filter(|key| !counts.contains_key(key));
        let gone: Vec<_> = gone.map(|key| (key, 0)).collect();
        for ((plugin, state), tenants) in counts.into_iter().chain(gone) {
            metrics::gauge!("pomona_plugin_tenants", "plugin" => plugin, "state" => state)
                .set(tenants);
        }
    }

    /// The state of a plugin that a tenant has switched on. One that is not ready yet is `loading`.
    fn state(&self, switched: &(TenantId, String)) -> &'static str {
        let plugin = &switched.1;
        if self.unreadable.lock().contains_key(plugin) {
            return "failed";
        }
        let suspended = self.suspended.lock().contains(plugin);
        match self.taken_up.lock().get(switched) {
            Some(found) => state_of(suspended, &found.enabled, &found.enabled.figures()).0,
            // Suspended since before this node started, and never loaded here.
            None if suspended => "suspended",
            None => "loading",
        }
    }
}
