//! The scanner of the architecture test: which crates and modules a source file names.
//!
//! Owns a reading of Rust that is just exact enough: comments, strings and character literals are blanked, then
//! every path counts by its first segment. It knows nothing of the rules.

use std::collections::BTreeSet;

/// The first segments of all paths in `source`, and what plain `use name` and `extern crate name` bring in.
pub(super) fn crates_named(source: &str) -> BTreeSet<String> {
    let code = code_only(source);
    words(&code)
        .filter(|word| !word.after_path)
        .filter(|word| word.before_path || matches!(word.previous, "use" | "crate"))
        .map(|word| word.text.to_owned())
        .collect()
}

/// The modules that `source` names as `crate::module`, also within `crate::{…}`.
pub(super) fn modules_named(source: &str) -> BTreeSet<String> {
    let code: String = code_only(source).split_whitespace().collect();
    let mut modules = BTreeSet::new();
    for (at, found) in code.match_indices("crate::") {
        let before = code.get(..at).and_then(|text| text.chars().next_back());
        if before.is_some_and(|letter| letter == '_' || letter == '$') {
            continue;
        }
        let rest = code.get(at + found.len()..).unwrap_or_default();
        match rest.strip_prefix('{') {
            Some(group) => modules.extend(first_segments(group)),
            None => modules.extend(leading_word(rest)),
        }
    }
    modules
}

/// The dependencies of a manifest, as crate names, development and build dependencies included. The workspace
/// table only declares versions and does not count.
pub(super) fn dependencies_in(manifest: &str) -> Result<BTreeSet<String>, toml::de::Error> {
    let table: toml::Table = manifest.parse()?;
    let mut names = BTreeSet::new();
    collect(&table, &mut names);
    Ok(names)
}

fn collect(table: &toml::Table, names: &mut BTreeSet<String>) {
    for (key, value) in table {
        let Some(inner) = value.as_table() else {
            continue;
        };
        match key.as_str() {
            "workspace" => {}
            "dependencies" | "dev-dependencies" | "build-dependencies" => {
                names.extend(inner.keys().map(|name| name.replace('-', "_")));
            }
            _ => collect(inner, names),
        }
    }
}

struct Word<'a> {
    text: &'a str,
    previous: &'a str,
    after_path: bool,
    before_path: bool,
}

/// The identifiers of `code` in order; one continues a path when only `::` stands between it and its neighbour.
fn words(code: &str) -> impl Iterator<Item = Word<'_>> {
    let mut rest = code;
    let mut previous = "";
    std::iter::from_fn(move || {
        let (gap, from) = rest.split_at(rest.find(is_word_letter)?);
        let end = from
            .find(|letter| !is_word_letter(letter))
            .unwrap_or(from.len());
        let (text, after) = from.split_at(end);
        let gap = gap.trim();
        let word = Word {
            text,
            previous,
            // In `use ::name` the path begins at the root; `<T as Trait>::name` continues one.
            after_path: (gap == "::" && previous != "use") || gap.ends_with(">::"),
            before_path: after.trim_start().starts_with("::"),
        };
        previous = text;
        rest = after;
        Some(word)
    })
}

fn is_word_letter(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

fn leading_word(text: &str) -> Option<String> {
    let end = text
        .find(|letter| !is_word_letter(letter))
        .unwrap_or(text.len());
    text.get(..end)
        .filter(|word| !word.is_empty())
        .map(ToOwned::to_owned)
}

/// The first segment of every entry of a group, up to its closing brace.
fn first_segments(group: &str) -> Vec<String> {
    let mut depth = 1;
    let mut found = Vec::new();
    let mut fresh = true;
    for (at, letter) in group.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 1 => {
                fresh = true;
                continue;
            }
            _ if fresh && depth == 1 => found.extend(group.get(at..).and_then(leading_word)),
            _ => {}
        }
        fresh = false;
        if depth == 0 {
            break;
        }
    }
    found
}

/// `source` with comments, strings and character literals replaced by spaces.
fn code_only(source: &str) -> String {
    let mut code = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(letter) = rest.chars().next() {
        let skipped = if code.ends_with(is_word_letter) && !raw_may_follow(&code) {
            None
        } else {
            raw_string(rest)
        };
        let skipped = skipped
            .or_else(|| line_comment(rest))
            .or_else(|| block_comment(rest))
            .or_else(|| string(rest))
            .or_else(|| character(rest));
        let length = match skipped {
            Some(length) => {
                code.push(' ');
                length.min(rest.len())
            }
            None => {
                code.push(letter);
                letter.len_utf8()
            }
        };
        rest = rest.get(length..).unwrap_or_default();
    }
    code
}

/// The `b` of `br"…"` or the `c` of `cr"…"` has been copied as code when the `r` is reached.
fn raw_may_follow(code: &str) -> bool {
    let word = code
        .rsplit(|letter| !is_word_letter(letter))
        .next()
        .unwrap_or_default();
    matches!(word, "b" | "c")
}

fn line_comment(text: &str) -> Option<usize> {
    text.starts_with("//")
        .then(|| text.find('\n').unwrap_or(text.len()))
}

fn block_comment(text: &str) -> Option<usize> {
    if !text.starts_with("/*") {
        return None;
    }
    let mut depth = 0_usize;
    let mut at = 0;
    loop {
        let rest = text.get(at..)?;
        if rest.starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return Some(at);
            }
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
        if at >= text.len() {
            return Some(text.len());
        }
    }
}

fn string(text: &str) -> Option<usize> {
    let inner = text.strip_prefix('"')?;
    let mut escaped = false;
    for (at, letter) in inner.char_indices() {
        match letter {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return Some(at + 2),
            _ => {}
        }
    }
    Some(text.len())
}

fn raw_string(text: &str) -> Option<usize> {
    let inner = text.strip_prefix('r')?;
    let hashes = inner.len() - inner.trim_start_matches('#').len();
    let body = inner.trim_start_matches('#').strip_prefix('"')?;
    let closing = format!("\"{}", "#".repeat(hashes));
    let end = body.find(&closing)?;
    Some(1 + hashes + 1 + end + closing.len())
}

/// A character literal; a lifetime has no closing quote after one letter.
fn character(text: &str) -> Option<usize> {
    let inner = text.strip_prefix('\'')?;
    let mut letters = inner.chars();
    let first = letters.next()?;
    if first == '\\' {
        let end = inner.get(2..)?.find('\'')?;
        return Some(1 + 2 + end + 1);
    }
    (letters.next()? == '\'').then(|| 1 + first.len_utf8() + 1)
}

#[test]
fn every_way_to_name_a_crate_is_seen() {
    let sources = [
        "use sea_orm::EntityTrait;",
        "use sea_orm as orm;",
        "use ::sea_orm::{DbErr, Set};",
        "pub(crate) use sea_orm;",
        "extern crate sea_orm;",
        "fn f(x: &sea_orm::DbErr) {}",
        "#[derive(sea_orm::DeriveEntityModel)]\nstruct M;",
        "use {std::fmt, sea_orm::Set};",
        "let x = 'a'; let y = sea_orm::f();",
        "fn f<'a>(x: &'a str) -> sea_orm::X { \"//\"; }",
    ];
    for source in sources {
        assert!(crates_named(source).contains("sea_orm"), "{source}");
    }
}

#[test]
fn what_is_no_use_of_a_crate_does_not_count() {
    let sources = [
        "// use sea_orm::X;\nuse std::fmt;",
        "//! sea_orm::X belongs elsewhere\n",
        "/* sea_orm::X /* nested */ sea_orm::Y */ fn f() {}",
        "let text = \"sea_orm::X\";",
        "let text = r#\"sea_orm::\"X\"\"#;",
        "let text = br\"sea_orm::X\";",
        "let c = '\"'; // sea_orm::X",
        "use crate::sea_orm::Thing;",
        "use self::inner::sea_orm;",
        "let my_sea_orm = 1; my_sea_orm::f();",
    ];
    for source in sources {
        assert!(!crates_named(source).contains("sea_orm"), "{source}");
    }
}

#[test]
fn modules_are_seen_alone_and_in_groups() {
    let found = modules_named(
        "use crate::http::x; use crate::{store::{a, b}, queue}; fn f() { crate::push::wake() } $crate::not",
    );
    let expected = ["http", "push", "queue", "store"];
    assert_eq!(found, expected.map(String::from).into());
}

#[test]
fn every_dependency_table_of_a_manifest_is_read() {
    let found = dependencies_in(
        "[package]\nname = \"x\"\n[dependencies]\nsea-orm.workspace = true\n[dependencies.tokio]\nversion = \"1\"\n\
         [target.'cfg(unix)'.dependencies]\nnix = \"1\"\n[dev-dependencies]\ninsta = \"1\"\n\
         [workspace.dependencies]\naxum = \"1\"\n",
    )
    .unwrap();
    let expected = ["insta", "nix", "sea_orm", "tokio"];
    assert_eq!(found, expected.map(String::from).into());
}
