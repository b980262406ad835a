//! Operations for the tests of the pure core.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::operation::Operation;
use super::state::Policy;
use crate::model::{
    As, Bounds, Call, Commits, Condition, Confirm, CreatePlan, DeletePlan, Entry, IdCall, Ids,
    Kind, Mode, Newness, Opening, OperationId, PassReason, Plan, Pointer, Probe, Record,
    ResourceId, ResourceType, Row, Sees, Stored, Targets, Timestamp, Undo,
};

pub(super) fn policy() -> Policy {
    let bounds = Bounds { late_effect: Duration::from_mins(2), ..Bounds::default() };
    Policy { bounds, apart: Duration::ZERO }
}

pub(super) fn id(text: &str) -> ResourceId {
    ResourceId::new(text).unwrap()
}

/// A create that is `Prepared` at second 1, of a row named "n".
pub(super) fn create(mode: Mode, pass: Option<PassReason>) -> Operation {
    create_named("n", mode, pass)
}

/// A create that is `Prepared` at second 1.
pub(super) fn create_named(name: &str, mode: Mode, pass: Option<PassReason>) -> Operation {
    let undo = Undo { call: call("DELETE"), accepted_on: vec![200, 404] };
    let (id, probe) = (pointer("/id"), Some(probe(name)));
    let plan = CreatePlan {
        id,
        names: None,
        parent: None,
        undo,
        confirm: confirm(),
        probe,
        before: true,
        new: Newness::Always,
        keeps_owner: false,
        replayed: false,
    };
    begin(mode, Kind::Create(plan), pass, Targets::default())
}

/// A delete by id of the first of `ids`.
pub(super) fn delete(ids: &[&str], seen: bool) -> Operation {
    let plan = DeletePlan::ById { id: id(ids[0]), confirm: confirm() };
    begin(Mode::Enforce, Kind::Delete(plan), None, targets(ids, seen))
}

/// A delete by name.
pub(super) fn delete_named(name: &str, ids: &[&str]) -> Operation {
    let plan = DeletePlan::ByProbe { probe: probe(name), confirm: confirm() };
    begin(Mode::Enforce, Kind::Delete(plan), None, targets(ids, false))
}

fn begin(mode: Mode, kind: Kind, pass: Option<PassReason>, targets: Targets) -> Operation {
    let intent = Timestamp::from_micros(1_000_000);
    let resource_type = ResourceType::new("api_key");
    let commits = Commits::Late;
    let (rule, ids) = ("rule".into(), Ids::Fresh);
    let plan = Plan { rule, mode, resource_type, commits, ids, kind };
    let before = matches!(plan.kind, Kind::Create(_)).then(BTreeSet::new);
    let opening = Opening { pass, before, targets, ..Opening::new(plan, intent) };
    let entries = vec![Entry { at: intent, record: Record::Prepared(opening) }];
    Operation::replay(&Stored { id: OperationId::new(), entries }).unwrap()
}

fn targets(ids: &[&str], seen: bool) -> Targets {
    Targets { ids: ids.iter().map(|text| id(text)).collect(), seen }
}

fn probe(name: &str) -> Probe {
    let target = "/keys".into();
    Probe {
        call: Call { method: "GET".into(), target, credentials: As::Caller },
        sees: Sees::All,
        page: None,
        rows: pointer(""),
        conditions: vec![Condition { field: pointer("/name"), value: name.into() }],
        row: Row { id: pointer("/id") },
    }
}

fn confirm() -> Confirm {
    Confirm { call: call("GET"), gone_on: vec![404], id: pointer("/id") }
}

fn call(method: &str) -> IdCall {
    let (before, after) = ("/keys/".into(), String::new());
    IdCall { method: method.into(), before, after, credentials: As::Caller }
}

fn pointer(text: &str) -> Pointer {
    Pointer::parse(text).unwrap()
}

/// The entry with which `operation` began.
pub(super) fn began(operation: &Operation) -> Entry {
    let opening = super::index::opening(operation);
    Entry { at: operation.intent, record: Record::Prepared(opening) }
}

/// Operations as the sagas read them.
pub(super) fn shared<'a>(
    operations: impl IntoIterator<Item = &'a Operation>,
) -> Vec<Arc<Operation>> {
    operations.into_iter().cloned().map(Arc::new).collect()
}
