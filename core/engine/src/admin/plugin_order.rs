//! In which order the plugins of a tenant are asked.
//!
//! Owns: the order and its words. Early ones come first; within a phase those of higher priority, and then by id. Where two
//! change the same key of a command, the one that is asked later holds. Asks no plugin.

use serde::{Deserialize, Serialize};

use super::caller::Caller;
use super::plugin_host::refresh;
use super::plugins::{self, InstalledPlugin};
use crate::engine::Engine;
use crate::error::{Error, Result};

/// The highest priority; the lowest is its negative.
const HIGHEST: i64 = 1_000;

/// When a plugin is asked, among those of its tenant.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    utoipa::ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Before the others.
    Early,
    /// Like most.
    #[default]
    Default,
    /// After the others: its changes of commands hold over theirs.
    Late,
}

impl Phase {
    pub(crate) fn number(self) -> i64 {
        match self {
            Self::Early => 0,
            Self::Default => 1,
            Self::Late => 2,
        }
    }

    /// The phase of a row; a number that is not known is the default.
    pub(crate) fn from_number(number: i64) -> Self {
        match number {
            0 => Self::Early,
            2 => Self::Late,
            _ => Self::Default,
        }
    }
}

/// The place of a plugin in the order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PluginOrder {
    /// The phase in which it is asked.
    #[serde(default)]
    pub phase: Phase,
    /// Within its phase the higher one is asked first, from -1000 to 1000.
    #[serde(default)]
    pub priority: i64,
}

impl PluginOrder {
    /// What plugins are sorted by: the smaller is asked first.
    #[must_use]
    pub fn rank(self) -> (Phase, std::cmp::Reverse<i64>) {
        (self.phase, std::cmp::Reverse(self.priority))
    }
}

/// Sets when a plugin is asked, in every tenant.
///
/// # Errors
/// [`Error::Invalid`] when the priority is out of bounds, [`Error::NotFound`] when the plugin is not installed.
pub(crate) async fn set(
    engine: &Engine,
    caller: &Caller,
    id: &str,
    order: PluginOrder,
) -> Result<InstalledPlugin> {
    if !(-HIGHEST..=HIGHEST).contains(&order.priority) {
        return Err(Error::Invalid(format!(
            "priority: {} is not from -{HIGHEST} to {HIGHEST}",
            order.priority
        )));
    }
    engine
        .store()
        .order_plugin(caller.actor(), id, order)
        .await?;
    refresh(engine).await;
    plugins::one(engine, id).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn early_comes_first_and_then_the_higher_priority() {
        let order = |phase, priority| PluginOrder { phase, priority };
        let mut all = [
            order(Phase::Late, 1_000),
            order(Phase::Default, -1),
            order(Phase::Early, -1_000),
            order(Phase::Default, 7),
            PluginOrder::default(),
        ];
        all.sort_by_key(|order| order.rank());
        let told = all.map(|order| (order.phase, order.priority));
        assert_eq!(
            told,
            [
                (Phase::Early, -1_000),
                (Phase::Default, 7),
                (Phase::Default, 0),
                (Phase::Default, -1),
                (Phase::Late, 1_000),
            ]
        );
        for phase in [Phase::Early, Phase::Default, Phase::Late] {
            assert_eq!(Phase::from_number(phase.number()), phase);
        }
    }
}
