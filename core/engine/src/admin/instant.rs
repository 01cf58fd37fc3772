//! Times in the admin API: RFC 3339, in UTC.
//!
//! Owns: reading and writing of that form. Inside, a time is an integer of microseconds.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::clock::Micros;

/// A point in time as the admin API shows it, such as `2026-03-01T08:00:00Z`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, utoipa::ToSchema)]
#[schema(value_type = String, format = DateTime)]
pub struct Instant(pub Micros);

impl Instant {
    /// Reads RFC 3339 with any offset; nothing before 1970 or after the year 9999 is accepted.
    pub fn parse(text: &str) -> Option<Self> {
        let at = OffsetDateTime::parse(text, &Rfc3339).ok()?;
        let micros = i64::try_from(at.unix_timestamp_nanos().checked_div(1_000)?).ok()?;
        (micros >= 0).then_some(Self(micros))
    }
}

impl fmt::Display for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.0) * 1_000)
            .ok()
            .and_then(|at| at.format(&Rfc3339).ok());
        // A time that the calendar does not reach is shown as the number it is.
        match text {
            Some(text) => f.write_str(&text),
            None => self.0.fmt(f),
        }
    }
}

impl Serialize for Instant {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Instant {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text)
            .ok_or_else(|| de::Error::custom("a time is written like 2026-03-01T08:00:00Z"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_reads_back_as_it_was_written() {
        for text in ["1970-01-01T00:00:00Z", "2026-03-01T08:00:00.000001Z"] {
            assert_eq!(Instant::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(
            Instant::parse("2026-03-01T09:00:00+01:00"),
            Instant::parse("2026-03-01T08:00:00Z")
        );
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "2026-03-01",
            "2026-13-01T00:00:00Z",
            "1969-12-31T23:59:59Z",
            "10000-01-01T00:00:00Z",
            "9999-12-31T23:59:59-23:59x",
            "now",
        ] {
            assert_eq!(Instant::parse(text), None, "{text}");
        }
        assert_eq!(Instant(i64::MAX).to_string(), i64::MAX.to_string());
    }
}
