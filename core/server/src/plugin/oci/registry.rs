//! A registry (OCI Distribution Specification 1.1).
//!
//! Owns: the few requests that a push and a pull are made of, and the limits on what comes back. Written here and not
//! taken from a client library, because of what has to hold: credentials and tokens go to the named host and to no other,
//! a redirect carries neither, an answer is cut off at the size its manifest announced, and `urls` of a manifest are never
//! asked. The server itself never speaks to a registry; the command line does.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, LOCATION, USER_AGENT};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use parking_lot::Mutex;
use serde_json::Value;
use url::Url;

use super::artifact::{Artifact, Blob, MANIFEST, MAX_MANIFEST};
use super::login::{Access, Challenge, challenge, named};
use super::reference::{Digest, Which};
use crate::client::{HttpClient, clean, http_client};

/// How long a registry may be silent.
const PATIENCE: Duration = Duration::from_secs(60);
/// What goes up in a second at the slowest, in bytes.
const SLOWEST: usize = 32 << 10;
/// Redirects that are followed for one blob.
const REDIRECTS: usize = 5;
/// The largest answer that is neither manifest nor blob.
const MAX_ANSWER: usize = 64 << 10;

/// A repository of a registry.
pub(super) struct Registry {
    base: Url,
    repository: String,
    actions: &'static str,
    access: Access,
    client: HttpClient,
    authorization: Mutex<Option<HeaderValue>>,
}

impl Registry {
    /// Connects at the first request. `actions` is what a token is asked for.
    pub(super) fn open(
        host: &str,
        repository: &str,
        actions: &'static str,
        access: Access,
        authorities: &[PathBuf],
    ) -> anyhow::Result<Self> {
        let scheme = if access.plain_http { "http" } else { "https" };
        Ok(Self {
            base: Url::parse(&format!("{scheme}://{host}/"))
                .with_context(|| format!("{host:?} is no host"))?,
            repository: repository.to_owned(),
            actions,
            access,
            client: http_client(authorities)?,
            authorization: Mutex::default(),
        })
    }

    /// The manifest under a tag or digest, and its digest.
    pub(super) async fn manifest(&self, which: &Which) -> anyhow::Result<(Digest, Vec<u8>)> {
        let (name, expected) = match which {
            Which::Digest(digest) => (digest.to_string(), Some(digest)),
            Which::Tag(tag) => (tag.clone(), None),
            Which::Unnamed => bail!("name a tag or, better, a digest: …:TAG or …@sha256:…"),
        };
        let url = self.address(&format!("manifests/{name}"))?;
        let accept = (ACCEPT, HeaderValue::from_static(MANIFEST));
        let response = self.ask(Method::GET, &url, &[accept], Bytes::new()).await?;
        let response = self.good(response, &[StatusCode::OK]).await?;
        let manifest = read(response, MAX_MANIFEST).await?;
        let digest = Digest::of(&manifest);
        if expected.is_some_and(|expected| *expected != digest) {
            bail!("{} answered {name} with something else", named(&self.base));
        }
        Ok((digest, manifest))
    }

    /// The bytes that a manifest names.
    pub(super) async fn blob(&self, blob: &Blob) -> anyhow::Result<Vec<u8>> {
        let mut url = self.address(&format!("blobs/{}", blob.digest))?;
        for _ in 0..=REDIRECTS {
            let response = self.ask(Method::GET, &url, &[], Bytes::new()).await?;
            if response.status().is_redirection() {
                url = self.elsewhere(&url, &response)?;
                continue;
            }
            let response = self.good(response, &[StatusCode::OK]).await?;
            let bytes = read(response, blob.size).await?;
            blob.check(&bytes)?;
            return Ok(bytes);
        }
        bail!("{} redirects without end", named(&self.base))
    }

    /// Puts an artifact into the repository; it is found under its digest, and under the tag if one is given.
    pub(super) async fn push(&self, artifact: &Artifact, tag: Option<&str>) -> anyhow::Result<()> {
        for bytes in [&artifact.component, &artifact.config] {
            self.upload(bytes).await.context("sending a part")?;
        }
        let digest = artifact.digest().to_string();
        let url = self.address(&format!("manifests/{}", tag.unwrap_or(&digest)))?;
        let kind = (CONTENT_TYPE, HeaderValue::from_static(MANIFEST));
        let body = Bytes::from(artifact.manifest.clone());
        let response = self.ask(Method::PUT, &url, &[kind], body).await?;
        self.good(response, &[StatusCode::CREATED]).await?;
        Ok(())
    }

    async fn upload(&self, bytes: &[u8]) -> anyhow::Result<()> {
        let digest = Digest::of(bytes).to_string();
        let url = self.address(&format!("blobs/{digest}"))?;
        let response = self.ask(Method::HEAD, &url, &[], Bytes::new()).await?;
        if response.status().is_success() {
            return Ok(());
        }
        let url = self.address("blobs/uploads/")?;
        // Some want to be told that nothing comes with it.
        let empty = (CONTENT_LENGTH, HeaderValue::from_static("0"));
        let response = self.ask(Method::POST, &url, &[empty], Bytes::new()).await?;
        let response = self.good(response, &[StatusCode::ACCEPTED]).await?;
        let mut upload = location(&url, &response)?;
        if upload.origin() != self.base.origin() {
            bail!(
                "{} wants the package at {}, which is not the registry that was named; nothing was sent there",
                named(&self.base),
                named(&upload)
            );
        }
        upload.query_pairs_mut().append_pair("digest", &digest);
        let kind = HeaderValue::from_static("application/octet-stream");
        let body = Bytes::copy_from_slice(bytes);
        let response = self
            .ask(Method::PUT, &upload, &[(CONTENT_TYPE, kind)], body)
            .await?;
        self.good(response, &[StatusCode::CREATED]).await?;
        Ok(())
    }

    fn address(&self, path: &str) -> anyhow::Result<Url> {
        let path = format!("v2/{}/{path}", self.repository);
        self.base.join(&path).context("the address of the registry")
    }

    /// Where a blob really is. Storage may be another machine: its bytes are known by their digest, and it is told nothing.
    fn elsewhere(&self, from: &Url, response: &Response<Incoming>) -> anyhow::Result<Url> {
        let to = location(from, response)?;
        if to.origin() != self.base.origin() && to.scheme() != "https" {
            bail!(
                "{} redirects to {}://{}, without TLS",
                named(&self.base),
                to.scheme(),
                named(&to)
            );
        }
        Ok(to)
    }

    /// Sends a request; when the registry wants to know who asks, tells it and sends the request once more.
    async fn ask(
        &self,
        method: Method,
        url: &Url,
        headers: &[(http::HeaderName, HeaderValue)],
        body: Bytes,
    ) -> anyhow::Result<Response<Incoming>> {
        let own = url.origin() == self.base.origin();
        let authorization = self.authorization.lock().clone().filter(|_| own);
        let again = (method.clone(), body.clone());
        let response = self.send(method, url, headers, authorization, body).await?;
        if response.status() != StatusCode::UNAUTHORIZED || !own {
            return Ok(response);
        }
        let authorization = self.log_in(&response).await?;
        *self.authorization.lock() = Some(authorization.clone());
        let (method, body) = again;
        self.send(method, url, headers, Some(authorization), body)
            .await
    }

    async fn log_in(&self, response: &Response<Incoming>) -> anyhow::Result<HeaderValue> {
        let scope = format!("repository:{}:{}", self.repository, self.actions);
        let basic = self.access.basic(&self.base)?;
        match challenge(response.headers(), &self.base, &scope)? {
            Challenge::Basic => basic.with_context(|| {
                format!(
                    "{} asks for a user and a password: give --username and --password-file",
                    named(&self.base)
                )
            }),
            Challenge::Token(url) => {
                let response = self
                    .send(Method::GET, &url, &[], basic, Bytes::new())
                    .await?;
                let response = self.good(response, &[StatusCode::OK]).await?;
                let answer: Value = serde_json::from_slice(&read(response, MAX_ANSWER).await?)
                    .context("the token of the registry")?;
                let token = [&answer["token"], &answer["access_token"]]
                    .into_iter()
                    .find_map(Value::as_str)
                    .context("the registry gave no token")?;
                let mut value = HeaderValue::try_from(format!("Bearer {token}"))
                    .context("the token of the registry")?;
                value.set_sensitive(true);
                Ok(value)
            }
        }
    }

    async fn send(
        &self,
        method: Method,
        url: &Url,
        headers: &[(http::HeaderName, HeaderValue)],
        authorization: Option<HeaderValue>,
        body: Bytes,
    ) -> anyhow::Result<Response<Incoming>> {
        let mut request = Request::builder()
            .method(method)
            .uri(url.as_str())
            .header(USER_AGENT, "pomona");
        for (name, value) in headers {
            request = request.header(name, value);
        }
        if let Some(value) = authorization {
            request = request.header(AUTHORIZATION, value);
        }
        let within = patience(body.len());
        let request = request.body(Full::new(body)).context("the request")?;
        let answer = tokio::time::timeout(within, self.client.request(request)).await;
        answer
            .map_err(|_| anyhow!("{} does not answer", named(url)))?
            .with_context(|| format!("cannot reach {}://{}", url.scheme(), named(url)))
    }

    /// The answer, or what the registry objects to.
    async fn good(
        &self,
        response: Response<Incoming>,
        expected: &[StatusCode],
    ) -> anyhow::Result<Response<Incoming>> {
        let status = response.status();
        if expected.contains(&status) {
            return Ok(response);
        }
        let text = read(response, MAX_ANSWER).await.unwrap_or_default();
        let answer: Value = serde_json::from_slice(&text).unwrap_or_default();
        let error = &answer["errors"][0];
        let said: String = [&error["code"], &error["message"]]
            .into_iter()
            .filter_map(Value::as_str)
            .collect::<Vec<_>>()
            .join(": ");
        let said: String = clean(&said, false).chars().take(300).collect();
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => bail!(
                "{} does not let this user into {} ({status}) {said}",
                named(&self.base),
                self.repository
            ),
            StatusCode::NOT_FOUND => bail!("{} has no such thing {said}", named(&self.base)),
            _ => bail!("{} answered {status} {said}", named(&self.base)),
        }
    }
}

/// How long an answer may take to a request with a body of so many bytes: it comes after the last of them.
fn patience(bytes: usize) -> Duration {
    PATIENCE + Duration::from_secs((bytes / SLOWEST) as u64)
}

fn location(from: &Url, response: &Response<Incoming>) -> anyhow::Result<Url> {
    response
        .headers()
        .get(LOCATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| from.join(value).ok())
        .with_context(|| format!("{} does not say where to go on", named(from)))
}

/// The body, of `most` bytes at most; what is longer is not read to its end.
async fn read(response: Response<Incoming>, most: usize) -> anyhow::Result<Vec<u8>> {
    let mut body = response.into_body();
    let mut bytes = Vec::new();
    loop {
        let frame = tokio::time::timeout(PATIENCE, body.frame())
            .await
            .map_err(|_| anyhow!("the answer does not go on"))?;
        let Some(frame) = frame else {
            return Ok(bytes);
        };
        let Ok(data) = frame.context("the answer broke off")?.into_data() else {
            continue;
        };
        if bytes.len() + data.len() > most {
            bail!("more came than the {most} bytes that were to come");
        }
        bytes.extend_from_slice(&data);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_body_has_more_time_to_go_up() {
        for (bytes, seconds) in [
            (0, 60),
            (SLOWEST - 1, 60),
            (SLOWEST, 61),
            (32 << 20, 60 + 1024),
        ] {
            assert_eq!(patience(bytes), Duration::from_secs(seconds), "{bytes}");
        }
    }
}
