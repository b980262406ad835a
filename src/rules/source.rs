//! Values that are known before a request is sent.

use super::expression::Expression;
use super::place::Flaw;
use super::route::MatchTemplate;
use crate::model::Pointer;

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

    /// Whether its value is in the body.
    pub(super) fn reads_body(&self) -> bool {
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
