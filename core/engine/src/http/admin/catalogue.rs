//! `/api/v1/catalogue`: what Apple's protocols have, for whoever has a token; the same for every tenant.
//!
//! Owns: reading of the questions. What is told is the catalogue's.

use axum::Json;
use pomona_catalogue::{Catalogue, Class, OsVersion};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::super::error::Problem;
use super::extract::Asked;
use super::reply::Reply;
use crate::error::Error;

/// Entries that are told at once, at most.
const MOST: usize = 2_000;

/// What is looked for.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Wanted {
    /// Exactly this name on the wire, such as `EraseDevice`: everything that is known of it.
    name: Option<String>,
    /// With `name`: a key in it, such as `ReturnToService/Enabled`.
    key: Option<String>,
    /// In place of `name`: objects and keys that have this word in their names, in any case.
    word: Option<String>,
    /// Of this class only: `check-in`, `command`, `error`, `profile`, `declaration`, `status`, `protocol` or `other`.
    class: Option<String>,
}

/// Which release is compared with which.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Releases {
    /// The release that is known, such as `18.3`; the oldest that is known whole when absent.
    from: Option<String>,
    /// The release to look at; the newest when absent.
    to: Option<String>,
    /// Of this class only.
    class: Option<String>,
    /// Whether changes of keys are told too; they are not when absent.
    keys: Option<bool>,
}

/// Of which class.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct OfClass {
    /// The class; `command` when absent.
    class: Option<String>,
}

/// What the catalogue tells.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct Told {
    /// The entries.
    #[schema(value_type = Vec<Object>)]
    items: Vec<Value>,
    /// There are more than are told at once; ask for less.
    more: bool,
}

fn told(mut items: Vec<Value>) -> Reply<Told> {
    let more = items.len() > MOST;
    items.truncate(MOST);
    Ok(Json(Told { items, more }))
}

/// Looks up what Apple's protocols have: one thing with all its keys, or what has a word in its name; without either, all objects.
#[utoipa::path(get, path = "/api/v1/catalogue", tag = "Catalogue", params(Wanted), responses((status = 200, body = Told)))]
pub(crate) async fn show(Asked(wanted): Asked<Wanted>) -> Reply<Told> {
    let class = class(wanted.class.as_deref())?;
    let catalogue = Catalogue::shipped();
    let Some(name) = &wanted.name else {
        if wanted.key.is_some() {
            return Err(invalid(
                "key belongs to a name; add name, or look for a word",
            ));
        }
        return told(catalogue.tell_named(wanted.word.as_deref().unwrap_or_default(), class));
    };
    if wanted.word.is_some() {
        return Err(invalid("give either name or word"));
    }
    let items = catalogue.tell(name, class, wanted.key.as_deref());
    match items.is_empty() {
        true => Err(Error::NotFound(
            "such a name or key in the catalogue; look for a part of it with word",
        )
        .into()),
        false => told(items),
    }
}

/// Tells what changes from one release of Apple's to a later one, counted as iOS counts.
#[utoipa::path(get, path = "/api/v1/catalogue/diff", tag = "Catalogue", params(Releases), responses((status = 200, body = Told)))]
pub(crate) async fn diff(Asked(wanted): Asked<Releases>) -> Reply<Told> {
    let catalogue = Catalogue::shipped();
    let known = || catalogue.sources().iter().map(|source| &source.release);
    let release = |text: Option<&String>| -> Result<OsVersion, Problem> {
        let text = text.ok_or_else(|| invalid("name the releases with from and to"))?;
        text.parse()
            .map_err(|error: pomona_catalogue::NotAVersion| invalid(&error.to_string()))
    };
    let from = release(wanted.from.as_ref().or_else(|| known().next()))?;
    let to = release(wanted.to.as_ref().or_else(|| known().next_back()))?;
    if from >= to {
        return Err(invalid(&format!("{to} is not later than {from}")));
    }
    let class = class(wanted.class.as_deref())?;
    told(catalogue.tell_changes(from, to, class, wanted.keys == Some(true)))
}

/// Tells since when each platform has what, with letters for its conditions: S supervised, A by Automated Device Enrollment, U approved by the
/// Mac's user.
#[utoipa::path(get, path = "/api/v1/catalogue/matrix", tag = "Catalogue", params(OfClass), responses((status = 200, body = Told)))]
pub(crate) async fn matrix(Asked(wanted): Asked<OfClass>) -> Reply<Told> {
    let class = class(wanted.class.as_deref())?;
    told(Catalogue::shipped().tell_matrix(class.unwrap_or(Class::Command)))
}

fn class(word: Option<&str>) -> Result<Option<Class>, Problem> {
    let class = word.map(str::parse).transpose();
    class.map_err(|error: pomona_catalogue::NotAClass| invalid(&error.to_string()))
}

fn invalid(text: &str) -> Problem {
    Error::Invalid(text.to_owned()).into()
}
