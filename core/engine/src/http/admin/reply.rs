//! The forms of answers that several handlers give.
//!
//! Owns: the list with its cursor.

use axum::Json;
use serde::Serialize;

use super::super::error::Problem;
use crate::admin::Page;

/// What a handler gives back.
pub(crate) type Reply<T> = Result<Json<T>, Problem>;

/// A stretch of a list.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct List<T> {
    /// The entries.
    pub(crate) items: Vec<T>,
    /// Ask with this `cursor` for what follows; absent at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) next_cursor: Option<String>,
}

impl<T> List<T> {
    /// A list that is short enough to be given at once.
    pub(crate) fn whole(items: Vec<T>) -> Self {
        Self {
            items,
            next_cursor: None,
        }
    }
}

impl<T> From<Page<T>> for List<T> {
    fn from(page: Page<T>) -> Self {
        Self {
            items: page.items,
            next_cursor: page.next_cursor,
        }
    }
}

/// The page as a JSON answer.
pub(crate) fn list<T>(page: Page<T>) -> Json<List<T>> {
    Json(page.into())
}
