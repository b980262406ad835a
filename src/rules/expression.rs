//! Runtime expressions: where a rule takes a value from.
//!
//! `$request.path.NAME`, `$request.query.NAME`, `$request.body#/POINTER` and
//! `$response.body#/POINTER` are those of `OpenAPI` 3.1 ("Runtime Expressions"), `$steps.NAME` is
//! Arazzo's; `$register.id` and `$row.id` are ours: the id of the resource a rule registers, and
//! of the row a probe found. Headers are not among them: credentials travel there (promise P7).

use std::fmt;

use super::place::Flaw;
use super::secret::names_secret;
use crate::model::{Pointer, PointerError};

/// A parsed expression.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Expression {
    /// `$request.path.NAME`: what the `match` template's `{NAME}` took from the path.
    Path(String),
    /// `$request.query.NAME`: the last query parameter of that name.
    Query(String),
    /// `$request.body#/POINTER`: a member of the request's JSON object.
    Body(Pointer),
    /// `$response.body#/POINTER`: a member of the service's answer.
    Answer(Pointer),
    /// `$steps.NAME#/POINTER`: a member of a look-up's answer.
    Step {
        /// The look-up.
        name: String,
        /// The member.
        pointer: Pointer,
    },
    /// `$register.id`.
    RegisterId,
    /// `$row.id`.
    RowId,
}

impl Expression {
    /// Parses `text`.
    ///
    /// # Errors
    /// When it is no expression that rules have, or when its value would be a secret that the
    /// journal must not hold (promise P7).
    pub(super) fn parse(text: &str) -> Result<Self, Flaw> {
        let expression = Self::parse_any(text)?;
        match expression.names().into_iter().find(|name| names_secret(name)) {
            None => Ok(expression),
            Some(name) => Err(Flaw {
                what: format!("`{text}` names a secret (\"{name}\"), and its value would be kept"),
                mend: "use a field that is no secret, such as an id or a name".into(),
            }),
        }
    }

    fn parse_any(text: &str) -> Result<Self, Flaw> {
        let unknown =
            || Flaw { what: format!("`{text}` is not an expression"), mend: KNOWN.into() };
        match text {
            "$register.id" => return Ok(Self::RegisterId),
            "$row.id" => return Ok(Self::RowId),
            _ => {}
        }
        if let Some(name) = text.strip_prefix("$request.path.") {
            return name_of(name).map(Self::Path).ok_or_else(unknown);
        }
        if let Some(name) = text.strip_prefix("$request.query.") {
            return name_of(name).map(Self::Query).ok_or_else(unknown);
        }
        if let Some(rest) = text.strip_prefix("$request.body") {
            return member(text, rest).map(Self::Body);
        }
        if let Some(rest) = text.strip_prefix("$response.body") {
            return member(text, rest).map(Self::Answer);
        }
        if let Some(rest) = text.strip_prefix("$steps.") {
            let end = rest.find('#').unwrap_or(rest.len());
            let (name, rest) = rest.split_at_checked(end).ok_or_else(unknown)?;
            let name = name_of(name).ok_or_else(unknown)?;
            return member(text, rest).map(|pointer| Self::Step { name, pointer });
        }
        if text.starts_with("$request.header.") || text.starts_with("$response.header.") {
            return Err(Flaw {
                what: format!("`{text}`: rules can't read headers, which carry credentials"),
                mend: "take the value from the path, the query or the body".into(),
            });
        }
        Err(unknown())
    }

    /// The names that tell what the value is.
    fn names(&self) -> Vec<String> {
        match self {
            Self::Path(name) | Self::Query(name) => vec![name.clone()],
            Self::Body(pointer) | Self::Answer(pointer) | Self::Step { pointer, .. } => {
                pointer.tokens().collect()
            }
            Self::RegisterId | Self::RowId => Vec::new(),
        }
    }
}

const KNOWN: &str = "write $request.path.NAME, $request.query.NAME, $request.body#/POINTER, \
    $response.body#/POINTER, $steps.NAME#/POINTER, $register.id or $row.id";

fn name_of(text: &str) -> Option<String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '~');
    (!text.is_empty() && text.chars().all(fits)).then(|| text.to_owned())
}

fn member(text: &str, rest: &str) -> Result<Pointer, Flaw> {
    let error = |what: String, mend: String| Err(Flaw { what, mend });
    let Some(pointer) = rest.strip_prefix('#') else {
        let what = format!("`{text}` needs \"#\" and a JSON Pointer");
        return error(what, "write it as in $request.body#/agent_id".into());
    };
    match Pointer::parse(pointer) {
        Ok(pointer) if pointer.as_str().is_empty() => {
            let what = format!("`{text}` names a whole document");
            error(what, "name one of its members, as in $request.body#/agent_id".into())
        }
        Ok(pointer) => Ok(pointer),
        Err(PointerError::NoSlash(bare)) => {
            let what = format!("`{text}`: a JSON Pointer begins with \"/\"");
            error(what, format!("write #/{bare}"))
        }
        Err(PointerError::Escape) => {
            let what = format!("`{text}`: \"~\" is no escape of RFC 6901");
            error(what, "write ~0 for \"~\" and ~1 for \"/\"".into())
        }
    }
}

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(name) => write!(f, "$request.path.{name}"),
            Self::Query(name) => write!(f, "$request.query.{name}"),
            Self::Body(pointer) => write!(f, "$request.body#{}", pointer.as_str()),
            Self::Answer(pointer) => write!(f, "$response.body#{}", pointer.as_str()),
            Self::Step { name, pointer } => write!(f, "$steps.{name}#{}", pointer.as_str()),
            Self::RegisterId => f.write_str("$register.id"),
            Self::RowId => f.write_str("$row.id"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn refused(text: &str) -> String {
        Expression::parse(text).unwrap_err().to_string()
    }

    #[test]
    fn every_kind_of_expression_is_read_and_printed_as_written() {
        for text in [
            "$request.path.id",
            "$request.query.agent_id",
            "$request.body#/agent/id",
            "$response.body#/result/0/id",
            "$steps.agent#/id",
            "$register.id",
            "$row.id",
            "$request.body#/a~1b",
        ] {
            assert_eq!(Expression::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_wrong_is_told_with_its_mend() {
        assert!(refused("$request.body#agent_id").ends_with("write #/agent_id"));
        assert!(refused("$request.body").contains("needs \"#\""));
        assert!(refused("$request.body#").contains("names a whole document"));
        assert!(refused("$request.body#/~2").contains("RFC 6901"));
        assert!(refused("$request.header.x-id").contains("can't read headers"));
        for bad in ["", "$", "id", "$request.path.", "$request.path.a/b", "$steps.#/id", "$url"] {
            assert!(refused(bad).contains("is not an expression"), "{bad}");
        }
    }

    #[test]
    fn p7_an_expression_that_would_journal_a_secret_is_refused() {
        for secret in [
            "$request.body#/api_key",
            "$request.body#/credentials/value",
            "$request.query.token",
            "$request.path.secret",
            "$response.body#/secret",
            "$steps.agent#/password",
        ] {
            assert!(refused(secret).contains("names a secret"), "{secret}");
        }
        assert!(Expression::parse("$request.body#/api_key_type").is_ok());
    }

    proptest! {
        #[test]
        fn parsing_never_panics_and_what_parses_prints_as_itself(text in "[$a-z.#/~{}é01]{0,40}") {
            for text in [text.clone(), format!("$request.{text}"), format!("$steps.{text}")] {
                if let Ok(expression) = Expression::parse(&text) {
                    prop_assert_eq!(expression.to_string(), text);
                }
            }
        }

        #[test]
        fn any_text_is_read_or_refused(text in any::<String>()) {
            let _ = Expression::parse(&text);
        }
    }
}
