//! Workers, their connections, and the end of both.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use http::HeaderValue;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::connection::{Connection, Failed};
use super::deadline::Deadline;
use super::headers::Sanitizer;
use super::linger::Reading;
use super::route::{Peer, Route, Worker};
use super::upgrade::Slot;
use super::{Config, Forwarded, Parts, unread};
use crate::upstream::Client;

/// How long to wait where the system has no socket or memory for a new connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Runs the workers until each has drained.
pub(super) async fn run(
    listener: std::net::TcpListener,
    config: Config,
    parts: Parts,
    shutdown: CancellationToken,
    drain: Duration,
) -> io::Result<()> {
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    let workers = config.workers.unwrap_or_else(cores).max(1);
    let connections = permits(config.connections);
    let places = permits(config.intercepted);
    let mut threads = Vec::with_capacity(workers);
    for number in 0..workers {
        let worker = Arc::new(Worker {
            router: Arc::clone(&parts.router),
            interceptor: Arc::clone(&parts.interceptor),
            control: parts.control.clone(),
            client: Client::new(parts.endpoint.clone(), parts.upstream.clone()),
            sanitizer: Sanitizer::new(parts.credentials.clone()),
            places: Arc::clone(&places),
            cors: parts.cors.clone(),
            metrics: parts.metrics.clone(),
            config: config.clone(),
        });
        let acceptor = Acceptor {
            worker,
            forwarded: parts.forwarded.clone(),
            connections: Arc::clone(&connections),
            draining: Arc::new(AtomicBool::new(false)),
            stop: CancellationToken::new(),
            tracker: TaskTracker::new(),
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (listener, shutdown) = (listener.try_clone()?, shutdown.clone());
        let thread = std::thread::Builder::new().name(format!("proxy-{number}"));
        threads.push(thread.spawn(move || {
            let ended = runtime.block_on(acceptor.run(listener, shutdown, drain));
            // Cuts whatever is left, without waiting for a name that is being resolved.
            runtime.shutdown_background();
            ended
        })?);
    }
    drop(listener);
    let joined = tokio::task::spawn_blocking(move || {
        let ended = threads.into_iter().map(std::thread::JoinHandle::join);
        let ended = ended.map(|end| end.unwrap_or(Err(io::ErrorKind::Other.into())));
        ended.fold(Ok(()), Result::and)
    });
    joined.await.map_err(io::Error::other)?
}

fn permits(count: usize) -> Arc<Semaphore> {
    Arc::new(Semaphore::new(count.clamp(1, Semaphore::MAX_PERMITS)))
}

/// One worker's loop.
struct Acceptor {
    worker: Arc<Worker>,
    forwarded: Forwarded,
    connections: Arc<Semaphore>,
    /// Set before `stop` wakes the connections: reading it costs them less than polling `stop`.
    draining: Arc<AtomicBool>,
    stop: CancellationToken,
    tracker: TaskTracker,
}

impl Acceptor {
    async fn run(
        self,
        listener: std::net::TcpListener,
        shutdown: CancellationToken,
        drain: Duration,
    ) -> io::Result<()> {
        let listener = TcpListener::from_std(listener)?;
        shutdown.run_until_cancelled(self.accept(&listener)).await;
        drop(listener);
        self.draining.store(true, Relaxed);
        self.stop.cancel();
        self.tracker.close();
        // What is still open at the deadline is cut, which is what a deadline is for.
        let _ = tokio::time::timeout(drain, self.tracker.wait()).await;
        Ok(())
    }

    async fn accept(&self, listener: &TcpListener) {
        loop {
            // First the place, then the connection: beyond the limit clients wait in the
            // kernel's queue.
            let Ok(place) = Arc::clone(&self.connections).acquire_owned().await else { return };
            match listener.accept().await {
                Ok((stream, address)) => self.serve(stream, address, place),
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    tracing::warn!(%error, "no connection could be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn serve(&self, stream: TcpStream, address: SocketAddr, place: OwnedSemaphorePermit) {
        // Where these fail the connection is gone already.
        let _ = stream.set_nodelay(true);
        let _ = unread::bound(&stream, self.worker.config.send_timeout.0);
        let ip = address.ip().to_canonical();
        let Ok(address) = HeaderValue::try_from(ip.to_string()) else { return };
        let route = Route {
            worker: Arc::clone(&self.worker),
            peer: Peer { address, trusted: self.forwarded.trusts(ip) },
            deadline: Deadline::new(),
            tunnel: Slot::default(),
            reading: Reading::default(),
        };
        let connection =
            Connection { route, draining: Arc::clone(&self.draining), stop: self.stop.clone() };
        let worker = Arc::clone(&self.worker);
        self.tracker.spawn(async move {
            let _open = worker.metrics.opened();
            match connection.serve(stream).await {
                Ok(()) => {}
                Err(Failed::Silent) => worker.metrics.silent(),
                Err(Failed::Http(error)) => worker.metrics.failed(&error),
            }
            drop(place);
        });
    }
}
