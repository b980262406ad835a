//! JSON Pointers (RFC 6901).

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::ResourceId;

/// A JSON Pointer, parsed: `""` is the whole document, `/a/0` its member `a`'s first item.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Pointer(String);

/// Why a text is not a JSON Pointer.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PointerError {
    /// A pointer is empty or begins with a slash.
    #[error("a JSON Pointer is empty or begins with \"/\" (RFC 6901): write \"/{0}\"")]
    NoSlash(String),
    /// `~` stands only before `0` or `1`.
    #[error("in a JSON Pointer \"~\" is written \"~0\" and \"/\" is written \"~1\" (RFC 6901)")]
    Escape,
}

impl Pointer {
    /// Parses `text`.
    ///
    /// # Errors
    /// When `text` is not a JSON Pointer of RFC 6901.
    pub fn parse(text: &str) -> Result<Self, PointerError> {
        if !text.is_empty() && !text.starts_with('/') {
            return Err(PointerError::NoSlash(text.to_owned()));
        }
        let mut after_tilde = text.split('~').skip(1);
        if !after_tilde.all(|rest| rest.starts_with(['0', '1'])) {
            return Err(PointerError::Escape);
        }
        Ok(Self(text.to_owned()))
    }

    /// The value that the pointer names in `document`, if there is one.
    #[must_use]
    pub fn of<'v>(&self, document: &'v Value) -> Option<&'v Value> {
        document.pointer(&self.0)
    }

    /// The id that the pointer names in `document`, if there is one.
    #[must_use]
    pub fn id_of(&self, document: &Value) -> Option<ResourceId> {
        self.of(document).and_then(ResourceId::from_json)
    }

    /// The pointer's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The reference tokens, unescaped.
    pub fn tokens(&self) -> impl Iterator<Item = String> + '_ {
        self.0.split('/').skip(1).map(|token| token.replace("~1", "/").replace("~0", "~"))
    }
}

impl TryFrom<String> for Pointer {
    type Error = PointerError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text)
    }
}

impl From<Pointer> for String {
    fn from(pointer: Pointer) -> Self {
        pointer.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pointers_are_those_of_rfc_6901() {
        let document = serde_json::json!({"a/b": [1, {"m~n": 2}]});
        let at = |text| Pointer::parse(text).unwrap().of(&document).cloned();
        assert_eq!(at("/a~1b/1/m~0n"), Some(2.into()));
        assert_eq!(at(""), Some(document.clone()));
        assert_eq!(at("/none"), None);
        assert!(matches!(Pointer::parse("a"), Err(PointerError::NoSlash(_))));
        assert_eq!(Pointer::parse("/a~2"), Err(PointerError::Escape));
        assert_eq!(Pointer::parse("/~"), Err(PointerError::Escape));
    }
}
