//! The text of numbers, dates and data.
//!
//! Owns the spelling that is let through: narrower than what the reader behind the guard takes, so that no two readers can disagree.
//! Never builds a value.

use super::GuardError;
use super::prolog::is_space;

/// A decimal integer that fits `i64` or `u64`; no sign but a minus, no hexadecimal, no white space.
pub(super) fn integer(text: &str) -> Result<(), GuardError> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(GuardError::Integer);
    }
    if text.parse::<i64>().is_ok() || text.parse::<u64>().is_ok() {
        Ok(())
    } else {
        Err(GuardError::Integer)
    }
}

/// A finite decimal number.
pub(super) fn real(text: &str) -> Result<(), GuardError> {
    let plain = text
        .bytes()
        .all(|byte| byte.is_ascii_digit() || matches!(byte, b'+' | b'-' | b'.' | b'e' | b'E'));
    match text.parse::<f64>() {
        Ok(number) if plain && number.is_finite() => Ok(()),
        _ => Err(GuardError::Real),
    }
}

/// A date in Apple's one form, `YYYY-MM-DDThh:mm:ssZ`.
///
/// Offsets are refused for safety, not taste: the reader behind the guard moves the date to UTC by a function that panics at the ends
/// of its range.
pub(super) fn date(text: &str) -> Result<(), GuardError> {
    let shape = text.len() == 20
        && text
            .bytes()
            .zip(b"dddd-dd-ddTdd:dd:ddZ")
            .all(|(byte, &expected)| match expected {
                b'd' => byte.is_ascii_digit(),
                _ => byte == expected,
            });
    // A leap second is judged by the reader against the calendar of leap seconds it has; Apple's devices never send one.
    let leap_second = text.get(17..19) == Some("60");
    if shape && !leap_second && plist::Date::from_xml_format(text).is_ok() {
        Ok(())
    } else {
        Err(GuardError::Date)
    }
}

/// Padded base64 in the standard alphabet, white space anywhere, no stray bits in the last group.
pub(super) fn data(text: &str) -> Result<(), GuardError> {
    let mut symbols = 0usize;
    let mut padding = 0usize;
    let mut last = 0u8;
    for byte in text.bytes() {
        if is_space(byte) {
            continue;
        }
        if byte == b'=' {
            padding += 1;
            continue;
        }
        if padding > 0 {
            return Err(GuardError::Data);
        }
        last = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return Err(GuardError::Data),
        };
        symbols += 1;
    }
    let complete = match (symbols % 4, padding) {
        (0, 0) => true,
        (2, 2) => last & 0b1111 == 0,
        (3, 1) => last & 0b11 == 0,
        _ => false,
    };
    if complete {
        Ok(())
    } else {
        Err(GuardError::Data)
    }
}
