//! The fork in the road: pass through, intercept or refuse.

use std::sync::Arc;

use http::header::{CONNECTION, HeaderValue};
use http::{Method, Request, Response};
use http_body::Body as _;
use hyper::body::Incoming;
use tokio::sync::Semaphore;

use super::deadline::Deadline;
use super::diverted::{self, Diverted};
use super::headers::Sanitizer;
use super::linger::Reading;
use super::respond::{self, Outgoing};
use super::stack::Handle;
use super::upgrade::{self, Slot};
use super::{Config, Cors, Interceptor, Metrics, headers, path};
use crate::error::{Kind, Problem};
use crate::model::DecodedPath;
use crate::rules::{self, Dialect, Rules};
use crate::upstream;

/// Decides what a request is; [`Rules`] in production.
pub trait Router: Send + Sync + 'static {
    /// Decides what a request is. On the way of every request: it must not allocate for one
    /// that doesn't match.
    fn route(&self, method: &Method, path: &DecodedPath<'_>) -> rules::Route;

    /// How the service takes a path and a method from a request.
    fn dialect(&self) -> Dialect {
        Dialect::default()
    }
}

impl Router for Rules {
    fn route(&self, method: &Method, path: &DecodedPath<'_>) -> rules::Route {
        self.route(method, path)
    }

    fn dialect(&self) -> Dialect {
        self.dialect()
    }
}

/// What a worker's connections share.
pub(super) struct Worker {
    pub(super) config: Config,
    pub(super) router: Arc<dyn Router>,
    pub(super) interceptor: Arc<dyn Interceptor>,
    pub(super) control: tokio::runtime::Handle,
    /// This worker's own.
    pub(super) client: upstream::Client,
    pub(super) sanitizer: Sanitizer,
    pub(super) cors: Cors,
    /// One place for each intercepted request, shared by all workers.
    pub(super) places: Arc<Semaphore>,
    pub(super) metrics: Metrics,
}

/// Who is at the other end of a connection.
#[derive(Clone)]
pub(super) struct Peer {
    /// Its address, as `X-Forwarded-For` has it.
    pub(super) address: HeaderValue,
    /// Whether its forwarding headers are believed.
    pub(super) trusted: bool,
}

/// Serves the requests of one connection.
pub(super) struct Route {
    pub(super) worker: Arc<Worker>,
    pub(super) peer: Peer,
    /// For the head of an answer.
    pub(super) deadline: Deadline,
    /// For when the connection is upgraded.
    pub(super) tunnel: Slot,
    /// For when it is closed.
    pub(super) reading: Reading,
}

impl Handle for Route {
    async fn handle(&self, mut request: Request<Incoming>) -> Response<Outgoing> {
        let metrics = &self.worker.metrics;
        self.tunnel.keep(&mut request);
        self.reading.has_head(request.body().is_end_stream());
        match self.decide(&request) {
            Ok(rules::Route::Unmatched) => {
                metrics.unmatched();
                if upgrade::is_asked_for(&request) {
                    return Box::pin(self.upgrade(request)).await;
                }
                self.forward(request).await
            }
            Ok(rules::Route::Matched(matched)) => {
                metrics.intercepted();
                // Boxed, so that its future does not blow up that of requests that pass.
                Box::pin(self.intercept(matched, request)).await
            }
            Ok(rules::Route::Ambiguous(why)) => self.refuse(Problem::new(Kind::AmbiguousPath, why)),
            Err(problem) => self.refuse(problem),
        }
    }
}

/// The method as some servers read it, where that is another: `Post` is no POST (RFC 9110 §9.1),
/// but hypercorn makes it one.
fn in_capitals(method: &Method) -> Option<Method> {
    let text = method.as_str();
    let small = text.bytes().any(|byte| byte.is_ascii_lowercase());
    small.then(|| text.to_ascii_uppercase().parse().ok()).flatten()
}

impl Route {
    /// The same for one stream of many, which have no deadline in common.
    pub(super) fn of_stream(&self) -> Self {
        Self {
            worker: Arc::clone(&self.worker),
            peer: self.peer.clone(),
            deadline: Deadline::new(),
            tunnel: Slot::default(),
            // Nobody asks: streams end without their connection.
            reading: self.reading.clone(),
        }
    }

    fn decide(&self, request: &Request<Incoming>) -> Result<rules::Route, Problem> {
        if !headers::only_chunks(request.headers()) {
            let why = "the body has a transfer coding besides chunks";
            return Err(Problem::new(Kind::NotImplemented, why));
        }
        let Some(path) = path::decide(request)? else { return Ok(self.without_path(request)) };
        let route = self.worker.router.route(request.method(), &path);
        if let (rules::Route::Unmatched, Some(capitals)) = (&route, in_capitals(request.method()))
            && !matches!(self.worker.router.route(&capitals, &path), rules::Route::Unmatched)
        {
            let why = "the method is a rule's, in small letters";
            return Err(Problem::new(Kind::BadRequest, why));
        }
        Ok(self.undiverted(route, request, Some(&path)))
    }

    /// What `OPTIONS *` is.
    fn without_path(&self, request: &Request<Incoming>) -> rules::Route {
        self.undiverted(rules::Route::Unmatched, request, None)
    }

    /// `route`, unless the dialect is strict and some service might take another method or path from
    /// elsewhere, where a rule is concerned.
    fn undiverted(
        &self,
        route: rules::Route,
        request: &Request<Incoming>,
        path: Option<&DecodedPath<'_>>,
    ) -> rules::Route {
        if self.worker.router.dialect() == Dialect::Strict
            && let Some(diverted) = diverted::diverted(request)
            && (!matches!(route, rules::Route::Unmatched) || self.may_match(&diverted, path))
        {
            return rules::Route::Ambiguous(
                "some services take another method or target from its headers or query, and a rule's \
                 is concerned (dialect: strict)",
            );
        }
        route
    }

    /// Whether a rule may match what a service takes from elsewhere.
    fn may_match(&self, diverted: &Diverted, path: Option<&DecodedPath<'_>>) -> bool {
        let Diverted { methods, paths } = diverted;
        let may = |path: &DecodedPath<'_>| {
            let route = |method| self.worker.router.route(method, path);
            methods.iter().any(|method| !matches!(route(method), rules::Route::Unmatched))
        };
        // What has no leading slash is no path to anybody, or one to those who add it.
        let rooted =
            |path: &String| if path.starts_with('/') { path.clone() } else { format!("/{path}") };
        path.is_some_and(may)
            || paths
                .iter()
                .map(rooted)
                .any(|path| DecodedPath::parse(&path).is_ok_and(|path| may(&path)))
    }

    /// Answers with a problem of the sidecar's own, and counts it.
    pub(super) fn refuse(&self, problem: Problem) -> Response<Outgoing> {
        let kind = problem.kind();
        self.worker.metrics.refused(kind);
        let mut response = respond::problem(problem);
        if kind == Kind::NotImplemented {
            // Where such a request ends is in doubt, so that nothing behind it is one.
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}
