//! A compiled rule, and its resolution against a request.

use bytes::Bytes;
use http::request::Parts;
use serde_json::Value;

use super::request::{PlanError, Request};
use super::route::MatchTemplate;
use super::template::{IdTemplate, Source, Template};
use crate::model::{
    Condition, Confirm, CreatePlan, DeletePlan, Kind, Mode, Page, ParentPlan, ParentSource, Plan,
    Pointer, Probe, ResourceId, ResourceType, Row, Undo, encode_segment,
};

/// One compiled rule.
#[derive(Debug)]
pub struct Rule {
    pub(super) name: String,
    pub(super) mode: Mode,
    pub(super) matches: MatchTemplate,
    pub(super) resource_type: ResourceType,
    pub(super) action: Action,
    /// Most bytes of a decoded body.
    pub(super) body_limit: usize,
}

/// What a rule is for.
#[derive(Debug)]
pub(super) enum Action {
    Create(CreateRule),
    Delete(DeleteRule),
}

#[derive(Debug)]
pub(super) struct CreateRule {
    pub(super) id: Pointer,
    pub(super) parent: Option<ParentRule>,
    pub(super) undo: IdTemplate,
    pub(super) accepted_on: Vec<u16>,
    pub(super) confirm: ConfirmRule,
    pub(super) probe: Option<ProbeRule>,
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

    /// Whether it is a create; otherwise it is a delete.
    #[must_use]
    pub fn is_create(&self) -> bool {
        matches!(self.action, Action::Create(_))
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
        match &self.action {
            Action::Create(create) => create.reads_body(),
            Action::Delete(DeleteRule::ById { id, confirm }) => {
                matches!(id, Source::Body(_)) || confirm.request.reads_body()
            }
            Action::Delete(DeleteRule::ByProbe { probe, confirm }) => {
                probe.reads_body() || confirm.request.reads_body()
            }
        }
    }

    pub(super) fn plan(
        &self,
        params: &[String],
        head: &Parts,
        body: &Bytes,
    ) -> Result<Plan, PlanError> {
        let request = if self.reads_body() {
            Request::with_body(params, head, body, self.body_limit)?
        } else {
            Request::without_body(params, head.uri.query())
        };
        let kind = match &self.action {
            Action::Create(create) => Kind::Create(create.plan(&request)?),
            Action::Delete(delete) => Kind::Delete(delete.plan(&request)?),
        };
        let resource_type = self.resource_type.clone();
        Ok(Plan { rule: self.name.clone(), mode: self.mode, resource_type, kind })
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

    fn plan(&self, request: &Request<'_>) -> Result<CreatePlan, PlanError> {
        let undo = Undo { call: self.undo.fill(request)?, accepted_on: self.accepted_on.clone() };
        let probe = self.probe.as_ref().map(|probe| probe.plan(request)).transpose()?;
        Ok(CreatePlan {
            id: self.id.clone(),
            parent: self.parent.as_ref().map(|parent| parent.plan(request)).transpose()?,
            undo,
            confirm: self.confirm.plan(request)?,
            probe: probe.flatten(),
        })
    }
}

impl ParentRule {
    /// A parent that the request lacks is no reason to refuse it here: the service will, in its
    /// own words, or the create is undone.
    fn plan(&self, request: &Request<'_>) -> Result<ParentPlan, PlanError> {
        let source = match &self.source {
            ParentFrom::Answer(pointer) => ParentSource::Answer(pointer.clone()),
            ParentFrom::Request(source) => match request.text(source)? {
                None => ParentSource::Missing,
                Some(text) => ParentSource::Known(resource_id(text, source)?),
            },
            ParentFrom::LookUp { request: look_up, id } => match look_up.fill(request)? {
                None => ParentSource::Missing,
                Some(call) => ParentSource::LookUp { call, id: id.clone() },
            },
        };
        Ok(ParentPlan { kind: self.kind.clone(), source })
    }
}

impl DeleteRule {
    fn plan(&self, request: &Request<'_>) -> Result<DeletePlan, PlanError> {
        match self {
            Self::ById { id: source, confirm } => {
                let text = request.text(source)?;
                let text = text.ok_or_else(|| lacking(&source.expression().to_string()))?;
                if encode_segment(&text).is_none() {
                    return Err(no_id(source));
                }
                let id = resource_id(text, source)?;
                Ok(DeletePlan::ById { id, confirm: confirm.plan(request)? })
            }
            Self::ByProbe { probe, confirm } => {
                let probe = probe.plan(request)?.ok_or_else(|| lacking("what the probe needs"))?;
                Ok(DeletePlan::ByProbe { probe, confirm: confirm.plan(request)? })
            }
        }
    }
}

fn resource_id(text: String, source: &Source) -> Result<ResourceId, PlanError> {
    ResourceId::new(text).ok_or_else(|| no_id(source))
}

fn no_id(source: &Source) -> PlanError {
    PlanError(format!("{} is not an id", source.expression()))
}

fn lacking(what: &str) -> PlanError {
    PlanError(format!("the request lacks {what}"))
}

impl ConfirmRule {
    fn plan(&self, request: &Request<'_>) -> Result<Confirm, PlanError> {
        let call = self.request.fill(request)?;
        Ok(Confirm { call, gone_on: self.gone_on.clone(), id: self.id.clone() })
    }
}

impl ProbeRule {
    pub(super) fn reads_body(&self) -> bool {
        let in_where = |condition: &ConditionRule| {
            let source = match &condition.value {
                ConditionValue::Request { source, .. } => Some(source),
                ConditionValue::Constant(_) => None,
            };
            matches!(source, Some(Source::Body(_)))
        };
        self.request.reads_body() || self.conditions.iter().any(in_where)
    }

    /// `None` where the request lacks a value of the probe's path.
    fn plan(&self, request: &Request<'_>) -> Result<Option<Probe>, PlanError> {
        let Some(call) = self.request.fill(request)? else { return Ok(None) };
        let conditions = self.conditions.iter().filter_map(|condition| {
            let value = condition.value.of(request).transpose()?;
            Some(value.map(|value| Condition { field: condition.field.clone(), value }))
        });
        Ok(Some(Probe {
            call,
            page: self.page.clone(),
            rows: self.rows.clone(),
            conditions: conditions.collect::<Result<_, _>>()?,
            row: self.row.clone(),
        }))
    }
}

impl ConditionValue {
    /// What the row's field must equal, or `None` where the request leaves that open: a value
    /// too few finds a row too many, which the claim rule sorts out; a wrong value would hide
    /// the row for ever.
    fn of(&self, request: &Request<'_>) -> Result<Option<Value>, PlanError> {
        let (source, default) = match self {
            Self::Constant(value) => return Ok(Some(value.clone())),
            Self::Request { source, default } => (source, default),
        };
        match (request.value(source)?, default) {
            (None, default) => Ok(default.clone()),
            // The service may take `null` for the default or store it.
            (Some(Value::Null), Some(_)) => Ok(None),
            (Some(value), _) => Ok(Some(value)),
        }
    }
}
