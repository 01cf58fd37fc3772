//! How many devices have what they need.
//!
//! Owns: counting over the fleet. Says nothing of one device: findings do.

use std::collections::BTreeMap;

use pomona_sdk::Snapshot;
use pomona_sdk::serde_json::{Value, json};

use crate::needs::{self, Need};
use crate::settings::Settings;

/// Counts of a need: required, met, unmet, not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Count {
    met: u32,
    unmet: u32,
    unknown: u32,
}

/// A row for each need that is required of any device.
pub(crate) fn rows(settings: &Settings, devices: &[Snapshot]) -> Vec<Value> {
    let mut counts: BTreeMap<&str, (Need, Count)> = BTreeMap::new();
    for device in devices {
        let mut seen: Vec<Need> = Vec::new();
        for (need, _) in needs::required(&settings.require, device) {
            if seen.contains(&need) {
                continue;
            }
            seen.push(need);
            let (_, count) = counts
                .entry(need.rule())
                .or_insert((need, Count::default()));
            match need.met(device) {
                Some(true) => count.met += 1,
                Some(false) => count.unmet += 1,
                None => count.unknown += 1,
            }
        }
    }
    let rows = counts.into_values().map(|(need, count)| {
        let all = count.met + count.unmet + count.unknown;
        json!([
            need.wanted(),
            all,
            count.met,
            count.unmet,
            count.unknown,
            format!("{} %", u64::from(count.met) * 100 / u64::from(all.max(1)))
        ])
    });
    rows.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use pomona_sdk::testing;

    #[test]
    fn a_device_counts_once_for_each_need() {
        let settings = pomona_sdk::host::read_settings(
            r#"{"require": [{"supervised": true}, {"group": "lab", "supervised": true, "non_removable": true}]}"#,
        )
        .unwrap();
        let device = |supervised, group: &str| Snapshot {
            supervised,
            groups: vec![group.into()],
            ..testing::device()
        };
        let fleet = [
            device(Some(true), "lab"),
            device(Some(false), "office"),
            device(None, "office"),
        ];
        let told = rows(&settings, &fleet);
        assert_eq!(
            told,
            [
                json!(["management that cannot be removed", 1, 0, 0, 1, "0 %"]),
                json!(["a supervised device", 3, 1, 1, 1, "33 %"])
            ]
        );
        assert_eq!(rows(&Settings::default(), &fleet), Vec::<Value>::new());
    }
}
