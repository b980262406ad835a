//! Idle connections, newest first, and the lease on one of them for one exchange.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::{Request, Response};
use hyper::client::conn::http1::SendRequest;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::connect::{Driver, connect};
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
    since: Instant,
}

/// A connection that one exchange has for itself.
///
/// It goes back when the answer's body has ended; dropped earlier, it is closed, since the rest
/// of an answer would be taken for the next one.
pub(super) struct Lease {
    pool: Arc<Pool>,
    sender: SendRequest<RequestBody>,
    /// The place of a connection that never goes back.
    apart: Option<OwnedSemaphorePermit>,
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
                let sender = candidate.sender;
                return Some(Lease { pool: Arc::clone(self), sender, apart: None });
            }
        }
        None
    }

    /// A new connection.
    pub(super) async fn connect(self: &Arc<Self>) -> Result<Lease, Error> {
        let (sender, driver, place) = self.dial().await?;
        tokio::spawn(async move {
            // Whoever waits for an answer gets the error; on an idle connection nobody minds.
            let _ = driver.await;
            drop(place);
        });
        Ok(Lease { pool: Arc::clone(self), sender, apart: None })
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

    fn give_back(&self, sender: SendRequest<RequestBody>) {
        let now = Instant::now();
        let mut idle = self.lock();
        let stale = |oldest: &Idle| {
            oldest.age(now) > self.config.idle_timeout.0 || oldest.sender.is_closed()
        };
        while idle.front().is_some_and(stale) {
            idle.pop_front();
        }
        if idle.len() < self.config.max_idle {
            idle.push_back(Idle { sender, since: now });
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
        Self { pool: Arc::clone(pool), sender, apart: Some(place) }
    }

    /// Sends a request at once; the future waits for the answer's head.
    ///
    /// The request goes to the connection's driver before there is a future, which so stays small.
    pub(super) fn exchange(
        mut self,
        request: Request<RequestBody>,
    ) -> impl Future<Output = Result<Response<Body>, Failure>> + Send {
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
    pub(super) fn end(mut self) {
        if self.apart.is_some() {
            return;
        }
        if self.sender.is_ready() {
            self.pool.give_back(self.sender);
        } else if !self.sender.is_closed() {
            // The request's body is still on its way, or the driver did not run yet.
            tokio::spawn(async move {
                if self.sender.ready().await.is_ok() {
                    self.pool.give_back(self.sender);
                }
            });
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
