//! What handlers take from a request besides its body.
//!
//! Owns: ids in the path, the query string, and who is calling. An id that cannot be read is answered like one
//! that does not exist.

use std::str::FromStr;

use axum::extract::{FromRequestParts, Query, RawPathParams};
use axum::http::request::Parts;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::super::error::Problem;
use crate::actor::Actor;
use crate::admin::{Caller, PageRequest};
use crate::error::Error;
use crate::ids::{CaId, LinkId, PrincipalId, TenantId, TokenId};

/// The caller, and the tenant that the path names; both put there by the permission check.
#[derive(Clone, Debug)]
pub(crate) struct InTenant {
    pub(crate) caller: Caller,
    pub(crate) tenant: TenantId,
}

impl InTenant {
    pub(crate) fn actor(&self) -> Actor {
        self.caller.actor()
    }
}

impl<S: Send + Sync> FromRequestParts<S> for InTenant {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        parts.extensions.get().cloned().ok_or_else(unchecked)
    }
}

/// The caller, where the path names no tenant.
pub(crate) struct Anywhere(pub(crate) Caller);

impl<S: Send + Sync> FromRequestParts<S> for Anywhere {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let caller = parts.extensions.get::<Caller>().cloned();
        caller.map(Self).ok_or_else(unchecked)
    }
}

fn unchecked() -> Problem {
    Error::internal(
        "checking the caller",
        "the route was reached without its check",
    )
    .into()
}

/// A thing that a path segment names.
pub(crate) trait Named: FromStr {
    /// The segment, as the route spells it.
    const SEGMENT: &'static str;
    /// The thing, as an answer calls it.
    const THING: &'static str;
}

macro_rules! named {
    ($($id:ty, $segment:literal, $thing:literal;)+) => {$(
        impl Named for $id {
            const SEGMENT: &'static str = $segment;
            const THING: &'static str = $thing;
        }
    )+};
}

named! {
    PrincipalId, "principal", "the principal";
    TokenId, "token", "the token";
    LinkId, "link", "the enrollment link";
    CaId, "ca", "the external authority";
}

/// An id in the path.
pub(crate) struct Segment<T>(pub(crate) T);

impl<S: Send + Sync, T: Named> FromRequestParts<S> for Segment<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let text = segment(parts, state, T::SEGMENT).await;
        text.and_then(|text| text.parse().ok())
            .map(Self)
            .ok_or_else(|| Problem::not_found(T::THING))
    }
}

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident = $segment:literal, $thing:literal;)+) => {$(
        $(#[$doc])*
        pub(crate) struct $name(pub(crate) String);

        impl<S: Send + Sync> FromRequestParts<S> for $name {
            type Rejection = Problem;

            async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
                segment(parts, state, $segment)
                    .await
                    .map(Self)
                    .ok_or_else(|| Problem::not_found($thing))
            }
        }
    )+};
}

// Names in the path that the operation looks up.
names! {
    /// A device, by id, UDID or serial number.
    DeviceName = "device", "the device";
    /// A command, by id or CommandUUID.
    CommandName = "command", "the command";
    /// A group, by id or name.
    GroupName = "group", "the group";
    /// A profile, by id, name or identifier.
    ProfileName = "profile", "the profile";
    /// A channel, by id.
    EnrollmentName = "enrollment", "the enrollment";
    /// A fact, by name.
    FactName = "fact", "the fact";
    /// A section of what a device has told, by name.
    SectionName = "section", "the section";
    /// A plugin, by id.
    PluginName = "plugin", "the plugin";
    /// A revocation, by kind and value.
    RevocationName = "revocation", "the revocation";
    /// A secret of a plugin, by name.
    SecretName = "secret", "the secret";
    /// A panel of a plugin, by name.
    PanelName = "panel", "the panel";
    /// A push topic.
    TopicName = "topic", "the push certificate";
}

async fn segment<S: Send + Sync>(parts: &mut Parts, state: &S, name: &str) -> Option<String> {
    let params = RawPathParams::from_request_parts(parts, state).await.ok()?;
    params
        .iter()
        .find(|(key, _)| *key == name)
        // Nothing has a name with such characters in it, and a database may not take them.
        .filter(|(_, value)| !value.chars().any(char::is_control))
        .map(|(_, value)| value.to_owned())
}

/// The query string, of the shape `T`; unknown parameters are refused.
pub(crate) struct Asked<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Asked<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        if parts.uri.query().is_some_and(|query| query.contains("%00")) {
            return Err(Problem::invalid("the query string holds the character NUL"));
        }
        match Query::<T>::from_request_parts(parts, state).await {
            Ok(Query(asked)) => Ok(Self(asked)),
            Err(rejection) => {
                let text = rejection.body_text();
                let what = text
                    .rsplit_once("query string: ")
                    .map_or(text.as_str(), |(_, what)| what);
                Err(Problem::invalid(format!("the query string: {what}")))
            }
        }
    }
}

/// Which stretch of a list.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Paging {
    /// The most entries, 1 to 500; 50 when absent.
    #[param(minimum = 1, maximum = 500)]
    pub(crate) limit: Option<u64>,
    /// `next_cursor` of the stretch before.
    pub(crate) cursor: Option<String>,
}

impl From<Paging> for PageRequest {
    fn from(paging: Paging) -> Self {
        Self {
            limit: paging.limit,
            cursor: paging.cursor,
        }
    }
}
