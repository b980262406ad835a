//! The rules: which requests are creates and deletes, and what is to be done about them.

use std::sync::Arc;

use bytes::Bytes;
use http::Method;
use http::request::Parts;

use crate::model::{DecodedPath, Mode, Plan};

/// The compiled rules, in the order of the configuration.
#[derive(Debug, Default)]
pub struct Rules {}

impl Rules {
    /// Decides what a request is. Costs unmatched requests no allocation.
    #[must_use]
    pub fn route(&self, _method: &Method, _path: &DecodedPath<'_>) -> Route {
        Route::Unmatched
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
}

impl Matched {
    /// Resolves the rule against the request. `body` is as it came, `Content-Encoding` included.
    ///
    /// # Errors
    /// When the request lacks what the rule needs or can't be read in one way only; the client
    /// gets a 400.
    pub fn plan(&self, _head: &Parts, _body: &Bytes) -> Result<Plan, PlanError> {
        todo!()
    }
}

/// One compiled rule.
#[derive(Debug)]
pub struct Rule {}

impl Rule {
    /// Its name, for logs, metrics and operators.
    #[must_use]
    pub fn name(&self) -> &str {
        todo!()
    }

    /// Enforce or observe.
    #[must_use]
    pub fn mode(&self) -> Mode {
        todo!()
    }

    /// Whether it is a create; otherwise it is a delete.
    #[must_use]
    pub fn is_create(&self) -> bool {
        todo!()
    }
}

/// Why a request can't be decided on.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub struct PlanError(pub String);
