//! HTTP/2 towards clients. Each stream's request becomes one of HTTP/1.1 before anything looks at
//! it, so that there is one path to decide on and one set of headers; the service is spoken to in
//! HTTP/1.1.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use http::header::{CONTENT_LENGTH, HOST};
use http::uri::PathAndQuery;
use http::{HeaderValue, Method, Request, Uri, Version};
use hyper::server::conn::http2::Builder;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;

use super::Config;
use super::connection::Connection;
use super::flow::{Flow, Noting};
use super::headers::join_cookies;
use super::stack::{Handle, stack_of_stream};
use super::unread::{Tasks, Turn};
use crate::error::{Kind, Problem};
use crate::upstream::Coalesce;

/// What a stream may have under way towards us, as RFC 9113 §6.9.2 begins.
const STREAM_WINDOW: u32 = 65_535;

/// What all streams of a connection may have under way towards us.
const CONNECTION_WINDOW: u32 = 1 << 20;

/// What a stream may hold of an answer that its client does not take.
const SEND_BUFFER: usize = 64 << 10;

/// A client that answers no ping for as long is gone.
const PING: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(20));

/// Streams under way; each answer holds one until its body has ended.
#[derive(Clone, Debug, Default)]
pub(super) struct Streams(Arc<AtomicUsize>);

/// One stream under way.
#[derive(Debug)]
pub(super) struct Stream(Arc<AtomicUsize>);

impl Streams {
    fn begin(&self) -> Stream {
        self.0.fetch_add(2, Relaxed);
        Stream(Arc::clone(&self.0))
    }

    /// Whether there is none, and was none since this was asked last. (The lowest bit says that
    /// there was one since.)
    fn were_none(&self) -> bool {
        self.0.fetch_and(!1, Relaxed) == 0
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let _ = self.0.fetch_update(Relaxed, Relaxed, |streams| Some((streams - 2) | 1));
    }
}

/// Serves a connection that began with HTTP/2's preface.
pub(super) async fn serve(
    connection: Connection,
    stream: TcpStream,
    config: &Config,
) -> hyper::Result<()> {
    let Connection { route, stop, .. } = connection;
    let (flow, metrics) = (Flow::default(), route.worker.metrics.clone());
    let socket = Noting { socket: stream, flow: flow.clone() };
    let socket = TokioIo::new(Coalesce { socket, written: "reply.written" });
    let limit = config.send_timeout.0;
    let tasks = Tasks { limit, flow: flow.clone(), metrics: metrics.clone() };
    let streams = Streams::default();
    let counted = streams.clone();
    let service = service_fn(move |request| {
        // A deadline of its own: streams share nothing.
        let (stack, stream) = (stack_of_stream(route.of_stream()), counted.begin());
        async move {
            let response = stack.handle(request).await;
            let turn = Turn::of_this_stream();
            Ok::<_, Infallible>(response.map(|body| body.holding(stream, turn)))
        }
    });
    let mut http2 = pin!(builder(config, tasks).serve_connection(socket, service));
    let mut ends = false;
    while !ends {
        tokio::select! {
            biased;
            ended = http2.as_mut() => return ended,
            () = stop.cancelled() => ends = true,
            () = tokio::time::sleep(config.header_timeout.0) => ends = streams.were_none(),
        }
    }
    // What is under way goes on; whoever begins a stream just now is told to come again.
    http2.as_mut().graceful_shutdown();
    loop {
        let mark = flow.mark();
        match tokio::time::timeout(limit, http2.as_mut()).await {
            Ok(ended) => return ended,
            // What is left are ends of answers, in memory, which nobody takes.
            Err(_) if streams.were_none() && flow.still_since(mark) => {
                metrics.unread();
                return Ok(());
            }
            Err(_) => {}
        }
    }
}

fn builder(config: &Config, tasks: Tasks) -> Builder<Tasks> {
    let mut builder = Builder::new(tasks);
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(config.streams)
        .max_header_list_size(u32::try_from(config.header_bytes.0).unwrap_or(u32::MAX))
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .keep_alive_interval(PING.0)
        .keep_alive_timeout(PING.1)
        .auto_date_header(false);
    builder
}

/// Makes a stream's request one of HTTP/1.1 (RFC 9113 §8.3, §8.2.3), or refuses what would be two
/// different ones, or has more headers than one of HTTP/1.1 may have.
pub(super) fn to_http1<B>(request: &mut Request<B>, headers: usize) -> Result<(), Problem> {
    let refuse = |why: &'static str| Err(Problem::new(Kind::BadRequest, why));
    if request.method() == Method::CONNECT {
        return Err(Problem::new(Kind::NotImplemented, "CONNECT is not supported"));
    }
    let authority = request.uri().authority().map(ToString::to_string);
    let mut hosts = request.headers().get_all(HOST).iter();
    let host = hosts.next().cloned();
    if hosts.next().is_some() {
        return refuse("there is more than one Host");
    }
    match (authority, host) {
        (Some(authority), _) if authority.contains('@') => {
            return refuse(":authority has a userinfo");
        }
        (Some(authority), Some(host))
            if !host.as_bytes().eq_ignore_ascii_case(authority.as_bytes()) =>
        {
            return refuse("Host and :authority differ");
        }
        (Some(authority), None) => {
            let Ok(host) = HeaderValue::try_from(authority) else {
                return refuse(":authority can't be a Host");
            };
            request.headers_mut().insert(HOST, host);
        }
        (Some(_) | None, Some(_)) => {}
        (None, None) => return refuse("there is neither :authority nor Host"),
    }
    if request.headers().get_all(CONTENT_LENGTH).iter().any(HeaderValue::is_empty) {
        return refuse("a Content-Length is empty");
    }
    join_cookies(request.headers_mut())?;
    if request.headers().len() > headers {
        return Err(Problem::new(Kind::HeadTooLarge, format!("the limit is {headers}")));
    }
    let target = request.uri().path_and_query().cloned();
    let target = target.unwrap_or_else(|| PathAndQuery::from_static("/"));
    if target.as_str().starts_with('?') {
        return refuse(":path has no leading slash");
    }
    *request.uri_mut() = Uri::from(target);
    *request.version_mut() = Version::HTTP_11;
    Ok(())
}

#[cfg(test)]
mod tests {
    use http::header::COOKIE;

    use super::*;

    fn request(uri: &'static str, headers: &[(&str, &str)]) -> Request<()> {
        let mut builder = Request::get(uri).version(Version::HTTP_2);
        for (name, value) in headers {
            builder = builder.header(*name, *value);
        }
        builder.body(()).unwrap()
    }

    #[test]
    fn p5_authority_becomes_host_and_the_target_its_origin_form() {
        let mut plain = request("http://keys:5003/a%2Fb?x=1", &[]);
        to_http1(&mut plain, 100).unwrap();
        assert_eq!(plain.headers()[HOST], "keys:5003");
        assert_eq!(plain.uri(), "/a%2Fb?x=1");
        assert_eq!(plain.version(), Version::HTTP_11);
        let mut both = request("http://keys/", &[("host", "KEYS")]);
        to_http1(&mut both, 100).unwrap();
        assert_eq!(both.headers()[HOST], "KEYS");
        let mut old = request("/x", &[("host", "keys")]);
        to_http1(&mut old, 100).unwrap();
        assert_eq!(old.uri(), "/x");
    }

    #[test]
    fn p5_two_hosts_or_none_are_refused() {
        let refused =
            |uri, headers: &[(&str, &str)]| to_http1(&mut request(uri, headers), 100).is_err();
        assert!(refused("http://keys/", &[("host", "other")]));
        assert!(refused("http://keys/", &[("host", "keys"), ("host", "keys")]));
        assert!(refused("http://me@keys/", &[]));
        assert!(refused("/x", &[]));
    }

    #[test]
    fn p5_cookie_crumbs_are_one_cookie() {
        let crumbs = [("cookie", "a=1"), ("cookie", "b=2"), ("cookie", "c=3")];
        let mut crumbled = request("http://keys/", &crumbs);
        to_http1(&mut crumbled, 100).unwrap();
        let cookies: Vec<_> = crumbled.headers().get_all(COOKIE).iter().collect();
        assert_eq!(cookies, ["a=1; b=2; c=3"]);
    }

    #[test]
    fn streams_are_none_only_where_there_was_none_since() {
        let streams = Streams::default();
        assert!(streams.were_none());
        let (one, two) = (streams.begin(), streams.begin());
        assert!(!streams.were_none());
        drop(one);
        assert!(!streams.were_none(), "one is left");
        assert!(!streams.were_none(), "one is left");
        drop(two);
        assert!(!streams.were_none(), "there was one since");
        assert!(streams.were_none());
    }
}
