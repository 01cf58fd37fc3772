//! Command bodies with blanks that each enrollment fills in its own way.
//!
//! Owns: the form of a blank, `{{input:NAME}}`, and filling it. A value is text inside the XML of a property
//! list, so it is escaped; it can never close a tag. The result is pinned by the writer at the first sending.

use std::collections::{BTreeMap, BTreeSet};

use crate::error::{Error, Result};

const OPEN: &[u8] = b"{{input:";
const CLOSE: &[u8] = b"}}";

/// The inputs of one enrollment, by name.
pub(crate) type Inputs = BTreeMap<String, String>;

/// Writes inputs for sealing.
pub(crate) fn write_inputs(inputs: &Inputs) -> Result<Vec<u8>> {
    serde_json::to_vec(inputs).map_err(|source| Error::internal("writing inputs", source))
}

/// Reads what [`write_inputs`] wrote.
pub(crate) fn read_inputs(bytes: &[u8]) -> Result<Inputs> {
    serde_json::from_slice(bytes).map_err(|source| Error::internal("reading inputs", source))
}

/// The names of the blanks in `body`, in order of appearance, repeats included.
pub(crate) fn blanks(body: &[u8]) -> Vec<String> {
    let mut names = Vec::new();
    walk(body, |part| {
        if let Part::Blank(name) = part {
            names.push(String::from_utf8_lossy(name).into_owned());
        }
    });
    names
}

/// Whether blanks stand for values alone: what a command does, and which keys it has, is known when it is queued and judged.
///
/// # Errors
/// [`Error::Invalid`] for a name that is none, and for a blank in the `RequestType` or in the name of a key.
pub(crate) fn check(
    blanks: &BTreeSet<String>,
    request_type: &str,
    command: &plist::Dictionary,
) -> Result<()> {
    if let Some(name) = blanks.iter().find(|name| !is_name(name)) {
        return Err(Error::Invalid(format!(
            "{:?} names no input; a name has 1 to 64 letters, digits, `_`, `.` or `-`",
            name.chars().take(64).collect::<String>()
        )));
    }
    if has_blank(request_type) || keys_have_blanks(command) {
        return Err(Error::Invalid(
            "a blank stands for a value; neither the RequestType nor the name of a key can be one"
                .into(),
        ));
    }
    Ok(())
}

fn is_name(name: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    (1..=64).contains(&name.len()) && name.chars().all(fits)
}

/// Whether a text holds a blank, or a part of one.
fn has_blank(text: &str) -> bool {
    text.contains("{{input:")
}

fn keys_have_blanks(dictionary: &plist::Dictionary) -> bool {
    dictionary
        .iter()
        .any(|(key, value)| has_blank(key) || holds_blank_keys(value))
}

fn holds_blank_keys(value: &plist::Value) -> bool {
    match value {
        plist::Value::Dictionary(inner) => keys_have_blanks(inner),
        plist::Value::Array(items) => items.iter().any(holds_blank_keys),
        _ => false,
    }
}

/// Fills the blanks. A blank without an input stays as it is; enqueueing refuses that beforehand.
pub(crate) fn render(body: &[u8], inputs: &Inputs) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len() + 256);
    walk(body, |part| match part {
        Part::Text(text) => out.extend_from_slice(text),
        Part::Blank(name) => {
            match std::str::from_utf8(name)
                .ok()
                .and_then(|name| inputs.get(name))
            {
                Some(value) => escape(value, &mut out),
                None => {
                    out.extend_from_slice(OPEN);
                    out.extend_from_slice(name);
                    out.extend_from_slice(CLOSE);
                }
            }
        }
    });
    out
}

enum Part<'a> {
    Text(&'a [u8]),
    Blank(&'a [u8]),
}

fn walk<'a>(mut rest: &'a [u8], mut each: impl FnMut(Part<'a>)) {
    while let Some(at) = find(rest, OPEN) {
        let (before, from) = rest.split_at(at);
        let after = from.get(OPEN.len()..).unwrap_or_default();
        let Some(end) = find(after, CLOSE) else {
            break;
        };
        let (name, tail) = after.split_at(end);
        each(Part::Text(before));
        each(Part::Blank(name));
        rest = tail.get(CLOSE.len()..).unwrap_or_default();
    }
    each(Part::Text(rest));
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).position(|window| window == what)
}

fn escape(value: &str, out: &mut Vec<u8>) {
    for byte in value.bytes() {
        match byte {
            b'&' => out.extend_from_slice(b"&amp;"),
            b'<' => out.extend_from_slice(b"&lt;"),
            b'>' => out.extend_from_slice(b"&gt;"),
            other => out.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inputs(pairs: &[(&str, &str)]) -> Inputs {
        pairs
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect()
    }

    #[test]
    fn a_blank_stands_for_a_value_and_nothing_else() {
        let looked = |body: &str| {
            let xml = format!("<plist version=\"1.0\"><dict>{body}</dict></plist>");
            let value = plist::Value::from_reader_xml(xml.as_bytes()).unwrap();
            let command = value.into_dictionary().unwrap();
            let request_type = command.get("RequestType").and_then(plist::Value::as_string);
            let request_type = request_type.unwrap_or_default().to_owned();
            let blanks = blanks(xml.as_bytes()).into_iter().collect();
            check(&blanks, &request_type, &command).map_err(|error| error.to_string())
        };
        let kind = "<key>RequestType</key><string>Settings</string>";
        assert_eq!(
            looked(&format!(
                "{kind}<key>A</key><string>{{{{input:room.1}}}}</string>"
            )),
            Ok(())
        );
        for (body, said) in [
            (
                "<key>RequestType</key><string>{{input:what}}</string>".to_owned(),
                "stands for a value",
            ),
            (
                "<key>RequestType</key><string>Erase{{input:what}}</string>".to_owned(),
                "stands for a value",
            ),
            (
                format!("{kind}<key>{{{{input:key}}}}</key><true/>"),
                "stands for a value",
            ),
            (
                format!(
                    "{kind}<key>A</key><array><dict><key>{{{{input:key}}}}</key><true/></dict></array>"
                ),
                "stands for a value",
            ),
            // One that swallows what stands between would make another command of it.
            (
                format!(
                    "{kind}<key>A</key><string>{{{{input:</string><key>B</key><false/><key>C</key><string>}}}}</string>"
                ),
                "names no input",
            ),
            (
                format!("{kind}<key>A</key><string>{{{{input:}}}}</string>"),
                "names no input",
            ),
        ] {
            let error = looked(&body).unwrap_err();
            assert!(error.contains(said), "{body}: {error}");
        }
    }

    #[test]
    fn blanks_are_filled_and_values_cannot_close_a_tag() {
        let body = b"<string>{{input:name}}</string><string>{{input:name}}-{{input:room}}</string>";
        let out = render(body, &inputs(&[("name", "a</string>&"), ("room", "4")]));
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "<string>a&lt;/string&gt;&amp;</string><string>a&lt;/string&gt;&amp;-4</string>"
        );
    }

    #[test]
    fn an_unknown_or_unfinished_blank_stays() {
        for body in [
            "{{input:gone}}",
            "{{input:open",
            "{{input:",
            "{{other}}",
            "",
        ] {
            assert_eq!(render(body.as_bytes(), &Inputs::new()), body.as_bytes());
        }
        assert_eq!(
            blanks(b"x{{input:a}}y{{input:b}}{{input:a}}"),
            ["a", "b", "a"]
        );
    }
}
