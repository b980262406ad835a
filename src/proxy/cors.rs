//! CORS on the sidecar's own answers: without it, a browser lets no page read why a request was
//! refused. What the service answers has the service's own headers, preflights included.

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS,
    HeaderMap, HeaderValue, ORIGIN, VARY,
};
use schemars::JsonSchema;
use serde::Deserialize;

/// Which pages may read the sidecar's own answers. Default: none.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Their origins, as browsers send them (`https://app.example`), or `*` for all. The same as
    /// the service allows.
    pub origins: Vec<String>,
    /// Whether they may also where the request had cookies. Not with `*`. Default false.
    pub credentials: bool,
}

impl Config {
    /// Whether it makes sense.
    ///
    /// # Errors
    /// What is wrong, and how to mend it.
    pub fn validate(&self) -> Result<(), (String, &'static str)> {
        if self.credentials && self.allows_all() {
            let what = "browsers refuse \"*\" together with cors.credentials".to_owned();
            return Err((what, "list the origins"));
        }
        match self.origins.iter().find(|origin| !is_origin(origin)) {
            Some(origin) => Err((
                format!("{origin:?} is no origin"),
                "write scheme and host, as in https://app.example, with nothing behind",
            )),
            None => Ok(()),
        }
    }

    fn allows_all(&self) -> bool {
        self.origins.iter().any(|origin| origin == "*")
    }

    /// Who asks, where an answer may depend on it. Free where nobody is allowed anything.
    pub(super) fn asks(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        if self.origins.is_empty() { None } else { headers.get(ORIGIN).cloned() }
    }

    /// Makes an answer of the sidecar's own readable for `origin`, where that is allowed.
    pub(super) fn open(&self, headers: &mut HeaderMap, origin: Option<&HeaderValue>) {
        if self.origins.is_empty() {
            return;
        }
        if !self.allows_all() {
            // Caches must not give one page another's answer.
            headers.append(VARY, HeaderValue::from_static("origin"));
        }
        let Some(origin) = origin else { return };
        let allowed = if self.allows_all() {
            HeaderValue::from_static("*")
        } else if self.origins.iter().any(|listed| listed.as_bytes() == origin.as_bytes()) {
            origin.clone()
        } else {
            return;
        };
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
        let exposed = HeaderValue::from_static("retry-after, www-authenticate");
        headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
        if self.credentials {
            headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        }
    }
}

/// Whether a browser may send this, or it is the star.
fn is_origin(text: &str) -> bool {
    let host = text.split_once("://").map(|(_, host)| host);
    let names_host = host.is_some_and(|host| !host.is_empty() && !host.contains('/'));
    text == "*" || names_host && HeaderValue::from_str(text).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(origins: &[&str], credentials: bool) -> Config {
        let origins = origins.iter().map(|origin| (*origin).to_owned()).collect();
        Config { origins, credentials }
    }

    fn opened(config: &Config, origin: Option<&'static str>) -> Vec<String> {
        let mut headers = HeaderMap::new();
        config.open(&mut headers, origin.map(HeaderValue::from_static).as_ref());
        let line =
            |(name, value): (_, &HeaderValue)| format!("{name}: {}", value.to_str().unwrap());
        let mut lines: Vec<_> = headers.iter().map(line).collect();
        lines.sort();
        lines
    }

    #[test]
    fn a_listed_origin_is_told_and_no_other() {
        let listed = config(&["https://a.example", "https://b.example"], true);
        let told = [
            "access-control-allow-credentials: true",
            "access-control-allow-origin: https://b.example",
            "access-control-expose-headers: retry-after, www-authenticate",
            "vary: origin",
        ];
        assert_eq!(opened(&listed, Some("https://b.example")), told);
        for other in ["https://c.example", "https://a.example.evil", "null", "https://A.example"] {
            assert_eq!(opened(&listed, Some(other)), ["vary: origin"], "{other}");
        }
        assert_eq!(opened(&listed, None), ["vary: origin"]);
    }

    #[test]
    fn a_star_is_everybody_and_nothing_is_nobody() {
        let all = opened(&config(&["*"], false), Some("https://a.example"));
        assert!(all.contains(&"access-control-allow-origin: *".to_owned()), "{all:?}");
        assert!(!all.iter().any(|line| line.contains("vary") || line.contains("credentials")));
        assert!(opened(&config(&[], false), Some("https://a.example")).is_empty());
    }

    #[test]
    fn what_browsers_would_refuse_is_refused_with_a_mend() {
        assert!(config(&["*"], true).validate().unwrap_err().1.contains("list the origins"));
        for bad in
            ["app.example", "https://", "https://a.example/", "https://a.example/x", "a\nb://c"]
        {
            assert!(config(&[bad], false).validate().is_err(), "{bad}");
        }
        assert!(
            config(&["https://a.example", "http://localhost:3000", "*"], false).validate().is_ok()
        );
    }
}
