//! Idle connections, newest first, and the lease on one of them for one exchange.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::{Request, Response};
use hyper::client::conn::http1::SendRequest;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::AbortHandle;

use super::connect::{Driver, connect};
use super::{Body, Config, Endpoint, Error, ErrorKind, Progress, RequestBody, Sent};

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
    driver: AbortHandle,
    since: Instant,
}

/// A connection that one exchange has for itself.
///
/// It goes back when the answer's body has ended; dropped earlier, it is closed, since the rest
/// of an answer would be taken for the next one.
pub(super) struct Lease {
    pool: Arc<Pool>,
    sender: SendRequest<RequestBody>,
    /// How far the request's body has come, where it is streamed.
    progress: Option<Progress>,
    after: After,
}

/// What becomes of a connection when its answer has ended.
enum After {
    /// It goes back, with the task that drives it.
    Back(AbortHandle),
    /// It is closed, and its place is free.
    Closed(#[expect(dead_code, reason = "held, not read")] OwnedSemaphorePermit),
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
            if candidate.sender.is_ready() {
                let Idle { sender, driver, .. } = candidate;
                return Some(self.lease(sender, After::Back(driver)));
            }
        }
        None
    }

    /// A new connection.
    pub(super) async fn connect(self: &Arc<Self>) -> Result<Lease, Error> {
        let (sender, driver, place) = self.dial().await?;
        let driver = tokio::spawn(async move {
            // Whoever waits for an answer gets the error; on an idle connection nobody minds.
            let _ = driver.await;
            drop(place);
        });
        Ok(self.lease(sender, After::Back(driver.abort_handle())))
    }

    fn lease(self: &Arc<Self>, sender: SendRequest<RequestBody>, after: After) -> Lease {
        Lease { pool: Arc::clone(self), sender, progress: None, after }
    }

    /// A new connection that is never to be in the pool, and may change its protocol; with its
    /// place, which whoever has the connection keeps.
    pub(super) async fn connect_apart(
        self: &Arc<Self>,
    ) -> Result<(SendRequest<RequestBody>, OwnedSemaphorePermit), Error> {
        let (sender, driver, place) = self.dial().await?;
        tokio::spawn(async move {
            let _ = driver.with_upgrades().await;
        });
        Ok((sender, place))
    }

    async fn dial(
        &self,
    ) -> Result<(SendRequest<RequestBody>, Driver, OwnedSemaphorePermit), Error> {
        let refuse = |kind, detail| Error { kind, detail, sent: Sent::Never };
        let limit = self.config.connect_timeout;
        let mut waiting = ErrorKind::Busy;
        let attempt = async {
            let place = Arc::clone(&self.places).acquire_owned().await;
            let place = place.map_err(std::io::Error::other)?;
            waiting = ErrorKind::Connect;
            let (sender, driver) = connect(&self.endpoint).await?;
            Ok::<_, std::io::Error>((sender, driver, place))
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

    fn give_back(&self, sender: SendRequest<RequestBody>, driver: AbortHandle) {
        let now = Instant::now();
        let mut idle = self.lock();
        let stale = |oldest: &Idle| {
            oldest.age(now) > self.config.idle_timeout.0 || oldest.sender.is_closed()
        };
        while idle.front().is_some_and(stale) {
            idle.pop_front();
        }
        if idle.len() < self.config.max_idle {
            idle.push_back(Idle { sender, driver, since: now });
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
        self.progress = request.body().progress().cloned();
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
        let Self { pool, mut sender, progress, after } = self;
        let After::Back(driver) = after else { return };
        if sender.is_ready() {
            pool.give_back(sender, driver);
        } else if !sender.is_closed() {
            // The request's body is still on its way, or the driver did not run yet.
            tokio::spawn(async move {
                if is_through(&mut sender, progress, &driver).await {
                    pool.give_back(sender, driver);
                }
            });
        }
    }
}

/// Waits until the connection can be used again. It is closed where the request's body stops coming for
/// too long, and with it the client's, for whom it was read.
async fn is_through(
    sender: &mut SendRequest<RequestBody>,
    progress: Option<Progress>,
    driver: &AbortHandle,
) -> bool {
    let Some(progress) = progress else { return sender.ready().await.is_ok() };
    loop {
        let seen = progress.frames();
        match tokio::time::timeout(progress.longest_pause(), sender.ready()).await {
            Ok(ready) => return ready.is_ok(),
            Err(_) if progress.frames() == seen => {
                driver.abort();
                return false;
            }
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
