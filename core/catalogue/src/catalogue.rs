//! The catalogue: all objects, found by class and name, and what stands in them by path.
//!
//! Owns: reading the data files and looking up. Judges nothing: `judge` does.

use std::collections::HashMap;
use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

use crate::object::{Class, Key, Object};
use crate::platform::Platform;
use crate::support::Row;

/// A release of Apple's schema that the catalogue was made from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// Its name, as objects give it in `from`.
    pub name: String,
    /// The release of Apple's operating systems, counted as iOS counts.
    pub release: String,
    /// The classes whose objects it has all of: only of them absence means that something is gone.
    pub whole: Vec<Class>,
    /// Where it was published, and under which licence.
    pub origin: String,
}

/// Data that is not as the catalogue writes it.
#[derive(Debug, thiserror::Error)]
#[error("line {line} of the catalogue cannot be read: {source}")]
pub struct Damaged {
    line: usize,
    source: serde_json::Error,
}

/// Everything that Apple's protocols know by name.
#[derive(Debug)]
pub struct Catalogue {
    sources: Vec<Source>,
    objects: Vec<Object>,
    places: HashMap<(Class, String), Vec<usize>>,
}

/// Something in an object, and what it stands in.
#[derive(Clone, Debug)]
pub struct Found<'a> {
    /// The object.
    pub object: &'a Object,
    /// The keys on the way, the one that was looked for last. Empty where the object itself was.
    pub way: Vec<&'a Key>,
}

impl Catalogue {
    /// The data of this release of the project. It is read once.
    #[must_use]
    pub fn shipped() -> &'static Self {
        static SHIPPED: LazyLock<Catalogue> = LazyLock::new(|| {
            #[expect(
                clippy::expect_used,
                reason = "the bytes are part of the program, and `the_shipped_data_can_be_read` has read them"
            )]
            Catalogue::read(crate::DATA).expect("the data that was shipped")
        });
        &SHIPPED
    }

    /// The data of this release, as they are written: what names them, names all that this catalogue says.
    #[must_use]
    pub const fn text() -> &'static str {
        crate::DATA
    }

    /// Reads data files, one after another: first the sources, a line each, then the objects.
    ///
    /// # Errors
    /// [`Damaged`] with the number of the first line that is not as it should be.
    pub fn read(text: &str) -> Result<Self, Damaged> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Line {
            Object(Box<Object>),
            Source(Source),
        }
        let mut catalogue = Self::of(Vec::new(), Vec::new());
        for (number, line) in text.lines().enumerate() {
            let damaged = |source| Damaged {
                line: number + 1,
                source,
            };
            if line.is_empty() {
                continue;
            }
            match serde_json::from_str(line).map_err(damaged)? {
                Line::Object(object) => catalogue.add(*object),
                Line::Source(source) => catalogue.sources.push(source),
            }
        }
        Ok(catalogue)
    }

    /// A catalogue of these.
    #[must_use]
    pub fn of(sources: Vec<Source>, objects: Vec<Object>) -> Self {
        let mut catalogue = Self {
            sources,
            objects: Vec::with_capacity(objects.len()),
            places: HashMap::new(),
        };
        for object in objects {
            catalogue.add(object);
        }
        catalogue
    }

    fn add(&mut self, object: Object) {
        let place = (object.class, object.id.clone());
        self.places
            .entry(place)
            .or_default()
            .push(self.objects.len());
        self.objects.push(object);
    }

    /// What it was made from, in the order in which later ones overrule.
    #[must_use]
    pub fn sources(&self) -> &[Source] {
        &self.sources
    }

    /// All objects, by class and name.
    #[must_use]
    pub fn objects(&self) -> &[Object] {
        &self.objects
    }

    /// The objects with a name: mostly one, several where payloads share a type.
    pub fn named(&self, class: Class, id: &str) -> impl Iterator<Item = &Object> {
        let places = self.places.get(&(class, id.to_owned()));
        places
            .into_iter()
            .flatten()
            .filter_map(|place| self.objects.get(*place))
    }

    /// The name that somebody may have meant who wrote one that is not there.
    #[must_use]
    pub fn meant(&self, class: Class, word: &str) -> Option<&str> {
        // Nobody types as much by mistake, and comparing costs.
        if word.len() > 100 {
            return None;
        }
        let word = word.to_lowercase();
        let likeness = |id: &str| strsim::jaro_winkler(&id.to_lowercase(), &word);
        self.objects
            .iter()
            .filter(|object| object.class == class)
            .map(|object| (likeness(&object.id), object.id.as_str()))
            .filter(|(likeness, _)| *likeness > 0.9)
            .max_by(|(one, _), (other, _)| one.total_cmp(other))
            .map(|(_, id)| id)
    }

    /// The object with a name, or the first of several.
    #[must_use]
    pub fn object(&self, class: Class, id: &str) -> Option<&Object> {
        self.named(class, id).next()
    }
}

impl Object {
    /// What a key holds, also where it holds the same as another.
    #[must_use]
    pub fn held_by<'a>(&'a self, key: &'a Key) -> &'a [Key] {
        if key.same_as.is_empty() {
            return &key.keys;
        }
        // Only keys of requests hold themselves again.
        self.walk(&self.keys, &key.same_as)
            .and_then(|way| way.last().map(|key| key.keys.as_slice()))
            .unwrap_or_default()
    }

    /// What stands at a path in what is sent, such as `ReturnToService/Enabled`; the object itself where the path is empty.
    #[must_use]
    pub fn find(&self, path: &str) -> Option<Found<'_>> {
        self.found(&self.keys, path)
    }

    /// What stands at a path in what is answered.
    #[must_use]
    pub fn find_answer(&self, path: &str) -> Option<Found<'_>> {
        self.found(&self.answer, path)
    }

    fn found<'a>(&'a self, keys: &'a [Key], path: &str) -> Option<Found<'a>> {
        let way = match path {
            "" => Vec::new(),
            path => self.walk(keys, path)?,
        };
        Some(Found { object: self, way })
    }

    fn walk<'a>(&'a self, keys: &'a [Key], path: &str) -> Option<Vec<&'a Key>> {
        let mut way = Vec::new();
        let mut here = keys;
        for name in path.split('/') {
            let key = here.iter().find(|key| key.name == name)?;
            way.push(key);
            here = self.held_by(key);
        }
        Some(way)
    }
}

impl Found<'_> {
    /// The whole of what holds on a platform, and what each thing on the way says: the object first.
    #[must_use]
    pub fn rows(&self, platform: Platform) -> Vec<Row> {
        let own = self.object.os.get(&platform);
        let mut rows = vec![own.cloned().unwrap_or_else(Row::never)];
        for key in &self.way {
            let none = Row::default();
            let own = key.os.get(&platform).unwrap_or(&none);
            if let Some(outer) = rows.last() {
                rows.push(own.within(outer));
            }
        }
        rows
    }

    /// The whole of what holds on a platform.
    #[must_use]
    pub fn row(&self, platform: Platform) -> Row {
        self.rows(platform).pop().unwrap_or_else(Row::never)
    }
}
