//! Lays out what the catalogue tells of one thing.
//!
//! Owns: its tables. Looks nothing up.

use anyhow::bail;
use serde_json::Value;

use crate::client::{Column, Output};

const SUPPORT: &[Column] = &[
    Column("PLATFORM", "platform"),
    Column("SINCE", "since"),
    Column("DEPRECATED", "deprecated"),
    Column("REMOVED", "removed"),
    Column("CONDITIONS", "conditions"),
];
const KEYS: &[Column] = &[
    Column("KEY", "key"),
    Column("TYPE", "type"),
    Column("REQUIRED", "required"),
    Column("VALUES", "values"),
    Column("WHERE", "where"),
];

/// Shows what is told of objects of one name, or of a key in them.
pub(super) fn show(all: &[Value], key: Option<&str>, output: &Output) -> anyhow::Result<()> {
    if all.is_empty() {
        bail!(
            "it has no key \"{}\": leave the key out to see all of them",
            key.unwrap_or_default()
        );
    }
    if output.is_json() {
        return output.value(&Value::Array(all.to_vec()));
    }
    for told in all {
        output.members(&told["about"])?;
        output.said("", &Value::Null)?;
        output.list(array(told, "support"), SUPPORT)?;
        for (part, heading) in [
            ("keys", "Keys"),
            ("answer", "Answer"),
            ("reasons", "Reasons"),
        ] {
            let rows = array(told, part);
            if !rows.is_empty() {
                output.said(&format!("\n{heading}"), &Value::Null)?;
                output.list(rows, KEYS)?;
            }
        }
    }
    Ok(())
}

fn array<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value[name]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default()
}
