//! From YAML to [`File`]; the parser's errors in the words of this configuration.

use serde_saphyr::Error;

use super::file::File;
use crate::rules::{Place, Problem, nearest};

/// Parses the file.
pub(super) fn parse(text: &str) -> Result<File, Problem> {
    let options = serde_saphyr::options! {
        strict_booleans: true,
        with_snippet: false,
    };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| explain(&error))
}

fn explain(error: &Error) -> Problem {
    let error = error.without_snippet();
    let place = error.location().map(Place::from).unwrap_or_default();
    let (what, mend) = match error {
        Error::SerdeUnknownField { field, expected, .. } => {
            let mend = match nearest(field, expected.iter().copied()) {
                Some(known) => format!("did you mean `{known}`?"),
                None => format!("here may be: {}", expected.join(", ")),
            };
            (format!("unknown field `{field}`"), mend)
        }
        Error::SerdeUnknownVariant { variant, expected, .. } => {
            (format!("unknown value `{variant}`"), format!("write {}", expected.join(" or ")))
        }
        Error::SerdeMissingField { field, .. } => {
            (format!("`{field}` is missing"), "add it".to_owned())
        }
        Error::SerdeInvalidType { unexpected, expected, .. }
        | Error::SerdeInvalidValue { unexpected, expected, .. } => {
            (format!("found {unexpected}"), format!("write {expected}"))
        }
        Error::DuplicateMappingKey { key, .. } => {
            let key = key.as_deref().unwrap_or_default();
            (format!("`{key}` is written twice"), "remove one of them".to_owned())
        }
        Error::InvalidScalar { ty, .. } if ty.starts_with(['u', 'i']) => {
            ("this is no whole number".to_owned(), "write digits, as in 1000".to_owned())
        }
        Error::InvalidBooleanStrict { .. } | Error::InvalidScalar { ty: "bool", .. } => {
            ("this is neither true nor false".to_owned(), "write true or false".to_owned())
        }
        Error::Unexpected { expected, .. } => {
            (format!("expected {expected}"), shape(expected).to_owned())
        }
        Error::ExternalMessage { .. } => (
            plain(error),
            "look at indentation, and quote texts that have { } [ ] , # or \": \"".to_owned(),
        ),
        other => (plain(other), String::new()),
    };
    Problem::new(place, what, mend)
}

/// How the shape that was expected is written.
fn shape(expected: &str) -> &'static str {
    match expected {
        "string scalar" => "write a text",
        "sequence start" => "write a list: [a, b], or lines that begin with \"- \"",
        "mapping start" => "write settings: {name: value}, or lines of name: value",
        _ => "compare with config/agentex.yaml",
    }
}

/// The parser's own words, on one line and without the place.
fn plain(error: &Error) -> String {
    let formatter = serde_saphyr::UserMessageFormatter;
    let text = serde_saphyr::MessageFormatter::format_message(&formatter, error).into_owned();
    text.lines().map(str::trim).collect::<Vec<_>>().join(" ")
}
