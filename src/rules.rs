//! The rules: which requests are creates and deletes, and what is to be done about them.
//!
//! [`raw`] is what is written; [`Rules::compile`] gives it meaning once, or tells everything that
//! is wrong with it. [`Rules::route`] decides what a request is (promise P5), and
//! [`Matched::plan`] resolves a rule against it into a [`Plan`], from which everything after a
//! crash works. Nothing here performs I/O.

mod advice;
pub mod body;
mod compile;
mod compiled;
mod explain;
mod expression;
mod place;
pub mod raw;
mod request;
mod route;
mod secret;
mod template;

use std::sync::Arc;

use bytes::Bytes;
use http::Method;
use http::request::Parts;

pub use self::compile::{Options, nearest};
pub use self::compiled::Rule;
pub use self::explain::Explanation;
pub use self::place::{Flaw, Located, Place, Problem};
pub use self::request::PlanError;
pub use self::secret::names_secret;
use crate::model::{DecodedPath, Plan};

/// The compiled rules, in the order of the configuration. By default there are none, and
/// everything passes through.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    rules: Vec<Arc<Rule>>,
}

impl Rules {
    /// Compiles rules.
    ///
    /// # Errors
    /// With everything that is wrong with them, in the order of the file.
    pub fn compile(raw: &[raw::RawRule], options: &Options) -> Result<Self, Vec<Problem>> {
        compile::compile(raw, options).map(|rules| Self { rules })
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
        found.map_or(Route::Unmatched, Route::Matched)
    }

    /// The rules, in the order of the configuration.
    pub fn iter(&self) -> impl Iterator<Item = &Rule> {
        self.rules.iter().map(AsRef::as_ref)
    }

    /// What is allowed in these rules and still costs something, one sentence an item, each
    /// beginning with the rule's name.
    #[must_use]
    pub fn advice(&self) -> Vec<String> {
        advice::advise(self)
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
    pub fn plan(&self, head: &Parts, body: &Bytes) -> Result<Plan, PlanError> {
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
