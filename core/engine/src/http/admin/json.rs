//! Reads a JSON body.
//!
//! Owns: the limits of a body (1 MiB, 32 levels, 50,000 values) and the refusal of names that stand twice in one object,
//! by which one reader could be shown something else than another. Runs after authentication.

use std::collections::HashSet;
use std::fmt;

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, StatusCode, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::{self, DeserializeOwned, DeserializeSeed, MapAccess, SeqAccess, Visitor};

use super::super::error::Problem;

/// The largest body.
pub(crate) const LARGEST: usize = 1024 * 1024;
const DEEPEST: usize = 32;
const MOST: usize = 50_000;

/// A JSON body of the shape `T`.
pub(crate) struct JsonBody<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for JsonBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        check_type(&parts.headers)?;
        let bytes = collect(body).await?;
        parse(&bytes).map(Self)
    }
}

/// A JSON body that may be left out.
pub(crate) struct MaybeJson<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned + Default> FromRequest<S> for MaybeJson<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        let bytes = collect(body).await?;
        if bytes.is_empty() {
            return Ok(Self(T::default()));
        }
        check_type(&parts.headers)?;
        parse(&bytes).map(Self)
    }
}

fn check_type(headers: &HeaderMap) -> Result<(), Problem> {
    let kind = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .map(|value| value.trim().to_ascii_lowercase());
    match kind.as_deref() {
        Some("application/json") => Ok(()),
        _ => Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported_media_type",
            "Not this kind of body",
            "send the body with `Content-Type: application/json`",
        )),
    }
}

pub(super) async fn collect(body: Body) -> Result<Bytes, Problem> {
    match Limited::new(body, LARGEST).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.downcast_ref::<LengthLimitError>().is_some() => Err(Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "too_large",
            "Too large",
            "a body is at most 1 MiB; send it in several requests",
        )),
        Err(_) => Err(Problem::new(
            StatusCode::REQUEST_TIMEOUT,
            "incomplete",
            "The body did not arrive",
            "the body ended early or came too slowly; send it again",
        )),
    }
}

/// Parses JSON within the limits.
pub(crate) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let refuse = |error: serde_json::Error| Problem::invalid(format!("the body: {error}"));
    let mut guard = serde_json::Deserializer::from_slice(bytes);
    let mut left = MOST;
    Guard {
        depth: 0,
        left: &mut left,
    }
    .deserialize(&mut guard)
    .map_err(refuse)?;
    guard.end().map_err(refuse)?;
    serde_json::from_slice(bytes).map_err(refuse)
}

/// Refuses the character that ends a text for some readers and that neither a database nor a property list holds.
fn whole<E: de::Error>(text: &str) -> Result<(), E> {
    match text.contains('\0') {
        true => Err(E::custom("a text holds the character NUL")),
        false => Ok(()),
    }
}

/// Walks a JSON text without keeping it.
struct Guard<'a> {
    depth: usize,
    left: &'a mut usize,
}

impl Guard<'_> {
    fn below<E: de::Error>(&mut self) -> Result<Guard<'_>, E> {
        if self.depth >= DEEPEST {
            return Err(E::custom(format!("nested more than {DEEPEST} levels deep")));
        }
        *self.left = self
            .left
            .checked_sub(1)
            .ok_or_else(|| E::custom(format!("more than {MOST} values")))?;
        Ok(Guard {
            depth: self.depth + 1,
            left: self.left,
        })
    }
}

impl<'de> DeserializeSeed<'de> for Guard<'_> {
    type Value = ();

    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Guard<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<(), E> {
        whole(text)
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<(), A::Error> {
        while list.next_element_seed(self.below()?)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        let mut names = HashSet::new();
        while let Some(name) = map.next_key::<String>()? {
            whole(&name)?;
            map.next_value_seed(self.below()?)?;
            if !names.insert(name) {
                return Err(de::Error::custom("a name stands twice in one object"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::Value;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Shape {
        #[expect(dead_code, reason = "only its reading is tested")]
        count: i64,
    }

    #[test]
    fn good_json_is_read() {
        assert!(parse::<Shape>(br#"{"count": 7}"#).is_ok());
        let nested = format!("{}{}", "[".repeat(32), "]".repeat(32));
        assert!(parse::<Value>(nested.as_bytes()).is_ok());
    }

    #[test]
    fn bad_json_is_refused_with_422() {
        for text in [
            "",
            "{",
            r#"{"count": 7,}"#,
            r#"{"count": 7} x"#,
            "{\"count\": 7 /* seven */}",
            r#"{"count": NaN}"#,
            r#"{"count": 1e400}"#,
            r#"{"count": 9223372036854775808}"#,
            r#"{"count": "7"}"#,
            r#"{"count": null}"#,
            r#"{"count": 7, "tenant_id": "x"}"#,
            r#"{"count": 7, "count": 7}"#,
            r#"{"count": "\ud800"}"#,
            r#"{"count": "a\u0000b"}"#,
            r#"{"co\u0000unt": 7}"#,
            &"[".repeat(10_000),
            &format!("{}{}", "[".repeat(33), "]".repeat(33)),
        ] {
            let problem = parse::<Shape>(text.as_bytes()).unwrap_err();
            assert_eq!(problem.status, 422, "{text:.40}");
        }
        let twice = r#"{"parameters": {"RequestType": "A", "RequestType": "B"}}"#;
        assert!(parse::<Value>(twice.as_bytes()).is_err());
        let many = format!("[{}1]", "1,".repeat(MOST));
        assert!(parse::<Value>(many.as_bytes()).is_err());
    }

    #[test]
    fn no_prefix_of_a_body_is_accepted() {
        let text = r#"{"count": 7}"#;
        for end in 0..text.len() {
            assert!(parse::<Shape>(&text.as_bytes()[..end]).is_err(), "{end}");
        }
    }
}
