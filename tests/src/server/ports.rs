//! Free ports that stay free while a server is killed and started again.
//!
//! Owns the choice: below the range from which the system takes ports for outgoing connections, so that no simulated
//! device can sit on the server's port in between.

use std::{
    net::TcpListener,
    sync::atomic::{AtomicU16, Ordering},
};

use anyhow::{Result, bail};

const FIRST: u16 = 20_000;
const COUNT: u16 = 10_000;

/// `N` different ports that are free now and were not given out by this process before.
pub(crate) fn free<const N: usize>() -> Result<[u16; N]> {
    static STEP: AtomicU16 = AtomicU16::new(0);
    // Processes side by side begin at different places.
    let begin = u16::try_from(std::process::id() % u32::from(COUNT)).unwrap_or(0);
    let mut found = [0; N];
    let mut filled = 0;
    for _ in 0..COUNT {
        let Some(slot) = found.get_mut(filled) else {
            return Ok(found);
        };
        let step = STEP.fetch_add(1, Ordering::Relaxed) % COUNT;
        let offset = (u32::from(begin) * 7 + u32::from(step)) % u32::from(COUNT);
        let port = FIRST + u16::try_from(offset).unwrap_or(0);
        if is_free(port) {
            *slot = port;
            filled += 1;
        }
    }
    bail!("no {N} free ports from {FIRST} on")
}

fn is_free(port: u16) -> bool {
    TcpListener::bind(("127.0.0.1", port)).is_ok() && TcpListener::bind(("0.0.0.0", port)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_different_and_a_taken_one_is_passed_over() {
        let [first, second] = free().unwrap();
        assert_ne!(first, second);
        let taken = TcpListener::bind(("127.0.0.1", first)).unwrap();
        assert!(!is_free(first));
        drop(taken);
        assert!(is_free(first));
    }
}
