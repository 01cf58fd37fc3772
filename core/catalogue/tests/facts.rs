//! The catalogue against what it was made from, and against a table that was read by hand.
//!
//! Owns: that nothing of the sources is lost on the way, and that two readings of the same documents agree.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use pomona_catalogue::{Catalogue, Class, Key, Mode, Object, OsVersion, Platform, Right, Row};

fn facts(name: &str) -> Vec<Object> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("facts")
        .join(format!("{name}.jsonl"));
    let text = fs::read_to_string(path).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn the_shipped_data_can_be_read() {
    let catalogue = Catalogue::shipped();
    let names: Vec<&str> = catalogue
        .sources()
        .iter()
        .map(|source| source.name.as_str())
        .collect();
    assert_eq!(names, ["18.3", "27.0-seed1", "27.2"]);
}

#[test]
fn everything_in_the_sources_is_found() {
    let catalogue = Catalogue::shipped();
    let mut found = 0;
    for source in catalogue.sources() {
        for object in facts(&source.name) {
            // Renamed in 27.0.
            let variant = match object.variant.as_str() {
                "Mobililty" => "Mobility",
                variant => variant,
            };
            let here = catalogue
                .named(object.class, &object.id)
                .find(|one| one.variant == variant)
                .unwrap_or_else(|| panic!("{} is not there", object.id));
            for platform in object.os.keys() {
                assert!(here.os.contains_key(platform), "{} {platform:?}", object.id);
            }
            for (keys, answer) in [(&object.keys, false), (&object.answer, true)] {
                for (path, _) in Key::all(keys) {
                    let way = if answer {
                        here.find_answer(&path)
                    } else {
                        here.find(&path)
                    };
                    assert!(way.is_some(), "{} {path}", object.id);
                    found += 1;
                }
            }
            for reason in &object.reasons {
                assert!(
                    here.reasons.iter().any(|one| one.code == reason.code),
                    "{}",
                    reason.code
                );
            }
            found += 1;
        }
    }
    assert!(found > 5_000, "{found}");
}

/// What the files of release 27.2 would have, by class: without what went with 26 or 27. What went before still has its file.
#[test]
fn there_is_as_much_as_apple_lists_for_27() {
    let mut counts = BTreeMap::new();
    for object in Catalogue::shipped().objects() {
        let there = |row: &Row| row.removed.is_none_or(|removed| removed.major() < 26);
        if object.os.is_empty() || object.os.values().any(there) {
            *counts.entry(object.class).or_insert(0) += 1;
        }
    }
    let configurations = Catalogue::shipped()
        .objects()
        .iter()
        .filter(|object| object.id.starts_with("com.apple.configuration."))
        .count();
    assert_eq!(counts[&Class::CheckIn], 9);
    assert_eq!(counts[&Class::Command], 64);
    assert_eq!(counts[&Class::Error], 5);
    assert_eq!(counts[&Class::Profile], 127);
    // 63 items, and the form of a reason.
    assert_eq!(counts[&Class::Status], 64);
    assert_eq!(counts[&Class::Protocol], 3);
    assert_eq!(configurations, 49);
}

/// A cell such as `i9.3SA`: platform, version, whether it needs supervision and Automated Device Enrollment.
fn cell(text: &str) -> (Platform, OsVersion, bool, bool) {
    let platform = match text.chars().next().unwrap() {
        'i' => Platform::Ios,
        'm' => Platform::Macos,
        't' => Platform::Tvos,
        'v' => Platform::Visionos,
        'w' => Platform::Watchos,
        other => panic!("{other}"),
    };
    let version = text[1..].trim_end_matches(['S', 'A']);
    (
        platform,
        version.parse().unwrap(),
        text.contains('S'),
        text.contains('A'),
    )
}

#[test]
fn commands_are_supported_where_the_documents_say() {
    let catalogue = Catalogue::shipped();
    let mut cells = 0;
    let mut commands = 0;
    let mut wrong = Vec::new();
    for line in include_str!("commands.txt")
        .lines()
        .filter(|line| !line.starts_with('#'))
    {
        let columns: Vec<&str> = line.split('|').map(str::trim).collect();
        let [name, since, right, channels, shared, user] = columns.as_slice() else {
            panic!("{line}");
        };
        let object = catalogue.object(Class::Command, name).unwrap();
        commands += 1;
        let mut told = BTreeMap::new();
        for text in since.split_whitespace() {
            let (platform, version, supervised, ade) = cell(text);
            told.insert(platform, (version, supervised, ade));
        }
        let mut same = |what: String, holds: bool| {
            cells += 1;
            if !holds {
                wrong.push(format!("{name}: {what}"));
            }
        };
        for platform in Platform::ALL {
            let row = object.os.get(&platform);
            let here = row.and_then(|row| {
                let flag = |flag: Option<bool>| flag.unwrap_or(false);
                Some((row.since()?, flag(row.supervised), flag(row.requires_ade)))
            });
            same(
                format!("{platform:?} {here:?}"),
                here == told.get(&platform).copied(),
            );
            let Some(row) = row else {
                continue;
            };
            let bit = match row.right {
                None | Some(Right::None) => "0".to_owned(),
                Some(Right::Bit(bit)) => bit.to_string(),
                Some(Right::PerKey) => "per query".to_owned(),
            };
            same(
                format!("{platform:?} right {bit}"),
                right.split('/').any(|one| one == bit),
            );
            let taken = row.user_enrollment != Some(Mode::Forbidden);
            let expected = match *user {
                "yes" => true,
                "yes exc. m" => platform != Platform::Macos,
                _ => false,
            };
            if row.user_enrollment.is_some() {
                same(
                    format!("{platform:?} user enrollment {taken}"),
                    taken == expected,
                );
            }
        }
        if let Some(row) = object.os.get(&Platform::Macos) {
            let here = match (row.device_channel, row.user_channel) {
                (Some(true), Some(true)) => "DU",
                (Some(true), _) => "D",
                (_, Some(true)) => "U",
                _ => "-",
            };
            same(format!("channels of a Mac {here}"), here == *channels);
        }
        if let Some(row) = object
            .os
            .get(&Platform::Ios)
            .and_then(|row| row.shared_ipad.as_ref())
        {
            let channels = match (row.device_channel, row.user_channel) {
                (Some(true), Some(true)) => "DU",
                (Some(true), _) => "D",
                (_, Some(true)) => "U",
                _ => "",
            };
            let here = match row.mode {
                Some(Mode::Forbidden) => "no".to_owned(),
                Some(Mode::Required) => format!("only {channels}"),
                _ => channels.to_owned(),
            };
            same(format!("Shared iPad {here}"), here == *shared);
        }
    }
    assert_eq!(
        commands,
        catalogue
            .objects()
            .iter()
            .filter(|one| one.class == Class::Command)
            .count()
    );
    assert!(cells > 600, "{cells}");
    assert!(
        wrong.is_empty(),
        "{} of {cells}:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}
