//! The rules: which requests are creates and deletes, and what is to be done about them.
//!
//! [`raw`] is what is written; [`Rules::compile`] gives it meaning once, or tells everything that
//! is wrong with it. [`Rules::route`] decides what a request is (promise P5), and
//! [`Matched::plan`] resolves a rule against it into [`Plans`], from which everything after a
//! crash works. Nothing here performs I/O.

mod advice;
pub mod body;
mod compile;
mod compiled;
mod explain;
mod expression;
mod place;
mod plan;
pub mod raw;
mod request;
mod route;
mod secret;
mod source;
mod strict;
mod template;

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use http::Method;
use http::request::Parts;

pub use self::compile::{Options, nearest};
pub use self::compiled::Rule;
pub use self::explain::Explanation;
pub use self::place::{Flaw, Located, Place, Problem};
pub use self::plan::Plans;
pub use self::request::PlanError;
pub use self::secret::names_secret;
pub use self::strict::Dialect;
use self::strict::Loose;
use crate::model::{DecodedPath, Mode, ResourceType};

/// The compiled rules, in the order of the configuration. By default there are none, and
/// everything passes through.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    rules: Vec<Arc<Rule>>,
    dialect: Dialect,
}

impl Rules {
    /// Compiles rules.
    ///
    /// # Errors
    /// With everything that is wrong with them, in the order of the file.
    pub fn compile(raw: &[raw::RawRule], options: &Options) -> Result<Self, Vec<Problem>> {
        let dialect = options.dialect;
        compile::compile(raw, options).map(|rules| Self { rules, dialect })
    }

    /// Decides what a request is: the first rule that matches wins. Costs unmatched plain
    /// requests no allocation.
    ///
    /// A path that can be read in several ways is decided on only if the same rule with the same
    /// parameters, or no rule, matches them all.
    #[must_use]
    pub fn route(&self, method: &Method, path: &DecodedPath<'_>) -> Route {
        let found = self.find(method, path.text());
        let differs = |reading: &str| match (&found, self.find(method, reading)) {
            (None, None) => false,
            (Some(one), Some(other)) => !one.is(&other),
            _ => true,
        };
        if !path.is_plain() && path.readings().any(|reading| differs(&reading)) {
            return Route::Ambiguous(
                "the request path can be read in two ways that differ in what they name",
            );
        }
        if self.dialect == Dialect::Strict && self.is_in_doubt(method, path, found.as_ref()) {
            return Route::Ambiguous(
                "a router might read the request path otherwise than the rules do (dialect: strict)",
            );
        }
        found.map_or(Route::Unmatched, Route::Matched)
    }

    /// How the service takes a path from a request.
    #[must_use]
    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// Whether some router might take the request for another than was `found`.
    fn is_in_doubt(
        &self,
        method: &Method,
        path: &DecodedPath<'_>,
        found: Option<&Matched>,
    ) -> bool {
        if found.is_some_and(|found| !found.rule.matches.is_certain(path)) {
            return true;
        }
        // A rule behind the one that was found is not asked by any router.
        let is_found = |rule: &&Arc<Rule>| found.is_some_and(|one| Arc::ptr_eq(rule, &one.rule));
        let rules = || self.rules.iter().take_while(|rule| !is_found(rule));
        if !rules().any(|rule| rule.matches.method() == method) {
            return false;
        }
        let loose = Loose::of(path);
        rules().any(|rule| rule.matches.may_match(method, &loose))
    }

    /// The rules, in the order of the configuration.
    pub fn iter(&self) -> impl Iterator<Item = &Rule> {
        self.rules.iter().map(AsRef::as_ref)
    }

    /// What is allowed in these rules and still costs something, one sentence an item that
    /// begins with the rules' names.
    #[must_use]
    pub fn advice(&self) -> Vec<String> {
        advice::advise(self)
    }

    /// The types of which creates may pass unrecorded: those that a rule observes; all, if others may write
    /// to the service.
    #[must_use]
    pub fn distrusted(&self, exclusive_writer: bool) -> BTreeSet<ResourceType> {
        let passes = |rule: &&Rule| !exclusive_writer || rule.mode() == Mode::Observe;
        self.iter().filter(passes).flat_map(Rule::makes).cloned().collect()
    }

    fn find(&self, method: &Method, path: &str) -> Option<Matched> {
        self.rules.iter().find_map(|rule| {
            let params = rule.matches.matches(method, path)?;
            Some(Matched { rule: rule.clone(), params })
        })
    }
}

/// What a request is.
#[derive(Debug)]
pub enum Route {
    /// No rule matches: it passes through.
    Unmatched,
    /// A rule matches.
    Matched(Matched),
    /// It can be read in two ways that differ in what matches (promise P5): refused with 400.
    Ambiguous(&'static str),
}

/// A rule and the values its path template took from the request.
#[derive(Clone, Debug)]
pub struct Matched {
    /// The rule.
    pub rule: Arc<Rule>,
    params: Vec<String>,
}

impl Matched {
    /// Resolves the rule against the request. `body` is as it came, `Content-Encoding` included;
    /// it is read only if an expression needs it.
    ///
    /// # Errors
    /// When the request lacks what the rule needs or can't be read in one way only; the client
    /// gets a 400.
    pub fn plan(&self, head: &Parts, body: &Bytes) -> Result<Plans, PlanError> {
        self.rule.plan(&self.params, head, body)
    }

    /// What would be done about the request, and why, for a reader. What a body would give
    /// stays an expression.
    #[must_use]
    pub fn explain(&self, query: Option<&str>) -> Explanation {
        explain::explain(&self.rule, &self.params, query)
    }

    fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.rule, &other.rule) && self.params == other.params
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(serde::Deserialize)]
    struct Shipped {
        rules: Vec<raw::RawRule>,
    }

    /// The rules of the configuration that ships.
    pub(super) fn shipped() -> Rules {
        shipped_in(Dialect::default())
    }

    pub(super) fn shipped_in(dialect: Dialect) -> Rules {
        let text = include_str!("../config/agentex.yaml");
        let written: Shipped = serde_saphyr::from_str(text).unwrap();
        Rules::compile(&written.rules, &Options { dialect, ..Options::default() }).unwrap()
    }

    pub(super) fn compiled(yaml: &str) -> Result<Rules, Vec<Problem>> {
        let options = Options { service_credentials: true, ..Options::default() };
        Rules::compile(&serde_saphyr::from_str::<Vec<raw::RawRule>>(yaml).unwrap(), &options)
    }

    fn route(method: &Method, path: &str) -> String {
        match shipped().route(method, &DecodedPath::parse(path).unwrap()) {
            Route::Unmatched => "unmatched".into(),
            Route::Ambiguous(_) => "ambiguous".into(),
            Route::Matched(matched) => format!("{} {:?}", matched.rule.name(), matched.params),
        }
    }

    #[test]
    fn the_shipped_rules_match_what_the_service_routes() {
        assert_eq!(route(&Method::POST, "/agent_api_keys"), "create-key []");
        assert_eq!(
            route(&Method::POST, "/agent_api_keys/webhook-trigger"),
            "create-webhook-key []"
        );
        assert_eq!(route(&Method::DELETE, "/agent_api_keys/k-1"), "delete-key [\"k-1\"]");
        assert_eq!(
            route(&Method::DELETE, "/agent_api_keys/name/my key"),
            "delete-key-by-name [\"my key\"]"
        );
        assert_eq!(route(&Method::DELETE, "/agent_api_keys/K-1;x"), "delete-key [\"K-1;x\"]");
    }

    #[test]
    fn p5_percent_encoding_does_not_pass_a_rule() {
        assert_eq!(route(&Method::POST, "/agent%5Fapi_keys"), "create-key []");
        assert_eq!(route(&Method::POST, "/%61gent_api_keys"), "create-key []");
        assert_eq!(
            route(&Method::DELETE, "/agent_api_keys/%6eame/x"),
            "delete-key-by-name [\"x\"]"
        );
        assert_eq!(route(&Method::DELETE, "/agent_api_keys/a%20b"), "delete-key [\"a b\"]");
    }

    #[test]
    fn p5_what_can_be_read_in_two_ways_is_refused() {
        for path in [
            "/agent_api_keys%2Fk-1",
            "/agent_api_keys/a%2Fb",
            "/agent_api_keys/name%2Fx",
            "/agent_api_keys//k-1",
            "/x/../agent_api_keys/k-1",
            "//host/agent_api_keys/k-1",
            "/x%2Fy/../agent_api_keys%2Fk-1",
            "/./agent_api_keys/k-1",
            "/agent_api_keys/k-1%0A",
            "/agent_api_keys%5Ck-1",
        ] {
            assert_eq!(route(&Method::DELETE, path), "ambiguous", "{path}");
        }
        assert_eq!(route(&Method::POST, "/agent_api_keys%0A"), "ambiguous");
        assert_eq!(route(&Method::POST, "//agent_api_keys"), "ambiguous");
    }

    #[test]
    fn p6_what_no_reading_matches_passes_however_odd_it_is() {
        for path in ["/files//a", "/files/a%2Fb", "/files/../x", "/a%0A", "/agent_api_keysmith"] {
            assert_eq!(route(&Method::POST, path), "unmatched", "{path}");
        }
        for method in [Method::GET, Method::HEAD, Method::PUT, Method::OPTIONS] {
            assert_eq!(route(&method, "/agent_api_keys"), "unmatched");
        }
        assert_eq!(route(&Method::GET, "/agent_api_keys%2Fk"), "unmatched");
        assert_eq!(route(&Method::POST, "/Agent_api_keys"), "unmatched");
        assert!(matches!(
            Rules::default().route(&Method::POST, &DecodedPath::parse("/agent_api_keys").unwrap()),
            Route::Unmatched
        ));
    }

    #[test]
    fn p5_in_the_strict_dialect_what_some_router_reads_otherwise_is_refused() {
        let rules = shipped_in(Dialect::Strict);
        let route = |method, path| match rules.route(&method, &DecodedPath::parse(path).unwrap()) {
            Route::Unmatched => "unmatched".into(),
            Route::Ambiguous(_) => "ambiguous".into(),
            Route::Matched(matched) => matched.rule.name().to_owned(),
        };
        assert_eq!(route(Method::POST, "/agent_api_keys"), "create-key");
        assert_eq!(route(Method::DELETE, "/agent_api_keys/K-1"), "delete-key");
        assert_eq!(route(Method::DELETE, "/agent_api_keys/name/my%20key"), "delete-key-by-name");
        for path in
            ["/agent%5Fapi_keys", "/Agent_API_keys", "/agent_api_keys/", "/agent_api_keys;x"]
        {
            assert_eq!(route(Method::POST, path), "ambiguous", "{path}");
        }
        for path in ["/agent_api_keys/k.json", "/AGENT_API_KEYS/k", "/agent_api_keys/k%256b"] {
            assert_eq!(route(Method::DELETE, path), "ambiguous", "{path}");
        }
        for path in ["/agents/a%2Fb/rpc", "/files//a", "/Agent_api_keys/x/y/z", "/é"] {
            assert_eq!(route(Method::POST, path), "unmatched", "{path}");
        }
        assert_eq!(route(Method::GET, "/Agent_api_keys/"), "unmatched", "no rule's method");
    }

    #[test]
    fn the_first_rule_that_matches_wins() {
        let delete = |name, path| {
            format!(
                "- {{name: {name}, match: 'DELETE {path}', deregister: {{type: t, id: $request.query.id}}, \
                 probe: {{request: 'GET /t/{{$request.query.id}}', row: {{id: /id}}}}}}\n"
            )
        };
        let wins = |first: String, second: String| {
            let rules = compiled(&(first + &second)).unwrap();
            match rules.route(&Method::DELETE, &DecodedPath::parse("/a/b").unwrap()) {
                Route::Matched(matched) => matched.rule.name().to_owned(),
                other => panic!("{other:?}"),
            }
        };
        let (literal, parameter) = (delete("literal", "/a/b"), delete("parameter", "/a/{x}"));
        assert_eq!(wins(literal.clone(), parameter.clone()), "literal");
        assert_eq!(wins(parameter.clone(), literal.clone()), "parameter");
        let strict = Options { dialect: Dialect::Strict, ..Options::default() };
        let raw = serde_saphyr::from_str::<Vec<raw::RawRule>>(&(literal + &parameter)).unwrap();
        let strict = Rules::compile(&raw, &strict).unwrap();
        let route = |path| strict.route(&Method::DELETE, &DecodedPath::parse(path).unwrap());
        assert!(matches!(route("/a/B"), Route::Ambiguous(_)), "P5: `/a/b` to who ignores case");
        assert!(
            matches!(route("/a/b"), Route::Matched(_))
                && matches!(route("/a/c"), Route::Matched(_))
        );
    }
}
