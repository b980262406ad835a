//! Forwarding headers: who may say where a request came from.
//!
//! uvicorn believes `X-Forwarded-*` of 127.0.0.1, and the sidecar is that peer now: what an
//! untrusted client sent must not pass.

use std::net::IpAddr;

use http::header::{HeaderMap, HeaderName, HeaderValue};
use ipnet::IpNet;
use schemars::JsonSchema;
use serde::Deserialize;

use super::route::Peer;

const FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Whose forwarding headers are believed. There is no default: it depends on the network.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Networks whose peers may send `X-Forwarded-*`, `Forwarded` and `X-Real-IP`: the load
    /// balancers in front, such as `10.0.0.0/8`. Empty: nobody.
    #[schemars(with = "Vec<String>")]
    pub trust: Vec<IpNet>,
}

impl Config {
    /// Whether `peer` is believed; an IPv4 address within IPv6 is the IPv4 address.
    #[must_use]
    pub fn trusts(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        self.trust.iter().any(|network| network.contains(&peer))
    }
}

/// Whether the name, in lower case, tells where a request came from, also where it is spelled
/// with underscores, which WSGI and CGI can't tell from hyphens.
pub(super) fn is_forwarding(name: &str) -> bool {
    let is = |wanted: &str| {
        name.len() == wanted.len()
            && name.bytes().zip(wanted.bytes()).all(|(a, b)| a == b || (a == b'_' && b == b'-'))
    };
    match name.as_bytes().first() {
        Some(b'x') => {
            const PREFIX: &str = "x-forwarded-";
            name.get(..PREFIX.len()).is_some_and(|start| {
                start.bytes().zip(PREFIX.bytes()).all(|(a, b)| a == b || (a == b'_' && b == b'-'))
            }) || is("x-real-ip")
        }
        Some(b'f') => is("forwarded"),
        _ => false,
    }
}

/// Tells the service where the request came from.
///
/// Of an untrusted peer every forwarding header goes, and `X-Forwarded-For` and `-Proto` are set
/// anew. Of a trusted one they stay, and the peer is appended to `X-Forwarded-For`, in one line:
/// uvicorn reads the last only.
pub(super) fn apply(headers: &mut HeaderMap, peer: &Peer) {
    if !peer.trusted {
        let spoofed: Vec<HeaderName> =
            headers.keys().filter(|name| is_forwarding(name.as_str())).cloned().collect();
        for name in spoofed {
            headers.remove(name);
        }
        headers.insert(FOR, peer.address.clone());
        headers.insert(PROTO, HeaderValue::from_static("http"));
        return;
    }
    let path = appended(headers, &peer.address).unwrap_or_else(|| peer.address.clone());
    headers.insert(FOR, path);
    if !headers.contains_key(PROTO) {
        headers.insert(PROTO, HeaderValue::from_static("http"));
    }
}

fn appended(headers: &HeaderMap, address: &HeaderValue) -> Option<HeaderValue> {
    let mut all = Vec::new();
    for value in headers.get_all(FOR) {
        all.extend_from_slice(value.as_bytes());
        all.extend_from_slice(b", ");
    }
    if all.is_empty() {
        return None;
    }
    all.extend_from_slice(address.as_bytes());
    HeaderValue::from_bytes(&all).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(trusted: bool, sent: &[(&'static str, &'static str)]) -> Vec<(String, String)> {
        let mut headers = HeaderMap::new();
        for (name, value) in sent {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        apply(&mut headers, &Peer { address: HeaderValue::from_static("192.0.2.1"), trusted });
        let text = |(name, value): (&HeaderName, &HeaderValue)| {
            (name.to_string(), value.to_str().unwrap().to_owned())
        };
        let mut all: Vec<_> = headers.iter().map(text).collect();
        all.sort();
        all
    }

    fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
        expected.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn what_an_untrusted_client_says_of_itself_does_not_pass() {
        let spoofed = [
            ("x-forwarded-for", "10.0.0.1"),
            ("x-forwarded-for", "10.0.0.2"),
            ("x_forwarded_for", "10.0.0.1"),
            ("x-forwarded_proto", "https"),
            ("x-forwarded-host", "evil"),
            ("x-forwarded-prefix", "/x"),
            ("x-forwarded-port", "1"),
            ("forwarded", "for=10.0.0.1"),
            ("x-real-ip", "10.0.0.1"),
            ("x_real_ip", "10.0.0.1"),
            ("x-forward", "stays"),
        ];
        let expected = [
            ("x-forward", "stays"),
            ("x-forwarded-for", "192.0.2.1"),
            ("x-forwarded-proto", "http"),
        ];
        assert_eq!(applied(false, &spoofed), pairs(&expected));
    }

    #[test]
    fn a_trusted_peer_is_believed_and_appended() {
        let sent = [
            ("x-forwarded-for", "198.51.100.7"),
            ("x-forwarded-for", "10.0.0.2"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "keys.example"),
        ];
        let expected = [
            ("x-forwarded-for", "198.51.100.7, 10.0.0.2, 192.0.2.1"),
            ("x-forwarded-host", "keys.example"),
            ("x-forwarded-proto", "https"),
        ];
        assert_eq!(applied(true, &sent), pairs(&expected));
    }

    #[test]
    fn trust_is_by_network_and_ipv4_is_ipv4_however_it_comes() {
        let config = Config { trust: vec!["10.0.0.0/8".parse().unwrap()] };
        assert!(config.trusts("10.1.2.3".parse().unwrap()));
        assert!(config.trusts("::ffff:10.1.2.3".parse().unwrap()));
        assert!(!config.trusts("11.0.0.1".parse().unwrap()));
        assert!(!Config { trust: vec![] }.trusts("127.0.0.1".parse().unwrap()));
    }
}
