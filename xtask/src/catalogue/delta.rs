//! Lays over the schema what Apple's lists of changes say beyond it: a line each, written by hand, with its source.
//!
//! Owns: the form of a line and what it does. A line that changes nothing is an error, so that none outlives its reason.

use anyhow::{Context, Result, bail};
use pomona_catalogue::{Class, Key, KeyType, Object, OsVersion, Platform, Support};
use serde::Deserialize;

use super::extract::sort;
use super::merge::{end, whole};

/// The file of changes.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Delta {
    /// Its lines, in the order in which they are done.
    pub(crate) change: Vec<Change>,
}

/// One change.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Change {
    /// The class of the objects.
    class: Class,
    /// Their names.
    ids: Vec<String>,
    /// The variant, where several share the name.
    #[serde(default)]
    variant: String,
    /// Paths of keys; none: the objects themselves.
    #[serde(default)]
    keys: Vec<String>,
    /// Who says so.
    source: String,
    /// The platforms it holds for; none: all that have it.
    #[serde(default)]
    on: Vec<Platform>,
    /// From which release on it is gone, counted as iOS counts.
    removed: Option<OsVersion>,
    /// From which release on it is discouraged, counted as iOS counts.
    deprecated: Option<OsVersion>,
    /// What holds on platforms, in place of what was known.
    os: Option<Support>,
    /// It is new, of this type.
    add: Option<KeyType>,
    /// It is new, and no more than its name is known.
    #[serde(default)]
    name_only: bool,
    /// The values that it may have.
    #[serde(default)]
    values: Vec<serde_json::Value>,
    /// The variant has this name now.
    rename: Option<String>,
}

/// Does all changes.
pub(crate) fn apply(objects: &mut Vec<Object>, delta: &Delta) -> Result<()> {
    for change in &delta.change {
        for id in &change.ids {
            let before = objects.clone();
            one(objects, change, id).with_context(|| {
                format!(
                    "the change of {id} {:?}, from {}",
                    change.keys, change.source
                )
            })?;
            if *objects == before {
                bail!(
                    "the change of {id} {:?} changes nothing: take it out",
                    change.keys
                );
            }
        }
    }
    sort(objects);
    Ok(())
}

fn one(objects: &mut Vec<Object>, change: &Change, id: &str) -> Result<()> {
    if change.source.is_empty() {
        bail!("it names no source");
    }
    let named = |object: &Object| {
        (object.class, object.id.as_str(), object.variant.as_str())
            == (change.class, id, change.variant.as_str())
    };
    let place = objects.iter().position(named);
    let new = change.add.is_some() || change.name_only;
    if change.keys.is_empty() && new {
        if place.is_some() {
            bail!("there is such an object already");
        }
        objects.push(Object {
            variant: change.variant.clone(),
            from: change.source.clone(),
            name_only: change.name_only,
            os: change.os.clone().unwrap_or_default(),
            ..Object::named_only(change.class, id)
        });
        return Ok(());
    }
    let object = place
        .and_then(|place| objects.get_mut(place))
        .context("there is no such object")?;
    if let Some(variant) = &change.rename {
        object.variant.clone_from(variant);
    }
    let paths = match change.keys.as_slice() {
        [] => vec![""],
        keys => keys.iter().map(String::as_str).collect(),
    };
    for path in paths {
        if new {
            add(object, change, path)?;
            continue;
        }
        let all = whole(object, path).context("there is no such key")?;
        let own = support(object, path).context("there is no such key")?;
        let concerned: Support = all
            .into_iter()
            .filter(|(platform, _)| change.on.is_empty() || change.on.contains(platform))
            .collect();
        if let Some(release) = change.removed {
            end(own, &concerned, release);
        }
        if let Some(release) = change.deprecated {
            for platform in concerned.keys() {
                let row = own.entry(*platform).or_default();
                row.deprecated.get_or_insert(release.on(*platform));
            }
        }
        for (platform, row) in change.os.iter().flatten() {
            let before = own.entry(*platform).or_default();
            *before = row.over(before);
        }
    }
    Ok(())
}

fn add(object: &mut Object, change: &Change, path: &str) -> Result<()> {
    let (outer, name) = path.rsplit_once('/').unwrap_or(("", path));
    let keys = match outer {
        "" => &mut object.keys,
        outer => {
            &mut key(&mut object.keys, outer)
                .context("nothing to add it to")?
                .keys
        }
    };
    if keys.iter().any(|key| key.name == name) {
        bail!("there is such a key already");
    }
    keys.push(Key {
        name: name.to_owned(),
        kind: change.add.unwrap_or_default(),
        name_only: change.name_only,
        values: change.values.clone(),
        os: change.os.clone().unwrap_or_default(),
        ..Key::default()
    });
    Ok(())
}

fn support<'a>(object: &'a mut Object, path: &str) -> Option<&'a mut Support> {
    if path.is_empty() {
        return Some(&mut object.os);
    }
    let sent = object.find(path).is_some();
    let keys = if sent {
        &mut object.keys
    } else {
        &mut object.answer
    };
    key(keys, path).map(|key| &mut key.os)
}

fn key<'a>(keys: &'a mut [Key], path: &str) -> Option<&'a mut Key> {
    let (name, rest) = path.split_once('/').unwrap_or((path, ""));
    let found = keys.iter_mut().find(|key| key.name == name)?;
    match rest {
        "" => Some(found),
        rest => key(&mut found.keys, rest),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn objects() -> Vec<Object> {
        let json = r#"{"class":"command","id":"Lock","from":"a","os":{"iOS":{"in":"4.0","sup":true},"macOS":{"in":"10.7"}},"keys":[{"k":"More","t":"dict","keys":[{"k":"Old","t":"string"}]}]}"#;
        vec![serde_json::from_str(json).unwrap()]
    }

    fn changed(lines: &str) -> Result<Vec<Object>> {
        let mut objects = objects();
        let delta = toml::from_str(&format!(
            "[[change]]\nclass = \"command\"\nids = [\"Lock\"]\n{lines}"
        ))?;
        apply(&mut objects, &delta)?;
        Ok(objects)
    }

    fn written(object: &Object) -> String {
        serde_json::to_string(object).unwrap()
    }

    #[test]
    fn changes_end_discourage_and_add() {
        let gone = changed("source = \"a\"\nremoved = \"18.4\"").unwrap();
        assert!(written(&gone[0]).contains(r#""os":{"iOS":{"in":"4.0","rem":"18.4","sup":true},"macOS":{"in":"10.7","rem":"15.4"}}"#));
        let old =
            changed("source = \"a\"\nkeys = [\"More/Old\"]\non = [\"iOS\"]\ndeprecated = \"26.0\"")
                .unwrap();
        assert!(
            written(&old[0]).contains(r#"{"k":"Old","t":"string","os":{"iOS":{"dep":"26.0"}}}"#)
        );
        let more = changed("source = \"a\"\nkeys = [\"More/New\"]\nadd = \"boolean\"\nos = { iOS = { in = \"27.0\" }, macOS = { in = \"-\" } }").unwrap();
        assert!(written(&more[0]).contains(
            r#"{"k":"New","t":"boolean","os":{"iOS":{"in":"27.0"},"macOS":{"in":"-"}}}"#
        ));
        let wider = changed(
            "source = \"a\"\nos = { visionOS = { in = \"26.0\" }, macOS = { sup = true } }",
        )
        .unwrap();
        assert!(
            written(&wider[0])
                .contains(r#""macOS":{"in":"10.7","sup":true},"visionOS":{"in":"26.0"}}"#)
        );
    }

    #[test]
    fn a_line_that_does_nothing_or_says_nothing_is_refused() {
        for (lines, why) in [
            ("source = \"\"\nremoved = \"27.0\"", "names no source"),
            ("source = \"a\"", "changes nothing"),
            (
                "source = \"a\"\nkeys = [\"None\"]\nremoved = \"27.0\"",
                "no such key",
            ),
            ("source = \"a\"\nname_only = true", "such an object already"),
            (
                "source = \"a\"\nkeys = [\"More\"]\nadd = \"any\"",
                "such a key already",
            ),
            ("source = \"a\"\ncolour = \"red\"", "colour"),
        ] {
            let told = format!("{:#}", changed(lines).unwrap_err());
            assert!(told.contains(why), "{told}");
        }
    }
}
