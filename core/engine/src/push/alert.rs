//! Hears what TLS says about our certificate.
//!
//! Owns: a connector around another one that remembers the alert with which a server ended a connection. Under
//! TLS 1.3 a server judges our certificate after the handshake, so its alert arrives with the first read, where
//! HTTP/2 keeps only the text of an error.
//!
//! Source: RFC 8446, section 6.2.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};
use parking_lot::Mutex;
use rustls::AlertDescription;
use tower::Service;

/// The last alert on any connection of a line.
#[derive(Clone, Default)]
pub(crate) struct Alerts(Arc<Mutex<Option<AlertDescription>>>);

impl Alerts {
    /// A connection works: what was heard before is past.
    pub(crate) fn clear(&self) {
        *self.0.lock() = None;
    }

    /// The alert, if it means that our certificate is not accepted.
    pub(crate) fn about_certificate(&self) -> Option<AlertDescription> {
        use AlertDescription as A;
        (*self.0.lock()).filter(|alert| {
            matches!(
                alert,
                A::BadCertificate
                    | A::UnsupportedCertificate
                    | A::CertificateRevoked
                    | A::CertificateExpired
                    | A::CertificateUnknown
                    | A::UnknownCA
                    | A::AccessDenied
                    | A::CertificateRequired
            )
        })
    }

    fn hear(&self, error: &(dyn std::error::Error + 'static)) {
        let mut next = Some(error);
        while let Some(error) = next {
            if let Some(rustls::Error::AlertReceived(alert)) = error.downcast_ref() {
                *self.0.lock() = Some(*alert);
                return;
            }
            next = match error
                .downcast_ref::<io::Error>()
                .and_then(io::Error::get_ref)
            {
                Some(inner) => Some(inner),
                None => error.source(),
            };
        }
    }
}

/// A connector, or a connection of one, whose errors are overheard.
#[derive(Clone)]
pub(crate) struct Watched<T> {
    inner: T,
    alerts: Alerts,
}

impl<T> Watched<T> {
    pub(crate) fn new(inner: T, alerts: Alerts) -> Self {
        Self { inner, alerts }
    }
}

type Boxed = Box<dyn std::error::Error + Send + Sync>;

impl<C> Service<Uri> for Watched<C>
where
    C: Service<Uri, Error = Boxed>,
    C::Future: Send + 'static,
{
    type Response = Watched<C::Response>;
    type Error = Boxed;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Boxed>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Boxed>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let alerts = self.alerts.clone();
        let connecting = self.inner.call(to);
        Box::pin(async move {
            match connecting.await {
                Ok(inner) => Ok(Watched { inner, alerts }),
                Err(error) => {
                    alerts.hear(&*error);
                    Err(error)
                }
            }
        })
    }
}

impl<S: Connection> Connection for Watched<S> {
    fn connected(&self) -> Connected {
        self.inner.connected()
    }
}

impl<S> Watched<S> {
    fn overhear<T>(&self, result: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if let Poll::Ready(Err(error)) = &result {
            self.alerts.hear(error);
        }
        result
    }
}

impl<S: Read + Unpin> Read for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.inner).poll_read(cx, buf);
        self.overhear(result)
    }
}

impl<S: Write + Unpin> Write for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.inner).poll_write(cx, buf);
        self.overhear(result)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.inner).poll_flush(cx);
        self.overhear(result)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.inner).poll_write_vectored(cx, bufs);
        self.overhear(result)
    }
}
