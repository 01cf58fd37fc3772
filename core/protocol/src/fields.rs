//! Typed access to the keys of one message.
//!
//! Owns the rules that all keys share: type, emptiness, length, control characters. Takes each value out of the dictionary, so that
//! big data is moved and not copied and what stays behind is what the types do not know. Never decides what a value means.

use plist::{Dictionary, Value};

use crate::{ParseError, Secret};

/// The keys of a message that are not read yet.
pub(crate) struct Fields {
    dictionary: Dictionary,
}

impl Fields {
    pub(crate) fn new(dictionary: Dictionary) -> Self {
        Self { dictionary }
    }

    /// The keys that nobody took.
    pub(crate) fn into_rest(self) -> Dictionary {
        self.dictionary
    }

    pub(crate) fn discard(&mut self, keys: &[&str]) {
        for key in keys {
            self.dictionary.remove(key);
        }
    }

    /// Refuses a key that must not be there.
    pub(crate) fn forbid(&self, key: &'static str) -> Result<(), ParseError> {
        if self.dictionary.contains_key(key) {
            Err(ParseError::Unexpected { key })
        } else {
            Ok(())
        }
    }

    /// A string that must be there and not be empty, of at most `max_bytes`.
    pub(crate) fn text(
        &mut self,
        key: &'static str,
        max_bytes: usize,
    ) -> Result<String, ParseError> {
        let text = self
            .any_text(key, max_bytes)?
            .ok_or(ParseError::Missing { key })?;
        if text.is_empty() {
            return Err(ParseError::EmptyValue { key });
        }
        Ok(text)
    }

    /// A string of at most `max_bytes`; absent and empty are the same.
    pub(crate) fn optional_text(
        &mut self,
        key: &'static str,
        max_bytes: usize,
    ) -> Result<Option<String>, ParseError> {
        Ok(self
            .any_text(key, max_bytes)?
            .filter(|text| !text.is_empty()))
    }

    /// A string of at most `max_bytes`, where absent and empty differ.
    pub(crate) fn any_text(
        &mut self,
        key: &'static str,
        max_bytes: usize,
    ) -> Result<Option<String>, ParseError> {
        let Some(value) = self.dictionary.remove(key) else {
            return Ok(None);
        };
        let text = value.into_string().ok_or(ParseError::WrongType { key })?;
        check_text(key, &text, max_bytes)?;
        Ok(Some(text))
    }

    /// A boolean, also written as the integer 0 or 1.
    pub(crate) fn optional_boolean(
        &mut self,
        key: &'static str,
    ) -> Result<Option<bool>, ParseError> {
        self.dictionary
            .remove(key)
            .map(|value| boolean(key, &value))
            .transpose()
    }

    /// Data that must be there and not be empty, of at most `max_bytes`.
    pub(crate) fn data(
        &mut self,
        key: &'static str,
        max_bytes: usize,
    ) -> Result<Secret<Vec<u8>>, ParseError> {
        if !self.dictionary.contains_key(key) {
            return Err(ParseError::Missing { key });
        }
        let data = self
            .optional_data(key)?
            .ok_or(ParseError::EmptyValue { key })?;
        if data.expose().len() > max_bytes {
            return Err(ParseError::TooLong { key });
        }
        Ok(data)
    }

    /// Data; absent and empty are the same.
    pub(crate) fn optional_data(
        &mut self,
        key: &'static str,
    ) -> Result<Option<Secret<Vec<u8>>>, ParseError> {
        let Some(value) = self.dictionary.remove(key) else {
            return Ok(None);
        };
        let data = value.into_data().ok_or(ParseError::WrongType { key })?;
        Ok((!data.is_empty()).then(|| Secret::new(data)))
    }

    pub(crate) fn optional_dictionary(
        &mut self,
        key: &'static str,
    ) -> Result<Option<Dictionary>, ParseError> {
        self.dictionary
            .remove(key)
            .map(|value| value.into_dictionary().ok_or(ParseError::WrongType { key }))
            .transpose()
    }
}

/// A string of a dictionary that stays where it is.
pub(crate) fn borrow_text<'a>(
    dictionary: &'a Dictionary,
    key: &'static str,
    max_bytes: usize,
) -> Result<Option<&'a str>, ParseError> {
    let Some(value) = dictionary.get(key) else {
        return Ok(None);
    };
    let text = value.as_string().ok_or(ParseError::WrongType { key })?;
    check_text(key, text, max_bytes)?;
    Ok(Some(text))
}

/// A boolean, also written as the integer 0 or 1.
pub(crate) fn boolean(key: &'static str, value: &Value) -> Result<bool, ParseError> {
    match (value.as_boolean(), value.as_unsigned_integer()) {
        (Some(boolean), _) => Ok(boolean),
        (None, Some(0)) => Ok(false),
        (None, Some(1)) => Ok(true),
        _ => Err(ParseError::WrongType { key }),
    }
}

/// The rule for every string that ends up in a column: bounded, no control characters.
pub(crate) fn check_text(
    key: &'static str,
    text: &str,
    max_bytes: usize,
) -> Result<(), ParseError> {
    if text.len() > max_bytes {
        return Err(ParseError::TooLong { key });
    }
    if text.chars().any(char::is_control) {
        return Err(ParseError::BadCharacter { key });
    }
    Ok(())
}
