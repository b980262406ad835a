//! Compiled rules: only what can be carried out is a value of these types.

use http::HeaderName;
use serde_json::Value;

use super::route::MatchTemplate;
use super::source::Source;
use super::strict::Dialect;
use super::template::{IdTemplate, Template};
use crate::model::{Commits, Ids, Mode, Newness, Page, Pointer, ResourceType, Row, Sees};

/// One compiled rule.
#[derive(Debug)]
pub struct Rule {
    pub(super) name: String,
    pub(super) mode: Mode,
    pub(super) commits: Commits,
    /// Whether ids of its type come back: what any rule that creates such resources says.
    pub(super) ids: Ids,
    pub(super) matches: MatchTemplate,
    pub(super) resource_type: ResourceType,
    pub(super) action: Action,
    /// What its requests may make on the side.
    pub(super) also: Vec<AlsoRule>,
    /// Most bytes of a decoded body.
    pub(super) body_limit: usize,
    /// How the service takes paths.
    pub(super) dialect: Dialect,
}

/// What a rule is for.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "a handful exist, each behind an Arc")]
pub(super) enum Action {
    Create(CreateRule),
    Delete(DeleteRule),
    /// Nothing but what its requests make on the side.
    Pass,
}

#[derive(Debug)]
pub(super) struct AlsoRule {
    pub(super) resource_type: ResourceType,
    pub(super) ids: Ids,
    pub(super) conditions: Vec<ConditionRule>,
}

#[derive(Debug)]
pub(super) struct CreateRule {
    pub(super) id: Pointer,
    pub(super) parent: Option<ParentRule>,
    pub(super) undo: IdTemplate,
    pub(super) accepted_on: Vec<u16>,
    pub(super) confirm: ConfirmRule,
    pub(super) probe: Option<ProbeRule>,
    /// Whether the rows are listed before the create is sent, too.
    pub(super) before: bool,
    pub(super) new: Newness,
    pub(super) replay_headers: Vec<HeaderName>,
    /// Whether the back end's `register` leaves an owner as it is.
    pub(super) keeps_owner: bool,
}

#[derive(Debug)]
pub(super) struct ParentRule {
    pub(super) kind: ResourceType,
    pub(super) source: ParentFrom,
}

#[derive(Debug)]
pub(super) enum ParentFrom {
    Request(Source),
    Answer(Pointer),
    LookUp { request: Template, id: Pointer },
}

#[derive(Debug)]
pub(super) enum DeleteRule {
    ById { id: Source, confirm: ConfirmRule },
    ByProbe { probe: ProbeRule, confirm: ConfirmRule },
}

#[derive(Debug)]
pub(super) struct ConfirmRule {
    pub(super) request: IdTemplate,
    pub(super) gone_on: Vec<u16>,
    pub(super) id: Pointer,
}

#[derive(Debug)]
pub(super) struct ProbeRule {
    pub(super) request: Template,
    pub(super) sees: Sees,
    pub(super) page: Option<Page>,
    pub(super) rows: Pointer,
    pub(super) conditions: Vec<ConditionRule>,
    pub(super) row: Row,
}

#[derive(Debug)]
pub(super) struct ConditionRule {
    pub(super) field: Pointer,
    pub(super) value: ConditionValue,
}

#[derive(Debug)]
pub(super) enum ConditionValue {
    Constant(Value),
    Request { source: Source, default: Option<Value> },
}

impl Rule {
    /// Its name, for logs, metrics and operators.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Enforce or observe.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// What it does with resources of its type, as a verb.
    #[must_use]
    pub fn verb(&self) -> &'static str {
        match self.action {
            Action::Create(_) => "creates",
            Action::Delete(_) => "deletes",
            Action::Pass => "may also make",
        }
    }

    /// The types of what its requests may make.
    pub(super) fn makes(&self) -> impl Iterator<Item = &ResourceType> {
        let own = matches!(self.action, Action::Create(_)).then_some(&self.resource_type);
        own.into_iter().chain(self.also.iter().map(|also| &also.resource_type))
    }

    /// Whether it may make a row under an id that an earlier row had.
    pub(super) fn reuses_ids(&self) -> bool {
        matches!(&self.action, Action::Create(create) if create.new != Newness::Always)
    }

    /// The method and path template that it matches, as written.
    #[must_use]
    pub fn matches(&self) -> String {
        self.matches.to_string()
    }

    /// The type of the resource that is created or deleted.
    #[must_use]
    pub fn resource_type(&self) -> &ResourceType {
        &self.resource_type
    }

    /// Whether resolving it reads the request's body.
    #[must_use]
    pub fn reads_body(&self) -> bool {
        let mut also = self.also.iter().flat_map(|also| &also.conditions);
        let own = match &self.action {
            Action::Pass => false,
            Action::Create(create) => create.reads_body(),
            Action::Delete(DeleteRule::ById { id, confirm }) => {
                matches!(id, Source::Body(_)) || confirm.request.reads_body()
            }
            Action::Delete(DeleteRule::ByProbe { probe, confirm }) => {
                probe.reads_body() || confirm.request.reads_body()
            }
        };
        own || also.any(ConditionRule::reads_body)
    }
}

impl CreateRule {
    fn reads_body(&self) -> bool {
        let parent = self.parent.as_ref().is_some_and(|parent| match &parent.source {
            ParentFrom::Request(source) => matches!(source, Source::Body(_)),
            ParentFrom::LookUp { request, .. } => request.reads_body(),
            ParentFrom::Answer(_) => false,
        });
        let probe = self.probe.as_ref().is_some_and(ProbeRule::reads_body);
        parent || probe || self.undo.reads_body() || self.confirm.request.reads_body()
    }
}

impl ProbeRule {
    pub(super) fn reads_body(&self) -> bool {
        self.request.reads_body() || self.conditions.iter().any(ConditionRule::reads_body)
    }
}

impl ConditionRule {
    fn reads_body(&self) -> bool {
        matches!(&self.value, ConditionValue::Request { source: Source::Body(_), .. })
    }
}
