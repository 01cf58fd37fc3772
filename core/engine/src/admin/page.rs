//! Paging of long lists.
//!
//! Owns: the cursor, which tells where a list goes on. It is opaque and authenticated: one that was changed,
//! or that comes from another list or another tenant, is refused.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use subtle::ConstantTimeEq;
use uuid::Uuid;

use crate::error::{Error, Result};
use crate::seal::TenantKeys;

/// Entries of a page when no limit is asked for.
pub const DEFAULT_LIMIT: u64 = 50;
/// The most entries of a page.
pub const HIGHEST_LIMIT: u64 = 500;

const MAC: usize = 16;

/// A stretch of a list, and where it goes on.
#[derive(Clone, Debug)]
pub struct Page<T> {
    /// The entries.
    pub items: Vec<T>,
    /// What to ask for next; none at the end.
    pub next_cursor: Option<String>,
}

impl<T> Page<T> {
    /// Cuts a list that was read with one row more than `limit`; the row that is cut off tells that there is more.
    pub(crate) fn cut(mut items: Vec<T>, limit: u64, seal: impl FnOnce(&T) -> String) -> Self {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let more = items.len() > limit;
        items.truncate(limit);
        let next_cursor = more.then(|| items.last().map(seal)).flatten();
        Self { items, next_cursor }
    }

    /// The same stretch with every entry turned into something else.
    pub fn map<U>(self, f: impl FnMut(T) -> U) -> Page<U> {
        Page {
            items: self.items.into_iter().map(f).collect(),
            next_cursor: self.next_cursor,
        }
    }
}

/// A wish for a stretch of a list.
#[derive(Clone, Debug, Default)]
pub struct PageRequest {
    /// The most entries; 50 when absent.
    pub limit: Option<u64>,
    /// Where to go on; the beginning when absent.
    pub cursor: Option<String>,
}

impl PageRequest {
    /// The most entries.
    ///
    /// # Errors
    /// [`Error::Invalid`] outside 1 to 500.
    pub(crate) fn limit(&self) -> Result<u64> {
        match self.limit {
            None => Ok(DEFAULT_LIMIT),
            Some(limit @ 1..=HIGHEST_LIMIT) => Ok(limit),
            Some(_) => Err(Error::Invalid(format!(
                "limit must be between 1 and {HIGHEST_LIMIT}"
            ))),
        }
    }

    /// Where to go on, in the list called `list`.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the cursor was not made for this list of this tenant.
    pub(crate) fn position(
        &self,
        keys: &TenantKeys,
        list: &'static str,
    ) -> Result<Option<Position>> {
        self.cursor
            .as_deref()
            .map(|text| {
                Position::open(keys, list, text).ok_or_else(|| {
                    Error::Invalid(
                        "the cursor does not belong to this list; begin again without one".into(),
                    )
                })
            })
            .transpose()
    }
}

/// Where in a list: after this number, id and further number. A list leaves those that it is not ordered by zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) number: i64,
    pub(crate) id: Uuid,
    pub(crate) seq: i64,
}

impl Position {
    /// After this id.
    pub(crate) fn id(id: Uuid) -> Self {
        Self {
            number: 0,
            id,
            seq: 0,
        }
    }

    /// After this number.
    pub(crate) fn number(number: i64) -> Self {
        Self {
            number,
            id: Uuid::nil(),
            seq: 0,
        }
    }

    /// The cursor for it.
    pub(crate) fn seal(self, keys: &TenantKeys, list: &'static str) -> String {
        let mut bytes = self.number.to_be_bytes().to_vec();
        bytes.extend_from_slice(self.id.as_bytes());
        bytes.extend_from_slice(&self.seq.to_be_bytes());
        let mac = Self::mac(keys, list, &bytes);
        bytes.extend_from_slice(&mac);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    fn open(keys: &TenantKeys, list: &'static str, text: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (body, mac) = bytes.split_at_checked(32)?;
        let same: bool = Self::mac(keys, list, body).as_slice().ct_eq(mac).into();
        if !same {
            return None;
        }
        let (number, rest) = body.split_at_checked(8)?;
        let (id, seq) = rest.split_at_checked(16)?;
        Some(Self {
            number: i64::from_be_bytes(number.try_into().ok()?),
            id: Uuid::from_slice(id).ok()?,
            seq: i64::from_be_bytes(seq.try_into().ok()?),
        })
    }

    fn mac(keys: &TenantKeys, list: &'static str, body: &[u8]) -> Vec<u8> {
        let mut text = list.as_bytes().to_vec();
        text.push(0);
        text.extend_from_slice(body);
        keys.hash("cursor", &text).into_iter().take(MAC).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seal::{Keyring, RootKey};

    fn keys(byte: u8) -> Keyring {
        Keyring::new(&RootKey::from_bytes(&[byte; 32]).unwrap()).unwrap()
    }

    #[test]
    fn a_cursor_is_good_for_its_own_list_and_keys_only() {
        let (ours, theirs) = (keys(1), keys(2));
        let at = Position {
            number: -5,
            id: Uuid::from_u128(9),
            seq: 3,
        };
        let cursor = at.seal(ours.operator(), "devices");
        let request = PageRequest {
            limit: None,
            cursor: Some(cursor.clone()),
        };
        assert_eq!(
            request.position(ours.operator(), "devices").unwrap(),
            Some(at)
        );
        assert!(request.position(ours.operator(), "commands").is_err());
        assert!(request.position(theirs.operator(), "devices").is_err());
        for n in 0..cursor.len() {
            let mut other: Vec<char> = cursor.chars().collect();
            other[n] = if other[n] == 'A' { 'B' } else { 'A' };
            let other: String = other.into_iter().collect();
            assert!(Position::open(ours.operator(), "devices", &other).is_none());
        }
        assert!(Position::open(ours.operator(), "devices", "").is_none());
    }

    #[test]
    fn a_limit_is_between_1_and_500() {
        for (limit, expected) in [
            (None, Some(50)),
            (Some(1), Some(1)),
            (Some(500), Some(500)),
            (Some(0), None),
            (Some(501), None),
            (Some(u64::MAX), None),
        ] {
            let request = PageRequest {
                limit,
                cursor: None,
            };
            assert_eq!(request.limit().ok(), expected, "{limit:?}");
        }
    }

    #[test]
    fn a_page_goes_on_only_where_there_is_more() {
        let page = Page::cut(vec![1, 2, 3], 2, |last| last.to_string());
        assert_eq!(
            (page.items, page.next_cursor),
            (vec![1, 2], Some("2".into()))
        );
        let page = Page::cut(vec![1, 2], 2, |last| last.to_string());
        assert_eq!((page.items, page.next_cursor), (vec![1, 2], None));
    }
}
