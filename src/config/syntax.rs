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
        other => (plain(other), String::new()),
    };
    Problem::new(place, what, mend)
}

/// The parser's own words, on one line and without the place.
fn plain(error: &Error) -> String {
    let formatter = serde_saphyr::UserMessageFormatter;
    let text = serde_saphyr::MessageFormatter::format_message(&formatter, error).into_owned();
    text.lines().map(str::trim).collect::<Vec<_>>().join(" ")
}
