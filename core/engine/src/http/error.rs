//! Turns an error into an answer, for the admin API.
//!
//! Owns: which status and which stable code each kind of error has, and the form of RFC 9457. The one place
//! where a status is chosen. The source of an error goes to the log under an incident number, never into the
//! answer; devices get plain statuses elsewhere, since they read no bodies.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::error::{Error, Source};

/// What went wrong, as RFC 9457 has it.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct Problem {
    /// Names the kind of problem; `urn:pomona:problem:` and the code.
    #[serde(rename = "type")]
    pub(crate) kind: String,
    /// The kind in words.
    pub(crate) title: &'static str,
    /// The HTTP status.
    pub(crate) status: u16,
    /// The kind as a stable word.
    pub(crate) code: &'static str,
    /// What happened and what to do.
    pub(crate) detail: String,
    /// More about this occurrence, such as `targets` or `incident`.
    #[serde(flatten)]
    #[schema(value_type = Object)]
    pub(crate) more: Map<String, Value>,
}

impl Problem {
    /// A problem of this kind.
    pub(crate) fn new(
        status: StatusCode,
        code: &'static str,
        title: &'static str,
        detail: impl Into<String>,
    ) -> Self {
        Self {
            kind: format!("urn:pomona:problem:{code}"),
            title,
            status: status.as_u16(),
            code,
            detail: detail.into(),
            more: Map::new(),
        }
    }

    /// The same with a member more.
    pub(crate) fn with(mut self, name: &str, value: impl Serialize) -> Self {
        if let Ok(value) = serde_json::to_value(value) {
            self.more.insert(name.to_owned(), value);
        }
        self
    }

    pub(crate) fn unauthenticated() -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            "unauthenticated",
            "Not authenticated",
            "send one header `Authorization: Bearer TOKEN` with a token that has not ended and is not revoked",
        )
    }

    pub(crate) fn not_found(what: &str) -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "not_found",
            "Not found",
            format!("{what} was not found"),
        )
    }

    pub(crate) fn forbidden(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, code, "Not allowed", detail)
    }

    pub(crate) fn invalid(detail: impl Into<String>) -> Self {
        Self::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "invalid",
            "Not acceptable as it is",
            detail,
        )
    }

    pub(crate) fn conflict(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "conflict", "Conflict", detail)
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        match error {
            Error::Invalid(detail) => Self::invalid(detail),
            Error::NotFound(what) => Self::not_found(what),
            Error::Conflict(detail) => Self::conflict(detail),
            Error::Forbidden(detail) => Self::forbidden("forbidden", detail),
            Error::Refused(code) => Self::forbidden("refused", format!("refused: {code}")),
            Error::Unavailable { message, source } => incident(
                Self::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "unavailable",
                    "Not possible at the moment",
                    format!("{message}; try again in a few seconds"),
                ),
                message,
                &source,
            ),
            Error::Internal { step, source } => incident(
                Self::new(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "internal",
                    "The server failed",
                    "the server failed; look for the incident number in its log",
                ),
                step,
                &source,
            ),
        }
    }
}

/// Logs the source under a number that the answer shows.
fn incident(problem: Problem, step: &'static str, source: &Source) -> Problem {
    let number = uuid::Uuid::new_v4().simple().to_string();
    let mut chain = source.to_string();
    let mut cause = source.source();
    while let Some(inner) = cause {
        chain.push_str(": ");
        chain.push_str(&inner.to_string());
        cause = inner.source();
    }
    tracing::error!(incident = %number, step, error = %chain, "a request failed");
    problem.with("incident", number)
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(self)).into_response();
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(
                header::WWW_AUTHENTICATE,
                HeaderValue::from_static("Bearer realm=\"pomona\""),
            );
        }
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_error_has_its_status_and_none_shows_its_source() {
        let secret = || Source::from("the secret source");
        for (error, status, code) in [
            (Error::Invalid("x".into()), 422, "invalid"),
            (Error::NotFound("the device"), 404, "not_found"),
            (Error::Conflict("x".into()), 409, "conflict"),
            (Error::Forbidden("x".into()), 403, "forbidden"),
            (Error::Refused("x"), 403, "refused"),
            (Error::storage(secret()), 503, "unavailable"),
            (Error::internal("x", secret()), 500, "internal"),
        ] {
            let problem = Problem::from(error);
            assert_eq!((problem.status, problem.code), (status, code));
            let text = serde_json::to_string(&problem).unwrap();
            assert!(!text.contains("secret source"), "{text}");
        }
    }
}
