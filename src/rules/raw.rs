//! Rules as they are written: the YAML's shape and nothing more. `compile` gives them meaning.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::de::value::MapAccessDeserializer;
use serde::{Deserialize, Deserializer, de};
use serde_json::Value;

use super::place::Located;
use crate::model::{As, Commits, Mode, Sees};

/// One rule: a request that creates or deletes a resource, and what is to be done about it.
///
/// A create has `register`, `undo`, `confirm` and, if its unknown outcomes are to be settled,
/// `probe`; a delete has `deregister` and `probe`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Rule")]
pub struct RawRule {
    /// The rule's name, for logs, metrics and operators; unique.
    pub name: Located<String>,
    /// `enforce` (default) fails closed; `observe` records and counts, and refuses nothing.
    #[serde(default)]
    pub mode: Mode,
    /// Method and path, as in `DELETE /agent_api_keys/{id}`; `{id}` is one segment.
    #[serde(rename = "match")]
    pub matches: Located<String>,
    /// Look-ups by name, at most one; their answers are `$steps.NAME#/POINTER`.
    #[serde(default)]
    pub steps: BTreeMap<String, Located<RawStep>>,
    /// Whether a request has its effect before the service answers it (`before_answer`), or may have it
    /// later, within `bounds.late_effect` (`late`, the default). It decides how soon a row that can't be seen
    /// counts as gone, so that `undo: done` can be told.
    #[serde(default)]
    pub commits: Commits,
    /// What a create registers.
    pub register: Option<Located<RawRegister>>,
    /// What proves that the row is new, and not an older one that the service found: `always`, if the service
    /// never answers a create with an id that it has given before; `{status: [201]}`, if these statuses tell a
    /// new row from one that was found; `listed_before`, if it is new unless the list before showed it.
    /// Required of a create, since only what is new is ever undone; a rule that only observes undoes
    /// nothing, and may leave it out.
    pub new: Option<Located<RawNew>>,
    /// Headers by which the service repeats the answer to an earlier request. Default `[idempotency-key]`.
    pub replay_headers: Option<Located<Vec<Located<String>>>>,
    /// What a delete deregisters.
    pub deregister: Option<Located<RawDeregister>>,
    /// How a create is taken back.
    pub undo: Option<Located<RawUndo>>,
    /// The question whether one row exists: the only proof of its absence.
    pub confirm: Option<Located<RawConfirm>>,
    /// The question which rows there are.
    pub probe: Option<Located<RawProbe>>,
    /// Resources that the request may make on the side, as a key with the registration of an agent. They are not
    /// registered; but a row that may be one of them is never undone for another create. A rule may have nothing else.
    #[serde(default)]
    pub makes_also: Vec<RawAlso>,
}

/// A resource that a request may make on the side.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "MakesAlso")]
pub struct RawAlso {
    /// Its type.
    #[serde(rename = "type")]
    pub kind: Located<String>,
    /// What its row satisfies, by JSON Pointer into the row; without conditions it may be any row of the type.
    #[serde(default, rename = "where")]
    pub conditions: BTreeMap<String, Located<RawCondition>>,
}

/// A look-up: a GET that depends on the request alone, and runs once there is a row.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Step")]
pub struct RawStep {
    /// `GET` and a path, as in `GET /agents/name/{$request.body#/agent_name}`.
    pub request: Located<String>,
    /// Query parameters; one whose value is absent is left out.
    #[serde(default)]
    pub query: RawQuery,
    /// Whose credentials the call carries.
    #[serde(default, rename = "as")]
    pub credentials: Located<As>,
}

/// The resource that a create makes.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Register")]
pub struct RawRegister {
    /// Its type in the authorization back end, as in `api_key`.
    #[serde(rename = "type")]
    pub kind: Located<String>,
    /// Where the service's answer holds its id, as in `$response.body#/id`.
    pub id: Located<String>,
    /// The resource it belongs to; without it no permission cascades.
    pub parent: Option<RawParent>,
}

/// What proves that a row is new.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "New")]
pub enum RawNew {
    /// The service never answers a create with an id that it has given before.
    Always,
    /// It is new unless the list before showed it; needs `probe: {before: true}`.
    ListedBefore,
    /// These statuses tell a new row; every other success tells one that was found.
    Status(Vec<u16>),
}

/// The parent edge.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Parent")]
pub struct RawParent {
    /// The parent's type, as in `agent`.
    #[serde(rename = "type")]
    pub kind: Located<String>,
    /// Its id: `$response.body#/…` (best: the service's own word), `$steps.NAME#/…` or
    /// `$request…`.
    pub id: Located<String>,
}

/// The resources that a delete removes.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Deregister")]
pub struct RawDeregister {
    /// Their type.
    #[serde(rename = "type")]
    pub kind: Located<String>,
    /// `$request.path.NAME` where the request names one id; `$row.id` where `probe` tells.
    pub id: Located<String>,
}

/// How a create is taken back.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Undo")]
pub struct RawUndo {
    /// `DELETE` and a path with `{$register.id}`.
    pub request: Located<String>,
    /// Query parameters.
    #[serde(default)]
    pub query: RawQuery,
    /// Whose credentials the call carries.
    #[serde(default, rename = "as")]
    pub credentials: Located<As>,
    /// Statuses after which `confirm` is asked; others are retried. Default 200, 202, 204, 404,
    /// 410.
    #[serde(default = "accepted_on")]
    pub accepted_on: Vec<u16>,
}

fn accepted_on() -> Vec<u16> {
    vec![200, 202, 204, 404, 410]
}

/// The question whether one row exists.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Confirm")]
pub struct RawConfirm {
    /// `GET` and a path with `{$register.id}` (of a create), `{$row.id}` (of a delete whose
    /// probe tells the ids) or the deleted id's expression.
    pub request: Located<String>,
    /// Query parameters.
    #[serde(default)]
    pub query: RawQuery,
    /// Whose credentials the call carries. A service that hides rows that its caller may not
    /// see behind a 404 proves absence to `service` only.
    #[serde(default, rename = "as")]
    pub credentials: Located<As>,
    /// Statuses that prove the row's absence. Default 404.
    #[serde(default = "gone_on")]
    pub gone_on: Located<Vec<u16>>,
    /// Where the answer holds the row's id. Default `/id`.
    #[serde(default = "id_pointer")]
    pub id: Located<String>,
}

fn gone_on() -> Located<Vec<u16>> {
    Located { value: vec![404], ..Located::default() }
}

fn id_pointer() -> Located<String> {
    Located { value: "/id".into(), ..Located::default() }
}

/// The question which rows there are, or, in a delete by id, whether one is.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Probe")]
pub struct RawProbe {
    /// `GET` and a path.
    pub request: Located<String>,
    /// Query parameters; one whose value is absent is left out.
    #[serde(default)]
    pub query: RawQuery,
    /// Whose credentials the call carries.
    #[serde(default, rename = "as")]
    pub credentials: Located<As>,
    /// How the list is paged; without it, one answer holds all rows.
    pub page: Option<Located<RawPage>>,
    /// `all`, if the list shows every row to every caller, and to `credentials.service` after a crash.
    /// `own` (default) finds rows, but if it lacks one, that proves nothing: then a create with an unknown
    /// outcome is reported in the end, also if no row was found.
    #[serde(default)]
    pub sees: Sees,
    /// Whether the rows are listed before a create is sent, too: then a row of an unknown outcome can be
    /// told from an older one, and is removed. Costs a GET for each create. Needs `sees: all` and
    /// `journal.exclusive_writer`. Default false.
    pub before: Option<Located<bool>>,
    /// Where the answer holds the array of rows; the whole answer by default.
    #[serde(default)]
    pub rows: Located<String>,
    /// What a row must satisfy, by JSON Pointer into the row. Compare only what the service never changes.
    /// Spaces around a text, its case and its Unicode form do not count, and a number equals its text.
    #[serde(default, rename = "where")]
    pub conditions: BTreeMap<String, Located<RawCondition>>,
    /// How a row is read.
    pub row: RawRow,
}

/// Numbered pages, from 1.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Page")]
pub struct RawPage {
    /// The query parameter that takes the page's number.
    pub number: String,
    /// The query parameter that takes the rows per page; `query` gives it a whole number.
    pub size: String,
}

/// Where a row holds what is asked of it.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Row")]
pub struct RawRow {
    /// The row's id, as in `/id`.
    pub id: Located<String>,
}

/// Query parameters by name: constants, or expressions of the request.
pub type RawQuery = BTreeMap<String, Located<Scalar>>;

/// A constant, or the text of an expression.
#[derive(Clone, PartialEq, Debug, JsonSchema)]
#[schemars(untagged)]
pub enum Scalar {
    /// A text; an expression if it begins with `$`.
    Text(String),
    /// A whole number.
    Number(i64),
    /// `true` or `false`.
    Flag(bool),
}

impl Scalar {
    /// The constant as JSON.
    #[must_use]
    pub fn to_json(&self) -> Value {
        match self {
            Self::Text(text) => Value::from(text.as_str()),
            Self::Number(number) => Value::from(*number),
            Self::Flag(flag) => Value::from(*flag),
        }
    }
}

/// What a row's field must equal.
#[derive(Clone, PartialEq, Debug, JsonSchema)]
#[schemars(untagged, rename = "Condition")]
pub enum RawCondition {
    /// A constant or an expression.
    Plain(Scalar),
    /// An expression, and what the service takes where the request lacks the value.
    Defaulted(Defaulted),
}

/// An expression with a default.
#[derive(Clone, PartialEq, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Defaulted {
    /// The expression.
    pub value: Scalar,
    /// The service's own default.
    pub default: Scalar,
}

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match deserializer.deserialize_any(ConditionVisitor { with_default: false })? {
            RawCondition::Plain(scalar) => Ok(scalar),
            RawCondition::Defaulted(_) => Err(de::Error::custom("expected a constant")),
        }
    }
}

impl<'de> Deserialize<'de> for RawCondition {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ConditionVisitor { with_default: true })
    }
}

/// By hand instead of `untagged`, whose errors tell neither what was expected nor where.
struct ConditionVisitor {
    with_default: bool,
}

impl<'de> de::Visitor<'de> for ConditionVisitor {
    type Value = RawCondition;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text, a whole number, true or false")?;
        if self.with_default { f.write_str(", or {value: …, default: …}") } else { Ok(()) }
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<RawCondition, E> {
        Ok(RawCondition::Plain(Scalar::Text(text.to_owned())))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<RawCondition, E> {
        Ok(RawCondition::Plain(Scalar::Number(number)))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<RawCondition, E> {
        let number = i64::try_from(number);
        let number = number.map_err(|_| E::custom("the number is too large"))?;
        Ok(RawCondition::Plain(Scalar::Number(number)))
    }

    fn visit_bool<E: de::Error>(self, flag: bool) -> Result<RawCondition, E> {
        Ok(RawCondition::Plain(Scalar::Flag(flag)))
    }

    fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<RawCondition, A::Error> {
        if !self.with_default {
            return Err(de::Error::invalid_type(de::Unexpected::Map, &self));
        }
        Defaulted::deserialize(MapAccessDeserializer::new(map)).map(RawCondition::Defaulted)
    }
}
