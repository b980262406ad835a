//! Methods and targets that some services take from elsewhere than the request line.
//!
//! Only in the strict dialect ([`Dialect::Strict`](crate::rules::Dialect)): Starlette ignores all of
//! these (contract keys-service.md, "method-override headers are ignored").

use http::{HeaderMap, Method, Request};
use percent_encoding::percent_decode_str;

/// Headers that name a method. Rails, Express' method-override, Google's and Microsoft's APIs.
const METHODS: [&str; 3] = ["x-http-method-override", "x-http-method", "x-method-override"];
/// Headers that name a target. IIS' URL Rewrite, Symfony, Zend.
const TARGETS: [&str; 2] = ["x-original-url", "x-rewrite-url"];
/// The query parameter that names a method.
const PARAMETER: &str = "_method";

/// What else a request may be to such a service.
pub(super) struct Diverted {
    /// Its own method first, then others, in capitals.
    pub(super) methods: Vec<Method>,
    /// The paths of other targets.
    pub(super) paths: Vec<String>,
}

/// What else `request` may be, if anything.
pub(super) fn diverted<B>(request: &Request<B>) -> Option<Diverted> {
    let query = request.uri().query().unwrap_or_default();
    let named = query.split(['&', ';']).filter_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        is_parameter(&form_decoded(name)).then(|| form_decoded(value))
    });
    let methods: Vec<_> = texts(request.headers(), &METHODS)
        .into_iter()
        .chain(named)
        .filter_map(|name| name.trim().to_ascii_uppercase().parse().ok())
        .collect();
    let targets = texts(request.headers(), &TARGETS);
    let paths: Vec<_> = targets.iter().map(|target| path_of(target).to_owned()).collect();
    if methods.is_empty() && paths.is_empty() {
        return None;
    }
    let methods = std::iter::once(request.method().clone()).chain(methods).collect();
    Some(Diverted { methods, paths })
}

fn form_decoded(text: &str) -> String {
    percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned()
}

/// As PHP reads names: it trims them, ends them at a NUL, and takes some characters for `_`.
fn is_parameter(name: &str) -> bool {
    let name = name.split('\0').next().unwrap_or_default().trim();
    name.replace(['.', ' ', '['], "_") == PARAMETER
}

/// The values of those headers, whole, and apart where several may be in one. To WSGI and CGI a
/// `_` in a name is a `-`.
fn texts(headers: &HeaderMap, names: &[&str]) -> Vec<String> {
    let same = |(has, wants): (u8, u8)| has == wants || (has == b'_' && wants == b'-');
    let is = |name: &str, wanted: &&str| {
        name.len() == wanted.len() && name.bytes().zip(wanted.bytes()).all(same)
    };
    let mut texts = Vec::new();
    for (name, value) in headers {
        if names.iter().any(|wanted| is(name.as_str(), wanted)) {
            let text = String::from_utf8_lossy(value.as_bytes());
            if text.contains(',') {
                texts.extend(text.split(',').map(|part| part.trim().to_owned()));
            }
            texts.push(text.into_owned());
        }
    }
    texts
}

/// The path of a target in origin or absolute form.
fn path_of(target: &str) -> &str {
    let origin = match target.split_once("://") {
        Some((scheme, rest)) if !scheme.contains(['/', '?', '#']) => {
            rest.find('/').map_or("/", |slash| &rest[slash..])
        }
        _ => target,
    };
    origin.split(['?', '#']).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(target: &str, headers: &[(&str, &str)]) -> Option<(Vec<String>, Vec<String>)> {
        let mut request = Request::post(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let Diverted { methods, paths } = diverted(&request.body(()).unwrap())?;
        Some((methods.iter().map(ToString::to_string).collect(), paths))
    }

    #[test]
    fn p5_methods_and_targets_from_elsewhere_are_seen() {
        let (methods, paths) = told(
            "/x?a=1&%5Fmethod=put",
            &[
                ("X-HTTP-Method-Override", "delete"),
                ("x_http_method", "PATCH, lock"),
                ("X-Original-URL", "/keys/k?x"),
                ("X-Rewrite-Url", "https://h/keys#f"),
            ],
        )
        .unwrap();
        assert_eq!(methods, ["POST", "DELETE", "PATCH", "LOCK", "PUT"]);
        assert_eq!(paths, ["/keys/k", "/keys"]);
        let (_, paths) = told("/x", &[("x-original-url", "/keys?next=https://h/y")]).unwrap();
        assert_eq!(paths, ["/keys"], "no absolute form");
        for target in
            ["/x?.method=PUT", "/x?+_method=PUT", "/x?a=1;_method=PUT", "/x?_method%00x=PUT"]
        {
            assert_eq!(told(target, &[]).unwrap().0, ["POST", "PUT"], "{target}");
        }
    }

    #[test]
    fn p6_a_request_without_them_is_only_itself() {
        assert_eq!(told("/x?method=delete&_methods=delete", &[("x-method", "DELETE")]), None);
        assert_eq!(told("/x?_method=", &[]), None);
    }
}
