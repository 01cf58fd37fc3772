//! In which state plugins are, in a word: for administrators and for the operator's metrics.
//!
//! Owns: the word, and the gauge that counts tenants by it. Decides nothing.

use std::collections::BTreeMap;

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
    /// Tells the metrics in how many tenants each plugin is in which state. One whose package cannot be read counts once: of its
    /// tenants nothing is known here.
    pub(super) fn tell_states(&self) {
        let suspended = self.suspended.lock().clone();
        let mut counts = Counts::new();
        for ((_, plugin), found) in &*self.taken_up.lock() {
            let enabled = &found.enabled;
            let (state, _) = state_of(suspended.contains(plugin), enabled, &enabled.figures());
            *counts.entry((plugin.clone(), state)).or_default() += 1;
        }
        for plugin in self.unreadable.lock().keys() {
            *counts.entry((plugin.clone(), "failed")).or_default() += 1;
        }
        let before = std::mem::replace(&mut *self.states.lock(), counts.clone());
        let gone = before.into_keys().filter(|key| !counts.contains_key(key));
        let gone: Vec<_> = gone.map(|key| (key, 0)).collect();
        for ((plugin, state), tenants) in counts.into_iter().chain(gone) {
            metrics::gauge!("pomona_plugin_tenants", "plugin" => plugin, "state" => state)
                .set(tenants);
        }
    }
}
