//! When a connection last did something.
//!
//! Owns: the count of running requests of a connection and the time of its last movement, both fed by the
//! bodies that pass through it. A connection without requests that stands still is closed, and so is one whose
//! peer does not take its answer.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep};

/// The movement of one connection.
#[derive(Debug)]
pub(crate) struct Activity {
    began: Instant,
    last_ms: AtomicU64,
    running: AtomicUsize,
}

impl Activity {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            began: Instant::now(),
            last_ms: AtomicU64::new(0),
            running: AtomicUsize::new(0),
        })
    }

    /// Something moved.
    pub(crate) fn touch(&self) {
        self.last_ms.fetch_max(self.now_ms(), Ordering::Relaxed);
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// A request runs until the guard is dropped.
    pub(crate) fn begin(self: &Arc<Self>) -> Running {
        self.running.fetch_add(1, Ordering::Relaxed);
        self.touch();
        Running(self.clone())
    }

    /// Whether no request runs and nothing has moved for `limit`.
    pub(crate) fn is_idle(&self, limit: Duration) -> bool {
        let running = self.running.load(Ordering::Relaxed);
        let last_ms = self.last_ms.load(Ordering::Relaxed);
        idle(running, last_ms, self.now_ms(), limit)
    }
}

fn idle(running: usize, last_ms: u64, now_ms: u64, limit: Duration) -> bool {
    running == 0 && Duration::from_millis(now_ms.saturating_sub(last_ms)) >= limit
}

/// A running request.
pub(crate) struct Running(Arc<Activity>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.touch();
        self.0.running.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The body of a request: an error when it pauses for too long.
pub(crate) struct Incoming<B> {
    body: B,
    activity: Arc<Activity>,
    pause: Duration,
    timer: Pin<Box<Sleep>>,
}

impl<B> Incoming<B> {
    pub(crate) fn new(body: B, activity: Arc<Activity>, pause: Duration) -> Self {
        Self {
            body,
            activity,
            pause,
            timer: Box::pin(tokio::time::sleep(pause)),
        }
    }
}

impl<B> Body for Incoming<B>
where
    B: Body + Unpin,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Data = B::Data;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, Self::Error>>> {
        match Pin::new(&mut self.body).poll_frame(context) {
            Poll::Ready(frame) => {
                self.activity.touch();
                let next = Instant::now() + self.pause;
                self.timer.as_mut().reset(next);
                Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
            }
            Poll::Pending => match self.timer.as_mut().poll(context) {
                Poll::Ready(()) => Poll::Ready(Some(Err("the body paused for too long".into()))),
                Poll::Pending => Poll::Pending,
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The body of an answer: each piece that is taken counts as movement.
pub(crate) struct Outgoing<B> {
    body: B,
    activity: Arc<Activity>,
}

impl<B> Outgoing<B> {
    pub(crate) fn new(body: B, activity: Arc<Activity>) -> Self {
        Self { body, activity }
    }
}

impl<B: Body + Unpin> Body for Outgoing<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if polled.is_ready() {
            self.activity.touch();
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http_body_util::{BodyExt, Full};

    use super::*;

    /// A body that never brings anything.
    struct Silent;

    impl Body for Silent {
        type Data = Bytes;
        type Error = std::convert::Infallible;

        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
            Poll::Pending
        }
    }

    #[tokio::test]
    async fn a_body_that_pauses_for_too_long_ends_with_an_error() {
        let body = Incoming::new(Silent, Activity::new(), Duration::ZERO);
        assert!(body.collect().await.is_err());
        let body = Full::new(Bytes::from_static(b"whole"));
        let body = Incoming::new(body, Activity::new(), Duration::ZERO);
        assert_eq!(body.collect().await.unwrap().to_bytes(), "whole");
    }

    #[test]
    fn a_connection_is_idle_only_without_requests_and_after_its_time() {
        let limit = Duration::from_millis(30);
        assert!(!idle(0, 0, 29, limit));
        assert!(idle(0, 0, 30, limit));
        assert!(!idle(0, 10, 30, limit));
        assert!(!idle(1, 0, 1_000, limit));
    }

    #[tokio::test]
    async fn a_request_runs_until_its_guard_is_dropped() {
        let activity = Activity::new();
        let first = activity.begin();
        let second = activity.begin();
        drop(first);
        assert_eq!(activity.running.load(Ordering::Relaxed), 1);
        drop(second);
        assert_eq!(activity.running.load(Ordering::Relaxed), 0);
    }
}
