//! One client's connection: HTTP/1.1, or HTTP/2 with prior knowledge (h2c), as its first bytes say.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use super::Config;
use super::deadline::{Deadline, Heads};
use super::http2;
use super::linger::{Lingering, Reading};
use super::route::Route;
use super::stack::{Handle, stack};
use crate::model::Backoff;
use crate::upstream::{Coalesce, MAX_BUFFER};

/// As many headers as hyper parses without an allocation.
pub(super) const FREE_HEADER_COUNT: usize = 100;

/// hyper's smallest read buffer.
const MIN_BUFFER: usize = 8 << 10;

/// What an HTTP/2 client begins with (RFC 9113 §3.4). No request of HTTP/1.1 begins so.
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The first and the longest pause before looking again for the rest of a preface that came in
/// pieces: the kernel tells only that there is something to read, not that there is more. They grow, so
/// that thousands who send one byte and no more cost little (P8).
const PREFACE_PAUSES: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(500));

/// One client's connection.
pub(super) struct Connection {
    pub(super) route: Route,
    /// Set before `stop` wakes the connections: reading it costs them less than polling `stop`.
    pub(super) draining: Arc<AtomicBool>,
    pub(super) stop: CancellationToken,
}

/// How a connection ended before its time.
pub(super) enum Failed {
    /// Its first byte did not come in time.
    Silent,
    /// As hyper says.
    Http(hyper::Error),
}

impl Connection {
    /// Serves it until its end; an upgraded one, too.
    pub(super) async fn serve(self, stream: TcpStream) -> Result<(), Failed> {
        let worker = Arc::clone(&self.route.worker);
        let config = &worker.config;
        let speaks_http2 = config.http2 && {
            let stop = self.stop.clone();
            let first = is_http2(&stream, config.header_timeout.0);
            match stop.run_until_cancelled(first).await {
                // It said nothing yet, and need not any more.
                None => return Ok(()),
                Some(first) => first?,
            }
        };
        let ended = if speaks_http2 {
            http2::serve(self, stream, config).await
        } else {
            self.serve_http1(stream, config).await
        };
        ended.map_err(Failed::Http)
    }

    async fn serve_http1(self, stream: TcpStream, config: &Config) -> hyper::Result<()> {
        let Self { route, draining, stop } = self;
        let reading = route.reading.clone();
        let socket = Lingering::new(stream, reading.clone());
        let socket = TokioIo::new(Coalesce { socket, written: "reply.written" });
        let (tunnel, metrics) = (route.tunnel.clone(), route.worker.metrics.clone());
        let stack = Arc::new(stack(route));
        let service = service_fn(move |request| {
            let stack = Arc::clone(&stack);
            async move { Ok::<_, Infallible>(stack.handle(request).await) }
        });
        let connection = builder(config, reading).serve_connection(socket, service).with_upgrades();
        let mut connection = pin!(connection);
        let mut stop = pin!(stop.cancelled());
        let mut waiting = false;
        let mut stopped = false;
        let ended = poll_fn(|cx| {
            if !waiting {
                // Once is enough: the task's waker stays the same.
                waiting = true;
                let _ = stop.as_mut().poll(cx);
            }
            if !stopped && draining.load(Relaxed) {
                stopped = true;
                connection.as_mut().graceful_shutdown();
            }
            connection.as_mut().poll(cx)
        })
        .await;
        if let Err(error) = ended {
            if error.is_parse() {
                // Where an upgrade was asked for, hyper gives up before it closes.
                let _ = connection.await;
            }
            return Err(error);
        }
        // Upgraded, or asked to be, it is still this client's one connection.
        tunnel.run(config.tunnel_idle_timeout.map(|span| span.0), &metrics).await;
        Ok(())
    }
}

/// Whether the client's first bytes are HTTP/2's. They are looked at, not taken.
async fn is_http2(stream: &TcpStream, limit: Duration) -> Result<bool, Failed> {
    let looks = async {
        let mut first = [0; PREFACE.len()];
        let backoff = Backoff::new(PREFACE_PAUSES.0, PREFACE_PAUSES.1);
        let mut attempt = 0;
        loop {
            let came = stream.peek(&mut first).await?;
            let begins = first.get(..came).is_some_and(|came| PREFACE.starts_with(came));
            if came == 0 || !begins {
                return Ok(false);
            }
            if came == PREFACE.len() {
                return Ok(true);
            }
            tokio::time::sleep(backoff.delay(attempt, fastrand::u64(..))).await;
            attempt += 1;
        }
    };
    match tokio::time::timeout(limit, looks).await {
        Ok(Ok(is)) => Ok(is),
        // hyper meets the same error, and knows what to call it.
        Ok(Err::<_, io::Error>(_)) => Ok(false),
        Err(_) => Err(Failed::Silent),
    }
}

fn builder(config: &Config, reading: Reading) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(Heads { deadline: Deadline::new(), reading })
        .header_read_timeout(config.header_timeout.0)
        .max_header_size(config.header_bytes.0.max(MIN_BUFFER))
        .max_buf_size(MAX_BUFFER.max(config.header_bytes.0))
        // A client that has sent its request may close its sending side and still be answered.
        .half_close(true)
        // `Date` is the service's business.
        .auto_date_header(false);
    if config.header_count != FREE_HEADER_COUNT {
        builder.max_headers(config.header_count);
    }
    builder
}
