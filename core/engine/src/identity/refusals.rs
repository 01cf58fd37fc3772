//! A budget of refused requests for each peer address.
//!
//! Owns: the token buckets that slow down guessing of challenges and link tokens. Only refused requests cost
//! something, since a whole school may stand behind one address while it enrolls. Kept in memory by each node: a
//! restart forgets it, which a guesser of 256 random bits gains nothing from. Never looks at a request.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};

use parking_lot::Mutex;

use crate::clock::{Micros, SECOND};

/// So many refusals may come at once.
const BURST: i64 = 60;
/// One more is allowed after this time.
const REFILL: Micros = SECOND;
/// The most addresses that are remembered at once.
const MOST_ADDRESSES: usize = 50_000;

/// The budgets of all addresses.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    /// When the address would be out of debt, if it is refused no more.
    even_at: Mutex<HashMap<Option<IpAddr>, Micros>>,
}

impl Refusals {
    /// How many whole seconds the peer has to wait, if it has used up its budget.
    pub(crate) fn wait(&self, peer: Option<IpAddr>, now: Micros) -> Option<i64> {
        let even_at = *self.even_at.lock().get(&bucket(peer))?;
        let over = (even_at - now) - (BURST - 1) * REFILL;
        (over > 0).then(|| over.div_euclid(SECOND) + 1)
    }

    /// Charges one refusal.
    pub(crate) fn charge(&self, peer: Option<IpAddr>, now: Micros) {
        let mut all = self.even_at.lock();
        if all.len() >= MOST_ADDRESSES {
            all.retain(|_, even_at| *even_at > now);
        }
        if all.len() >= MOST_ADDRESSES {
            // A flood from more addresses than we care to remember: those that owe least are forgotten.
            all.retain(|_, even_at| *even_at > now + BURST / 2 * REFILL);
        }
        if all.len() >= MOST_ADDRESSES {
            all.clear();
        }
        let even_at = all.entry(bucket(peer)).or_insert(now);
        // The debt is bounded, so that a flood does not shut an address out for longer than one full budget.
        *even_at = ((*even_at).max(now) + REFILL).min(now + BURST * REFILL);
    }
}

/// One household or one host has a whole /64 of IPv6; an IPv4 address counts as such in either spelling.
/// Peers whose address is not known share a budget.
fn bucket(peer: Option<IpAddr>) -> Option<IpAddr> {
    peer.map(|address| match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn a_burst_is_forgiven_and_more_has_to_wait() {
        let refusals = Refusals::default();
        let (one, other) = (peer("192.0.2.1"), peer("192.0.2.2"));
        for _ in 0..BURST {
            assert_eq!(refusals.wait(one, 0), None);
            refusals.charge(one, 0);
        }
        assert_eq!(refusals.wait(one, 0), Some(2));
        assert_eq!(refusals.wait(other, 0), None);
        assert_eq!(refusals.wait(one, REFILL), None);
    }

    #[test]
    fn a_flood_does_not_shut_out_for_longer_than_one_budget() {
        let refusals = Refusals::default();
        for _ in 0..100_000 {
            refusals.charge(None, 0);
        }
        assert!(refusals.wait(None, 0).is_some());
        assert_eq!(refusals.wait(None, BURST * REFILL), None);
    }

    #[test]
    fn one_network_of_ipv6_is_one_peer() {
        assert_eq!(
            bucket(peer("2001:db8::1")),
            bucket(peer("2001:db8::ffff:1"))
        );
        assert_ne!(bucket(peer("2001:db8::1")), bucket(peer("2001:db8:0:1::1")));
        assert_eq!(bucket(peer("::ffff:192.0.2.1")), bucket(peer("192.0.2.1")));
    }

    #[test]
    fn memory_is_bounded_whatever_the_addresses() {
        let refusals = Refusals::default();
        for n in 0..(MOST_ADDRESSES as u32 + 1_000) {
            refusals.charge(Some(IpAddr::V4(n.into())), 0);
        }
        assert!(refusals.even_at.lock().len() <= MOST_ADDRESSES);
    }
}
