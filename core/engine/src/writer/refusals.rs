//! Which devices had a refusal written down lately.
//!
//! Owns: the memory of it, in this process, so that a device that is refused again and again does not fill its timeline.

use std::collections::HashMap;

use parking_lot::Mutex;

use crate::clock::{MINUTE, Micros};
use crate::ids::DeviceId;

/// Devices that are remembered before those of more than a minute ago are forgotten.
const REMEMBERED: usize = 10_000;

/// The devices, and when their last refusal was written down.
#[derive(Debug, Default)]
pub(crate) struct RecentRefusals(Mutex<HashMap<DeviceId, Micros>>);

impl RecentRefusals {
    /// Whether this refusal is the device's first within a minute; then it counts as written down.
    pub(crate) fn first_in_a_while(&self, device: DeviceId, now: Micros) -> bool {
        let mut seen = self.0.lock();
        if seen.len() > REMEMBERED {
            seen.retain(|_, at| now.saturating_sub(*at) < MINUTE);
        }
        match seen.get(&device) {
            Some(at) if now.saturating_sub(*at) < MINUTE => false,
            _ => {
                seen.insert(device, now);
                true
            }
        }
    }
}
