//! Reads a YAML file into a tree, in which something that holds itself again is named where it comes again.
//!
//! Owns: the tree. Every scalar stays text: a version such as 10.10 is not a number. Knows nothing of Apple's schema.

use std::collections::HashMap;

use anyhow::{Context, Result, bail};
use saphyr_parser::{Event, Parser};

/// A node.
#[derive(Clone, Debug)]
pub(crate) enum Node {
    /// A text, a number, a truth: as it is written, and whether it stands in quotes.
    Scalar { text: String, quoted: bool },
    /// A list, and the number of the anchor on it, or 0.
    List { anchor: usize, items: Vec<Node> },
    /// Members in their order.
    Map(Vec<(String, Node)>),
    /// The list with this anchor, in which this stands.
    Again(usize),
}

impl Node {
    /// A member.
    pub(crate) fn member(&self, name: &str) -> Option<&Self> {
        match self {
            Self::Map(members) => members
                .iter()
                .find(|(key, _)| key == name)
                .map(|(_, node)| node),
            _ => None,
        }
    }

    /// The text of a scalar.
    pub(crate) fn text(&self) -> Option<&str> {
        match self {
            Self::Scalar { text, .. } => Some(text),
            _ => None,
        }
    }

    /// What a list holds; nothing where this is none.
    pub(crate) fn items(&self) -> &[Self] {
        match self {
            Self::List { items, .. } => items,
            _ => &[],
        }
    }

    /// The members of a map; nothing where this is none.
    pub(crate) fn members(&self) -> &[(String, Self)] {
        match self {
            Self::Map(members) => members,
            _ => &[],
        }
    }
}

/// Reads the one document of a file.
pub(crate) fn read(text: &str) -> Result<Node> {
    let mut events = Parser::new_from_str(text);
    let mut anchors = HashMap::new();
    loop {
        match next(&mut events)? {
            Event::StreamStart | Event::DocumentStart(_) => {}
            event => return node(event, &mut events, &mut anchors),
        }
    }
}

fn next<'a>(events: &mut impl Iterator<Item = Item<'a>>) -> Result<Event<'a>> {
    let (event, _) = events.next().context("the file ends too early")??;
    Ok(event)
}

type Item<'a> = Result<(Event<'a>, saphyr_parser::Span), saphyr_parser::ScanError>;

fn node<'a>(
    event: Event<'a>,
    events: &mut impl Iterator<Item = Item<'a>>,
    anchors: &mut HashMap<usize, Option<Node>>,
) -> Result<Node> {
    let (anchor, node) = match event {
        Event::Scalar(text, style, anchor, _) => {
            let quoted = style != saphyr_parser::ScalarStyle::Plain;
            let text = text.into_owned();
            (anchor, Node::Scalar { text, quoted })
        }
        Event::SequenceStart(anchor, _) => {
            anchors.insert(anchor, None);
            let mut items = Vec::new();
            loop {
                match next(events)? {
                    Event::SequenceEnd => break,
                    event => items.push(self::node(event, events, anchors)?),
                }
            }
            (anchor, Node::List { anchor, items })
        }
        Event::MappingStart(anchor, _) => {
            anchors.insert(anchor, None);
            let mut members = Vec::new();
            loop {
                let name = match next(events)? {
                    Event::MappingEnd => break,
                    Event::Scalar(text, ..) => text.into_owned(),
                    other => bail!("a name was expected, not {other:?}"),
                };
                let value = next(events)?;
                members.push((name, self::node(value, events, anchors)?));
            }
            (anchor, Node::Map(members))
        }
        Event::Alias(anchor) => {
            return match anchors.get(&anchor) {
                Some(Some(node)) => Ok(node.clone()),
                Some(None) => Ok(Node::Again(anchor)),
                None => bail!("an alias without an anchor"),
            };
        }
        other => bail!("a value was expected, not {other:?}"),
    };
    if anchor > 0 {
        anchors.insert(anchor, Some(node.clone()));
    }
    Ok(node)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_holds_itself_again_is_named() {
        let text = "a: &one\n- b: 10.10\n  c: *one\nd: *one\ne: '10.10'\n";
        let tree = read(text).unwrap();
        let a = tree.member("a").unwrap();
        let Node::List { anchor, items } = a else {
            panic!("{a:?}")
        };
        assert_eq!(items[0].member("b").unwrap().text(), Some("10.10"));
        assert!(matches!(items[0].member("c"), Some(Node::Again(again)) if again == anchor));
        assert_eq!(tree.member("d").unwrap().items().len(), 1);
        assert!(matches!(
            tree.member("e"),
            Some(Node::Scalar { quoted: true, .. })
        ));
        for wrong in ["a: [", "a: *none", "? {a: b}\n: c"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
