//! Which headers end at a hop and which go on (RFC 9110 §7.6.1).

use http::header::{CONNECTION, COOKIE, HeaderMap, HeaderName, HeaderValue, TE, TRANSFER_ENCODING};

use super::forwarded;
use super::route::Peer;
use crate::error::{Kind, Problem};

/// Makes heads ready for the next hop.
#[derive(Clone, Debug)]
pub(super) struct Sanitizer {
    credentials: Names,
}

/// Header names, each exact or, with a `*` at its end, a prefix. Case doesn't matter.
#[derive(Clone, Debug, Default)]
pub struct Names(Vec<String>);

impl Names {
    /// From names as a configuration writes them: `cookie`, `x-auth*`.
    pub fn new<T: Into<String>>(names: impl IntoIterator<Item = T>) -> Self {
        Self(names.into_iter().map(|name| name.into().to_ascii_lowercase()).collect())
    }

    /// Whether `name`, in lower case, is one of them.
    #[must_use]
    pub fn contain(&self, name: &str) -> bool {
        self.0.iter().any(|pattern| match pattern.strip_suffix('*') {
            Some(prefix) => name.starts_with(prefix),
            None => name == pattern,
        })
    }
}

/// How a message's body is framed on the next hop.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Framing {
    /// By `Content-Length`, or there is no body.
    Length,
    /// In chunks, so that it may have trailers.
    Chunks,
}

impl Sanitizer {
    /// `credentials` are protected from `Connection` besides those known here.
    pub(super) fn new(credentials: Names) -> Self {
        Self { credentials }
    }

    /// Makes a request's headers ready for the service.
    ///
    /// Hop-by-hop headers go, `Upgrade` among them, so that the service answers without
    /// upgrading (but see `upgrade`). Everything else stays, `Host`, `Expect` and trace context included.
    pub(super) fn to_service(&self, headers: &mut HeaderMap, framing: Framing, peer: &Peer) {
        let trailers = headers.contains_key(TE) && te_trailers(headers);
        self.strip(headers, framing);
        forwarded::apply(headers, peer);
        if trailers {
            headers.insert(TE, HeaderValue::from_static("trailers"));
        }
        if framing == Framing::Chunks {
            // Without it, hyper takes a GET with a body of unknown length for one without body.
            headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
    }

    /// Makes an answer's headers ready for the client; hyper frames it anew.
    pub(super) fn to_client(&self, headers: &mut HeaderMap, framing: Framing) {
        self.strip(headers, framing);
    }

    fn strip(&self, headers: &mut HeaderMap, framing: Framing) {
        let mut ending: Vec<HeaderName> = Vec::new();
        for name in headers.keys() {
            let ends = match name.as_str() {
                "connection" => {
                    for listed in listed(headers) {
                        if !self.is_protected(listed.as_str()) {
                            ending.push(listed);
                        }
                    }
                    true
                }
                "trailer" => framing == Framing::Length,
                name => is_hop_by_hop(name),
            };
            if ends {
                ending.push(name.clone());
            }
        }
        for name in ending {
            headers.remove(name);
        }
    }

    /// Whether the header goes on although a `Connection` header names it: otherwise a client
    /// could have the service see other credentials than the sidecar saw.
    fn is_protected(&self, name: &str) -> bool {
        matches!(
            name,
            "authorization"
                | "cookie"
                | "set-cookie"
                | "proxy-authorization"
                | "www-authenticate"
                | "host"
                | "date"
                | "location"
                | "trailer"
                | "expect"
                | "range"
                | "content-length"
                | "content-type"
                | "content-encoding"
                | "content-range"
                | "x-api-key"
                | "x-user-id"
                | "x-service-account-id"
                | "x-selected-account-id"
                | "traceparent"
                | "tracestate"
        ) || ["x-auth", "x-session", "x-agent-"].iter().any(|prefix| name.starts_with(prefix))
            || forwarded::is_forwarding(name)
            || self.credentials.contain(name)
    }
}

/// Whether a request's body has no transfer coding but chunks, which alone go on. hyper takes any
/// list that ends in `chunked`, `gzip, chunked` too, and undoes the last only.
pub(super) fn only_chunks(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(TRANSFER_ENCODING).into_iter();
    let chunked = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"chunked");
    values.next().is_none_or(chunked) && values.next().is_none()
}

/// Makes one of several `Cookie` headers, into which HTTP/2 may split it (RFC 9113 §8.2.3).
pub(super) fn join_cookies(headers: &mut HeaderMap) -> Result<(), Problem> {
    let mut crumbs = headers.get_all(COOKIE).iter();
    let (Some(first), Some(second)) = (crumbs.next(), crumbs.next()) else { return Ok(()) };
    let mut joined = first.as_bytes().to_vec();
    for crumb in [second].into_iter().chain(crumbs) {
        joined.extend_from_slice(b"; ");
        joined.extend_from_slice(crumb.as_bytes());
    }
    let cookie = HeaderValue::from_bytes(&joined);
    let cookie = cookie.map_err(|_| Problem::new(Kind::BadRequest, "the cookies are no header"))?;
    headers.insert(COOKIE, cookie);
    Ok(())
}

fn is_hop_by_hop(name: &str) -> bool {
    matches!(
        name,
        "keep-alive"
            | "proxy-connection"
            | "te"
            | "transfer-encoding"
            | "upgrade"
            | "http2-settings"
    )
}

fn listed(headers: &HeaderMap) -> impl Iterator<Item = HeaderName> {
    tokens(headers, &CONNECTION).filter_map(|token| HeaderName::from_bytes(token).ok())
}

/// Whether `Connection` lists this: `upgrade`, `close`, `keep-alive`.
pub(super) fn lists_connection(headers: &HeaderMap, option: &[u8]) -> bool {
    tokens(headers, &CONNECTION).any(|token| token.eq_ignore_ascii_case(option))
}

fn te_trailers(headers: &HeaderMap) -> bool {
    tokens(headers, &TE).any(|token| token.eq_ignore_ascii_case(b"trailers"))
}

fn tokens<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a [u8]> {
    let values = headers.get_all(name).into_iter();
    values.flat_map(|value| value.as_bytes().split(|b| *b == b',')).map(<[u8]>::trim_ascii)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &str)| {
            (HeaderName::from_static(name), value.parse().unwrap())
        };
        pairs.iter().map(pair).collect()
    }

    fn cleaned(pairs: &[(&'static str, &str)], framing: Framing) -> Vec<String> {
        let mut headers = map(pairs);
        let peer = Peer { address: HeaderValue::from_static("192.0.2.1"), trusted: true };
        Sanitizer::new(Names::new(["X-Key*"])).to_service(&mut headers, framing, &peer);
        let mut names: Vec<_> = headers
            .keys()
            .map(ToString::to_string)
            .filter(|name| !name.starts_with("x-forwarded"))
            .collect();
        names.sort();
        names
    }

    #[test]
    fn hop_by_hop_headers_end_here() {
        let sent = [
            ("connection", "close, X-Mine,, keep-alive"),
            ("x-mine", "1"),
            ("keep-alive", "1"),
            ("proxy-connection", "1"),
            ("upgrade", "h2c"),
            ("http2-settings", "x"),
            ("te", "gzip"),
            ("transfer-encoding", "chunked"),
            ("trailer", "x-sum"),
            ("accept", "*/*"),
            ("traceparent", "00-1-1-00"),
        ];
        assert_eq!(cleaned(&sent, Framing::Length), ["accept", "traceparent"]);
        let chunked = ["accept", "traceparent", "trailer", "transfer-encoding"];
        assert_eq!(cleaned(&sent, Framing::Chunks), chunked);
        assert_eq!(cleaned(&[("te", "gzip, Trailers")], Framing::Length), ["te"]);
    }

    #[test]
    fn p5_no_transfer_coding_but_chunks_can_go_on() {
        let only = |values: &[&'static str]| {
            let pairs: Vec<_> = values.iter().map(|value| ("transfer-encoding", *value)).collect();
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                headers.append(name, HeaderValue::from_static(value));
            }
            only_chunks(&headers)
        };
        assert!(only(&[]) && only(&["chunked"]) && only(&["Chunked"]));
        assert!(!only(&["gzip, chunked"]) && !only(&["chunked, chunked"]) && !only(&[""]));
        assert!(!only(&["gzip", "chunked"]) && !only(&["chunked", "chunked"]));
    }

    #[test]
    fn p5_connection_strips_no_credential() {
        let names = [
            "authorization",
            "cookie",
            "x-api-key",
            "x-user-id",
            "x-auth-token",
            "x-session-id",
            "x-agent-identity",
            "host",
            "content-length",
            "x-key-1",
        ];
        let mut sent: Vec<_> = names.iter().map(|name| (*name, "1")).collect();
        let list = names.join(", ");
        sent.push(("connection", &list));
        assert_eq!(cleaned(&sent, Framing::Length).len(), names.len());
    }
}
