//! What other replicas leave: at moments at which the journal can't be read or has just changed, and with
//! the times of other clocks.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use authz_sidecar::authz::{self, Circuits};
use authz_sidecar::config::Config;
use authz_sidecar::dualwrite::index::begin;
use authz_sidecar::dualwrite::operation::Operation;
use authz_sidecar::dualwrite::{self, DualWrite, Ledger, Page, Parts};
use authz_sidecar::http::breaker;
use authz_sidecar::journal::{Arrival, Deposit, Journal, Receipt};
use authz_sidecar::model::{
    As, Bounds, Call, Clock, Commits, Condition, Confirm, CreatePlan, DecodedPath, DeletePlan,
    Effect, Entry, IdCall, Ids, Kind, Late, Mode, Newness, Opening, OperationId, Order, Plan,
    Pointer, Probe, Record, Resolution, ResourceId, ResourceType, Row, Sees, Stored, SystemClock,
    Targets, Timestamp, Undo,
};
use authz_sidecar::principal::{self, Resolver};
use authz_sidecar::rules;
use authz_sidecar::upstream;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, StatusCode};
use prometheus_client::registry::Registry;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::shared::Slow;
use crate::support::eventually;
use crate::world::World;

/// A process on that journal, between the world's service and back end.
pub(crate) fn process(world: &World, journal: Arc<Slow>) -> DualWrite {
    let config = Config::parse("test.yaml", &world.yaml(), []).unwrap();
    let mut registry = Registry::default();
    let clock = journal.clock();
    let metrics = breaker::Metrics::new(&mut registry);
    let circuits = Circuits::new(&config.authz.breaker, &metrics);
    let authorizer = config.authz.build(authz::Metrics::new(&mut registry), circuits.clone());
    let of_callers = principal::Metrics::new(&mut registry);
    DualWrite::new(Parts {
        register: config.authz.deadline.0,
        exclusive_writer: true,
        distrusted: BTreeSet::new(),
        upstream: Arc::new(upstream::Client::new(config.upstream.clone(), config.pool.clone())),
        service_headers: HeaderMap::new(),
        host: HeaderValue::from_static("keys"),
        authorizer: authorizer.unwrap(),
        circuits,
        service_circuit: dualwrite::service_circuit(metrics),
        journal,
        resolver: Resolver::new(&config.principal, clock, of_callers).unwrap(),
        ids: OperationId::new,
        metrics: dualwrite::Metrics::new(&mut registry),
        config: config.bounds.clone(),
    })
}

/// Has that process serve alice's request.
pub(crate) fn serve(
    world: &World,
    process: &Arc<DualWrite>,
    method: &str,
    target: &str,
    body: String,
) -> JoinHandle<StatusCode> {
    let config = Config::parse("test.yaml", &world.yaml(), []).unwrap();
    let path = DecodedPath::parse(target).unwrap();
    let request = Request::builder().method(method).uri(target).header("x-user-id", "alice");
    let request = request.body(Bytes::from(body)).unwrap();
    let route = config.rules.route(request.method(), &path);
    let rules::Route::Matched(matched) = route else { panic!("a rule") };
    let process = Arc::clone(process);
    tokio::spawn(async move { process.serve(matched, request).await.status() })
}

fn plan(rule: &str, kind: Kind) -> Plan {
    let resource_type = ResourceType::new("api_key");
    let commits = Commits::Late;
    Plan { rule: rule.into(), mode: Mode::Enforce, resource_type, commits, ids: Ids::Fresh, kind }
}

fn call(method: &str) -> IdCall {
    let (before, after) = ("/agent_api_keys/".into(), String::new());
    IdCall { method: method.into(), before, after, credentials: As::Service }
}

fn confirm() -> Confirm {
    Confirm { call: call("GET"), gone_on: vec![404], id: Pointer::parse("/id").unwrap() }
}

/// The list of the agent's keys of that name.
fn probe() -> Probe {
    let pointer = |text| Pointer::parse(text).unwrap();
    let target = "/agent_api_keys?agent_id=agent-1".into();
    Probe {
        call: Call { method: "GET".into(), target, credentials: As::Service },
        sees: Sees::All,
        page: None,
        rows: pointer(""),
        conditions: vec![Condition { field: pointer("/name"), value: "k".into() }],
        row: Row { id: pointer("/id") },
    }
}

/// An operation with these records, each so many milliseconds from now.
fn stored(
    plan: Plan,
    targets: Targets,
    records: impl IntoIterator<Item = (i64, Record)>,
) -> Stored {
    let now = SystemClock.now();
    let at = |millis: i64| Timestamp::from_micros(now.as_micros() + millis * 1000);
    let mut records = records.into_iter().peekable();
    let intent = at(records.peek().expect("it has records").0);
    let opening = Opening { targets, ..Opening::new(plan, intent) };
    let prepared = Entry { at: intent, record: Record::Prepared(opening) };
    let rest = records.map(|(millis, record)| Entry { at: at(millis), record });
    let entries = std::iter::once(prepared).chain(rest).collect();
    Stored { id: OperationId::new(), entries }
}

/// A delete whose row is gone, and that is to be deregistered.
pub(crate) fn deleted(id: &ResourceId) -> Stored {
    let kind = Kind::Delete(DeletePlan::ById { id: id.clone(), confirm: confirm() });
    let ids = vec![id.clone()];
    let targets = Targets { ids: [id.clone()].into(), seen: true };
    let closed = Record::Closed { effect: Effect::Past };
    stored(plan("delete-key", kind), targets, [(0, closed), (0, Record::Deleted { ids })])
}

/// A delete by name that was answered, and before which no row was seen.
fn closed(at: i64) -> Stored {
    let kind = Kind::Delete(DeletePlan::ByProbe { probe: probe(), confirm: confirm() });
    let closed = Record::Closed { effect: Effect::Past };
    stored(plan("delete-key-by-name", kind), Targets::default(), [(at, closed)])
}

/// A create that was registered.
pub(crate) fn registered(id: &ResourceId, at: i64) -> Stored {
    let kind = Kind::Create(CreatePlan {
        id: Pointer::parse("/id").unwrap(),
        names: None,
        parent: None,
        undo: Undo { call: call("DELETE"), accepted_on: vec![200] },
        confirm: confirm(),
        probe: None,
        before: false,
        new: Newness::Always,
        keeps_owner: false,
        replayed: false,
    });
    let committed = Record::Committed { id: id.clone(), is_new: true };
    let registered = Record::Registered { id: id.clone(), ambiguous: false };
    let finished = Record::Finished { resolution: Resolution::Registered };
    stored(
        plan("create-key", kind),
        Targets::default(),
        [(at, committed), (at, registered), (at, finished)],
    )
}

/// A world with a process, what others left in its journal, and a key that is registered and gone. The
/// last of what they left is handed over.
pub(crate) async fn left(
    operations: impl FnOnce(&ResourceId) -> Vec<Stored>,
) -> (World, Arc<Slow>, mpsc::Sender<Arrival>, Stored, String) {
    let world = World::without_sidecar().await;
    let key = world.given("k");
    world.keys.remove(&key);
    let (journal, arrivals) = Slow::new();
    let mut left = operations(&ResourceId::new(&key).unwrap());
    for stored in &left {
        let (_, append) = begin(stored.id, stored.entries.clone()).unwrap();
        journal.inner.append(append).await.unwrap();
    }
    let recovered = process(&world, Arc::clone(&journal)).recover().await.unwrap();
    tokio::spawn(recovered.carry_on());
    (world, journal, arrivals, left.pop().expect("there is one"), key)
}

/// A create with an unknown outcome, before which there was no row.
pub(crate) fn unknown() -> Stored {
    let kind = Kind::Create(CreatePlan {
        id: Pointer::parse("/id").unwrap(),
        names: None,
        parent: None,
        undo: Undo { call: call("DELETE"), accepted_on: vec![200] },
        confirm: confirm(),
        probe: Some(probe()),
        before: true,
        new: Newness::Always,
        keeps_owner: false,
        replayed: false,
    });
    let closed = Record::Closed { effect: Effect::MayCome };
    let mut stored = stored(plan("create-key", kind), Targets::default(), [(0, closed)]);
    if let Record::Prepared(opening) = &mut stored.entries[0].record {
        opening.before = Some(BTreeSet::new());
    }
    stored
}

/// An order waits for the attempt that is under way. A removal that it had just put on record has nobody else
/// to carry it on. (Found by the crash matrix.)
#[tokio::test]
async fn p2_p9_an_order_does_not_stop_a_removal_that_is_on_record() {
    let world = World::without_sidecar().await;
    let (journal, arrivals) = Slow::new();
    let stored = unknown();
    let (_, append) = begin(stored.id, stored.entries.clone()).unwrap();
    journal.inner.append(append).await.unwrap();
    world.keys.insert("agent-1", "k", "external");
    journal.answers.send_replace(false);
    let process = process(&world, Arc::clone(&journal));
    tokio::spawn(process.recover().await.unwrap().carry_on());
    arrivals.send(Arrival::Adopted(stored.id)).await.unwrap();
    let recorded = || async { (journal.inner.entries().len() == 2).then_some(()) };
    eventually("the removal is on record", recorded).await;
    let order = Order::Retry { by: "alice".parse().unwrap(), reason: None };
    let ordered = tokio::spawn(async move { process.ledger().order(stored.id, order).await });
    journal.answers.send_replace(true);
    ordered.await.unwrap().unwrap();
    let gone = || async { world.keys.rows().is_empty().then_some(()) };
    eventually("the row is removed", gone).await;
}

#[tokio::test]
async fn p3_an_operation_that_is_adopted_while_the_journal_can_not_be_read_is_carried_on() {
    let (world, journal, arrivals, stored, key) = left(|id| vec![deleted(id)]).await;
    journal.unreadable.store(3, Ordering::SeqCst);
    arrivals.send(Arrival::Adopted(stored.id)).await.unwrap();
    journal.ends(stored.id).await;
    assert!(!world.is_registered(&key));
}

/// What ended is not driven a second time: a second end would make its history an impossible one.
/// (Found by the simulation.)
#[tokio::test]
async fn p3_evidence_that_comes_right_after_the_end_begins_another_operation() {
    let (world, journal, arrivals, stored, key) = left(|id| vec![deleted(id)]).await;
    arrivals.send(Arrival::Adopted(stored.id)).await.unwrap();
    journal.ends(stored.id).await;
    assert!(!world.is_registered(&key));
    tell(&journal, &arrivals, &stored).await;
    let other = journal.other_than(&[stored.id]);
    assert_eq!(journal.names(other)[..2], ["prepared", "closed"]);
    journal.ends(other).await;
    let kept = journal.operation(stored.id).await.unwrap().unwrap();
    let operation = Operation::replay(&kept).expect("a possible history");
    assert!(operation.is_finished());
}

/// Nobody carries it on, so that nobody reads the letter: it is adopted first.
#[tokio::test]
async fn p1_evidence_that_comes_before_its_create_is_adopted_strands_nothing() {
    let world = World::without_sidecar().await;
    let key = world.given("k");
    let id = ResourceId::new(&key).unwrap();
    let (journal, arrivals) = Slow::new();
    let mut stored = registered(&id, 0);
    stored.entries.truncate(2);
    let (_, append) = begin(stored.id, stored.entries.clone()).unwrap();
    journal.inner.append(append).await.unwrap();
    let recovered = process(&world, Arc::clone(&journal)).recover().await.unwrap();
    tokio::spawn(recovered.carry_on());
    let deposit = Deposit { late: Late::Row { id }, ..deposit(&stored) };
    arrivals.send(Arrival::Evidence { receipt: Receipt(1), deposit }).await.unwrap();
    journal.ends(stored.id).await;
    assert!(world.keys.rows().is_empty(), "no client was told of it");
    assert!(!world.is_registered(&key));
}

/// Its driver reads no letter any more, and the end is on its way to the journal.
#[tokio::test]
async fn p3_evidence_that_comes_while_the_end_is_written_is_not_lost() {
    let (world, journal, arrivals, stored, key) = left(|id| vec![deleted(id)]).await;
    journal.keeps_ends.send_replace(false);
    arrivals.send(Arrival::Adopted(stored.id)).await.unwrap();
    let ends = || async { (journal.keeps_ends.receiver_count() > 0).then_some(()) };
    eventually("its end is on its way", ends).await;
    assert!(!world.is_registered(&key), "it is deregistered");
    send(&arrivals, &stored).await;
    // Once there is room for the next, this one has been taken in.
    arrivals.reserve().await.unwrap();
    journal.keeps_ends.send_replace(true);
    journal.ends(stored.id).await;
    tell(&journal, &arrivals, &stored).await;
    journal.ends(journal.other_than(&[stored.id])).await;
}

/// Tells the process that the operation's request left late, and waits until that is taken.
async fn tell(journal: &Slow, arrivals: &mpsc::Sender<Arrival>, stored: &Stored) {
    send(arrivals, stored).await;
    let settled = || async { (journal.settled.load(Ordering::SeqCst) == 1).then_some(()) };
    eventually("the evidence is taken", settled).await;
}

async fn send(arrivals: &mpsc::Sender<Arrival>, stored: &Stored) {
    let deposit = deposit(stored);
    arrivals.send(Arrival::Evidence { receipt: Receipt(1), deposit }).await.unwrap();
}

/// That the operation's request left late.
pub(crate) fn deposit(stored: &Stored) -> Deposit {
    let Record::Prepared(opening) = &stored.entries[0].record else {
        panic!("it begins otherwise")
    };
    Deposit { operation: stored.id, opening: Box::new(opening.clone()), late: Late::Sent }
}

/// It is recorded only then, and what was forgotten until then is not known for it (P4).
#[tokio::test]
async fn p3_evidence_of_a_forgotten_operation_begins_it_anew() {
    let (world, journal, arrivals, stored, key) = left(|id| vec![deleted(id)]).await;
    let forgotten = deleted(&ResourceId::new(&key).unwrap());
    let before = SystemClock.now();
    tell(&journal, &arrivals, &forgotten).await;
    let other = journal.other_than(&[stored.id]);
    assert_eq!(journal.names(other)[..2], ["prepared", "closed"]);
    let kept = journal.operation(other).await.unwrap().unwrap();
    assert!(kept.entries[0].at >= before);
    journal.ends(other).await;
    assert!(!world.is_registered(&key));
}

/// Whoever made rows since the list before may be forgotten, so that the list proves nothing any more.
#[tokio::test]
async fn p4_evidence_of_a_forgotten_create_condemns_nothing() {
    let (_world, journal, arrivals, stored, _) = left(|id| vec![deleted(id)]).await;
    let forgotten = unknown();
    let deposit = deposit(&forgotten);
    arrivals.send(Arrival::Evidence { receipt: Receipt(1), deposit }).await.unwrap();
    let taken = || async { (journal.settled.load(Ordering::SeqCst) == 1).then_some(()) };
    eventually("the evidence is taken", taken).await;
    let other = journal.operation(journal.other_than(&[stored.id])).await.unwrap().unwrap();
    assert_eq!(Operation::replay(&other).unwrap().before, None);
}

/// A person answers for its row.
#[tokio::test]
async fn p9_evidence_of_a_discarded_operation_begins_nothing() {
    let (_world, journal, arrivals, _, _) = left(|id| {
        let mut discarded = deleted(id);
        let at = discarded.entries[0].at;
        let (by, reason) = ("alice".parse().unwrap(), "test".parse().unwrap());
        let record = Record::Discarded { by, reason, phase: "looking".into() };
        discarded.entries.push(Entry { at, record });
        vec![discarded]
    })
    .await;
    let stored = journal.inner.entries().pop().expect("it is kept");
    tell(&journal, &arrivals, &stored).await;
    assert_eq!(journal.inner.entries().len(), 1);
}

/// What was made just before the delete, by a replica whose clock is a second ahead. The service may
/// be as late with that row as L says, and so it is not known to be gone when the looks would end.
#[tokio::test]
async fn p3_a_delete_by_name_looks_on_for_a_row_that_another_s_clock_puts_after_it() {
    // L is 1.5 s, and two replicas may be 10 s apart: the looks would end in half a second.
    let operations = |id: &_| vec![registered(id, -10_000), closed(-11_000)];
    let (world, journal, arrivals, stored, key) = left(operations).await;
    arrivals.send(Arrival::Adopted(stored.id)).await.unwrap();
    let is_over = || !world.is_registered(&key) || journal.names(stored.id).contains(&"finished");
    eventually("it is deregistered, or ended", || async { is_over().then_some(()) }).await;
    assert!(!world.is_registered(&key), "{:?}", journal.names(stored.id));
}

#[tokio::test]
async fn p9_all_that_is_unfinished_is_told_of_however_much_it_is() {
    let (journal, _arrivals) = Slow::new();
    for _ in 0..600 {
        let stored = unknown();
        let (_, append) = begin(stored.id, stored.entries).unwrap();
        journal.append(append).await.unwrap();
    }
    let ledger = Ledger::new(journal, Bounds::default());
    let page = Page { after: None, limit: 1000, stuck: false };
    assert_eq!(ledger.list(&page).await.unwrap().operations.len(), 600);
}
