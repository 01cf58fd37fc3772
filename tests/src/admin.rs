//! A small client of the admin API.
//!
//! Owns sending JSON and reading JSON, with the operator's token. It knows no route: the caller names them, so that a
//! suite says in its own lines what it asks for.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::Value;
use url::Url;

/// The longest answer that is read.
const MAX_ANSWER_BYTES: usize = 64 * 1024 * 1024;
/// The longest time for one call.
const LIMIT: Duration = Duration::from_secs(60);

/// The admin API of one server, for the holder of one token.
#[derive(Clone)]
pub struct Admin {
    base: Url,
    authorization: String,
    client: Client<HttpConnector, Full<Bytes>>,
}

impl std::fmt::Debug for Admin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The token stays out of logs.
        f.debug_struct("Admin")
            .field("base", &self.base.as_str())
            .finish_non_exhaustive()
    }
}

impl Admin {
    /// A client for the listener at `base` (plain HTTP).
    ///
    /// # Errors
    /// `base` is no `http` address.
    pub fn new(base: Url, token: &str) -> Result<Self> {
        if base.scheme() != "http" {
            bail!("the admin listener is asked by plain HTTP on this machine");
        }
        Ok(Self {
            base,
            authorization: format!("Bearer {token}"),
            client: Client::builder(TokioExecutor::new()).build_http(),
        })
    }

    /// Whether the server says that it is ready.
    pub async fn ready(&self) -> bool {
        matches!(
            self.call(Method::GET, "/readyz", None, None).await,
            Ok((StatusCode::OK, _))
        )
    }

    /// Reads a resource.
    ///
    /// # Errors
    /// The server was not reached or answered with anything but a success; the error carries its answer.
    pub async fn get(&self, path: &str) -> Result<Value> {
        self.succeed(Method::GET, path, None).await
    }

    /// Sends `body` to a resource.
    ///
    /// # Errors
    /// As for [`Admin::get`].
    pub async fn post(&self, path: &str, body: &Value) -> Result<Value> {
        self.succeed(Method::POST, path, Some(body)).await
    }

    /// Replaces a resource by `body`.
    ///
    /// # Errors
    /// As for [`Admin::get`].
    pub async fn put(&self, path: &str, body: &Value) -> Result<Value> {
        self.succeed(Method::PUT, path, Some(body)).await
    }

    /// All entries of a list, over its pages.
    ///
    /// # Errors
    /// As for [`Admin::get`], or the answer is no list.
    pub async fn list(&self, path: &str) -> Result<Vec<Value>> {
        let mut all = Vec::new();
        let mut cursor: Option<String> = None;
        loop {
            let page = match &cursor {
                None => self.get(path).await?,
                Some(cursor) => {
                    let joint = if path.contains('?') { '&' } else { '?' };
                    let cursor: String =
                        url::form_urlencoded::byte_serialize(cursor.as_bytes()).collect();
                    self.get(&format!("{path}{joint}cursor={cursor}")).await?
                }
            };
            let items = page.get("items").and_then(Value::as_array);
            all.extend(
                items
                    .with_context(|| format!("{path}: no list"))?
                    .iter()
                    .cloned(),
            );
            match page.get("next_cursor").and_then(Value::as_str) {
                Some(next) if cursor.as_deref() != Some(next) => cursor = Some(next.to_owned()),
                _ => return Ok(all),
            }
        }
    }

    /// Sends a request, with an idempotency key if there is one, and gives status and body, whatever they are; a body
    /// that is no JSON becomes a string.
    ///
    /// # Errors
    /// The server was not reached or did not answer in a minute.
    pub async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        key: Option<&str>,
    ) -> Result<(StatusCode, Value)> {
        let url = self
            .base
            .join(path)
            .with_context(|| format!("the path {path}"))?;
        let bytes = body.map(Value::to_string).unwrap_or_default();
        let mut request = Request::builder()
            .method(method)
            .uri(url.as_str())
            .header(header::AUTHORIZATION, &self.authorization);
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        let request = request
            .body(Full::new(Bytes::from(bytes)))
            .with_context(|| format!("the request {path}"))?;
        let answered = tokio::time::timeout(LIMIT, async {
            let answer = self.client.request(request).await?;
            let status = answer.status();
            let body = Limited::new(answer.into_body(), MAX_ANSWER_BYTES);
            let bytes = body.collect().await.map_err(anyhow::Error::from_boxed)?;
            anyhow::Ok((status, bytes.to_bytes()))
        });
        let (status, bytes) = answered
            .await
            .with_context(|| format!("{path}: no answer within {LIMIT:?}"))?
            .with_context(|| format!("ask {path}"))?;
        let value = serde_json::from_slice(&bytes)
            .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&bytes).into_owned()));
        Ok((status, value))
    }

    /// Sends any request, with the token or without, and gives the answer as it came.
    ///
    /// # Errors
    /// The server was not reached or did not answer in a minute.
    pub async fn page(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
        with_token: bool,
    ) -> Result<http::Response<Bytes>> {
        let url = self
            .base
            .join(path)
            .with_context(|| format!("the path {path}"))?;
        let mut request = Request::builder().method(method).uri(url.as_str());
        if with_token {
            request = request.header(header::AUTHORIZATION, &self.authorization);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request
            .body(Full::new(Bytes::from(body.to_owned())))
            .with_context(|| format!("the request {path}"))?;
        let answered = tokio::time::timeout(LIMIT, async {
            let (parts, body) = self.client.request(request).await?.into_parts();
            let body = Limited::new(body, MAX_ANSWER_BYTES);
            let bytes = body.collect().await.map_err(anyhow::Error::from_boxed)?;
            anyhow::Ok(http::Response::from_parts(parts, bytes.to_bytes()))
        });
        answered
            .await
            .with_context(|| format!("{path}: no answer within {LIMIT:?}"))?
            .with_context(|| format!("ask {path}"))
    }

    async fn succeed(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value> {
        let (status, value) = self.call(method.clone(), path, body, None).await?;
        if !status.is_success() {
            bail!("{method} {path}: {status}: {value}");
        }
        Ok(value)
    }
}
