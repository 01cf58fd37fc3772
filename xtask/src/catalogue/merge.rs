//! Lays releases of the schema over one another.
//!
//! Owns: what becomes of something that a later release does not name: it stays, with the version from which on it is gone. That is
//! so only where the later release says that it has all objects of a class; within an object its file always has all keys.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use pomona_catalogue::{Class, Key, Object, OsVersion, Platform, Row, Source, Support};

type Place = (Class, String, String);

/// What releases say together, the later over the earlier.
pub(crate) fn merge(releases: &[(Source, Vec<Object>)]) -> Result<Vec<Object>> {
    let mut merged: BTreeMap<Place, Object> = BTreeMap::new();
    for (source, objects) in releases {
        let release: OsVersion = source
            .release
            .parse()
            .with_context(|| format!("the release of {}", source.name))?;
        let mut named = Vec::with_capacity(objects.len());
        for object in objects {
            let place = (object.class, object.id.clone(), object.variant.clone());
            named.push(place.clone());
            let newer = match merged.get(&place) {
                Some(older) => over(older, object, release),
                None => object.clone(),
            };
            merged.insert(place, newer);
        }
        for (place, object) in &mut merged {
            if source.whole.contains(&place.0) && !named.contains(place) {
                let whole = object.os.clone();
                end(&mut object.os, &whole, release);
            }
        }
    }
    Ok(merged.into_values().collect())
}

/// A newer description of an object, with what only the older had.
fn over(older: &Object, newer: &Object, release: OsVersion) -> Object {
    let mut object = newer.clone();
    for (platform, row) in &older.os {
        object.os.entry(*platform).or_insert_with(|| {
            let mut row = row.clone();
            row.removed.get_or_insert(release.on(*platform));
            row
        });
    }
    let outer = older.os.clone();
    keep(&mut object.keys, &older.keys, &outer, release);
    keep(&mut object.answer, &older.answer, &outer, release);
    object
}

/// Puts the older keys that the newer ones lack behind them, with their end.
fn keep(newer: &mut Vec<Key>, older: &[Key], outer: &Support, release: OsVersion) {
    for old in older {
        let whole = within(&old.os, outer);
        match newer.iter_mut().find(|key| key.name == old.name) {
            Some(key) => keep(&mut key.keys, &old.keys, &whole, release),
            None => {
                let mut gone = old.clone();
                end(&mut gone.os, &whole, release);
                newer.push(gone);
            }
        }
    }
}

/// The whole support of a key in what has the support `outer`.
fn within(own: &Support, outer: &Support) -> Support {
    let none = Row::default();
    let platforms = outer.iter();
    platforms
        .map(|(platform, outer)| (*platform, own.get(platform).unwrap_or(&none).within(outer)))
        .collect()
}

/// Says of everything that `whole` has that it ends with a release.
pub(super) fn end(own: &mut Support, whole: &Support, release: OsVersion) {
    for (platform, row) in whole {
        if row.since().is_some() && row.removed.is_none() {
            let own = own.entry(*platform).or_default();
            own.removed = Some(release.on(*platform));
        }
    }
}

/// The whole support of what stands at a path; the object's own where the path is empty.
pub(super) fn whole(object: &Object, path: &str) -> Option<Support> {
    let found = object.find(path).or_else(|| object.find_answer(path))?;
    let rows = Platform::ALL.map(|platform| (platform, found.row(platform)));
    Some(
        rows.into_iter()
            .filter(|(_, row)| row.since().is_some())
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(release: &str, whole: &[Class]) -> Source {
        Source {
            name: release.to_owned(),
            release: release.to_owned(),
            whole: whole.to_vec(),
            origin: String::new(),
        }
    }

    fn object(json: &str) -> Object {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn what_a_later_release_does_not_name_ends_with_it_where_it_has_all() {
        let lock = r#"{"class":"command","id":"Lock","from":"a","os":{"iOS":{"in":"4.0"},"macOS":{"in":"10.7","rem":"14.0"}},"keys":[{"k":"PIN","t":"string","os":{"iOS":{"in":"-"}}},{"k":"More","t":"dict","keys":[{"k":"Old","t":"string"}]}]}"#;
        let newer = r#"{"class":"command","id":"Lock","from":"b","os":{"iOS":{"in":"4.0"}},"keys":[{"k":"More","t":"dict","keys":[{"k":"New","t":"string"}]}]}"#;
        let gone = r#"{"class":"command","id":"Gone","from":"a","os":{"iOS":{"in":"4.0"},"watchOS":{"in":"10.0"}}}"#;
        let first = (
            source("18.3", &[Class::Command]),
            vec![object(lock), object(gone)],
        );
        let part = (source("27.0", &[]), vec![object(newer)]);
        let merged = merge(&[first.clone(), part]).unwrap();
        assert_eq!(
            merged[0],
            object(gone),
            "a release that has only a part ends nothing"
        );
        assert_eq!(
            serde_json::to_string(&merged[1]).unwrap(),
            r#"{"class":"command","id":"Lock","from":"b","os":{"iOS":{"in":"4.0"},"macOS":{"in":"10.7","rem":"14.0"}},"keys":[{"k":"More","t":"dict","keys":[{"k":"New","t":"string"},{"k":"Old","t":"string","os":{"iOS":{"rem":"27.0"}}}]},{"k":"PIN","t":"string","os":{"iOS":{"in":"-"}}}]}"#
        );
        let all = (source("18.4", &[Class::Command]), vec![object(newer)]);
        let merged = merge(&[first, all]).unwrap();
        assert_eq!(
            serde_json::to_string(&merged[0].os).unwrap(),
            r#"{"iOS":{"in":"4.0","rem":"18.4"},"watchOS":{"in":"10.0","rem":"11.4"}}"#
        );
    }
}
