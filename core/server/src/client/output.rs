//! Shows answers: tables for people, JSON for programs.
//!
//! Owns: the layout. Names come from devices and from strangers, so nothing that could steer a terminal is printed
//! in a table.

use std::io::{self, Write};

use anyhow::Context;
use serde_json::Value;

/// Where answers go.
pub(crate) struct Output {
    json: bool,
}

impl Output {
    /// Tables, or JSON.
    pub(crate) fn new(json: bool) -> Self {
        Self { json }
    }

    /// Whether programs read it.
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// A list: one row an entry, one column a member.
    pub(crate) fn list(&self, items: &[Value], columns: &[Column]) -> anyhow::Result<()> {
        if self.json {
            return self.value(&Value::Array(items.to_vec()));
        }
        let heads = columns.iter().map(|column| column.0.to_owned()).collect();
        let mut rows: Vec<Vec<String>> = vec![heads];
        for item in items {
            rows.push(columns.iter().map(|column| cell(item, column.1)).collect());
        }
        print(&layout(&rows))
    }

    /// One thing: one line a member.
    pub(crate) fn one(&self, value: &Value, members: &[Column]) -> anyhow::Result<()> {
        if self.json {
            return self.value(value);
        }
        let rows: Vec<Vec<String>> = members
            .iter()
            .map(|member| vec![member.0.to_owned(), cell(value, member.1)])
            .filter(|row| row.last().is_some_and(|text| text != "-"))
            .collect();
        print(&layout(&rows))
    }

    /// One thing: one line for each member it has.
    pub(crate) fn members(&self, value: &Value) -> anyhow::Result<()> {
        if self.json {
            return self.value(value);
        }
        let rows: Vec<Vec<String>> = value
            .as_object()
            .into_iter()
            .flatten()
            .map(|(name, value)| {
                let name = name.replace('_', " ");
                vec![clean(&name, false), clean(&plain(value), false)]
            })
            .collect();
        print(&layout(&rows))
    }

    /// A sentence for people; `value` for programs.
    pub(crate) fn said(&self, sentence: &str, value: &Value) -> anyhow::Result<()> {
        match self.json {
            true => self.value(value),
            false => print(&format!("{}\n", clean(sentence, true))),
        }
    }

    /// JSON in any case.
    pub(crate) fn value(&self, value: &Value) -> anyhow::Result<()> {
        let text = serde_json::to_string_pretty(value).context("writing JSON")?;
        print(&format!("{text}\n"))
    }
}

/// A heading, and the member that stands under it; `a/b` goes into objects.
pub(crate) struct Column(pub(crate) &'static str, pub(crate) &'static str);

/// Writes to standard output. A reader that has seen enough (`| head`) is no failure.
pub(crate) fn print(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
        written => written.context("writing the answer"),
    }
}

fn cell(item: &Value, member: &str) -> String {
    let value = item.pointer(&format!("/{member}")).unwrap_or(&Value::Null);
    let text = match value {
        Value::Null => "-".to_owned(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::String(text) if text.is_empty() => "-".to_owned(),
        Value::String(text) => shorter(text),
        Value::Array(items) => {
            let texts: Vec<String> = items.iter().map(plain).collect();
            texts.join(" ")
        }
        other => other.to_string(),
    };
    clean(&text, false)
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Times without the fractions of a second, which nobody reads.
fn shorter(text: &str) -> String {
    let is_time = text.len() > 20 && text.ends_with('Z') && text.as_bytes().get(19) == Some(&b'.');
    match text.split_once('.') {
        Some((seconds, _)) if is_time && seconds.contains('T') => format!("{seconds}Z"),
        _ => text.to_owned(),
    }
}

/// The text without what could steer a terminal.
pub(crate) fn clean(text: &str, lines: bool) -> String {
    text.chars()
        .map(|c| match c {
            '\n' if lines => c,
            c if c.is_control() => '\u{fffd}',
            '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' => {
                '\u{fffd}'
            }
            c => c,
        })
        .collect()
}

fn layout(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            line.push_str(&format!("{cell:<width$}  "));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_hostile_name_cannot_steer_a_terminal() {
        let item = json!({"name": "a\u{1b}[2Jb\nc\u{202e}d", "n": {"m": 7}});
        assert_eq!(cell(&item, "name"), "a\u{fffd}[2Jb\u{fffd}c\u{fffd}d");
        assert_eq!(cell(&item, "n/m"), "7");
        assert_eq!(cell(&item, "absent"), "-");
    }

    #[test]
    fn columns_stand_under_their_headings() {
        let rows = [["ID", "NAME"], ["1", "Zoë"], ["234", "x"]];
        let rows: Vec<Vec<String>> = rows
            .iter()
            .map(|row| row.iter().map(|cell| (*cell).to_owned()).collect())
            .collect();
        assert_eq!(layout(&rows), "ID   NAME\n1    Zoë\n234  x\n");
    }

    #[test]
    fn a_time_is_shown_to_the_second() {
        assert_eq!(
            shorter("2026-03-01T08:00:00.123456Z"),
            "2026-03-01T08:00:00Z"
        );
        assert_eq!(
            shorter("com.apple.mgmt.External.7Z"),
            "com.apple.mgmt.External.7Z"
        );
    }
}
