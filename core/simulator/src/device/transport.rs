//! How a management request leaves the device: address, proof of identity, bytes.
//!
//! Owns the three ways to prove who is calling. Never reads an answer. Stands between the
//! check-in and session code and the HTTP client. Source: Apple, "MDM" payload (SignMessage);
//! RFC 9440 (Client-Cert).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hyper::Method;
use url::Url;

use crate::client::{Answer, Cut};
use crate::cms::detached_signature;
use crate::device::{Device, DeviceError};

/// How management requests reach the server.
#[derive(Clone, Debug)]
pub enum Transport {
    /// As the profile says: signed messages where it has SignMessage, else mutual TLS.
    FromProfile,
    /// As a TLS-terminating proxy would pass requests on: plain HTTP to this scheme, host and
    /// port, with the certificate in the `Client-Cert` header. Path and query stay those of the
    /// profile.
    ProxyHeader {
        /// Where the server listens for its proxy.
        base: Url,
    },
}

impl Transport {
    /// Where a URL of the profile is reached.
    pub(crate) fn place(&self, url: &Url) -> Url {
        match self {
            Self::FromProfile => url.clone(),
            Self::ProxyHeader { base } => rebase(url, base),
        }
    }
}

/// Names and values.
type Headers = Vec<(&'static str, String)>;

/// Which of the two kinds of message it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    CheckIn,
    Report,
}

impl Kind {
    const fn content_type(self) -> &'static str {
        match self {
            Self::CheckIn => "application/x-apple-aspen-mdm-checkin",
            Self::Report => "application/x-apple-aspen-mdm",
        }
    }
}

impl Device {
    /// Sends a message on a channel and notes the status that comes back.
    pub(super) async fn put(
        &mut self,
        channel: usize,
        kind: Kind,
        body: Bytes,
    ) -> Result<Answer, DeviceError> {
        let (url, headers) = self.prepare(kind, &body)?;
        self.world.counters.request();
        match self.client.send(Method::PUT, &url, &headers, body).await {
            Ok(answer) => {
                self.channel_mut(channel)?.record.status(answer.status);
                Ok(answer)
            }
            Err(error) => {
                self.world.counters.error();
                Err(error.into())
            }
        }
    }

    /// Sends a message and never learns what came of it.
    pub(super) async fn put_and_cut(
        &mut self,
        kind: Kind,
        body: Bytes,
        cut: Cut,
    ) -> Result<(), DeviceError> {
        let (url, headers) = self.prepare(kind, &body)?;
        self.world.counters.request();
        let sent = self
            .client
            .send_and_cut(Method::PUT, &url, &headers, body, cut);
        Ok(sent.await?)
    }

    fn prepare(&self, kind: Kind, body: &[u8]) -> Result<(Url, Headers), DeviceError> {
        let enrollment = self.enrollment()?;
        let profile = &enrollment.profile;
        let url = match kind {
            Kind::CheckIn => &profile.check_in_url,
            Kind::Report => &profile.server_url,
        };
        let url = self.world.transport.place(url);
        let mut headers = vec![("content-type", kind.content_type().to_owned())];
        match &self.world.transport {
            Transport::ProxyHeader { .. } => {
                let certificate = STANDARD.encode(&enrollment.identity.certificate);
                headers.push(("client-cert", format!(":{certificate}:")));
            }
            Transport::FromProfile => {
                if profile.sign_message {
                    let style = enrollment.signature;
                    let signature = detached_signature(&enrollment.identity, style, body)?;
                    headers.push(("mdm-signature", STANDARD.encode(signature)));
                }
            }
        }
        Ok((url, headers))
    }
}

/// The path and query of `url` at another scheme, host and port.
pub(crate) fn rebase(url: &Url, base: &Url) -> Url {
    let mut moved = base.clone();
    moved.set_path(url.path());
    moved.set_query(url.query());
    moved
}
