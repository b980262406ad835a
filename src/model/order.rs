//! What a person may order about an unfinished operation, and in whose name (promise P9).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An order about one operation. Whoever gives it is written into the operation's records.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Order {
    /// Attempt now what it waits for.
    Retry {
        /// Who says so.
        by: Words,
        /// Why.
        reason: Option<Words>,
    },
    /// Do nothing more for it: whoever says so answers for the row and its relationships
    /// (promises P2 and P3 are waived).
    Discard {
        /// Who says so.
        by: Words,
        /// Why.
        reason: Words,
    },
}

/// A person's words for the record: one line of 1 to [`Words::LONGEST`] characters. They are
/// kept as they are and shown to operators, so they must hold no secret.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Words(String);

impl Words {
    /// The most characters.
    pub const LONGEST: usize = 300;

    /// The words.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Words {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        let length = text.chars().count();
        if (1..=Self::LONGEST).contains(&length) && !text.chars().any(char::is_control) {
            return Ok(Self(text.to_owned()));
        }
        Err(format!("one line of 1 to {} characters is wanted", Self::LONGEST))
    }
}

impl TryFrom<String> for Words {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Words> for String {
    fn from(words: Words) -> Self {
        words.0
    }
}

impl fmt::Display for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p8_words_are_one_short_line() {
        let longest = "ä".repeat(Words::LONGEST);
        for good in ["alice", " on call ", &longest] {
            assert_eq!(good.parse::<Words>().unwrap().as_str(), good.trim());
        }
        let too_long = "x".repeat(Words::LONGEST + 1);
        for bad in ["", "  ", "two\nlines", "\u{1b}[31m", &too_long] {
            assert!(bad.parse::<Words>().is_err(), "{bad:?}");
        }
        assert!(serde_json::from_str::<Words>(r#""a\u0007b""#).is_err());
    }
}
