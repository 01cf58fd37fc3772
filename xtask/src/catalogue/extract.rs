//! Takes the facts out of a tree of Apple's schema files: names, types, versions, flags. Its sentences stay where they are.
//!
//! Owns: how a schema file becomes an object. A word that it does not know is an error: a new schema may say something new.

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Context, Result, bail};
use pomona_catalogue::{
    Class, Enrollment, Key, KeyType, Mode, Object, OsVersion, Platform, RIGHTS, Reason, Right, Row,
    Scope, SharedIpad, Since, Support,
};
use serde_json::{Number, Value};

use super::yaml::{self, Node};

/// The folders of the schema, and what their files describe.
const FOLDERS: [(&str, Class); 7] = [
    ("mdm/checkin", Class::CheckIn),
    ("mdm/commands", Class::Command),
    ("mdm/errors", Class::Error),
    ("mdm/profiles", Class::Profile),
    ("declarative/status", Class::Status),
    ("declarative/protocol", Class::Protocol),
    ("other", Class::Other),
];
/// The folder of declarations, whose files lie in folders of their own.
const DECLARATIONS: &str = "declarative/declarations";

/// The objects of a tree, in the order of the catalogue's files.
pub(crate) fn tree(root: &Path, source: &str) -> Result<Vec<Object>> {
    let mut objects = Vec::new();
    for (folder, class) in FOLDERS {
        files(&root.join(folder), false, &mut |path| {
            objects.push(file(path, class, source)?);
            Ok(())
        })?;
    }
    files(&root.join(DECLARATIONS), true, &mut |path| {
        objects.push(file(path, Class::Declaration, source)?);
        Ok(())
    })?;
    if objects.is_empty() {
        bail!(
            "{} holds no schema: name the folder in which `mdm` and `declarative` lie",
            root.display()
        );
    }
    sort(&mut objects);
    Ok(objects)
}

/// Puts objects in the order of the catalogue's files.
pub(crate) fn sort(objects: &mut [Object]) {
    objects.sort_by(|one, other| {
        (one.class, &one.id, &one.variant).cmp(&(other.class, &other.id, &other.variant))
    });
}

fn files(folder: &Path, deep: bool, each: &mut impl FnMut(&Path) -> Result<()>) -> Result<()> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Ok(());
    };
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() && deep {
            files(&path, deep, each)?;
        } else if path.extension().is_some_and(|end| end == "yaml") {
            each(&path).with_context(|| path.display().to_string())?;
        }
    }
    Ok(())
}

fn file(path: &Path, class: Class, source: &str) -> Result<Object> {
    let text = std::fs::read_to_string(path)?;
    let root = yaml::read(&text)?;
    let payload = root.member("payload").context("no `payload`")?;
    let mut keys = Keys::default();
    let sent = keys.of(root.member("payloadkeys"), "")?;
    let answer = keys.of(root.member("responsekeys"), "")?;
    let name = path
        .file_stem()
        .and_then(|name| name.to_str())
        .unwrap_or("");
    let object = Object {
        class,
        id: id(payload, &sent)?,
        variant: variant(name).to_owned(),
        from: source.to_owned(),
        name_only: false,
        beta: payload.member("beta").and_then(Node::text) == Some("true"),
        apply: text_of(payload, "apply"),
        os: support(payload.member("supportedOS"), true)?,
        keys: sent,
        answer,
        reasons: reasons(root.member("reasons"))?,
        status: related(root.member("related-status-items")),
    };
    for (name, _) in root.members() {
        known(
            name,
            &[
                "title",
                "description",
                "payload",
                "payloadkeys",
                "responsekeys",
                "reasons",
                "related-status-items",
                "notes",
                "examples",
            ],
        )?;
    }
    Ok(object)
}

/// A name on the wire: of the one member that says it, or of an error the code that it has.
fn id(payload: &Node, keys: &[Key]) -> Result<String> {
    for name in [
        "requesttype",
        "payloadtype",
        "declarationtype",
        "statusitemtype",
    ] {
        if let Some(id) = payload.member(name).and_then(Node::text) {
            return Ok(id.to_owned());
        }
    }
    // What an asset leads to has a name that assets have too.
    if let Some(id) = payload.member("credentialtype").and_then(Node::text) {
        return Ok(format!("data:{id}"));
    }
    let code = keys.iter().find(|key| key.name == "code");
    let code = code
        .and_then(|key| key.values.first())
        .and_then(Value::as_str);
    Ok(code.context("nothing says what this describes")?.to_owned())
}

/// What stands in brackets in a file's name.
fn variant(name: &str) -> &str {
    let inside = name.split_once('(').map(|(_, rest)| rest);
    inside
        .and_then(|rest| rest.split(')').next())
        .unwrap_or_default()
}

fn known(name: &str, names: &[&str]) -> Result<()> {
    match names.contains(&name) {
        true => Ok(()),
        false => bail!("the schema says `{name}`, which this reader does not know"),
    }
}

fn text_of(node: &Node, name: &str) -> String {
    let text = node.member(name).and_then(Node::text);
    text.unwrap_or_default().to_owned()
}

fn texts(node: Option<&Node>) -> Vec<String> {
    let items = node.map(Node::items).unwrap_or_default();
    items
        .iter()
        .filter_map(Node::text)
        .map(str::to_owned)
        .collect()
}

/// Reads keys, and remembers at which path an anchor stands.
#[derive(Default)]
struct Keys {
    anchors: HashMap<usize, String>,
}

impl Keys {
    fn of(&mut self, node: Option<&Node>, path: &str) -> Result<Vec<Key>> {
        let Some(Node::List { anchor, items }) = node else {
            return Ok(Vec::new());
        };
        self.anchors
            .entry(*anchor)
            .or_insert_with(|| path.to_owned());
        items
            .iter()
            .map(|item| self.key(item, path, false))
            .collect()
    }

    fn key(&mut self, node: &Node, outer: &str, each: bool) -> Result<Key> {
        let told = text_of(node, "key");
        let name = if each { Key::EACH.to_owned() } else { told };
        let path = match outer {
            "" => name.clone(),
            outer => format!("{outer}/{name}"),
        };
        let kind = kind(&text_of(node, "type")).with_context(|| path.clone())?;
        let mut key = Key {
            kind,
            required: node.member("presence").and_then(Node::text) == Some("required"),
            default: node.member("default").map(|node| value(node, kind)),
            values: node
                .member("rangelist")
                .map(Node::items)
                .unwrap_or_default()
                .iter()
                .map(|node| value(node, kind))
                .collect(),
            format: text_of(node, "format"),
            combine: text_of(node, "combinetype"),
            assets: texts(node.member("assettypes")),
            media: texts(node.member("asset-content-types")),
            subtype: text_of(node, "subtype").trim_matches(['<', '>']).to_owned(),
            os: support(node.member("supportedOS"), false).with_context(|| path.clone())?,
            name,
            ..Key::default()
        };
        if let Some(range) = node.member("range") {
            let bound = |name| range.member(name).map(|node| value(node, KeyType::Real));
            let number = |value: Option<Value>| value.and_then(|value| value.as_number().cloned());
            (key.min, key.max) = (number(bound("min")), number(bound("max")));
        }
        if let Some(length) = node.member("repetition") {
            let number = |name| text_of(length, name).parse::<u32>().ok();
            key.length = Some((
                number("min").unwrap_or(0),
                number("max").unwrap_or(u32::MAX),
            ));
        }
        match node.member("subkeys") {
            None => {}
            Some(Node::Again(anchor)) => {
                let place = self.anchors.get(anchor);
                key.same_as = place.context("an alias to what holds no keys")?.clone();
            }
            // What stands below an array that holds one kind of thing has no name on the wire.
            Some(Node::List { anchor, items }) if kind == KeyType::Array && items.len() == 1 => {
                self.anchors.entry(*anchor).or_insert_with(|| path.clone());
                let each = items.iter().map(|item| self.key(item, &path, true));
                key.keys = each.collect::<Result<_>>()?;
            }
            below => key.keys = self.of(below, &path)?,
        }
        for (name, _) in node.members() {
            known(
                name,
                &[
                    "key",
                    "title",
                    "type",
                    "subtype",
                    "presence",
                    "rangelist",
                    "range",
                    "default",
                    "format",
                    "repetition",
                    "combinetype",
                    "assettypes",
                    "asset-content-types",
                    "supportedOS",
                    "subkeys",
                    "subkeytype",
                    "content",
                ],
            )
            .with_context(|| path.clone())?;
        }
        Ok(key)
    }
}

fn kind(word: &str) -> Result<KeyType> {
    Ok(match word {
        "<string>" => KeyType::String,
        "<integer>" => KeyType::Integer,
        "<real>" => KeyType::Real,
        "<boolean>" => KeyType::Boolean,
        "<date>" => KeyType::Date,
        "<data>" => KeyType::Data,
        "<array>" => KeyType::Array,
        "<dictionary>" => KeyType::Dictionary,
        "<any>" => KeyType::Any,
        other => bail!("the type `{other}` is not known"),
    })
}

/// A value as its key's type wants it.
fn value(node: &Node, kind: KeyType) -> Value {
    let Node::Scalar { text, quoted } = node else {
        return Value::Array(node.items().iter().map(|node| value(node, kind)).collect());
    };
    let number = || {
        let whole = text.parse::<i64>().ok().map(Number::from);
        whole.or_else(|| text.parse::<f64>().ok().and_then(whole_or_real))
    };
    let read = match kind {
        KeyType::String => None,
        _ if *quoted => None,
        KeyType::Boolean | KeyType::Any if text == "true" => Some(Value::Bool(true)),
        KeyType::Boolean | KeyType::Any if text == "false" => Some(Value::Bool(false)),
        _ => number().map(Value::Number),
    };
    read.unwrap_or_else(|| Value::String(text.clone()))
}

/// A number without a fraction is written without one.
fn whole_or_real(number: f64) -> Option<Number> {
    match number.fract() == 0.0 && number.abs() < 1e15 {
        true => Some(Number::from(number as i64)),
        false => Number::from_f64(number),
    }
}

fn support(node: Option<&Node>, whole: bool) -> Result<Support> {
    let mut support = Support::new();
    for (platform, node) in node.map(Node::members).unwrap_or_default() {
        let platform: Platform = platform.parse()?;
        let mut row = row(node).with_context(|| platform.as_str())?;
        if whole {
            if row.since().is_none() {
                // Without a row a platform does not have it.
                continue;
            }
            // What holds anyway is not said.
            row.supervised = row.supervised.filter(|yes| *yes);
            row.requires_ade = row.requires_ade.filter(|yes| *yes);
            row.user_approved = row.user_approved.filter(|yes| *yes);
            row.right = row.right.filter(|right| *right != Right::None);
        }
        support.insert(platform, row);
    }
    Ok(support)
}

fn row(node: &Node) -> Result<Row> {
    let mut row = Row::default();
    for (name, node) in node.members() {
        let text = node.text().unwrap_or_default();
        let version = || text.parse::<OsVersion>();
        match name.as_str() {
            "introduced" if text == "n/a" => row.introduced = Some(Since::Never),
            // As for what it stands in.
            "introduced" if text == "all" => {}
            "introduced" => row.introduced = Some(Since::Version(version()?)),
            "deprecated" => row.deprecated = Some(version()?),
            // Gone since before the first: it has never been there.
            "removed" if text == "0" => row.introduced = Some(Since::Never),
            "removed" => row.removed = Some(version()?),
            "accessrights" => row.right = Some(right(text)?),
            "supervised" => row.supervised = Some(truth(text)?),
            "requiresdep" => row.requires_ade = Some(truth(text)?),
            "userapprovedmdm" => row.user_approved = Some(truth(text)?),
            "allowmanualinstall" => row.by_hand = Some(truth(text)?),
            "multiple" => row.multiple = Some(truth(text)?),
            "devicechannel" => row.device_channel = Some(truth(text)?),
            "userchannel" => row.user_channel = Some(truth(text)?),
            "always-skippable" => row.always_skippable = Some(truth(text)?),
            "userenrollment" => {
                for (name, _) in node.members() {
                    known(name, &["mode"])?;
                }
                row.user_enrollment = Some(mode(&text_of(node, "mode"))?);
            }
            "sharedipad" => row.shared_ipad = Some(shared_ipad(node)?),
            "allowed-enrollments" => {
                let kinds = texts(Some(node));
                row.enrollments = Some(
                    kinds
                        .iter()
                        .map(|word| enrollment(word))
                        .collect::<Result<_>>()?,
                );
            }
            "allowed-scopes" => row.scopes = Some(scopes(node)?),
            other => known(other, &[])?,
        }
    }
    Ok(row)
}

fn shared_ipad(node: &Node) -> Result<SharedIpad> {
    let mut shared = SharedIpad::default();
    for (name, node) in node.members() {
        let text = node.text().unwrap_or_default();
        match name.as_str() {
            "mode" => shared.mode = Some(mode(text)?),
            "devicechannel" => shared.device_channel = Some(truth(text)?),
            "userchannel" => shared.user_channel = Some(truth(text)?),
            "allowed-scopes" => shared.scopes = Some(scopes(node)?),
            other => known(other, &[])?,
        }
    }
    Ok(shared)
}

fn truth(text: &str) -> Result<bool> {
    text.parse()
        .with_context(|| format!("`{text}` is not a truth"))
}

fn right(word: &str) -> Result<Right> {
    Ok(match word {
        "None" | "n/a" => Right::None,
        "Special Case" => Right::PerKey,
        "DeviceLockAndRemovePasscode" => Right::Bit(4),
        "QueryInstalledApps" => Right::Bit(256),
        word => match RIGHTS.iter().find(|(_, name)| *name == word) {
            Some((bit, _)) => Right::Bit(*bit),
            None => bail!("the right `{word}` is not known"),
        },
    })
}

fn mode(word: &str) -> Result<Mode> {
    let modes = [
        Mode::Allowed,
        Mode::Required,
        Mode::Forbidden,
        Mode::Ignored,
    ];
    let mode = modes.into_iter().find(|mode| mode.as_str() == word);
    mode.with_context(|| format!("the mode `{word}` is not known"))
}

fn enrollment(word: &str) -> Result<Enrollment> {
    let kinds = [
        Enrollment::Supervised,
        Enrollment::Device,
        Enrollment::User,
        Enrollment::Local,
    ];
    let kind = kinds.into_iter().find(|kind| kind.as_str() == word);
    kind.with_context(|| format!("the enrollment `{word}` is not known"))
}

fn scopes(node: &Node) -> Result<Vec<Scope>> {
    let words = texts(Some(node));
    let scope = |word: &String| {
        let scope = [Scope::System, Scope::User]
            .into_iter()
            .find(|scope| scope.as_str() == word);
        scope.with_context(|| format!("the scope `{word}` is not known"))
    };
    words.iter().map(scope).collect()
}

fn reasons(node: Option<&Node>) -> Result<Vec<Reason>> {
    let items = node.map(Node::items).unwrap_or_default();
    let reason = |node: &Node| {
        for (name, _) in node.members() {
            known(name, &["value", "description", "details"])?;
        }
        let details = node.member("details").map(Node::items).unwrap_or_default();
        Ok(Reason {
            code: text_of(node, "value"),
            details: details
                .iter()
                .map(|detail| text_of(detail, "key"))
                .collect(),
        })
    };
    items.iter().map(reason).collect()
}

fn related(node: Option<&Node>) -> Vec<String> {
    let items = node.map(Node::items).unwrap_or_default();
    items
        .iter()
        .flat_map(|item| texts(item.member("status-items")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<Object> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("com.apple.thing(one).yaml");
        std::fs::write(&path, text).unwrap();
        file(&path, Class::Profile, "1")
    }

    #[test]
    fn facts_are_taken_and_sentences_left() {
        let object = of(
            "title: A title\ndescription: A sentence.\npayload:\n  payloadtype: com.apple.thing\n  supportedOS:\n    iOS:\n      introduced: 10.10\n      supervised: false\n      accessrights: AllowSettings\n      userenrollment:\n        mode: forbidden\n    tvOS:\n      introduced: n/a\n  content: More.\npayloadkeys:\n- key: Dock\n  type: <array>\n  subkeys: &one\n  - key: DockItem\n    type: <dictionary>\n    subkeys:\n    - key: Pages\n      type: <array>\n      subkeys: *one\n    - key: Size\n      type: <real>\n      default: 2.0\n      range:\n        min: -1.5\n        max: 10.0\n    - key: Word\n      type: <string>\n      rangelist:\n      - on\n      - 1\n",
        )
        .unwrap();
        assert_eq!(
            serde_json::to_string(&object).unwrap(),
            r#"{"class":"profile","id":"com.apple.thing","variant":"one","from":"1","os":{"iOS":{"in":"10.10","right":2048,"ue":"forbidden"}},"keys":[{"k":"Dock","t":"array","keys":[{"k":"*","t":"dict","keys":[{"k":"Pages","t":"array","as":"Dock"},{"k":"Size","t":"real","def":2,"min":-1.5,"max":10},{"k":"Word","t":"string","enum":["on","1"]}]}]}]}"#
        );
        let pages = object.find("Dock/*/Pages/*/Pages/*/Word").unwrap();
        assert_eq!(pages.way.len(), 7);
    }

    #[test]
    fn what_the_reader_does_not_know_is_an_error() {
        let head = "payload:\n  payloadtype: a\n";
        for (wrong, why) in [
            ("payload:\n  content: a\n".to_owned(), "nothing says what"),
            (format!("{head}news: a\n"), "`news`"),
            (
                format!("{head}  supportedOS:\n    iOS:\n      newest: a\n"),
                "`newest`",
            ),
            (
                format!("{head}  supportedOS:\n    iOS:\n      accessrights: All\n"),
                "`All`",
            ),
            (
                format!("{head}  supportedOS:\n    carOS:\n      introduced: '1'\n"),
                "carOS",
            ),
            (
                format!("{head}payloadkeys:\n- key: a\n  type: <tree>\n"),
                "`<tree>`",
            ),
            (
                format!("{head}payloadkeys:\n- key: a\n  type: <any>\n  colour: red\n"),
                "`colour`",
            ),
        ] {
            let told = format!("{:#}", of(&wrong).unwrap_err());
            assert!(told.contains(why), "{told}");
        }
    }
}
