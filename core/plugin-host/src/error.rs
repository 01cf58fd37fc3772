//! Why a plugin gave no answer, or cannot be loaded.
//!
//! Owns: the reasons, their words for figures, and which of them say nothing about the plugin. What it was in a call, `plugin` finds.

/// Why a plugin gave no answer, or cannot be loaded.
#[derive(Clone, Debug, thiserror::Error)]
pub enum PluginError {
    /// The component does not fit this host or its manifest.
    #[error("{0}")]
    Unfit(String),
    /// The code ended itself: the message of its panic, or the trap.
    #[error("it ended itself: {0}")]
    Trap(String),
    /// A limit was reached.
    #[error("it used up its {0}")]
    Exhausted(&'static str),
    /// It took too long.
    #[error("it took longer than {0} ms")]
    Time(u128),
    /// It could not be made ready, which says nothing about it: the machine was too busy, or had no room.
    #[error("it could not be made ready: {0}")]
    Unready(String),
    /// So many calls were under way that its turn did not come, which says nothing about it.
    #[error("too many calls of plugins are under way; its turn did not come within {0} ms")]
    NoPlace(u128),
    /// It keeps failing and is left alone for a while.
    #[error("it keeps failing; calls are held back for 30 s")]
    BreakerOpen,
}

impl PluginError {
    /// The kind, in a word.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Unfit(_) => "unfit",
            Self::Trap(_) => "trap",
            Self::Exhausted(what) => what,
            Self::Time(_) => "time",
            Self::Unready(_) => "unready",
            Self::NoPlace(_) => "no place",
            Self::BreakerOpen => "held back",
        }
    }

    /// Whether loading the same plugin again may end otherwise.
    #[must_use]
    pub fn passes(&self) -> bool {
        matches!(
            self,
            Self::Unready(_) | Self::Time(_) | Self::Exhausted("processor time")
        )
    }
}
