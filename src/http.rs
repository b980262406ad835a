//! The small JSON-over-HTTP/1.1 client that the back ends and authn share.
//!
//! For the control plane only: a few calls per intercepted request, none per unmatched one. It
//! makes exactly one attempt, follows no redirect, and reads no more of an answer than it is
//! told to. What it knows about a failure it tells in [`Error`]; whether to try again is the
//! caller's decision.

pub mod breaker;
mod connector;
mod error;
mod trace;
mod url;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, USER_AGENT};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::capture_connection;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

pub use self::connector::BuildError;
use self::connector::Connector;
pub use self::error::{Error, ErrorKind};
pub use self::trace::TraceContext;
pub use self::url::{Url, UrlError};

/// The `User-Agent` of every call that brings none of its own.
pub const AGENT: &str = concat!("authz-sidecar/", env!("CARGO_PKG_VERSION"));

/// The bounds of one client.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Config {
    /// Longest time a TCP connection may take to be made. Default 1 s.
    pub connect_timeout: Duration,
    /// How long a connection may idle in the pool. Default 4 s: below the 5 s after which
    /// uvicorn closes its side, so that calls are not sent into a closing connection.
    pub pool_idle: Duration,
    /// How many connections may idle in the pool. Default 32.
    pub pool_size: usize,
    /// How many calls may be under way at a time; more wait, within their own time-out.
    /// Default 64; 0 counts as 1.
    pub concurrency: usize,
    /// Longest body of an answer, in bytes. Default 1 MiB.
    pub answer_limit: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(1),
            pool_idle: Duration::from_secs(4),
            pool_size: 32,
            concurrency: 64,
            answer_limit: 1 << 20,
        }
    }
}

/// A client of one base URL. Cheap to clone; clones share pool and bounds.
#[derive(Clone)]
pub struct JsonClient {
    base: Url,
    client: Client<Connector, Full<Bytes>>,
    permits: Arc<Semaphore>,
    answer_limit: usize,
}

/// An answer, whole.
pub struct Answer {
    /// Its status, whatever it is.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

impl JsonClient {
    /// A client of what is below `base`.
    ///
    /// # Errors
    /// For an `https` base where TLS can't be set up, for instance without any root certificate.
    pub fn new(base: Url, config: Config) -> Result<Self, BuildError> {
        Ok(Self {
            client: connector::client(&base, &config)?,
            base,
            permits: Arc::new(Semaphore::new(config.concurrency.clamp(1, Semaphore::MAX_PERMITS))),
            answer_limit: config.answer_limit,
        })
    }

    /// The URL a call of `path` goes to, for messages.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        self.base.join(path)
    }

    /// Sends one POST and reads its answer, all within `timeout`.
    ///
    /// `path` is appended to the base URL's path. A body that is not empty is JSON. The trace
    /// context of the surrounding [`TraceContext::scope`] goes along.
    ///
    /// # Errors
    /// Where there is no whole answer. An answer of any status is `Ok`.
    pub async fn post(
        &self,
        path: &str,
        headers: HeaderMap,
        body: Bytes,
        timeout: Duration,
    ) -> Result<Answer, Error> {
        self.call(Method::POST, path, headers, body, timeout).await
    }

    /// As [`JsonClient::post`], with any method.
    ///
    /// # Errors
    /// Where there is no whole answer. An answer of any status is `Ok`.
    pub async fn call(
        &self,
        method: Method,
        path: &str,
        headers: HeaderMap,
        body: Bytes,
        timeout: Duration,
    ) -> Result<Answer, Error> {
        let deadline = Instant::now() + timeout;
        let Ok(Ok(_permit)) = timeout_at(deadline, self.permits.acquire()).await else {
            return Err(self.error(
                &method,
                path,
                ErrorKind::Timeout,
                "too many calls are under way",
                false,
            ));
        };
        let mut request = self.request(&method, path, headers, body)?;
        let connection = capture_connection(&mut request);
        if let Ok(result) = timeout_at(deadline, self.exchange(&method, path, request)).await {
            return result;
        }
        // A request is written only once it has a connection.
        let written = connection.connection_metadata().is_some();
        let detail = format!("no answer within {} ms", timeout.as_millis());
        Err(self.error(&method, path, ErrorKind::Timeout, &detail, written))
    }

    fn request(
        &self,
        method: &Method,
        path: &str,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Request<Full<Bytes>>, Error> {
        let json = !body.is_empty();
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method.clone();
        *request.uri_mut() = self
            .url(path)
            .parse()
            .map_err(|_| self.error(method, path, ErrorKind::Invalid, "not a URL", false))?;
        *request.headers_mut() = headers;
        let headers = request.headers_mut();
        TraceContext::current().add_to(headers);
        headers.entry(USER_AGENT).or_insert(HeaderValue::from_static(AGENT));
        if json {
            headers.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static("application/json"));
        } else if *method == Method::POST {
            // RFC 9110, section 8.6, wants it of a POST without content; hyper leaves it out.
            headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        Ok(request)
    }

    async fn exchange(
        &self,
        method: &Method,
        path: &str,
        request: Request<Full<Bytes>>,
    ) -> Result<Answer, Error> {
        let answer = self.client.request(request).await.map_err(|error| {
            let connect = error.is_connect();
            let kind = if connect { ErrorKind::Connect } else { error::kind_of(&error) };
            self.error(method, path, kind, &error::causes(&error), !connect)
        })?;
        let (head, body) = answer.into_parts();
        let body = Limited::new(body, self.answer_limit).collect().await.map_err(|error| {
            let kind = error::kind_of(error.as_ref());
            self.error(method, path, kind, &error::causes(error.as_ref()), true)
        })?;
        Ok(Answer { status: head.status, headers: head.headers, body: body.to_bytes() })
    }

    fn error(
        &self,
        method: &Method,
        path: &str,
        kind: ErrorKind,
        detail: &str,
        ambiguous: bool,
    ) -> Error {
        Error { kind, detail: format!("{method} {}: {detail}", self.url(path)), ambiguous }
    }
}

impl std::fmt::Debug for JsonClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JsonClient").field("base", &self.base).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Answer").field("status", &self.status).finish_non_exhaustive()
    }
}
