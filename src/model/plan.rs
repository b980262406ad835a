//! A rule resolved against one request: all that is needed to finish an operation, by this
//! process or, after a crash, by another. It is what `Prepared` holds, so that a reload of the
//! configuration changes nothing for an operation under way.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use unicode_normalization::UnicodeNormalization;

use super::{As, Call, IdCall, Pointer, ResourceId, ResourceType};

/// Whether a rule refuses and undoes, or only records and counts.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Fail closed (promise P1).
    #[default]
    Enforce,
    /// Do and record everything, refuse and undo nothing, count what would have been.
    Observe,
}

/// When a request that the service has answered takes effect.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Commits {
    /// At any time within L (`bounds.late_effect`), as where the service commits behind its answer.
    #[default]
    Late,
    /// Before the answer is sent.
    BeforeAnswer,
}

/// Whether the service gives the ids of rows that are gone to new rows.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ids {
    /// It never does.
    #[default]
    Fresh,
    /// It may, as where a request names the id of the row that it makes.
    Reused,
}

/// A rule resolved against one request.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Plan {
    /// The rule's name.
    pub rule: String,
    /// Enforce or observe.
    pub mode: Mode,
    /// The type of the resource that is created or deleted.
    pub resource_type: ResourceType,
    /// When an answered request has its effect.
    pub commits: Commits,
    /// Whether ids of the type come back.
    pub ids: Ids,
    /// What the request is.
    pub kind: Kind,
}

/// Create or delete.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(clippy::large_enum_variant, reason = "one an operation, mostly a create")]
pub enum Kind {
    /// The request makes a resource.
    Create(CreatePlan),
    /// The request removes resources.
    Delete(DeletePlan),
}

/// How a create is registered, undone and, when its outcome is unknown, found.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct CreatePlan {
    /// Where the service's answer holds the new id.
    pub id: Pointer,
    /// The row's id, where the request gives it.
    pub names: Option<ResourceId>,
    /// The parent edge, if the resource has one.
    pub parent: Option<ParentPlan>,
    /// The request that removes the row.
    pub undo: Undo,
    /// The request whose answer is the only proof that the row is gone.
    pub confirm: Confirm,
    /// Which rows may be this create's; without it an unknown outcome can't be settled.
    pub probe: Option<Probe>,
    /// Whether the rows are listed before the create is sent. What was there then was made by another
    /// request, whatever its name is.
    pub before: bool,
    /// What proves that the row of an answer is new.
    pub new: Newness,
    /// Whether the back end leaves an owner that there is, so that a row that is not proven new may be registered.
    pub keeps_owner: bool,
    /// Whether the request carries a replay key: then its answer may repeat that of an earlier request.
    pub replayed: bool,
}

impl CreatePlan {
    /// Of a row that nobody registers or undoes, and that satisfies `conditions`: of what a request makes on the
    /// side. Nothing is ever sent for it.
    #[must_use]
    pub fn on_the_side(conditions: Vec<Condition>) -> Self {
        let (before, after) = (String::new(), String::new());
        let call = IdCall { method: String::new(), before, after, credentials: As::Caller };
        let list = Call { method: String::new(), target: String::new(), credentials: As::Caller };
        let (id, rows) = (Pointer::default(), Pointer::default());
        let row = Row { id: id.clone() };
        Self {
            id: id.clone(),
            names: None,
            parent: None,
            undo: Undo { call: call.clone(), accepted_on: Vec::new() },
            confirm: Confirm { call, gone_on: Vec::new(), id },
            probe: Some(Probe { call: list, sees: Sees::Own, page: None, rows, conditions, row }),
            before: false,
            new: Newness::Always,
            keeps_owner: false,
            replayed: false,
        }
    }
}

/// What proves that the row which a create's answer names was made by that create.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Newness {
    /// The service never answers a create with an id that it has given before.
    Always,
    /// These statuses tell a new row; another success tells a row that was found.
    Status(Vec<u16>),
    /// It is new if the list before lacked it.
    ListedBefore,
}

/// Where the parent's id comes from.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ParentPlan {
    /// The parent's type.
    #[serde(rename = "type")]
    pub kind: ResourceType,
    /// The source of its id.
    pub source: ParentSource,
}

/// Where a parent's id comes from.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ParentSource {
    /// Known from the request.
    Known(ResourceId),
    /// In the service's answer to the create.
    Answer(Pointer),
    /// In the answer to a look-up that depends on the request alone.
    LookUp {
        /// The look-up.
        call: Call,
        /// Where its answer holds the id.
        id: Pointer,
    },
    /// The request lacks what its id depends on. The service will refuse such a request in its
    /// own words; a create that it makes all the same is undone for want of a parent.
    Missing,
}

/// How a create is taken back.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Undo {
    /// The DELETE.
    pub call: IdCall,
    /// Statuses after which it is worth asking [`Confirm`]; others are retried.
    pub accepted_on: Vec<u16>,
}

/// The question whether one row exists.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Confirm {
    /// A GET by id.
    pub call: IdCall,
    /// Statuses that prove the row's absence. A 2xx whose [`Confirm::id`] equals the id asked
    /// for proves its presence; anything else proves nothing.
    pub gone_on: Vec<u16>,
    /// Where the answer holds the row's id.
    pub id: Pointer,
}

/// Which rows a list shows.
#[derive(
    Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Sees {
    /// Perhaps only those that its caller may see: that it lacks a row proves nothing.
    #[default]
    Own,
    /// Every row, to every caller.
    All,
}

/// The question which rows there are.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Probe {
    /// A GET that lists rows.
    pub call: Call,
    /// Whether it shows every row.
    pub sees: Sees,
    /// How the list is paged; without it one answer holds all rows.
    pub page: Option<Page>,
    /// Where the answer holds the array of rows; empty for the whole body.
    pub rows: Pointer,
    /// What a row must satisfy.
    #[serde(rename = "where")]
    pub conditions: Vec<Condition>,
    /// How a row is read.
    pub row: Row,
}

impl Probe {
    /// Whether `row` satisfies all conditions.
    #[must_use]
    pub fn matches(&self, row: &Value) -> bool {
        self.conditions.iter().all(|condition| condition.holds(row))
    }
}

/// Numbered pages, from 1. A page shorter than `size` is the last.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Page {
    /// The query parameter that holds the page's number.
    pub parameter: String,
    /// Rows on a full page.
    pub size: usize,
}

/// One comparison of a row's field with a value of the request. A service may keep a value otherwise than it
/// was sent, so texts are compared without the spaces around them, case-folded and in the form NFKC (Unicode
/// Standard Annex #15), and a number equals its text.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Condition {
    /// The row's field.
    pub field: Pointer,
    /// What it must equal. A field that a row lacks contradicts nothing.
    pub value: Value,
}

impl Condition {
    /// Whether `row` satisfies the condition.
    #[must_use]
    pub fn holds(&self, row: &Value) -> bool {
        self.field.of(row).is_none_or(|value| are_alike(value, &self.value))
    }

    /// Whether no row can satisfy both conditions.
    #[must_use]
    pub fn contradicts(&self, other: &Self) -> bool {
        self.field == other.field && !are_alike(&self.value, &other.value)
    }
}

fn are_alike(one: &Value, other: &Value) -> bool {
    one == other || folded(one) == folded(other)
}

fn folded(value: &Value) -> String {
    let Value::String(text) = value else { return value.to_string() };
    text.trim().nfkc().flat_map(char::to_lowercase).collect()
}

/// How a row is read.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Row {
    /// Where it holds its id.
    pub id: Pointer,
}

/// Which rows a delete means.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeletePlan {
    /// The request names one id.
    ById {
        /// The id, byte for byte as the decoded path has it.
        id: ResourceId,
        /// Whether that row exists: the probe before, and the proof after.
        confirm: Confirm,
    },
    /// The request names rows by something else; the probe tells which.
    ByProbe {
        /// The rows that may be meant.
        probe: Probe,
        /// Whether one of them exists.
        confirm: Confirm,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A service may keep a value otherwise than it was sent (wide simulation, "trimmed names").
    #[test]
    fn p2_a_value_is_found_in_the_form_in_which_a_service_may_keep_it() {
        let holds = |value: Value, kept: Value| {
            let field = Pointer::parse("/x").unwrap();
            Condition { field, value }.holds(&serde_json::json!({"x": kept}))
        };
        assert!(holds(" Kéy ".into(), "ke\u{301}y".into()));
        assert!(holds("ﬁ".into(), "FI".into()));
        assert!(holds(5.into(), "5".into()));
        assert!(!holds("a".into(), "b".into()));
        assert!(!holds(Value::Null, "b".into()));
    }

    #[test]
    fn a_field_that_a_row_lacks_contradicts_nothing() {
        let condition = Condition { field: Pointer::parse("/x").unwrap(), value: 1.into() };
        assert!(condition.holds(&serde_json::json!({"y": 1})));
    }
}
