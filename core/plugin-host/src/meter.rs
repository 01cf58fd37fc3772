//! How much processor time a call has used.
//!
//! Owns: the account of one call, kept by the clock of the thread that polls it. The wall clock would charge a guest, on a busy
//! machine, for time in which it did not run. Ends nothing: who asks decides.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// The account of one call. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Meter(Arc<Account>);

#[derive(Debug, Default)]
struct Account {
    /// Nanoseconds of the polls that are over.
    used: AtomicU64,
    /// The thread's clock when the poll that is under way began.
    since: AtomicU64,
}

impl Meter {
    /// Runs a future on this account.
    pub(crate) async fn measure<F: Future>(&self, future: F) -> F::Output {
        let mut future = pin!(future);
        poll_fn(|context| {
            let since = thread_time();
            self.0.since.store(since, Ordering::Relaxed);
            let outcome = future.as_mut().poll(context);
            let took = thread_time().saturating_sub(since);
            self.0.used.fetch_add(took, Ordering::Relaxed);
            outcome
        })
        .await
    }

    /// What has been used so far. To be asked from within the future that is measured.
    pub(crate) fn used(&self) -> Duration {
        let running = thread_time().saturating_sub(self.0.since.load(Ordering::Relaxed));
        Duration::from_nanos(self.0.used.load(Ordering::Relaxed).saturating_add(running))
    }
}

/// Nanoseconds of processor time that this thread has had.
fn thread_time() -> u64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(now.tv_nsec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Computes until the thread's own clock has moved on this far.
    fn work(time: Duration) {
        let until = thread_time() + u64::try_from(time.as_nanos()).unwrap();
        while thread_time() < until {
            std::hint::spin_loop();
        }
    }

    #[tokio::test]
    async fn the_polls_of_a_call_count_and_what_others_do_in_between_does_not() {
        let meter = Meter::default();
        let own = meter.measure(async {
            work(Duration::from_millis(4));
            tokio::task::yield_now().await;
            work(Duration::from_millis(4));
            meter.used()
        });
        // On the same thread, between the two polls.
        let other = async { work(Duration::from_millis(60)) };
        let (used, ()) = tokio::join!(own, other);
        assert!(used >= Duration::from_millis(8), "{used:?}");
        assert!(used < Duration::from_millis(60), "{used:?}");
    }
}
