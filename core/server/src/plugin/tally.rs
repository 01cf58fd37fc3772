//! Adds up what was compared between two versions of a plugin, and writes it down.
//!
//! Owns: what waits to be written. A decision waits for none of it: a call adds to the numbers in memory, and they go into the
//! database together, from time to time. Numbers are never dropped while the server runs; of the differences only so many wait,
//! and the others are counted as lost.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use pomona_engine::{DeviceId, Engine, TenantId, TrialCount, TrialDifference, TrialOf};
use pomona_plugin_host::{HookName, Ledger};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Differences that wait at a time.
const WAITING: usize = 1_000;
/// Between two writings at least.
const PAUSE: Duration = Duration::from_secs(1);

/// What was compared on this node and is not written yet.
pub(super) struct Tally {
    engine: Engine,
    waiting: Mutex<Waiting>,
    news: Notify,
}

#[derive(Default)]
struct Waiting {
    counts: HashMap<TrialOf, TrialCount>,
    differences: Vec<(TrialOf, TrialDifference)>,
}

impl Waiting {
    fn add(&mut self, of: TrialOf, mut count: TrialCount, difference: Option<TrialDifference>) {
        if let Some(difference) = difference {
            match self.differences.len() < WAITING {
                true => self.differences.push((of.clone(), difference)),
                false => count.lost += 1,
            }
        }
        self.counts.entry(of).or_default().add(count);
    }

    /// Takes back what could not be written; what has come since is newer.
    fn take_back(&mut self, earlier: Self) {
        let newer = std::mem::replace(self, earlier);
        for (of, count) in newer.counts {
            self.counts.entry(of).or_default().add(count);
        }
        for (of, difference) in newer.differences {
            self.add(of, TrialCount::default(), Some(difference));
        }
    }
}

impl Tally {
    /// Nothing compared yet.
    pub(super) fn new(engine: &Engine) -> Arc<Self> {
        Arc::new(Self {
            engine: engine.clone(),
            waiting: Mutex::default(),
            news: Notify::new(),
        })
    }

    /// The ledger of a package on trial in a tenant.
    pub(super) fn ledger(
        self: &Arc<Self>,
        tenant: TenantId,
        plugin: &str,
        digest: &str,
    ) -> Arc<dyn Ledger> {
        Arc::new(Page {
            tally: self.clone(),
            tenant,
            plugin: plugin.to_owned(),
            digest: digest.to_owned(),
        })
    }

    /// Writes whatever comes, until the server stops.
    pub(super) async fn write_all(self: Arc<Self>, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                () = self.news.notified() => {}
            }
            self.write().await;
            tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep(PAUSE) => {}
            }
        }
        self.write().await;
    }

    async fn write(&self) {
        let taken = std::mem::take(&mut *self.waiting.lock());
        if taken.counts.is_empty() {
            return;
        }
        let counts: Vec<_> = (taken.counts.iter())
            .map(|(of, count)| (of.clone(), count.clone()))
            .collect();
        let store = self.engine.store();
        if let Err(error) = store.add_to_trials(&counts, &taken.differences).await {
            tracing::warn!(%error, "what was compared between versions of plugins waits until the database answers");
            self.waiting.lock().take_back(taken);
            self.news.notify_one();
        }
    }
}

/// One package on trial in a tenant.
struct Page {
    tally: Arc<Tally>,
    tenant: TenantId,
    plugin: String,
    digest: String,
}

#[async_trait]
impl Ledger for Page {
    fn note(&self, hook: HookName, count: TrialCount, difference: Option<TrialDifference>) {
        let of = TrialOf {
            tenant: self.tenant,
            plugin: self.plugin.clone(),
            digest: self.digest.clone(),
            hook: hook.as_str(),
        };
        self.tally.waiting.lock().add(of, count, difference);
        self.tally.news.notify_one();
    }

    async fn place(&self, device: DeviceId) -> Option<(String, Vec<String>)> {
        let store = self.tally.engine.store();
        match store.device_place(self.tenant, device).await {
            Ok(place) => place,
            Err(error) => {
                tracing::warn!(%error, "it cannot be said which version decides about a device; the active one does");
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(hook: &'static str) -> TrialOf {
        TrialOf {
            tenant: TenantId(uuid::Uuid::nil()),
            plugin: "org.example.a".into(),
            digest: "d".into(),
            hook,
        }
    }

    fn different(n: i64) -> (TrialCount, Option<TrialDifference>) {
        let count = TrialCount {
            different: 1,
            trial: (1, 7),
            ..TrialCount::default()
        };
        let difference = TrialDifference {
            device: String::new(),
            about: String::new(),
            active: "allow".into(),
            trial: "veto: no".into(),
            noted_at: n,
        };
        (count, Some(difference))
    }

    #[test]
    fn numbers_are_exact_and_what_finds_no_room_is_lost_by_number() {
        let mut waiting = Waiting::default();
        for n in 0..1_500 {
            let (count, difference) = different(n);
            waiting.add(of("events"), count, difference);
        }
        assert_eq!(waiting.differences.len(), WAITING);
        let count = &waiting.counts[&of("events")];
        assert_eq!((count.different, count.lost), (1_500, 500));
        assert_eq!(count.trial, (1_500, 10_500));

        // What could not be written comes first again, and nothing of the numbers is gone.
        let mut now = Waiting::default();
        let (count, difference) = different(2_000);
        now.add(of("jobs"), count, difference);
        now.take_back(waiting);
        assert_eq!(now.differences.len(), WAITING);
        assert_eq!(now.differences[0].1.noted_at, 0);
        assert_eq!(now.counts[&of("events")].lost, 500);
        assert_eq!(
            (
                now.counts[&of("jobs")].different,
                now.counts[&of("jobs")].lost
            ),
            (1, 1)
        );
    }
}
