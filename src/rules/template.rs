//! Calls to the service with holes, filled from a request: `GET /agents/name/{$request.body#/name}`.
//!
//! A value put into a path takes a whole segment and is encoded as one, or the request is
//! refused; a query value that the request lacks leaves its parameter out.

mod parse;

use super::expression::Expression;
use super::place::{Flaw, Located, Problem};
use super::raw::RawQuery;
use super::request::{PlanError, Request};
use super::route::MatchTemplate;
use super::source::Source;
use crate::model::{As, Call, IdCall, encode, encode_segment};

/// A piece of a path.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Piece {
    Literal(String),
    Value(Source),
    /// Where the id of a resource goes that isn't known yet.
    Hole,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum QueryValue {
    Constant(String),
    Value(Source),
}

/// A call with values of the request in it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Template {
    method: &'static str,
    pieces: Vec<Piece>,
    query: Vec<(String, QueryValue)>,
    credentials: As,
}

/// What a template is compiled from.
pub(super) struct Written<'w> {
    /// `METHOD /path`.
    pub(super) request: &'w Located<String>,
    /// The query parameters.
    pub(super) query: &'w RawQuery,
    /// Whose credentials it carries.
    pub(super) credentials: As,
}

impl Template {
    /// Compiles a call without a hole.
    ///
    /// # Errors
    /// With everything that is wrong with it.
    pub(super) fn compile(
        written: &Written<'_>,
        method: &'static str,
        template: &MatchTemplate,
    ) -> Result<Self, Vec<Problem>> {
        Self::compile_any(written, method, template, None)
    }

    fn compile_any(
        written: &Written<'_>,
        method: &'static str,
        template: &MatchTemplate,
        hole: Option<&Expression>,
    ) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let pieces =
            parse::pieces(&written.request.value, method, template, hole).unwrap_or_else(|flaw| {
                problems.push(flaw.at(written.request.place));
                Vec::new()
            });
        let mut query = Vec::new();
        for (name, scalar) in written.query {
            match QueryValue::compile(&scalar.value, template) {
                Ok(value) => query.push((name.clone(), value)),
                Err(flaw) => problems.push(flaw.at(scalar.place)),
            }
        }
        let credentials = written.credentials;
        if problems.is_empty() {
            Ok(Self { method, pieces, query, credentials })
        } else {
            Err(problems)
        }
    }

    /// Whether filling it needs the body.
    #[must_use]
    pub(super) fn reads_body(&self) -> bool {
        let in_path = |piece: &Piece| matches!(piece, Piece::Value(source) if source.reads_body());
        let in_query =
            |value: &QueryValue| matches!(value, QueryValue::Value(source) if source.reads_body());
        self.pieces.iter().any(in_path) || self.query.iter().any(|(_, value)| in_query(value))
    }

    /// The call, or `None` where the request lacks a value of its path.
    ///
    /// # Errors
    /// When a value is there but can't be put into a call.
    pub(super) fn fill(&self, request: &Request<'_>) -> Result<Option<Call>, PlanError> {
        let Some(path) = fill(&self.pieces, request)? else { return Ok(None) };
        let target = path + &self.fill_query(request)?;
        let method = self.method.to_owned();
        Ok(Some(Call { method, target, credentials: self.credentials }))
    }

    fn fill_query(&self, request: &Request<'_>) -> Result<String, PlanError> {
        let mut text = String::new();
        for (name, value) in &self.query {
            let value = match value {
                QueryValue::Constant(constant) => Some(constant.clone()),
                QueryValue::Value(source) => request.text(source)?,
            };
            if let Some(value) = value {
                text.push(if text.is_empty() { '?' } else { '&' });
                text.extend([&encode(name), "=", &encode(&value)]);
            }
        }
        Ok(text)
    }

    /// The call for a reader: what `request` has is filled in, the rest stays an expression.
    #[must_use]
    pub(super) fn describe(&self, request: &Request<'_>, hole: &str) -> String {
        let mut text = format!("{} ", self.method);
        for piece in &self.pieces {
            match piece {
                Piece::Literal(literal) => text.push_str(literal),
                Piece::Value(source) => text.push_str(&shown(source, request, encode_segment)),
                Piece::Hole => text.extend(["{", hole, "}"]),
            }
        }
        let query = self.query.iter().filter_map(|(name, value)| match value {
            QueryValue::Constant(constant) => Some((name, encode(constant))),
            QueryValue::Value(source) if request.lacks(source) => None,
            QueryValue::Value(source) => {
                Some((name, shown(source, request, |text| Some(encode(text)))))
            }
        });
        for (position, (name, value)) in query.enumerate() {
            let separator = if position == 0 { '?' } else { '&' };
            text.push(separator);
            text.extend([&encode(name), "=", &value]);
        }
        match self.credentials {
            As::Caller => text,
            As::Service => text + " (as the service)",
        }
    }
}

fn shown(
    source: &Source,
    request: &Request<'_>,
    encode: impl Fn(&str) -> Option<String>,
) -> String {
    let value = request.text(source).ok().flatten().and_then(|text| encode(&text));
    value.unwrap_or_else(|| format!("{{{}}}", source.expression()))
}

/// A call with one hole: the id of a resource.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct IdTemplate(Template);

impl IdTemplate {
    /// Compiles a call whose path has `hole` exactly once.
    ///
    /// # Errors
    /// With everything that is wrong with it.
    pub(super) fn compile(
        written: &Written<'_>,
        method: &'static str,
        template: &MatchTemplate,
        hole: &Expression,
    ) -> Result<Self, Vec<Problem>> {
        let compiled = Template::compile_any(written, method, template, Some(hole))?;
        let holes = compiled.pieces.iter().filter(|piece| matches!(piece, Piece::Hole)).count();
        if holes == 1 {
            return Ok(Self(compiled));
        }
        let what = format!("the path has {{{hole}}} {holes} times");
        let flaw = Flaw::new(what, format!("write it once, as in {method} /things/{{{hole}}}"));
        Err(vec![flaw.at(written.request.place)])
    }

    /// Whether filling it needs the body.
    #[must_use]
    pub(super) fn reads_body(&self) -> bool {
        self.0.reads_body()
    }

    /// The call with its hole.
    ///
    /// # Errors
    /// When the request lacks a value of the path, or one can't be put into it.
    pub(super) fn fill(&self, request: &Request<'_>) -> Result<IdCall, PlanError> {
        let Template { method, pieces, credentials, .. } = &self.0;
        let mut halves = pieces.split(|piece| matches!(piece, Piece::Hole));
        let mut half = || {
            let pieces = halves.next().unwrap_or_default();
            fill(pieces, request)?.ok_or_else(|| lacking(pieces, request))
        };
        let before = half()?;
        let after = half()? + &self.0.fill_query(request)?;
        Ok(IdCall { method: (*method).to_owned(), before, after, credentials: *credentials })
    }

    /// The call for a reader, with `hole` where the id goes.
    #[must_use]
    pub(super) fn describe(&self, request: &Request<'_>, hole: &str) -> String {
        self.0.describe(request, hole)
    }

    /// Whose credentials it carries.
    #[must_use]
    pub(super) fn credentials(&self) -> As {
        self.0.credentials
    }
}

fn lacking(pieces: &[Piece], request: &Request<'_>) -> PlanError {
    let absent = pieces.iter().find_map(|piece| match piece {
        Piece::Value(source) => matches!(request.text(source), Ok(None)).then_some(source),
        _ => None,
    });
    let name = absent.map_or_else(String::new, |source| source.expression().to_string());
    PlanError(format!("the request lacks {name}"))
}

/// The path, or `None` where the request lacks one of its values.
fn fill(pieces: &[Piece], request: &Request<'_>) -> Result<Option<String>, PlanError> {
    let mut path = String::new();
    for piece in pieces {
        match piece {
            Piece::Literal(text) => path.push_str(text),
            Piece::Value(source) => match request.segment(source)? {
                None => return Ok(None),
                Some(segment) => path.push_str(&segment),
            },
            Piece::Hole => {}
        }
    }
    Ok(Some(path))
}
