//! The keys of the dictionaries that are open, to find a duplicate.
//!
//! Owns the memory for it: keys of closed dictionaries are forgotten, so it grows with the widest path and not with the body. Small
//! dictionaries are compared pairwise, wide ones get a hash set, so that the cost stays linear.

use std::borrow::Cow;
use std::collections::HashSet;

/// From how many keys a dictionary gets a hash set.
const WIDE: usize = 16;

/// The keys of one dictionary.
#[derive(Default)]
pub(super) struct Keys<'a> {
    few: Vec<Cow<'a, str>>,
    many: HashSet<Cow<'a, str>>,
}

impl<'a> Keys<'a> {
    /// Adds a key; false if it was there.
    pub(super) fn insert(&mut self, key: Cow<'a, str>) -> bool {
        if !self.many.is_empty() {
            return self.many.insert(key);
        }
        if self.few.contains(&key) {
            return false;
        }
        self.few.push(key);
        if self.few.len() >= WIDE {
            self.many.extend(self.few.drain(..));
        }
        true
    }

    /// Forgets the keys and keeps the memory for the next dictionary.
    pub(super) fn clear(&mut self) {
        self.few.clear();
        // A set that once was large would make each later clear as dear as its capacity.
        self.many = HashSet::new();
    }
}
