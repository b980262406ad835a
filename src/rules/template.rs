//! Calls to the service with holes, filled from a request: `GET /agents/name/{$request.body#/name}`.
//!
//! A value put into a path takes a whole segment and is encoded as one, or the request is
//! refused; a query value that the request lacks leaves its parameter out.

use super::expression::Expression;
use super::place::{Flaw, Located, Problem};
use super::raw::{RawQuery, Scalar};
use super::request::{PlanError, Request};
use super::route::MatchTemplate;
use crate::model::{As, Call, IdCall, Pointer, encode, encode_segment};

/// A value that is known before the request is sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Source {
    /// A parameter of the path.
    Path {
        /// Its name.
        name: String,
        /// Its position among the template's parameters.
        index: usize,
    },
    /// A parameter of the query.
    Query(String),
    /// A member of the JSON body.
    Body(Pointer),
}

impl Source {
    /// The expression as a source, if the request alone gives its value.
    ///
    /// # Errors
    /// When it needs an answer, or a parameter that `template` doesn't have.
    pub(super) fn of(expression: &Expression, template: &MatchTemplate) -> Result<Self, Flaw> {
        match expression {
            Expression::Query(name) => Ok(Self::Query(name.clone())),
            Expression::Body(pointer) => Ok(Self::Body(pointer.clone())),
            Expression::Path(name) => {
                let index = template.parameters().position(|parameter| parameter == name);
                let source = index.map(|index| Self::Path { name: name.clone(), index });
                source.ok_or_else(|| no_parameter(name, template))
            }
            other => Err(Flaw::new(
                format!("`{other}` is not known before the request is sent"),
                "use $request.path, $request.query or $request.body here",
            )),
        }
    }

    /// The expression that the source was written as.
    #[must_use]
    pub(super) fn expression(&self) -> Expression {
        match self {
            Self::Path { name, .. } => Expression::Path(name.clone()),
            Self::Query(name) => Expression::Query(name.clone()),
            Self::Body(pointer) => Expression::Body(pointer.clone()),
        }
    }

    fn reads_body(&self) -> bool {
        matches!(self, Self::Body(_))
    }
}

fn no_parameter(name: &str, template: &MatchTemplate) -> Flaw {
    let known: Vec<_> = template.parameters().map(|name| format!("{{{name}}}")).collect();
    let mend = match known.as_slice() {
        [] => "add it to the path".to_owned(),
        known => format!("the path has {}", known.join(", ")),
    };
    Flaw::new(format!("`match` has no parameter {{{name}}}"), mend)
}

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
            pieces(&written.request.value, method, template, hole).unwrap_or_else(|flaw| {
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
                text.push_str(&format!("{}={}", encode(name), encode(&value)));
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
                Piece::Hole => text.push_str(&format!("{{{hole}}}")),
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
            text.push_str(&format!("{separator}{}={value}", encode(name)));
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
            Piece::Value(source) => match request.text(source)? {
                None => return Ok(None),
                Some(text) => path.push_str(&encode_segment(&text).ok_or_else(|| {
                    PlanError(format!("{} can't be one path segment", source.expression()))
                })?),
            },
            Piece::Hole => {}
        }
    }
    Ok(Some(path))
}

impl QueryValue {
    fn compile(scalar: &Scalar, template: &MatchTemplate) -> Result<Self, Flaw> {
        match scalar {
            Scalar::Text(text) if text.starts_with('$') => {
                Source::of(&Expression::parse(text)?, template).map(Self::Value)
            }
            Scalar::Text(text) if text.contains("{$") => Err(Flaw::new(
                format!("`{text}` mixes text and an expression"),
                "a query value is a constant or one expression without braces",
            )),
            Scalar::Text(text) => Ok(Self::Constant(text.clone())),
            Scalar::Number(number) => Ok(Self::Constant(number.to_string())),
            Scalar::Flag(flag) => Ok(Self::Constant(flag.to_string())),
        }
    }
}

fn pieces(
    text: &str,
    method: &'static str,
    template: &MatchTemplate,
    hole: Option<&Expression>,
) -> Result<Vec<Piece>, Flaw> {
    let mend = format!("write {method} and a path, as in {method} /things");
    let path = match text.split_once(' ') {
        Some((written, path)) if written == method => path.trim_start(),
        Some((written, _)) => {
            return Err(Flaw::new(format!("this call is a {method}, not a `{written}`"), mend));
        }
        None => return Err(Flaw::new(format!("`{text}` is not a method and a path"), mend)),
    };
    let segments = path
        .strip_prefix('/')
        .ok_or_else(|| Flaw::new(format!("the path `{path}` has no leading slash"), "add it"))?;
    let mut pieces = Vec::new();
    for segment in split_segments(segments) {
        pieces.push(Piece::Literal("/".into()));
        pieces.push(piece(segment, template, hole)?);
    }
    Ok(pieces)
}

/// Splits at slashes outside braces: pointers have slashes.
fn split_segments(path: &str) -> impl Iterator<Item = &str> {
    let mut inside = false;
    path.split(move |c| {
        inside = (inside || c == '{') && c != '}';
        c == '/' && !inside
    })
}

fn piece(
    segment: &str,
    template: &MatchTemplate,
    hole: Option<&Expression>,
) -> Result<Piece, Flaw> {
    if let Some(inner) = segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
        let expression = Expression::parse(inner)?;
        match (hole, &expression) {
            (Some(hole), _) if *hole == expression => return Ok(Piece::Hole),
            (Some(hole), Expression::RegisterId | Expression::RowId) => {
                let what = format!("`{expression}` is not what this call asks for");
                return Err(Flaw::new(what, format!("write {{{hole}}}")));
            }
            _ => {}
        }
        return Source::of(&expression, template).map(Piece::Value);
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._~!$&'()*+,;=:@%".contains(c);
    let mend = match segment {
        "" => "leave out empty segments and a trailing slash",
        "." | ".." => "write the path without dot segments",
        _ if segment.contains('?') => "put the query's parameters under `query`",
        _ if segment.contains(['{', '}']) => {
            "an expression in braces takes a whole segment, as in /keys/{$request.path.id}"
        }
        _ if segment.contains('$') => "put an expression in braces, as in /keys/{$request.path.id}",
        _ if !segment.chars().all(plain) => "percent-encode what is not plain in a URL",
        _ => return Ok(Piece::Literal(segment.to_owned())),
    };
    Err(Flaw::new(format!("`{segment}` can't be a path segment"), mend))
}
