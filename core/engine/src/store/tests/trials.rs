//! Versions on trial as rows: what is counted is exact, what is kept is bounded, and it ends with the trial.

use super::{Store, on_both};
use crate::actor::Actor;
use crate::admin::trust::{TrustLevel, Vouched};
use crate::error::Error;
use crate::ids::TenantId;
use crate::store::plugin_trials::{TrialMode, TrialRow};
use crate::store::plugin_versions::Coming;
use crate::store::plugins::PluginRow;
use crate::store::trial_counts::{NEWEST, TrialCount, TrialDifference, TrialOf};

const PLUGIN: &str = "org.example.a";

fn vouched() -> Vouched {
    Vouched {
        level: TrustLevel::Unsigned,
        signed_by: None,
        countersigned_by: None,
    }
}

fn installed(digest: &str, kv_schema: u32) -> PluginRow {
    PluginRow {
        id: PLUGIN.into(),
        version: "1.0.0".into(),
        title: "A".into(),
        digest: digest.into(),
        vouched: vouched(),
        source: None,
        suspended: false,
        installed_at: 1,
        rights: Some("{}".into()),
        kv_schema: Some(kv_schema),
    }
}

async fn replace(store: &Store, before: Option<PluginRow>, row: PluginRow) -> Result<bool, Error> {
    let coming = Coming {
        row,
        package: vec![1],
        replaces: before,
        schema_before: 1,
        settings: Vec::new(),
        back: false,
    };
    store.put_plugin_in_force(Actor::SYSTEM, coming).await
}

async fn install(store: &Store, digest: &str) {
    let before = store.plugins().await.unwrap().pop();
    assert!(replace(store, before, installed(digest, 1)).await.unwrap());
}

fn on_trial(digest: &str, mode: TrialMode, at: i64) -> TrialRow {
    TrialRow {
        plugin: PLUGIN.into(),
        version: "2.0.0".into(),
        title: "A".into(),
        digest: digest.into(),
        vouched: vouched(),
        source: None,
        rights: "{}".into(),
        mode,
        kv_schema: Some(1),
        begun_at: at,
        mode_since: at,
    }
}

async fn put(store: &Store, digest: &str, mode: TrialMode, at: i64) {
    let active = store.plugins().await.unwrap().remove(0).digest;
    let row = on_trial(digest, mode, at);
    let put = store.put_trial(Actor::SYSTEM, &active, &row, vec![2]).await;
    put.unwrap();
}

fn tenant(n: u128) -> TenantId {
    TenantId(uuid::Uuid::from_u128(n))
}

fn of(tenant: TenantId, digest: &str) -> TrialOf {
    TrialOf {
        tenant,
        plugin: PLUGIN.into(),
        digest: digest.into(),
        hook: "events",
    }
}

async fn add(store: &Store, of: &TrialOf, differences: i64) {
    let count = TrialCount {
        same: 1,
        different: u64::try_from(differences).unwrap(),
        trial: (1, 50),
        last_failure: (differences == 0).then(|| "trial: it fell over".into()),
        ..TrialCount::default()
    };
    let difference = |n: i64| TrialDifference {
        device: "d".into(),
        about: String::new(),
        active: "nothing".into(),
        trial: format!("k{n}: wake"),
        noted_at: n * 1_000,
    };
    let differences: Vec<_> = (0..differences)
        .map(|n| (of.clone(), difference(n)))
        .collect();
    let counts = [(of.clone(), count)];
    store.add_to_trials(&counts, &differences).await.unwrap();
}

/// Same, different, and differences that are kept.
async fn seen(store: &Store, tenant: Option<TenantId>) -> (u64, u64, usize) {
    let mut all = TrialCount::default();
    for (_, hook, count) in store.trial_counts(PLUGIN, tenant).await.unwrap() {
        assert_eq!(hook, "events");
        all.add(count);
    }
    let kept = store.trial_differences(PLUGIN, tenant).await.unwrap();
    (all.same, all.different, kept.len())
}

#[test]
fn what_is_compared_is_counted_exactly_and_the_newest_of_a_tenant_is_kept() {
    on_both(|store| async move {
        install(&store, "one").await;
        put(&store, "two", TrialMode::Shadow, 5).await;
        let (a, b) = (tenant(1), tenant(2));
        add(&store, &of(b, "two"), 3).await;
        add(&store, &of(a, "two"), 150).await;
        add(&store, &of(a, "two"), 150).await;
        add(&store, &of(a, "two"), 0).await;
        let newest = NEWEST as usize;
        assert_eq!(seen(&store, Some(a)).await, (3, 300, newest));
        assert_eq!(seen(&store, Some(b)).await, (1, 3, 3));
        let (.., count) = store.trial_counts(PLUGIN, Some(a)).await.unwrap().remove(0);
        assert_eq!(count.trial, (3, 150));
        assert_eq!(count.last_failure.as_deref(), Some("trial: it fell over"));
        let kept = store.trial_differences(PLUGIN, Some(a)).await.unwrap();
        assert_eq!(kept[0].difference.trial, "k149: wake", "the newest first");
        // What is late, of a package that is not on trial, changes nothing.
        add(&store, &of(a, "before"), 7).await;
        assert_eq!(seen(&store, Some(a)).await, (3, 300, newest));
    });
}

#[test]
fn a_trial_goes_on_in_another_mode_and_ends_with_its_counts() {
    on_both(|store| async move {
        let late = async || add(&store, &of(tenant(1), "two"), 1).await;
        let trial = async || store.plugin_trials().await.unwrap().pop();
        install(&store, "one").await;
        put(&store, "two", TrialMode::Shadow, 5).await;
        late().await;
        put(&store, "two", TrialMode::Share(10), 6).await;
        let now = trial().await.unwrap();
        assert_eq!(
            (now.mode, now.begun_at, now.mode_since),
            (TrialMode::Share(10), 5, 6)
        );
        assert_eq!(seen(&store, None).await, (1, 1, 1));
        let group = TrialMode::Group("early".into());
        let changed = store.change_trial(Actor::SYSTEM, PLUGIN, &group).await;
        changed.unwrap();
        assert_eq!(trial().await.unwrap().mode, group);
        assert_eq!(seen(&store, None).await, (1, 1, 1));

        // Compared with another version, or another one on trial: the counts begin anew.
        install(&store, "one").await;
        assert_eq!(seen(&store, None).await, (1, 1, 1), "the same one");
        install(&store, "three").await;
        assert_eq!(seen(&store, None).await, (0, 0, 0));
        assert_eq!(trial().await.unwrap().digest, "two");
        late().await;
        put(&store, "four", TrialMode::Shadow, 7).await;
        assert_eq!(seen(&store, None).await, (0, 0, 0));
        assert_eq!(trial().await.unwrap().begun_at, 7);

        install(&store, "four").await;
        assert_eq!(trial().await, None, "it is in force");
        let withdrawn = store.withdraw_trial(Actor::SYSTEM, PLUGIN).await;
        assert!(matches!(withdrawn, Err(Error::NotFound(_))));
        let changed = store.change_trial(Actor::SYSTEM, PLUGIN, &group).await;
        assert!(matches!(changed, Err(Error::NotFound(_))));
        put(&store, "two", TrialMode::Shadow, 8).await;
        late().await;
        store.withdraw_trial(Actor::SYSTEM, PLUGIN).await.unwrap();
        late().await;
        assert_eq!((trial().await, seen(&store, None).await), (None, (0, 0, 0)));
        put(&store, "two", TrialMode::Shadow, 9).await;
        late().await;
        store.remove_plugin(Actor::SYSTEM, PLUGIN).await.unwrap();
        assert_eq!((trial().await, seen(&store, None).await), (None, (0, 0, 0)));
    });
}

#[test]
fn what_was_looked_at_counts_when_a_version_comes_in_force_or_on_trial() {
    on_both(|store| async move {
        install(&store, "one").await;
        let seen = store.plugins().await.unwrap().remove(0);
        // Narrowed while the next version was being prepared.
        let narrow = store.grant_plugin(Actor::SYSTEM, &seen, "{\"kv\":null}");
        narrow.await.unwrap();
        let wide = replace(&store, Some(seen.clone()), installed("two", 1)).await;
        assert!(matches!(wide, Err(Error::Conflict(_))), "{wide:?}");
        let now = store.plugins().await.unwrap().remove(0);
        assert_eq!(
            (now.digest.as_str(), now.rights),
            ("one", Some("{\"kv\":null}".into()))
        );
        let second = replace(&store, None, installed("two", 1)).await;
        assert!(matches!(second, Err(Error::Conflict(_))), "{second:?}");
        let row = on_trial("three", TrialMode::Shadow, 5);
        let late = store.put_trial(Actor::SYSTEM, "two", &row, vec![2]).await;
        assert!(matches!(late, Err(Error::Conflict(_))), "{late:?}");
        assert_eq!(store.plugin_trials().await.unwrap(), []);
    });
}

#[test]
fn a_canary_keeps_values_as_the_active_version_does() {
    on_both(|store| async move {
        install(&store, "one").await;
        let other = TrialRow {
            kv_schema: Some(2),
            ..on_trial("two", TrialMode::Share(10), 5)
        };
        let refused = store.put_trial(Actor::SYSTEM, "one", &other, vec![2]).await;
        let told = refused.unwrap_err().to_string();
        assert!(
            told.contains("schema 2") && told.contains("--shadow"),
            "{told}"
        );
        let shadow = TrialRow {
            mode: TrialMode::Shadow,
            ..other
        };
        let put = store
            .put_trial(Actor::SYSTEM, "one", &shadow, vec![2])
            .await;
        put.unwrap();
        let share = TrialMode::Share(10);
        let refused = store.change_trial(Actor::SYSTEM, PLUGIN, &share).await;
        assert!(matches!(refused, Err(Error::Invalid(_))), "{refused:?}");

        // A canary beside which a version comes in force that keeps them otherwise decides nothing any more.
        let row = on_trial("three", share, 6);
        let put = store.put_trial(Actor::SYSTEM, "one", &row, vec![2]).await;
        put.unwrap();
        let before = store.plugins().await.unwrap().pop();
        assert!(replace(&store, before, installed("four", 2)).await.unwrap());
        let trial = store.plugin_trials().await.unwrap().remove(0);
        assert_eq!(
            (trial.digest.as_str(), trial.mode),
            ("three", TrialMode::Shadow)
        );
    });
}
