//! Idle connections, newest first, and the lease on one of them for one exchange.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::{Request, Response};
use hyper::client::conn::http1::SendRequest;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::AbortHandle;

use super::connect::{Driver, Written, connect};
use super::{Body, Config, Endpoint, Error, ErrorKind, RequestBody, Sent};

/// The connections of one client.
#[derive(Debug)]
pub(super) struct Pool {
    endpoint: Endpoint,
    config: Config,
    places: Arc<Semaphore>,
    idle: Mutex<VecDeque<Idle>>,
}

/// How fresh a connection a request needs.
#[derive(Clone, Copy)]
pub(super) enum Reuse {
    /// It may be repeated.
    Safe,
    /// If it fails, nobody knows what happened.
    Unsafe,
}

#[derive(Debug)]
struct Idle {
    sender: SendRequest<RequestBody>,
    driven: Driven,
    since: Instant,
}

/// What drives a connection. It is closed where nobody has this any more, even if the service does not
/// read what is still to be written.
#[derive(Debug)]
struct Driven {
    task: AbortHandle,
    written: Written,
}

impl Drop for Driven {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A connection that one exchange has for itself.
///
/// It goes back when the answer's body has ended; dropped earlier, it is closed, since the rest
/// of an answer would be taken for the next one.
pub(super) struct Lease {
    pool: Arc<Pool>,
    sender: SendRequest<RequestBody>,
    /// How long the rest of a request may pause behind its answer.
    longest_pause: Duration,
    after: After,
}

/// What becomes of a connection when its answer has ended.
enum After {
    /// It goes back.
    Back(Driven),
    /// It is closed, and its place is free.
    Closed(#[expect(dead_code, reason = "held, not read")] OwnedSemaphorePermit),
}

/// A new connection.
struct Dialled {
    sender: SendRequest<RequestBody>,
    driver: Driver,
    written: Written,
    place: OwnedSemaphorePermit,
}

/// An exchange without an answer.
pub(super) struct Failure {
    pub(super) error: Error,
    /// The request, where not a byte of it was written.
    pub(super) unsent: Option<Box<Request<RequestBody>>>,
}

impl Pool {
    pub(super) fn new(endpoint: Endpoint, config: Config) -> Self {
        let places = Arc::new(Semaphore::new(config.max_connections.min(Semaphore::MAX_PERMITS)));
        Self { endpoint, config, places, idle: Mutex::new(VecDeque::new()) }
    }

    /// The connection that was used last, if it is fresh enough.
    pub(super) fn idle(self: &Arc<Self>, reuse: Reuse) -> Option<Lease> {
        let limit = match reuse {
            Reuse::Safe => self.config.idle_timeout.0,
            Reuse::Unsafe => self.config.idle_timeout_unsafe.0.min(self.config.idle_timeout.0),
        };
        let now = Instant::now();
        let mut idle = self.lock();
        while let Some(candidate) = idle.pop_back() {
            if candidate.age(now) > limit {
                // All others are older. Those too old for this request may serve another.
                if candidate.age(now) <= self.config.idle_timeout.0 {
                    idle.push_back(candidate);
                }
                return None;
            }
            // One on which a write failed looks well until its end is read.
            if candidate.sender.is_ready() && !candidate.driven.written.has_failed() {
                let Idle { sender, driven, .. } = candidate;
                return Some(self.lease(sender, After::Back(driven)));
            }
        }
        None
    }

    /// A new connection.
    pub(super) async fn connect(self: &Arc<Self>) -> Result<Lease, Error> {
        let Dialled { sender, driver, written, place } = self.dial(true).await?;
        let task = tokio::spawn(async move {
            // Whoever waits for an answer gets the error; on an idle connection nobody minds.
            let _ = driver.await;
            drop(place);
        });
        Ok(self.lease(sender, After::Back(Driven { task: task.abort_handle(), written })))
    }

    fn lease(self: &Arc<Self>, sender: SendRequest<RequestBody>, after: After) -> Lease {
        let longest_pause = self.config.idle_timeout.0;
        Lease { pool: Arc::clone(self), sender, longest_pause, after }
    }

    /// A new connection that is never to be in the pool, and may change its protocol; with its
    /// place, which whoever has the connection keeps.
    pub(super) async fn connect_apart(
        self: &Arc<Self>,
    ) -> Result<(SendRequest<RequestBody>, OwnedSemaphorePermit), Error> {
        let Dialled { sender, driver, place, .. } = self.dial(false).await?;
        tokio::spawn(async move {
            let _ = driver.with_upgrades().await;
        });
        Ok((sender, place))
    }

    async fn dial(&self, hears_out: bool) -> Result<Dialled, Error> {
        let refuse = |kind, detail| Error { kind, detail, sent: Sent::Never };
        let limit = self.config.connect_timeout;
        let mut waiting = ErrorKind::Busy;
        let attempt = async {
            let place = Arc::clone(&self.places).acquire_owned().await;
            let place = place.map_err(std::io::Error::other)?;
            waiting = ErrorKind::Connect;
            let (sender, driver, written) = connect(&self.endpoint, hears_out).await?;
            Ok::<_, std::io::Error>(Dialled { sender, driver, written, place })
        };
        let outcome = tokio::time::timeout(limit.0, attempt).await;
        match outcome {
            Ok(Ok(dialled)) => Ok(dialled),
            Ok(Err(error)) => {
                Err(refuse(ErrorKind::Connect, format!("{}: {error}", self.endpoint)))
            }
            Err(_) => Err(refuse(waiting, format!("{}: not within {limit}", self.endpoint))),
        }
    }

    fn give_back(&self, sender: SendRequest<RequestBody>, driven: Driven) {
        let now = Instant::now();
        let mut idle = self.lock();
        let stale = |oldest: &Idle| {
            oldest.age(now) > self.config.idle_timeout.0 || oldest.sender.is_closed()
        };
        while idle.front().is_some_and(stale) {
            idle.pop_front();
        }
        if idle.len() < self.config.max_idle {
            idle.push_back(Idle { sender, driven, since: now });
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<Idle>> {
        // Nothing in the critical sections panics, and a queue is whole at any time.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Idle {
    fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.since)
    }
}

impl Lease {
    /// A lease on a connection of [`Pool::connect_apart`]: it is closed at the answer's end.
    pub(super) fn apart(
        pool: &Arc<Pool>,
        sender: SendRequest<RequestBody>,
        place: OwnedSemaphorePermit,
    ) -> Self {
        pool.lease(sender, After::Closed(place))
    }

    /// Sends a request at once; the future waits for the answer's head.
    ///
    /// The request goes to the connection's driver before there is a future, which so stays small.
    pub(super) fn exchange(
        mut self,
        request: Request<RequestBody>,
    ) -> impl Future<Output = Result<Response<Body>, Failure>> + Send {
        if let Some(progress) = request.body().progress() {
            self.longest_pause = progress.longest_pause();
        }
        let sending = self.sender.try_send_request(request);
        async move {
            match sending.await {
                Ok(response) => Ok(response.map(|body| Body::stream(body, self))),
                Err(mut failed) => {
                    let unsent = failed.take_message().map(Box::new);
                    let sent = if unsent.is_some() { Sent::Never } else { Sent::Maybe };
                    Err(Failure { error: Error::of_exchange(&failed.into_error(), sent), unsent })
                }
            }
        }
    }

    /// Puts the connection back: the answer's body has ended.
    pub(super) fn end(self) {
        let Self { pool, mut sender, longest_pause, after } = self;
        let After::Back(driven) = after else { return };
        if sender.is_ready() {
            pool.give_back(sender, driven);
        } else if !sender.is_closed() {
            // The request's body is still on its way, or the driver did not run yet.
            tokio::spawn(async move {
                if is_through(&mut sender, longest_pause, &driven.written).await {
                    pool.give_back(sender, driven);
                }
            });
        }
    }
}

/// Waits until the connection can be used again. It can't where the rest of the request stands still for
/// too long: the client sends no more of it, who is cut off with the connection, or the service reads
/// no more.
async fn is_through(
    sender: &mut SendRequest<RequestBody>,
    longest_pause: Duration,
    written: &Written,
) -> bool {
    loop {
        let seen = written.writes();
        match tokio::time::timeout(longest_pause, sender.ready()).await {
            Ok(ready) => return ready.is_ok(),
            Err(_) if written.writes() == seen => return false,
            Err(_) => {}
        }
    }
}

impl Error {
    /// What hyper says about an exchange, in our words.
    pub(super) fn of_exchange(error: &hyper::Error, sent: Sent) -> Self {
        let kind = if error.is_user() {
            ErrorKind::Client
        } else if error.is_parse() {
            ErrorKind::Invalid
        } else {
            ErrorKind::Cut
        };
        let source = std::error::Error::source(error);
        let detail = match source.and_then(|source| source.downcast_ref::<std::io::Error>()) {
            Some(io) => format!("{error}: {}", io.kind()),
            None => error.to_string(),
        };
        Self { kind, detail, sent }
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::task::Poll;

    use tokio::net::TcpListener;

    use super::*;

    impl Lease {
        fn written(&self) -> Written {
            match &self.after {
                After::Back(driven) => driven.written.clone(),
                After::Closed(_) => panic!("it is one of the pool's"),
            }
        }
    }

    /// Its driver may not have met that yet.
    #[tokio::test]
    async fn a_connection_on_which_a_write_failed_is_used_no_more() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let pool = Arc::new(Pool::new(endpoint.parse().unwrap(), Config::default()));
        let failed = Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        for (before_its_return, after_it) in [(false, false), (true, false), (false, true)] {
            let Ok(mut lease) = pool.connect().await else { panic!("the port is there") };
            let written = lease.written();
            lease.sender.ready().await.unwrap();
            if before_its_return {
                written.note(&failed);
            }
            lease.end();
            if after_it {
                written.note(&failed);
            }
            assert_eq!(pool.idle(Reuse::Unsafe).is_some(), !before_its_return && !after_it);
        }
    }
}
