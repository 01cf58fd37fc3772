//! Names that people give to things.
//!
//! Owns: which texts are accepted as a name or a slug. Refuses what could deceive a reader of a list or of a
//! log: control characters, and characters that turn the direction of writing or are not seen at all.

use crate::error::{Error, Result};

/// The longest name, in characters.
const LONGEST: usize = 200;

/// Accepts a name: 1 to 200 characters, no control or invisible ones, no blanks at the ends.
///
/// # Errors
/// [`Error::Invalid`] says which rule is broken.
pub(crate) fn name(what: &str, text: &str) -> Result<String> {
    let trimmed = text.trim();
    if trimmed.is_empty() {
        return Err(Error::Invalid(format!("{what} must not be empty")));
    }
    if trimmed.chars().count() > LONGEST {
        return Err(Error::Invalid(format!(
            "{what} must not be longer than {LONGEST} characters"
        )));
    }
    if trimmed.chars().any(deceptive) {
        return Err(Error::Invalid(format!(
            "{what} must not hold control characters, or characters that are invisible or turn the direction of writing"
        )));
    }
    Ok(trimmed.to_owned())
}

/// Accepts a slug: 1 to 63 characters `a-z`, `0-9` and `-`, that begins and ends with a letter or digit and
/// is not itself a UUID.
///
/// # Errors
/// [`Error::Invalid`] says the rule.
pub(crate) fn slug(text: &str) -> Result<String> {
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    let inside = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let fits = text.len() <= 63
        && text.chars().all(inside)
        && edge(text.chars().next())
        && edge(text.chars().last())
        && uuid::Uuid::parse_str(text).is_err();
    if !fits {
        return Err(Error::Invalid(
            "a slug is 1 to 63 characters of a-z, 0-9 and -, begins and ends with a letter or a digit, and is no UUID".into(),
        ));
    }
    Ok(text.to_owned())
}

fn deceptive(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{00ad}' | '\u{061c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{2069}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_people_and_places_are_accepted_as_they_are() {
        for text in [
            "Zoë",
            "3B – Räume",
            "=SUM(A1)",
            "<b>",
            "{{7*7}}",
            "😀",
            "مدرسة",
        ] {
            assert_eq!(name("the name", text).unwrap(), text);
        }
        assert_eq!(name("the name", "  a b ").unwrap(), "a b");
    }

    #[test]
    fn a_name_that_could_deceive_is_refused() {
        for text in [
            "",
            "   ",
            "a\0b",
            "a\nb",
            "a\u{202e}b",
            "a\u{200b}b",
            "\u{feff}a",
            "a\u{7f}",
        ] {
            assert!(name("the name", text).is_err(), "{text:?}");
        }
        assert!(name("the name", &"x".repeat(201)).is_err());
        assert!(name("the name", &"😀".repeat(200)).is_ok());
    }

    #[test]
    fn a_slug_can_stand_in_a_path() {
        for text in ["a", "school-7", "0x"] {
            assert!(slug(text).is_ok(), "{text}");
        }
        for text in [
            "",
            "-a",
            "a-",
            "A",
            "a b",
            "a/b",
            "..",
            "ü",
            "01900000-0000-7000-8000-000000000000",
        ] {
            assert!(slug(text).is_err(), "{text}");
        }
        assert!(slug(&"a".repeat(64)).is_err());
    }
}
