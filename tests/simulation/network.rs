//! A call over the network: what it does arrives whether or not somebody still waits for it.

use std::future::pending;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use crate::faults::{Answer, Manner, Request};
use crate::life::Life;
use crate::world::State;

/// Why there is no answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum NoAnswer {
    /// Nothing was sent.
    NotSent,
    /// The connection broke.
    Cut,
}

/// Makes a call. `arrives` is what happens at the other side, at the time of its arrival.
pub(crate) async fn call<T: Send + 'static>(
    life: &Life,
    manner: &Manner,
    arrives: impl Fn(&mut State) -> T + Send + Sync + 'static,
) -> Result<T, NoAnswer> {
    life.cross().await;
    let sent = Instant::now();
    let arrives = Arc::new(arrives);
    let answer = Arc::new(Mutex::new(None));
    let arrival = match manner.request {
        Request::Refused => {
            sleep(Duration::from_millis(1)).await;
            life.cross().await;
            return Err(NoAnswer::NotSent);
        }
        Request::Lost => Duration::ZERO,
        Request::Arrives(after) => {
            let (arrives, answer) = (Arc::clone(&arrives), Arc::clone(&answer));
            life.world.with(|state| {
                state.after(after, move |state| {
                    let came = arrives(state);
                    *answer.lock().unwrap_or_else(PoisonError::into_inner) = Some(came);
                });
            });
            after
        }
    };
    if let (Some(again), Request::Arrives(_)) = (manner.again, manner.request) {
        life.world.with(|state| state.after(again, move |state| _ = arrives(state)));
    }
    let until = match manner.answer {
        Answer::Comes(after) => sent + arrival + after,
        Answer::Cut(after) => sent + after,
        Answer::Never => return pending().await,
    };
    sleep_until(until).await;
    life.cross().await;
    // Looking at the world lets happen what is due.
    life.world.with(|_| ());
    let came = answer.lock().unwrap_or_else(PoisonError::into_inner).take();
    match manner.answer {
        Answer::Comes(_) => came.ok_or(NoAnswer::Cut),
        _ => Err(NoAnswer::Cut),
    }
}
