//! Values that must not be printed.
//!
//! Owns the wrapper alone. It keeps a value out of logs and of derived `Debug` output; it does not wipe memory, since the body that
//! the value came from lies in memory as well.

use std::fmt;

/// A value whose `Debug` output does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret<T>(T);

impl<T> Secret<T> {
    /// Wraps a value.
    pub fn new(value: T) -> Self {
        Self(value)
    }

    /// The value, to be used and not to be printed.
    pub fn expose(&self) -> &T {
        &self.0
    }

    /// The value, unwrapped.
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<T> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}
