//! From the text of a call to its pieces.

use super::super::expression::Expression;
use super::super::place::Flaw;
use super::super::raw::Scalar;
use super::super::route::MatchTemplate;
use super::super::source::Source;
use super::{Piece, QueryValue};

impl QueryValue {
    /// Compiles one parameter's value.
    pub(super) fn compile(scalar: &Scalar, template: &MatchTemplate) -> Result<Self, Flaw> {
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

/// Parses `METHOD /path` into the path's pieces.
pub(super) fn pieces(
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
    let inner = segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
    if let Some(inner) = inner.filter(|inner| !inner.contains(['{', '}'])) {
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matches() -> MatchTemplate {
        MatchTemplate::parse("POST /agents/{id}").unwrap()
    }

    fn read(text: &str) -> Result<Vec<Piece>, Flaw> {
        pieces(text, "GET", &matches(), Some(&Expression::RowId))
    }

    /// The text that pieces were read from.
    fn written(pieces: &[Piece]) -> String {
        let piece = |piece: &Piece| match piece {
            Piece::Literal(text) => text.clone(),
            Piece::Value(source) => format!("{{{}}}", source.expression()),
            Piece::Hole => "{$row.id}".to_owned(),
        };
        format!("GET {}", pieces.iter().map(piece).collect::<String>())
    }

    #[test]
    fn a_value_takes_a_whole_segment() {
        let text = "GET /a/{$request.body#/x/y}/{$row.id}/b%20c";
        assert_eq!(written(&read(text).unwrap()), text);
        for bad in ["GET /a-{$row.id}", "GET /{$row.id}{$row.id}", "GET /{$row.id", "GET /$row.id"]
        {
            assert!(read(bad).unwrap_err().what.contains("can't be a path segment"), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_is_read_is_written_as_it_was(
            segments in prop::collection::vec(
                prop::sample::select(vec![
                    "a", "b%2Fc", "{$row.id}", "{$request.path.id}", "{$request.query.q}",
                    "{$request.body#/a/b}", "x y", "", "{}", "{$request.path.no}", "..",
                ]),
                1..5,
            )
        ) {
            let text = format!("GET /{}", segments.join("/"));
            if let Ok(pieces) = read(&text) {
                prop_assert_eq!(written(&pieces), text);
            }
        }

        #[test]
        fn any_text_is_read_or_refused(text in any::<String>()) {
            let _ = read(&text);
            let _ = read(&format!("GET /{text}"));
        }
    }
}
