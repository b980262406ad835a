//! `match`: the method and the path template that a rule is for.

use std::fmt;

use http::Method;

use super::place::Flaw;
use super::strict::{self, Loose};
use crate::model::DecodedPath;

/// `POST /agent_api_keys/{id}`: compared with a request's decoded path as Starlette does, case
/// matters, `{NAME}` is one segment, and a trailing slash is no match.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct MatchTemplate {
    method: Method,
    /// What every path that matches begins with; compared first, since most paths don't.
    prefix: String,
    segments: Vec<Segment>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Segment {
    Literal(String),
    Parameter(String),
}

impl MatchTemplate {
    /// Parses `METHOD /path/{parameter}`.
    ///
    /// # Errors
    /// When the method is none that creates or deletes, or the path could match nothing.
    pub(super) fn parse(text: &str) -> Result<Self, Flaw> {
        let (method, path) = text.split_once(' ').ok_or_else(|| {
            Flaw::new(format!("`{text}` is not a method and a path"), "write POST /path")
        })?;
        let method = changing_method(method)?;
        let path = path.trim_start();
        let rest = path.strip_prefix('/').ok_or_else(|| {
            Flaw::new(format!("the path `{path}` has no leading slash"), "add it")
        })?;
        let segments = rest.split('/').map(Segment::parse).collect::<Result<Vec<_>, _>>()?;
        let template = Self { method, prefix: prefix(&segments), segments };
        template.refuse_repeated_parameter()?;
        Ok(template)
    }

    /// The method.
    #[must_use]
    pub(super) fn method(&self) -> &Method {
        &self.method
    }

    /// The names of the parameters, in order.
    pub(super) fn parameters(&self) -> impl Iterator<Item = &str> {
        self.segments.iter().filter_map(|segment| match segment {
            Segment::Parameter(name) => Some(name.as_str()),
            Segment::Literal(_) => None,
        })
    }

    /// The values of the parameters, in order, if the template matches. Allocates only then.
    #[must_use]
    pub(super) fn matches(&self, method: &Method, path: &str) -> Option<Vec<String>> {
        if self.method != *method || !path.starts_with(self.prefix.as_str()) {
            return None;
        }
        let fits = |(segment, text): (&Segment, &str)| match segment {
            Segment::Literal(literal) => literal == text,
            Segment::Parameter(_) => !text.is_empty(),
        };
        let texts = || path.split('/').skip(1);
        if texts().count() != self.segments.len() || !self.segments.iter().zip(texts()).all(fits) {
            return None;
        }
        let value = |(segment, text): (&Segment, &str)| {
            matches!(segment, Segment::Parameter(_)).then(|| text.to_owned())
        };
        Some(self.segments.iter().zip(texts()).filter_map(value).collect())
    }

    /// Whether every router that has this template takes `path`, which matches it, alike.
    pub(super) fn is_certain(&self, path: &DecodedPath<'_>) -> bool {
        strict::is_certain(path, matches!(self.segments.last(), Some(Segment::Parameter(_))))
    }

    /// Whether some router that has this template might match it.
    pub(super) fn may_match(&self, method: &Method, path: &Loose) -> bool {
        self.method == *method && path.may_be(self.segments.iter().map(Segment::literal))
    }

    /// Whether every request that `other` matches matches this too.
    #[must_use]
    pub(super) fn covers(&self, other: &Self) -> bool {
        let covers = |(mine, its): (&Segment, &Segment)| match (mine, its) {
            (Segment::Parameter(_), _) => true,
            (Segment::Literal(a), Segment::Literal(b)) => a == b,
            (Segment::Literal(_), Segment::Parameter(_)) => false,
        };
        self.method == other.method
            && self.segments.len() == other.segments.len()
            && self.segments.iter().zip(&other.segments).all(covers)
    }

    fn refuse_repeated_parameter(&self) -> Result<(), Flaw> {
        let mut seen = Vec::new();
        for name in self.parameters() {
            if seen.contains(&name) {
                let what = format!("the parameter {{{name}}} occurs twice");
                return Err(Flaw::new(what, "give each its own name"));
            }
            seen.push(name);
        }
        Ok(())
    }
}

impl Segment {
    /// What it must be; `None` where it may be anything.
    fn literal(&self) -> Option<&str> {
        match self {
            Self::Literal(text) => Some(text),
            Self::Parameter(_) => None,
        }
    }

    fn parse(text: &str) -> Result<Self, Flaw> {
        if let Some(name) = text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
            let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
            if !name.is_empty() && name.chars().all(fits) {
                return Ok(Self::Parameter(name.to_owned()));
            }
            let what = format!("`{text}` is no parameter");
            return Err(Flaw::new(
                what,
                "name it with letters, digits, \"_\" and \"-\", as in {id}",
            ));
        }
        let mend = match text {
            "" => "leave out empty segments and the trailing slash: the service's router does",
            "." | ".." => "write the path without dot segments",
            _ if text.contains(['{', '}']) => "a parameter takes a whole segment, as in /keys/{id}",
            _ if text.contains(['?', '#']) => "leave out query and fragment: rules match the path",
            _ if text.contains('%') => "write it decoded: rules match the decoded path",
            _ if text.contains(|c: char| c.is_control() || c == '\\') => {
                "leave out control characters and backslashes"
            }
            _ => return Ok(Self::Literal(text.to_owned())),
        };
        Err(Flaw::new(format!("no path segment can be matched by `{text}`"), mend))
    }
}

fn changing_method(text: &str) -> Result<Method, Flaw> {
    match text {
        "POST" => Ok(Method::POST),
        "PUT" => Ok(Method::PUT),
        "PATCH" => Ok(Method::PATCH),
        "DELETE" => Ok(Method::DELETE),
        _ => {
            let what = format!("`{text}` is no method that creates or deletes");
            Err(Flaw::new(what, "write POST, PUT, PATCH or DELETE, in capitals"))
        }
    }
}

fn prefix(segments: &[Segment]) -> String {
    let mut prefix = String::new();
    for segment in segments {
        prefix.push('/');
        match segment {
            Segment::Literal(text) => prefix.push_str(text),
            Segment::Parameter(_) => break,
        }
    }
    prefix
}

impl fmt::Display for MatchTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.method)?;
        for segment in &self.segments {
            match segment {
                Segment::Literal(text) => write!(f, "/{text}")?,
                Segment::Parameter(name) => write!(f, "/{{{name}}}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn template(text: &str) -> MatchTemplate {
        MatchTemplate::parse(text).unwrap()
    }

    #[test]
    fn a_template_matches_as_starlette_does() {
        let by_id = template("DELETE /keys/{id}");
        let values = |path| by_id.matches(&Method::DELETE, path);
        assert_eq!(values("/keys/k 1"), Some(vec!["k 1".into()]));
        assert_eq!(values("/keys/k;x\n"), Some(vec!["k;x\n".into()]));
        for other in ["/keys", "/keys/", "/Keys/1", "/keys/1/", "/keys/1/2", "/keys//", "/", ""] {
            assert_eq!(values(other), None, "{other}");
        }
        assert_eq!(by_id.matches(&Method::POST, "/keys/1"), None);
        let create = template("POST /keys");
        assert_eq!(create.matches(&Method::POST, "/keys"), Some(vec![]));
        assert_eq!(create.matches(&Method::POST, "/keysmith"), None);
        assert_eq!(create.matches(&Method::POST, "/keys\n"), None);
    }

    #[test]
    fn a_template_covers_what_it_also_matches() {
        let covers = |a, b| template(a).covers(&template(b));
        assert!(covers("DELETE /a/{x}", "DELETE /a/{y}"));
        assert!(covers("DELETE /a/{x}", "DELETE /a/b"));
        assert!(!covers("DELETE /a/b", "DELETE /a/{x}"));
        assert!(!covers("DELETE /a/{x}", "POST /a/{x}"));
        assert!(!covers("DELETE /a/{x}", "DELETE /a/{x}/b"));
    }

    #[test]
    fn a_template_that_could_match_nothing_is_refused() {
        for (bad, why) in [
            ("/keys", "not a method and a path"),
            ("GET /keys", "no method that creates or deletes"),
            ("post /keys", "in capitals"),
            ("POST keys", "no leading slash"),
            ("POST /keys/", "trailing slash"),
            ("POST /a/../b", "dot segments"),
            ("POST /a/{}", "no parameter"),
            ("POST /a/x{id}", "whole segment"),
            ("POST /a?x=1", "query"),
            ("POST /a%20b", "decoded"),
            ("POST /{a}/{a}", "occurs twice"),
        ] {
            let error = MatchTemplate::parse(bad).unwrap_err().to_string();
            assert!(error.contains(why), "{bad}: {error}");
        }
    }

    proptest! {
        #[test]
        fn a_template_prints_as_written(segments in prop::collection::vec("[a-z_]{1,8}|\\{[a-z]{6,9}\\}", 1..6)) {
            let text = format!("DELETE /{}", segments.join("/"));
            if let Ok(template) = MatchTemplate::parse(&text) {
                prop_assert_eq!(template.to_string(), text);
            }
        }

        #[test]
        fn any_text_is_read_or_refused_and_any_path_compared(text in any::<String>(), path in any::<String>()) {
            if let Ok(template) = MatchTemplate::parse(&format!("POST {text}")) {
                let _ = template.matches(&Method::POST, &path);
            }
        }

        #[test]
        fn a_filled_template_matches_its_own_values(id in "[^/]{1,20}", name in "[^/]{1,20}") {
            let path = format!("/agents/{id}/keys/{name}");
            let values = template("POST /agents/{id}/keys/{name}").matches(&Method::POST, &path);
            prop_assert_eq!(values, Some(vec![id, name]));
        }
    }
}
