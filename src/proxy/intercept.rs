//! Requests that a rule matches: read whole, made ready, and handed to the sagas' runtime.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use bytes::{Bytes, BytesMut};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::header::{ACCEPT_ENCODING, CONTENT_LENGTH, EXPECT, HeaderMap, HeaderValue, TRAILER};
use http::uri::{PathAndQuery, Uri};
use http::{Request, Response};
use http_body::Body as _;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::sync::OwnedSemaphorePermit;

use super::headers::{self, Framing};
use super::respond::{self, Outgoing};
use super::route::Route;
use crate::dualwrite::DualWrite;
use crate::error::{Kind, Problem};
use crate::rules::Matched;
use crate::upstream::Body;

/// Serves intercepted requests; [`DualWrite`] in production.
pub trait Interceptor: Send + Sync + 'static {
    /// Serves one matched request. It is as it is to go to the service: origin form, hop-by-hop
    /// headers gone, forwarding headers set, `Content-Length` right, and the body whole.
    fn call(&self, matched: Matched, request: Request<Bytes>)
    -> BoxFuture<'static, Response<Body>>;
}

impl Interceptor for DualWrite {
    fn call(
        &self,
        matched: Matched,
        request: Request<Bytes>,
    ) -> BoxFuture<'static, Response<Body>> {
        let dual_write = self.clone();
        async move { dual_write.serve(matched, request).await }.boxed()
    }
}

impl Route {
    /// Has a matched request served by a task of its own, which a client that hangs up does not
    /// touch. Until its body is whole, nothing was sent and nothing is journaled.
    pub(super) async fn intercept(
        &self,
        matched: Matched,
        request: Request<Incoming>,
    ) -> Response<Outgoing> {
        let (request, place) = match self.admit(request).await {
            Ok(admitted) => admitted,
            Err(problem) => return self.refuse(problem),
        };
        let interceptor = Arc::clone(&self.worker.interceptor);
        let serving = self.worker.control.spawn(async move {
            let response = interceptor.call(matched, request).await;
            drop(place);
            response
        });
        match serving.await {
            Ok(response) => respond::answer(response, &self.worker.sanitizer, None),
            Err(_) => self.refuse(Problem::new(Kind::Internal, "the operation was cut short")),
        }
    }

    async fn admit(
        &self,
        request: Request<Incoming>,
    ) -> Result<(Request<Bytes>, OwnedSemaphorePermit), Problem> {
        let place = Arc::clone(&self.worker.places).try_acquire_owned();
        let place = place
            .map_err(|_| Problem::new(Kind::Overloaded, "too many creates and deletes at once"))?;
        let (mut head, body) = request.into_parts();
        let limit = self.worker.config.intercepted_body_timeout.0;
        let read = tokio::time::timeout(limit, read(body, self.worker.config.intercepted_body.0));
        let body = read.await.map_err(|_| {
            Problem::new(Kind::BodyTimeout, "the body did not arrive in time; nothing was sent")
        })??;
        self.reading.whole().store(true, Relaxed);
        self.worker.sanitizer.to_service(&mut head.headers, Framing::Length, &self.peer);
        // authn sees one, and so must the service: some read the first of several only.
        headers::join_cookies(&mut head.headers)?;
        prepare(&mut head.headers, body.len());
        head.uri = origin_form(&head.uri);
        Ok((Request::from_parts(head, body), place))
    }
}

/// Reads a body whole, or refuses. Its trailers go: they were announced for chunks.
async fn read(mut body: Incoming, limit: usize) -> Result<Bytes, Problem> {
    let too_large = || {
        Problem::new(Kind::BodyTooLarge, format!("the limit is {limit} bytes; nothing was sent"))
    };
    if body.size_hint().lower() > limit as u64 {
        return Err(too_large());
    }
    let mut all = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let broken = |_| Problem::new(Kind::BadRequest, "the body broke off; nothing was sent");
        let Ok(data) = frame.map_err(broken)?.into_data() else { continue };
        if data.len() > limit.saturating_sub(all.len()) {
            return Err(too_large());
        }
        all.extend_from_slice(&data);
    }
    Ok(all.freeze())
}

/// What only an intercepted request needs: the sidecar reads its answer, and so asks for
/// encodings that it knows; it has the body, and so expects nothing.
fn prepare(headers: &mut HeaderMap, body: usize) {
    headers.remove(EXPECT);
    headers.remove(TRAILER);
    let had_length = headers.remove(CONTENT_LENGTH).is_some();
    if body > 0 || had_length {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(body));
    }
    if headers.contains_key(ACCEPT_ENCODING) {
        let narrowed = narrow(headers);
        headers.insert(ACCEPT_ENCODING, narrowed);
    }
}

/// Keeps of `Accept-Encoding` what can be decoded, with its weights.
fn narrow(headers: &HeaderMap) -> HeaderValue {
    let mut kept: Vec<&str> = Vec::new();
    for value in headers.get_all(ACCEPT_ENCODING) {
        let items = value.to_str().unwrap_or_default().split(',').map(str::trim);
        kept.extend(items.filter(|item| {
            let coding = item.split(';').next().unwrap_or_default().trim();
            let known = ["gzip", "x-gzip", "deflate", "br", "zstd", "identity"];
            known.iter().any(|known| coding.eq_ignore_ascii_case(known))
        }));
    }
    let fallback = HeaderValue::from_static("identity");
    if kept.is_empty() {
        return fallback;
    }
    HeaderValue::try_from(kept.join(", ")).unwrap_or(fallback)
}

fn origin_form(uri: &Uri) -> Uri {
    let path = uri.path_and_query().cloned();
    Uri::from(path.unwrap_or_else(|| PathAndQuery::from_static("/")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn narrowed(values: &[&'static str]) -> String {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(ACCEPT_ENCODING, HeaderValue::from_static(value));
        }
        narrow(&headers).to_str().unwrap().to_owned()
    }

    #[test]
    fn only_encodings_that_can_be_read_are_asked_for() {
        assert_eq!(narrowed(&["gzip, deflate, br, zstd"]), "gzip, deflate, br, zstd");
        assert_eq!(narrowed(&["lz4, GZIP;q=0.5", "dcb, br"]), "GZIP;q=0.5, br");
        assert_eq!(narrowed(&["*"]), "identity");
        assert_eq!(narrowed(&[""]), "identity");
    }

    #[test]
    fn the_length_is_that_of_the_body() {
        let mut headers = HeaderMap::new();
        headers.insert(EXPECT, HeaderValue::from_static("100-continue"));
        prepare(&mut headers, 3);
        assert_eq!(headers[CONTENT_LENGTH], "3");
        assert_eq!(headers.len(), 1);
        let mut none = HeaderMap::new();
        prepare(&mut none, 0);
        assert!(none.is_empty());
    }

    #[test]
    fn an_absolute_form_becomes_an_origin_form() {
        let form = |text| origin_form(&Uri::from_static(text)).to_string();
        assert_eq!(form("http://x@h:1/a%2Fb?c=d"), "/a%2Fb?c=d");
        assert_eq!(form("http://h"), "/");
        assert_eq!(form("/a?"), "/a?");
    }
}
