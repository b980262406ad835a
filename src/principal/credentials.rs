//! The headers that say who is calling: what authn sees is what the cache key is made of.

use http::header::{AUTHORIZATION, COOKIE};
use http::{HeaderMap, HeaderName, HeaderValue};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::{BuildError, Error, HeaderPattern};
use crate::model::Timestamp;

/// A keyed hash of [`Credentials`]; it tells nothing about them outside of this process.
pub(super) type Key = [u8; 32];

/// Selects credentials and makes their keys.
pub(super) struct Selector {
    patterns: Vec<HeaderPattern>,
    /// Random for each process, so that keys can't be computed or compared elsewhere.
    secret: [u8; 32],
}

/// The configured headers of one request, one value each, sorted by name.
pub(super) struct Credentials(Vec<(HeaderName, HeaderValue)>);

impl Selector {
    pub(super) fn new(patterns: Vec<HeaderPattern>) -> Result<Self, BuildError> {
        let mut secret = [0; 32];
        getrandom::fill(&mut secret).map_err(|error| BuildError::Random(error.to_string()))?;
        Ok(Self { patterns, secret })
    }

    /// The credentials among `headers`. Several cookie headers are one (RFC 9113, section
    /// 8.2.3); any other that occurs twice could be read in two ways, and is refused. So is one that
    /// is none but for a `_`, which is a `-` to a service behind WSGI or CGI (RFC 3875, section
    /// 4.1.18) and to nobody else.
    pub(super) fn select(&self, headers: &HeaderMap) -> Result<Credentials, Error> {
        let mut selected = Vec::new();
        for name in headers.keys() {
            if self.is_credential(name) {
                selected.push((name.clone(), single(name, headers)?));
            } else if dashed(name).is_some_and(|name| self.is_credential(&name)) {
                return Err(Error::Lookalike(name.to_string()));
            }
        }
        if let Some(name) = twin(&selected) {
            return Err(Error::Lookalike(name.to_string()));
        }
        selected.sort_by(|(a, _), (b, _)| a.as_str().cmp(b.as_str()));
        Ok(Credentials(selected))
    }

    fn is_credential(&self, name: &HeaderName) -> bool {
        self.patterns.iter().any(|pattern| pattern.matches(name))
    }

    /// Hashes names and values, each with its length before it: no two different selections
    /// spell the same bytes.
    pub(super) fn key(&self, credentials: &Credentials) -> Key {
        let mut hasher = blake3::Hasher::new_keyed(&self.secret);
        for (name, value) in &credentials.0 {
            for part in [name.as_str().as_bytes(), value.as_bytes()] {
                hasher.update(&(part.len() as u64).to_le_bytes());
                hasher.update(part);
            }
        }
        *hasher.finalize().as_bytes()
    }
}

/// A name that is another's to who takes `_` for `-`: of those that begin alike, all are credentials.
fn twin(selected: &[(HeaderName, HeaderValue)]) -> Option<&HeaderName> {
    let of =
        |name| dashed(name).is_some_and(|name| selected.iter().any(|(known, _)| *known == name));
    selected.iter().map(|(name, _)| name).find(|name| of(name))
}

/// The name as who takes `_` for `-` reads it, where that is another.
fn dashed(name: &HeaderName) -> Option<HeaderName> {
    let text = name.as_str();
    text.contains('_').then(|| text.replace('_', "-").parse().ok()).flatten()
}

fn single(name: &HeaderName, headers: &HeaderMap) -> Result<HeaderValue, Error> {
    let values: Vec<&[u8]> = headers.get_all(name).iter().map(HeaderValue::as_bytes).collect();
    if values.len() > 1 && name != COOKIE {
        return Err(Error::Duplicate(name.to_string()));
    }
    let mut value = HeaderValue::from_bytes(&values.join(&b"; "[..]))
        .map_err(|_| Error::Duplicate(name.to_string()))?;
    value.set_sensitive(true);
    Ok(value)
}

impl Credentials {
    /// The headers of the call of authn.
    pub(super) fn to_headers(&self) -> HeaderMap {
        self.0.iter().cloned().collect()
    }

    /// The `exp` (RFC 7519, section 4.1.4) of a bearer token that is a JWT. Nothing is
    /// verified: it can only shorten how long authn's answer is believed.
    pub(super) fn bearer_expiry(&self) -> Option<Timestamp> {
        let (_, value) = self.0.iter().find(|(name, _)| name == AUTHORIZATION)?;
        let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| jwt_expiry(token.trim()))?
    }
}

fn jwt_expiry(token: &str) -> Option<Timestamp> {
    #[derive(serde::Deserialize)]
    struct Claims {
        exp: f64,
    }
    let [_, payload, _] = token.split('.').collect::<Vec<_>>()[..] else {
        return None;
    };
    let payload = URL_SAFE_NO_PAD.decode(payload.trim_end_matches('=')).ok()?;
    let Claims { exp } = serde_json::from_slice(&payload).ok()?;
    let since_epoch = std::time::Duration::try_from_secs_f64(exp.max(0.0)).ok()?;
    Some(Timestamp::from_micros(0).plus(since_epoch))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selector() -> Selector {
        let patterns = ["authorization", "cookie", "x-user-id", "x-auth*"];
        Selector::new(patterns.map(|text| text.parse().unwrap()).into()).unwrap()
    }

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            headers.append(name, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    fn key(selector: &Selector, pairs: &[(&str, &str)]) -> Key {
        selector.key(&selector.select(&headers(pairs)).unwrap())
    }

    #[test]
    fn lengths_keep_names_and_values_apart() {
        let selector = selector();
        let of = |pairs: &[(&str, &str)]| key(&selector, pairs);
        assert_ne!(of(&[("x-auth-a", "bc")]), of(&[("x-auth-ab", "c")]));
        assert_ne!(of(&[("x-auth-a", "1"), ("x-auth-b", "2")]), of(&[("x-auth-a", "1x-auth-b2")]));
        assert_ne!(of(&[("x-auth-a", "")]), of(&[]));
        assert_ne!(
            of(&[("cookie", "a"), ("x-user-id", "b")]),
            of(&[("cookie", "b"), ("x-user-id", "a")])
        );
    }

    #[test]
    fn the_order_and_case_of_names_do_not_matter_but_that_of_cookies_does() {
        let selector = selector();
        let of = |pairs: &[(&str, &str)]| key(&selector, pairs);
        assert_eq!(
            of(&[("X-User-Id", "u"), ("x-auth-a", "1")]),
            of(&[("X-AUTH-A", "1"), ("x-user-id", "u")])
        );
        assert_eq!(of(&[("cookie", "a"), ("cookie", "b")]), of(&[("cookie", "a; b")]));
        assert_ne!(
            of(&[("cookie", "a"), ("cookie", "b")]),
            of(&[("cookie", "b"), ("cookie", "a")])
        );
        assert_eq!(of(&[("x-other", "1")]), of(&[("x-other", "2")]));
    }

    #[test]
    fn keys_differ_between_processes() {
        let pairs = [("x-user-id", "u")];
        assert_ne!(key(&selector(), &pairs), key(&selector(), &pairs));
    }

    #[test]
    fn exp_is_read_from_a_bearer_jwt_only() {
        let exp = |value: &str| {
            selector().select(&headers(&[("authorization", value)])).unwrap().bearer_expiry()
        };
        let token = |claims: &str| format!("h.{}.s", URL_SAFE_NO_PAD.encode(claims));
        let at = |seconds: i64| Some(Timestamp::from_micros(seconds * 1_000_000));
        assert_eq!(exp(&format!("Bearer {}", token(r#"{"exp":1900000000}"#))), at(1_900_000_000));
        assert_eq!(exp(&format!("bearer {}", token(r#"{"exp":1.9e9}"#))), at(1_900_000_000));
        assert_eq!(exp(&format!("Bearer {}", token(r#"{"exp":-5}"#))), at(0));
        let never = [
            format!("Basic {}", token(r#"{"exp":1900000000}"#)),
            format!("Bearer {}", token(r#"{"exp":"soon"}"#)),
            format!("Bearer {}", token("{}")),
            format!("Bearer {}.x", token(r#"{"exp":1}"#)),
            "Bearer opaque".to_owned(),
            "Bearer a.%%.c".to_owned(),
            String::new(),
        ];
        for value in never {
            assert_eq!(exp(&value), None, "{value}");
        }
    }
}
