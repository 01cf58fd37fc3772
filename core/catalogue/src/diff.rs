//! What changes for an administrator from one release of Apple's to a later one.
//!
//! Owns: reading it off the rows of the catalogue. Compares no files.

use serde::{Deserialize, Serialize};

use crate::catalogue::Catalogue;
use crate::object::{Class, Key, Object};
use crate::platform::Platform;
use crate::support::Row;
use crate::version::OsVersion;

/// What happens to something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// It comes.
    Introduced,
    /// It is discouraged from now on.
    Deprecated,
    /// It goes.
    Removed,
}

impl Change {
    /// Its word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Introduced => "introduced",
            Self::Deprecated => "deprecated",
            Self::Removed => "removed",
        }
    }
}

/// Something that changes, and the platforms on which it does, with the version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changed {
    /// The class of the object.
    pub class: Class,
    /// Its name.
    pub id: String,
    /// Which of several.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub variant: String,
    /// The path of the key; empty: the object.
    pub key: String,
    /// What happens.
    pub change: Change,
    /// Where, and from which version on.
    pub on: Vec<(Platform, OsVersion)>,
}

impl Catalogue {
    /// What changes after the release `from` up to the release `to`, both counted as iOS counts. What a key only shares with what it
    /// stands in is not told of it again.
    #[must_use]
    pub fn changes(&self, from: OsVersion, to: OsVersion) -> Vec<Changed> {
        let mut changes = Vec::new();
        for object in self.objects() {
            let mut look = Look {
                object,
                from,
                to,
                changes: &mut changes,
            };
            let rows = Platform::ALL.map(|platform| {
                let own = object.os.get(&platform);
                own.cloned().unwrap_or_else(Row::never)
            });
            let none = Platform::ALL.map(|_| Row::never());
            look.told("", &rows, &none);
            look.keys("", &object.keys, &rows);
        }
        changes
    }
}

type Rows = [Row; Platform::ALL.len()];

struct Look<'a> {
    object: &'a Object,
    from: OsVersion,
    to: OsVersion,
    changes: &'a mut Vec<Changed>,
}

impl Look<'_> {
    fn keys(&mut self, path: &str, keys: &[Key], outer: &Rows) {
        for key in keys {
            let path = match path {
                "" => key.name.clone(),
                path => format!("{path}/{}", key.name),
            };
            let mut rows = outer.clone();
            for (row, platform) in rows.iter_mut().zip(Platform::ALL) {
                let own = key.os.get(&platform).cloned().unwrap_or_default();
                *row = own.within(row);
            }
            self.told(&path, &rows, outer);
            self.keys(&path, &key.keys, &rows);
        }
    }

    fn told(&mut self, path: &str, rows: &Rows, outer: &Rows) {
        type Of = fn(&Row) -> Option<OsVersion>;
        let facts: [(Change, Of); 3] = [
            (Change::Introduced, Row::since),
            (Change::Deprecated, |row| row.deprecated),
            (Change::Removed, |row| row.removed),
        ];
        for (change, of) in facts {
            let platforms = Platform::ALL.iter().zip(rows).zip(outer);
            let on: Vec<_> = platforms
                .filter(|((_, row), outer)| row.since().is_some() && of(row) != of(outer))
                .filter_map(|((platform, row), _)| Some((*platform, of(row)?)))
                .filter(|(platform, version)| {
                    *version > self.from.on(*platform) && *version <= self.to.on(*platform)
                })
                .collect();
            if !on.is_empty() {
                self.changes.push(Changed {
                    class: self.object.class,
                    id: self.object.id.clone(),
                    variant: self.object.variant.clone(),
                    key: path.to_owned(),
                    change,
                    on,
                });
            }
        }
    }
}
