//! Where in the configuration something was written, so that every error can point at it.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer};

/// Where a setting was written.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub enum Place {
    /// Nowhere: the setting is missing, or its default holds. Shown as the file's beginning.
    #[default]
    Unknown,
    /// In the file, both counted from 1.
    File {
        /// The line.
        line: u64,
        /// The column, in characters.
        column: u64,
    },
    /// In an environment variable.
    Environment(&'static str),
}

impl From<serde_saphyr::Location> for Place {
    fn from(location: serde_saphyr::Location) -> Self {
        match (location.line(), location.column()) {
            (0, _) => Self::Unknown,
            (line, column) => Self::File { line, column },
        }
    }
}

/// A setting and where it was written.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Located<T> {
    /// The setting.
    pub value: T,
    /// Its place.
    pub place: Place,
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Located<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = serde_saphyr::Spanned::<T>::deserialize(deserializer)?;
        Ok(Self { value: spanned.value, place: spanned.referenced.into() })
    }
}

impl<T: JsonSchema> JsonSchema for Located<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn schema_id() -> Cow<'static, str> {
        T::schema_id()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

/// What is wrong with a text, wherever it was written, and how to mend it.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{what}; {mend}")]
pub struct Flaw {
    /// What is wrong.
    pub what: String,
    /// How to mend it.
    pub mend: String,
}

impl Flaw {
    /// A flaw and its mend.
    pub fn new(what: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { what: what.into(), mend: mend.into() }
    }

    /// The flaw as a problem at a place.
    #[must_use]
    pub fn at(self, place: Place) -> Problem {
        Problem { place, what: self.what, mend: self.mend }
    }
}

/// One thing that is wrong with the configuration, and how to mend it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    /// Where it is.
    pub place: Place,
    /// What is wrong.
    pub what: String,
    /// How to mend it; empty where `what` says it all.
    pub mend: String,
}

impl Problem {
    /// Something wrong at `place`.
    pub fn new(place: Place, what: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { place, what: what.into(), mend: mend.into() }
    }

    /// The problem as one line, in the form that editors and terminals make clickable:
    /// `FILE:LINE:COL: what is wrong; how to mend it`.
    #[must_use]
    pub fn at<'p>(&'p self, file: &'p str) -> impl fmt::Display + 'p {
        InFile { problem: self, file }
    }
}

struct InFile<'p> {
    problem: &'p Problem,
    file: &'p str,
}

impl fmt::Display for InFile<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Problem { place, what, mend } = self.problem;
        match place {
            Place::Unknown => write!(f, "{}:1:1: {what}", self.file)?,
            Place::File { line, column } => write!(f, "{}:{line}:{column}: {what}", self.file)?,
            Place::Environment(name) => write!(f, "{name}: {what}")?,
        }
        if mend.is_empty() { Ok(()) } else { write!(f, "; {mend}") }
    }
}
