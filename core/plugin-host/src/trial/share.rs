//! Which devices a share of a hundred is.
//!
//! Owns: the choice, which is the same on each node and at each time: a device that is in stays in, also when the share grows.

use aws_lc_rs::digest::{Context, SHA256};

/// Whether a device that names itself so is among this share of a hundred for a plugin.
#[must_use]
pub fn in_share(plugin: &str, ident: &str, share: u8) -> bool {
    let mut context = Context::new(&SHA256);
    // Neither of them holds a zero byte that would make two pairs look alike.
    for part in [plugin, "\0", ident] {
        context.update(part.as_bytes());
    }
    let hash = context.finish();
    let number = hash
        .as_ref()
        .first_chunk()
        .map_or(0, |bytes: &[u8; 8]| u64::from_be_bytes(*bytes));
    number % 100 < u64::from(share)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(plugin: &str, share: u8) -> Vec<usize> {
        (0..10_000)
            .filter(|n| in_share(plugin, &format!("00008120-{n:016X}"), share))
            .collect()
    }

    #[test]
    fn a_share_has_about_its_size_and_grows_without_losing_anybody() {
        let mut before = Vec::new();
        for share in [1, 10, 25, 50, 99] {
            let now = taken("org.example.a", share);
            let expected = usize::from(share) * 100;
            assert!(now.len().abs_diff(expected) < 200, "{share}: {}", now.len());
            assert!(before.iter().all(|n| now.contains(n)), "{share}");
            before = now;
        }
        assert_eq!(taken("org.example.a", 0).len(), 0);
        assert_eq!(taken("org.example.a", 100).len(), 10_000);
    }

    #[test]
    fn it_is_another_one_for_another_plugin_and_the_same_for_ever() {
        let (one, other) = (taken("org.example.a", 10), taken("org.example.b", 10));
        let both = one.iter().filter(|n| other.contains(n)).count();
        assert!(both < 200, "{both} of {} are in both", one.len());
        // Written down here, since a change would move devices in and out of running trials.
        let first: Vec<usize> = one.into_iter().take(3).collect();
        assert_eq!(first, [6, 23, 30]);
    }
}
