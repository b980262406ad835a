//! Whose headers a call to the service carries.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;

use crate::model::As;

/// The headers that calls to the service may carry: the caller's, as long as this process lives,
/// and the service's own. Never journaled, and shown by no `Debug` (promise P7).
#[derive(Clone, Default)]
pub(super) struct Credentials {
    caller: Option<HeaderMap>,
}

impl Credentials {
    /// Those of the caller of an intercepted request.
    pub(super) fn of_caller(head: &Parts) -> Self {
        let mut headers = HeaderMap::with_capacity(head.headers.len());
        for (name, value) in &head.headers {
            if !describes_the_request(name) {
                headers.append(name.clone(), value.clone());
            }
        }
        Self { caller: Some(headers) }
    }

    /// Writes to `key` what tells these from others. It holds credentials: for memory only.
    pub(super) fn identify(&self, key: &mut Vec<u8>) {
        for (name, value) in self.caller.iter().flatten() {
            key.extend_from_slice(name.as_str().as_bytes());
            key.extend_from_slice(b": ");
            key.extend_from_slice(value.as_bytes());
            key.push(b'\n');
        }
    }

    /// Whether the caller's headers are not known.
    pub(super) fn is_empty(&self) -> bool {
        self.caller.is_none()
    }

    /// The headers for a call made `as`: the caller's while they are known, else the service's.
    pub(super) fn headers(&self, whose: As, service: &HeaderMap) -> HeaderMap {
        let mut headers = match (whose, &self.caller) {
            (As::Caller, Some(caller)) => caller.clone(),
            (As::Caller | As::Service, _) => service.clone(),
        };
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        headers
    }
}

/// Headers that speak about the original request or its body, not about who sent it. A probe
/// that carried `If-None-Match` or `Range` would not get a row.
fn describes_the_request(name: &HeaderName) -> bool {
    let about = [
        header::ACCEPT,
        header::ACCEPT_ENCODING,
        header::CONTENT_LENGTH,
        header::EXPECT,
        header::IF_MATCH,
        header::IF_MODIFIED_SINCE,
        header::IF_NONE_MATCH,
        header::IF_RANGE,
        header::IF_UNMODIFIED_SINCE,
        header::RANGE,
        header::TE,
        header::TRAILER,
        header::TRANSFER_ENCODING,
    ];
    about.contains(name) || name.as_str().starts_with("content-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_carries_who_asks_and_nothing_of_what_was_asked() {
        let request = http::Request::builder()
            .header("authorization", "Bearer a")
            .header("host", "keys")
            .header("if-none-match", "*")
            .header("range", "bytes=0-1")
            .header("content-type", "application/json")
            .header("content-length", "3")
            .header("expect", "100-continue");
        let (head, ()) = request.body(()).unwrap().into_parts();
        let headers = Credentials::of_caller(&head).headers(As::Caller, &HeaderMap::new());
        let mut names: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["accept", "accept-encoding", "authorization", "host"]);
    }

    #[test]
    fn after_a_crash_the_services_credentials_stand_in_for_the_callers() {
        let service =
            HeaderMap::from_iter([(header::AUTHORIZATION, HeaderValue::from_static("s"))]);
        let headers = Credentials::default().headers(As::Caller, &service);
        assert_eq!(headers.get("authorization").unwrap(), "s");
    }
}
