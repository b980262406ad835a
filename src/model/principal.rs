//! Who a request acts for.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, value::RawValue};

/// The principal context exactly as authn returned it: opaque, round-tripped verbatim
/// (contract auth-provider.md, `P`).
///
/// It may carry a secret, so its `Debug` shows nothing and it is never written to the journal:
/// see [`StoredPrincipal`].
#[derive(Clone)]
pub struct Principal {
    json: std::sync::Arc<RawValue>,
}

impl Principal {
    /// Accepts any JSON object.
    #[must_use]
    pub fn from_json(text: &str) -> Option<Self> {
        serde_json::from_str::<Map<String, Value>>(text).ok()?;
        let json: Box<RawValue> = serde_json::from_str(text).ok()?;
        Some(Self { json: json.into() })
    }

    /// The JSON text, to be put into a back end's request as it is.
    #[must_use]
    pub fn json(&self) -> &RawValue {
        &self.json
    }

    /// The principal's own fields.
    #[must_use]
    pub fn fields(&self) -> Map<String, Value> {
        serde_json::from_str(self.json.get()).unwrap_or_default()
    }
}

impl fmt::Debug for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Principal(…)")
    }
}

/// The part of a principal that the journal may keep (`principal.store`), with which a
/// deregister is made once the original is gone.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StoredPrincipal(Map<String, Value>);

impl StoredPrincipal {
    /// Keeps of `principal` the fields that are named in `allowed` and are scalars.
    #[must_use]
    pub fn keep(principal: &Principal, allowed: &[String]) -> Self {
        let scalar = |value: &Value| value.is_string() || value.is_number() || value.is_boolean();
        let kept = principal.fields().into_iter();
        Self(kept.filter(|(name, value)| allowed.contains(name) && scalar(value)).collect())
    }

    /// The principal that stands in for the original, or `None` where nothing was kept.
    #[must_use]
    pub fn to_principal(&self) -> Option<Principal> {
        let text = serde_json::to_string(&self.0).ok()?;
        (!self.0.is_empty()).then(|| Principal::from_json(&text)).flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p7_only_the_named_scalars_are_stored() {
        let text = r#"{"user_id":"u","api_key":"s3cret","account_id":{"nested":"s3cret"}}"#;
        let principal = Principal::from_json(text).unwrap();
        let stored = StoredPrincipal::keep(&principal, &["user_id".into(), "account_id".into()]);
        assert_eq!(serde_json::to_string(&stored).unwrap(), r#"{"user_id":"u"}"#);
        assert_eq!(format!("{principal:?}"), "Principal(…)");
    }

    #[test]
    fn a_principal_is_an_object_and_goes_out_as_it_came() {
        assert!(Principal::from_json("[]").is_none());
        let text = r#"{ "b":1.0,  "a":1e3 }"#;
        assert_eq!(Principal::from_json(text).unwrap().json().get(), text);
    }
}
