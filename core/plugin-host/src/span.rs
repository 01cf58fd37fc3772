//! Where a value stands in a JSON text.
//!
//! Owns: finding the place that a JSON pointer names, so that a remark can name a line and a value can be put in the place of
//! another without touching the rest. Judges nothing.

use std::ops::Range;

use serde::de::IgnoredAny;
use serde_json::{Deserializer, Value};

/// The bytes of the value at this pointer; none when the text has no such value or is no JSON.
pub(crate) fn span_of(text: &str, pointer: &str) -> Option<Range<usize>> {
    let mut at = blank(text, 0)..end_of(text, 0)?;
    for step in pointer.split('/').skip(1).filter(|step| !step.is_empty()) {
        let step = step.replace("~1", "/").replace("~0", "~");
        at = child(text, at.start, &step)?;
    }
    Some(at)
}

/// The line of the value at this pointer, or of the nearest value around it that is there; the first is 1.
pub(crate) fn line_of(text: &str, pointer: &str) -> usize {
    let mut pointer = pointer;
    loop {
        if let Some(span) = span_of(text, pointer) {
            let before = text.get(..span.start).unwrap_or_default();
            return before.matches('\n').count() + 1;
        }
        match pointer.rsplit_once('/') {
            Some((around, _)) => pointer = around,
            None => return 1,
        }
    }
}

/// A member of the object, or an item of the list, that begins at `start`.
fn child(text: &str, start: usize, step: &str) -> Option<Range<usize>> {
    let object = match text.as_bytes().get(start)? {
        b'{' => true,
        b'[' => false,
        _ => return None,
    };
    let mut at = start + 1;
    for n in 0.. {
        let mut found = step == n.to_string();
        if object {
            at = blank(text, at);
            let end = end_of(text, at)?;
            let name: Value = serde_json::from_str(text.get(at..end)?).ok()?;
            found = name == step;
            at = blank(text, end);
            at = at
                .checked_add(1)
                .filter(|_| text.as_bytes().get(at) == Some(&b':'))?;
        }
        at = blank(text, at);
        let end = end_of(text, at)?;
        if found {
            return Some(at..end);
        }
        at = blank(text, end);
        if text.as_bytes().get(at) != Some(&b',') {
            return None;
        }
        at += 1;
    }
    None
}

/// Where the value that begins at `start`, after blanks, ends.
fn end_of(text: &str, start: usize) -> Option<usize> {
    let mut values = Deserializer::from_str(text.get(start..)?).into_iter::<IgnoredAny>();
    values.next()?.ok()?;
    start.checked_add(values.byte_offset())
}

/// The first byte from `start` on that is no blank.
fn blank(text: &str, start: usize) -> usize {
    let rest = text.get(start..).unwrap_or_default();
    let blanks = |c: char| matches!(c, ' ' | '\t' | '\n' | '\r');
    start + (rest.len() - rest.trim_start_matches(blanks).len())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "{\n  \"a\": [1, {\"b/c\": \"x\"}],\n  \"d\" : null\n}\n";

    #[test]
    fn a_value_is_found_by_its_pointer() {
        for (pointer, expected) in [
            ("/a/0", Some("1")),
            ("/a/1", Some("{\"b/c\": \"x\"}")),
            ("/a/1/b~1c", Some("\"x\"")),
            ("/d", Some("null")),
            ("/a/2", None),
            ("/e", None),
            ("/d/x", None),
        ] {
            let found = span_of(TEXT, pointer).and_then(|span| TEXT.get(span));
            assert_eq!(found, expected, "{pointer}");
        }
        assert_eq!(span_of("{\"a\": ", "/a"), None);
    }

    #[test]
    fn a_line_is_that_of_the_value_or_of_what_is_around_it() {
        assert_eq!(line_of(TEXT, ""), 1);
        assert_eq!(line_of(TEXT, "/a/1/b~1c"), 2);
        assert_eq!(line_of(TEXT, "/a/1/absent"), 2);
        assert_eq!(line_of(TEXT, "/d"), 3);
        assert_eq!(line_of(TEXT, "/absent"), 1);
    }
}
