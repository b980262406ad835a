//! The headers of requests that have no principal by design.

use http::{HeaderMap, HeaderName};

use super::{Error, Name};

/// The names of `principal.bypass`.
pub(super) struct Bypass(Vec<HeaderName>);

impl Bypass {
    pub(super) fn new(names: &[Name]) -> Self {
        Self(names.iter().map(|name| name.0.clone()).collect())
    }

    /// Whether `headers` hold one of the names. One with an empty value is none: the service takes it for
    /// absent, and would go on as if the caller were a principal.
    ///
    /// A name that is one of these only to a service that takes `_` for `-` makes an agent of a principal
    /// there, and, beside the name itself and empty, a principal of an agent: it is refused.
    pub(super) fn marks(&self, headers: &HeaderMap) -> Result<bool, Error> {
        if let Some(name) = headers.keys().find(|name| self.is_lookalike(name, headers)) {
            return Err(Error::Lookalike(name.to_string()));
        }
        Ok(self.0.iter().any(|name| {
            let mut values = headers.get_all(name).iter().peekable();
            values.peek().is_some() && values.all(|value| !value.as_bytes().trim_ascii().is_empty())
        }))
    }

    fn is_lookalike(&self, name: &HeaderName, headers: &HeaderMap) -> bool {
        let is_own = self.0.contains(name);
        let other = |known: &&HeaderName| *known != name && alike(known, name);
        self.0.iter().filter(other).any(|known| !is_own || headers.contains_key(known))
    }
}

/// Whether two names are one to who takes `_` for `-`.
fn alike(a: &HeaderName, b: &HeaderName) -> bool {
    let read = |name: &HeaderName| name.as_str().replace('_', "-");
    a.as_str().len() == b.as_str().len() && read(a) == read(b)
}
