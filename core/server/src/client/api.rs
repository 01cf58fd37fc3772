//! Asks the admin API.
//!
//! Owns: the connection, the token on each request, and what a refusal looks like to a person.

use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde_json::Value;
use url::Url;

use super::place::{Place, UsageError};

/// The largest answer that is read.
const LARGEST: usize = 256 << 20;
/// Entries asked for at a time.
const PAGE: usize = 500;

/// What the command line speaks HTTP with.
pub(crate) type HttpClient = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// Makes one that believes these authorities, PEM files. Follows no redirect.
pub(crate) fn http_client(authorities: &[PathBuf]) -> anyhow::Result<HttpClient> {
    let mut roots = rustls::RootCertStore::empty();
    for path in authorities {
        let all = CertificateDer::pem_file_iter(path)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .with_context(|| format!("cannot read authorities from {}", path.display()))?;
        roots.add_parsable_certificates(all);
    }
    let tls = rustls::ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(tls)
        .https_or_http()
        .enable_http1()
        .build();
    Ok(Client::builder(TokioExecutor::new()).build(connector))
}

/// The admin API of one server.
pub(crate) struct Api {
    base: Url,
    authorization: String,
    tenant: Option<String>,
    client: HttpClient,
}

impl Api {
    /// Finds the server and the token; connects at the first request.
    pub(crate) fn open(place: &Place, dir: Option<&Path>) -> anyhow::Result<Self> {
        let base = place.base(dir)?;
        Ok(Self {
            base,
            authorization: format!("Bearer {}", place.token(dir)?),
            tenant: place.tenant.clone(),
            client: http_client(&place.authorities(dir))?,
        })
    }

    /// The address of something in the tenant, without `/api/v1`.
    pub(crate) async fn in_tenant(&self, path: &str) -> anyhow::Result<String> {
        Ok(format!("tenants/{}/{path}", self.tenant().await?))
    }

    /// The tenant that is meant.
    pub(crate) async fn tenant(&self) -> anyhow::Result<String> {
        if let Some(tenant) = &self.tenant {
            return Ok(segment(tenant));
        }
        // A token of one tenant need not be allowed to list any.
        if let Some(own) = self.get("me").await?["tenant_id"].as_str() {
            return Ok(segment(own));
        }
        let visible = self.get("tenants?limit=20").await?;
        let slugs: Vec<&str> = visible["items"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|tenant| tenant["slug"].as_str())
            .collect();
        match slugs.as_slice() {
            [only] => Ok((*only).to_owned()),
            [] => Err(UsageError(
                "there is no tenant yet; make one with `pomona tenant create`".into(),
            )
            .into()),
            several => Err(UsageError(format!(
                "there are several tenants; choose one with --tenant: {}",
                several.join(", ")
            ))
            .into()),
        }
    }

    pub(crate) async fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.call(Method::GET, path, None, &[]).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.call(Method::POST, path, Some(body), &[]).await
    }

    /// As [`get`](Self::get), and nothing where there is no such thing.
    pub(crate) async fn find(&self, path: &str) -> anyhow::Result<Option<Value>> {
        let response = self.send(Method::GET, path, None, &[]).await?;
        if response.status() == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        read(response).await.map(Some)
    }

    /// Sends a request with further headers and reads the answer.
    pub(crate) async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        headers: &[(&str, &str)],
    ) -> anyhow::Result<Value> {
        read(self.send(method, path, body, headers).await?).await
    }

    /// Opens a stream.
    pub(crate) async fn stream(&self, path: &str) -> anyhow::Result<Incoming> {
        let response = self.send(Method::GET, path, None, &[]).await?;
        if !response.status().is_success() {
            bail!("the server answered {}", response.status());
        }
        Ok(response.into_body())
    }

    /// Sends bytes and reads the answer.
    pub(crate) async fn upload(
        &self,
        method: Method,
        path: &str,
        bytes: Vec<u8>,
    ) -> anyhow::Result<Value> {
        let kind = [("content-type", "application/octet-stream")];
        read(self.request(method, path, &kind, bytes.into()).await?).await
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        headers: &[(&str, &str)],
    ) -> anyhow::Result<http::Response<Incoming>> {
        let mut headers = headers.to_vec();
        if body.is_some() {
            headers.push(("content-type", "application/json"));
        }
        let body = body.map(Value::to_string).unwrap_or_default();
        self.request(method, path, &headers, body.into()).await
    }

    async fn request(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> anyhow::Result<http::Response<Incoming>> {
        let base = self.base.as_str().trim_end_matches('/');
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{base}/api/v1/{path}"))
            .header(header::AUTHORIZATION, &self.authorization);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request
            .body(Full::new(body))
            .context("the request cannot be written")?;
        self.client.request(request).await.with_context(|| {
            format!("cannot reach the admin API at {base}; is the server running?")
        })
    }

    /// The first `most` entries of a list, over its pages.
    pub(crate) async fn list(&self, path: &str, most: usize) -> anyhow::Result<Vec<Value>> {
        let mut all: Vec<Value> = Vec::new();
        let mut cursor: Option<String> = None;
        loop {
            let limit = most.saturating_sub(all.len()).min(PAGE);
            let joint = if path.contains('?') { '&' } else { '?' };
            let mut page = format!("{path}{joint}limit={limit}");
            if let Some(cursor) = &cursor {
                page.push_str(&format!("&cursor={cursor}"));
            }
            let answer = self.get(&page).await?;
            let items = answer["items"].as_array().cloned().unwrap_or_default();
            all.extend(items);
            cursor = answer["next_cursor"].as_str().map(str::to_owned);
            if cursor.is_none() || all.len() >= most {
                return Ok(all);
            }
        }
    }
}

/// The answer, or what the server objects to.
async fn read(response: http::Response<Incoming>) -> anyhow::Result<Value> {
    let status = response.status();
    let bytes = Limited::new(response.into_body(), LARGEST)
        .collect()
        .await
        .map_err(|error| anyhow!("the answer broke off: {error}"))?
        .to_bytes();
    let value: Value = match bytes.is_empty() {
        true => Value::Null,
        false => serde_json::from_slice(&bytes).unwrap_or(Value::Null),
    };
    if status.is_success() {
        return Ok(value);
    }
    Err(refusal(status, &value))
}

/// What the server refused, in its words.
fn refusal(status: StatusCode, problem: &Value) -> anyhow::Error {
    let detail = problem["detail"].as_str().unwrap_or("no reason was given");
    let mut text = match status {
        StatusCode::UNAUTHORIZED => {
            "the token is not accepted: it has ended, was revoked, or belongs to another server"
                .to_owned()
        }
        _ => detail.to_owned(),
    };
    for target in problem["targets"].as_array().into_iter().flatten().take(10) {
        if let Some(reason) = target["reason"].as_str() {
            text.push_str(&format!(
                "\n  {}: {reason}",
                target["enrollment_id"].as_str().unwrap_or("?")
            ));
        }
    }
    for skipped in problem["skipped"].as_array().into_iter().flatten().take(10) {
        if let Some(reason) = skipped["reason"].as_str() {
            text.push_str(&format!(
                "\n  {}: {reason}",
                skipped["device_id"].as_str().unwrap_or("?")
            ));
        }
    }
    if let Some(incident) = problem["incident"].as_str() {
        text.push_str(&format!(" (incident {incident})"));
    }
    anyhow!(super::output::clean(&text, true))
}

/// A name as one segment of a path.
pub(crate) fn segment(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'~' => {
                out.push(char::from(byte))
            }
            // A dot may not stand alone, since `.` and `..` mean other folders.
            b'.' if name.bytes().any(|other| other != b'.') => out.push('.'),
            byte => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// `path?name=value&…` of those that are given.
pub(crate) fn query(path: &str, parameters: &[(&str, Option<&str>)]) -> String {
    let mut pairs = url::form_urlencoded::Serializer::new(String::new());
    for (name, value) in parameters {
        if let Some(value) = value {
            pairs.append_pair(name, value);
        }
    }
    match pairs.finish() {
        pairs if pairs.is_empty() => path.to_owned(),
        pairs => format!("{path}?{pairs}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stays_one_segment() {
        assert_eq!(segment("school-7"), "school-7");
        assert_eq!(segment("com.apple.mgmt"), "com.apple.mgmt");
        assert_eq!(segment("a/b c"), "a%2Fb%20c");
        assert_eq!(segment(".."), "%2E%2E");
        assert_eq!(segment("ü"), "%C3%BC");
    }

    #[test]
    fn only_what_is_given_is_asked() {
        assert_eq!(query("devices", &[("serial", None)]), "devices");
        assert_eq!(
            query(
                "devices",
                &[("serial", Some("a&b")), ("state", Some("left"))]
            ),
            "devices?serial=a%26b&state=left"
        );
    }
}
