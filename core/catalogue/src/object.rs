//! What the catalogue holds: objects of a class, and the keys in them.
//!
//! Owns: their form in memory and in the data files. Looks nothing up: `catalogue` does.
//!
//! Source: Apple's device management schema, `payload`, `payloadkeys`, `responsekeys` and `reasons`.

use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::{Number, Value};

use crate::support::Support;

/// Kinds of objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// Messages of a device, by `MessageType`.
    CheckIn,
    /// Commands, by `RequestType`.
    Command,
    /// Errors that a server may answer with, by `code`.
    Error,
    /// Payloads of profiles, by `PayloadType`.
    Profile,
    /// Declarations, by `Type`, and the data that assets lead to.
    Declaration,
    /// Status items, by name.
    Status,
    /// Messages of declarative management.
    Protocol,
    /// What stands in none of these: the device's `MachineInfo`, panes of the setup assistant, manifests.
    Other,
}

/// A word that names no class.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "\"{0}\" is no class: write check-in, command, error, profile, declaration, status, protocol or other"
)]
pub struct NotAClass(String);

impl Class {
    /// All of them, in the order of tables.
    pub const ALL: [Self; 8] = [
        Self::CheckIn,
        Self::Command,
        Self::Error,
        Self::Profile,
        Self::Declaration,
        Self::Status,
        Self::Protocol,
        Self::Other,
    ];

    /// Its word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CheckIn => "check-in",
            Self::Command => "command",
            Self::Error => "error",
            Self::Profile => "profile",
            Self::Declaration => "declaration",
            Self::Status => "status",
            Self::Protocol => "protocol",
            Self::Other => "other",
        }
    }
}

impl FromStr for Class {
    type Err = NotAClass;

    fn from_str(word: &str) -> Result<Self, NotAClass> {
        Self::ALL
            .into_iter()
            .find(|class| class.as_str() == word)
            .ok_or_else(|| NotAClass(word.chars().take(40).collect()))
    }
}

/// Something that Apple's protocols know by name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Object {
    /// Its kind.
    pub class: Class,
    /// Its name on the wire.
    pub id: String,
    /// Which of several with this name, as Apple's file names tell them apart; mostly empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub variant: String,
    /// The release whose files described it last.
    pub from: String,
    /// It is known that there is such a thing, not what it holds: nothing in it can be judged.
    #[serde(default, skip_serializing_if = "is_false")]
    pub name_only: bool,
    /// It may still change.
    #[serde(default, skip_serializing_if = "is_false")]
    pub beta: bool,
    /// Declarations: what happens where several apply: `single`, `multiple` or `combined`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub apply: String,
    /// Where it is supported.
    #[serde(default, skip_serializing_if = "Support::is_empty")]
    pub os: Support,
    /// What it holds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<Key>,
    /// What a device answers, or the server where the device asks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub answer: Vec<Key>,
    /// Codes by which a device tells why it does not do it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<Reason>,
    /// Status items that tell of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub status: Vec<String>,
}

impl Object {
    /// Something of which no more than the name is known.
    #[must_use]
    pub fn named_only(class: Class, id: &str) -> Self {
        Self {
            class,
            id: id.to_owned(),
            variant: String::new(),
            from: String::new(),
            name_only: true,
            beta: false,
            apply: String::new(),
            os: Support::new(),
            keys: Vec::new(),
            answer: Vec::new(),
            reasons: Vec::new(),
            status: Vec::new(),
        }
    }
}

/// Types of values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "Apple's words")]
pub enum KeyType {
    String,
    Integer,
    Real,
    Boolean,
    Date,
    Data,
    Array,
    #[serde(rename = "dict")]
    Dictionary,
    #[default]
    Any,
}

impl KeyType {
    /// Apple's word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Integer => "integer",
            Self::Real => "real",
            Self::Boolean => "boolean",
            Self::Date => "date",
            Self::Data => "data",
            Self::Array => "array",
            Self::Dictionary => "dictionary",
            Self::Any => "any",
        }
    }
}

/// A member of an object or of a dictionary, or what an array holds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Key {
    /// Its name on the wire; [`Key::EACH`] for what an array holds, [`Key::FREE`] where any name may stand.
    #[serde(rename = "k")]
    pub name: String,
    /// Its type.
    #[serde(rename = "t")]
    pub kind: KeyType,
    /// It is known that there is such a key, not where or with which values.
    #[serde(default, skip_serializing_if = "is_false")]
    pub name_only: bool,
    /// It must be there.
    #[serde(default, rename = "req", skip_serializing_if = "is_false")]
    pub required: bool,
    /// What a device takes where it is not there.
    #[serde(rename = "def", skip_serializing_if = "Option::is_none")]
    pub default: Option<Value>,
    /// All values that it may have.
    #[serde(default, rename = "enum", skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<Value>,
    /// The least number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min: Option<Number>,
    /// The greatest number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max: Option<Number>,
    /// A regular expression for the whole text.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub format: String,
    /// How many an array holds at least and at most.
    #[serde(rename = "len", skip_serializing_if = "Option::is_none")]
    pub length: Option<(u32, u32)>,
    /// How several declarations become one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub combine: String,
    /// It names a declaration of one of these types.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub assets: Vec<String>,
    /// Media types of what that declaration leads to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub media: Vec<String>,
    /// What a text stands for: `url`, `hostname` and the like.
    #[serde(default, rename = "sub", skip_serializing_if = "String::is_empty")]
    pub subtype: String,
    /// Where it is supported, as far as it differs from what it stands in.
    #[serde(default, skip_serializing_if = "Support::is_empty")]
    pub os: Support,
    /// What it holds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<Key>,
    /// It holds what the key at this path holds: some hold themselves again.
    #[serde(default, rename = "as", skip_serializing_if = "String::is_empty")]
    pub same_as: String,
}

impl Key {
    /// What an array's item is: the one thing that the array holds, or of several the one that the item's own `Item` names.
    pub fn of_item<'a, 'b>(
        held: &'a [Self],
        item: impl FnOnce() -> Option<&'b str>,
    ) -> Option<&'a Self> {
        match held {
            [one] => Some(one),
            several => {
                let word = item()?;
                several.iter().find(|one| one.name == word)
            }
        }
    }

    /// The name of what an array holds, where all it holds is alike.
    pub const EACH: &'static str = "*";
    /// The name of a member whose name is free.
    pub const FREE: &'static str = "ANY";

    /// Keys and all that stands in them, with their paths: each once, also where one holds itself again.
    #[must_use]
    pub fn all(keys: &[Self]) -> Vec<(String, &Self)> {
        fn visit<'a>(outer: &str, keys: &'a [Key], all: &mut Vec<(String, &'a Key)>) {
            for key in keys {
                let path = match outer {
                    "" => key.name.clone(),
                    outer => format!("{outer}/{}", key.name),
                };
                all.push((path.clone(), key));
                visit(&path, &key.keys, all);
            }
        }
        let mut found = Vec::new();
        visit("", keys, &mut found);
        found
    }
}

/// Why a device does not do what a declaration says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reason {
    /// Its code.
    pub code: String,
    /// What is told with it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub details: Vec<String>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
fn is_false(value: &bool) -> bool {
    !*value
}
