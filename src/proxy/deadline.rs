//! A time-out per request that costs no timer per request.
//!
//! Making and dropping a tokio timer takes a lock and two walks into the timer wheel; moving one
//! that is registered to a later time takes one atomic store. So each connection has one timer
//! for heads and one for answers, and moves them on.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::linger::Reading;

/// A timer that is used again and again, by one task.
#[derive(Clone)]
pub(super) struct Deadline(Arc<Mutex<Pin<Box<tokio::time::Sleep>>>>);

impl Deadline {
    /// A timer at rest.
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(Box::pin(tokio::time::sleep(Duration::ZERO)))))
    }

    /// Moves the deadline to `at`.
    pub(super) fn set(&self, at: Instant) {
        self.with(|sleep| sleep.reset(at.into()));
    }

    /// Ready once the deadline has passed.
    pub(super) fn poll(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.with(|sleep| sleep.poll(cx))
    }

    fn with<T>(&self, f: impl FnOnce(Pin<&mut tokio::time::Sleep>) -> T) -> T {
        // Never contended: one task has it. Poisoning means nothing for a timer.
        f(self.0.lock().unwrap_or_else(PoisonError::into_inner).as_mut())
    }
}

/// hyper's timer for reading heads, which it asks for one at a time, whenever it begins to wait for one.
pub(super) struct Heads {
    pub(super) deadline: Deadline,
    pub(super) reading: Reading,
}

impl hyper::rt::Timer for Heads {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn hyper::rt::Sleep>> {
        self.sleep_until(Instant::now() + duration)
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn hyper::rt::Sleep>> {
        self.reading.awaits_head();
        self.deadline.set(deadline);
        Box::pin(Waiting(self.deadline.clone()))
    }
}

struct Waiting(Deadline);

impl Future for Waiting {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.0.poll(cx)
    }
}

impl hyper::rt::Sleep for Waiting {}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_deadline_that_moved_on_passes_when_it_says() {
        let start = tokio::time::Instant::now();
        let deadline = Deadline::new();
        for seconds in [10, 20, 5] {
            deadline.set((start + Duration::from_secs(seconds)).into());
            assert!(std::future::poll_fn(|cx| Poll::Ready(deadline.poll(cx).is_pending())).await);
        }
        std::future::poll_fn(|cx| deadline.poll(cx)).await;
        assert_eq!(start.elapsed().as_secs(), 5);
    }
}
