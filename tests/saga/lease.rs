//! A replica among others: nothing leaves while its lease may have run out, and what it learns of operations that are
//! another's is handed in.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use authz_sidecar::dualwrite::DualWrite;
use authz_sidecar::journal::{Arrival, Deposit, Receipt};
use authz_sidecar::model::{
    Entry, Evidence, Ids, Kind, Late, OperationId, Plan, Record, ResourceId, Stored, UndoReason,
};
use http::StatusCode;
use serde_json::json;
use tokio::task::JoinHandle;

use crate::adoption::{deleted, deposit, left, process, registered, serve, unknown};
use crate::shared::Slow;
use crate::support::eventually;
use crate::support::keys::{AGENT, Fault, Gate, Route};
use crate::support::provider::{DEREGISTER, REGISTER};
use crate::world::World;

/// A replica between a world's service and back end.
struct Replica {
    world: World,
    journal: Arc<Slow>,
    process: Arc<DualWrite>,
}

impl Replica {
    async fn new() -> Self {
        let world = World::without_sidecar().await;
        let (journal, _) = Slow::new();
        let process = Arc::new(process(&world, Arc::clone(&journal)));
        Self { world, journal, process }
    }

    fn serve(&self, method: &str, target: &str, body: String) -> JoinHandle<StatusCode> {
        serve(&self.world, &self.process, method, target, body)
    }

    fn create(&self, name: &str) -> JoinHandle<StatusCode> {
        let body = json!({"agent_id": AGENT, "name": name}).to_string();
        self.serve("POST", "/agent_api_keys", body)
    }

    fn delete(&self, id: &str) -> JoinHandle<StatusCode> {
        self.serve("DELETE", &format!("/agent_api_keys/{id}"), String::new())
    }

    /// A create that meets this fault and is answered only once the test has done something.
    async fn create_during(&self, fault: Fault, what: impl FnOnce(&Slow)) -> StatusCode {
        let gate = Gate::closed();
        self.world.keys.on(Route::Create, fault.held_after(&gate));
        let create = self.create("k");
        gate.reached(1).await;
        what(&self.journal);
        gate.open();
        create.await.unwrap()
    }
}

#[tokio::test]
async fn p2_no_request_is_sent_while_the_lease_may_have_run_out() {
    let replica = Replica::new().await;
    let key = replica.world.given("k");
    replica.journal.holds_lease.store(false, Ordering::SeqCst);
    assert_eq!(replica.create("k").await.unwrap(), 503);
    assert_eq!(replica.delete(&key).await.unwrap(), 503);
    let keys = &replica.world.keys;
    assert_eq!((keys.calls(Route::Create), keys.calls(Route::Delete)), (0, 0));
}

#[tokio::test]
async fn p3_nothing_is_registered_while_the_lease_may_have_run_out() {
    let replica = Replica::new().await;
    let lost = |journal: &Slow| journal.holds_lease.store(false, Ordering::SeqCst);
    assert_eq!(replica.create_during(Fault::once(), lost).await, 503);
    assert_eq!(replica.world.asked(REGISTER), 0);
}

/// A create whose row is being removed.
fn undoing(id: &ResourceId) -> Stored {
    let mut stored = registered(id, 0);
    stored.entries.truncate(2);
    let (evidence, reason) = (Evidence::Answer, UndoReason::Deadline);
    let record = Record::Undoing { id: id.clone(), evidence, reason, ambiguous: false };
    stored.entries.push(Entry { at: stored.entries[1].at, record });
    stored
}

#[tokio::test]
async fn p3_p4_nothing_is_undone_or_deregistered_while_the_lease_may_have_run_out() {
    for begun in [undoing, deleted] {
        let (world, journal, arrivals, stored, key) = left(|id| vec![begun(id)]).await;
        journal.holds_lease.store(false, Ordering::SeqCst);
        arrivals.send(Arrival::Adopted(stored.id)).await.unwrap();
        journal.counts(&journal.held_back, 2).await;
        assert_eq!((world.keys.calls(Route::Delete), world.asked(DEREGISTER)), (0, 0));
        journal.holds_lease.store(true, Ordering::SeqCst);
        journal.ends(stored.id).await;
        assert!(!world.is_registered(&key));
    }
}

#[tokio::test]
async fn p2_an_id_that_was_answered_for_a_create_of_another_replica_is_handed_in() {
    let replica = Replica::new().await;
    let disowned = |journal: &Slow| {
        journal.undeposited.store(2, Ordering::SeqCst);
        journal.disowned.store(true, Ordering::SeqCst);
    };
    assert_eq!(replica.create_during(Fault::once(), disowned).await, 503);
    let id = ResourceId::new(replica.world.keys.rows().first().unwrap()).unwrap();
    assert_eq!(replica.journal.deposited().await, Late::Row { id });
}

/// The other may have waited for its effect before it left.
#[tokio::test]
async fn p2_a_create_that_left_and_was_not_answered_well_is_handed_in() {
    let replica = Replica::new().await;
    let disowned = |journal: &Slow| journal.disowned.store(true, Ordering::SeqCst);
    replica.create_during(Fault::once().status(500), disowned).await;
    assert_eq!(replica.journal.deposited().await, Late::Sent);
}

/// Until then it comes again, to the process that carries the operation on.
#[tokio::test]
async fn p2_evidence_is_settled_only_once_it_is_on_record() {
    let (_world, journal, arrivals, stored, _) = left(|_| vec![unknown()]).await;
    arrivals.send(Arrival::Adopted(stored.id)).await.unwrap();
    let driven = async || (journal.names(stored.id).last() == Some(&"resumed")).then_some(());
    eventually("it is carried on", driven).await;
    journal.disowned.store(true, Ordering::SeqCst);
    let evidence = Arrival::Evidence { receipt: Receipt(1), deposit: deposit(&stored) };
    arrivals.send(evidence).await.unwrap();
    journal.counts(&journal.refused, 1).await;
    // Once there is room for the next, this one has been dealt with.
    arrivals.reserve().await.unwrap();
    assert_eq!(journal.settled.load(Ordering::SeqCst), 0);
}

/// It may be removing the row: no client is told of that, and nobody reports it.
#[tokio::test]
async fn p4_a_create_whose_id_has_an_owner_that_can_not_be_read_goes_on_looking() {
    let replica = Replica::new().await;
    assert_eq!(replica.create("k").await.unwrap(), 200);
    let first = replica.journal.other_than(&[]);
    let key = replica.world.keys.rows().first().unwrap().clone();
    let row = json!({"id": key, "agent_id": AGENT}).to_string().into_bytes();
    let same = Fault::once().changed(move |answer| answer.body = row.clone());
    replica.world.keys.on(Route::Create, same);
    replica.journal.unreadable.store(1, Ordering::SeqCst);
    assert_eq!(replica.create("other").await.unwrap(), 503);
    let second = replica.journal.other_than(&[first]);
    assert_eq!(replica.journal.names(second)[..2], ["prepared", "closed"]);
}

/// An id that was learnt of a create which ended and was forgotten.
async fn learnt(change: impl FnOnce(&mut Plan), held: bool) -> Option<Vec<&'static str>> {
    let (_world, journal, arrivals, known, key) = left(|id| {
        let mut known = registered(id, 0);
        if !held {
            known.entries.truncate(1);
        }
        vec![known]
    })
    .await;
    let mut forgotten = unknown();
    let Record::Prepared(opening) = &mut forgotten.entries[0].record else { panic!() };
    change(&mut opening.plan);
    let late = Late::Row { id: ResourceId::new(&key).unwrap() };
    let deposit = Deposit { operation: OperationId::new(), late, ..deposit(&forgotten) };
    arrivals.send(Arrival::Evidence { receipt: Receipt(1), deposit }).await.unwrap();
    journal.counts(&journal.settled, 1).await;
    let begun = journal.inner.entries().into_iter().find(|stored| stored.id != known.id)?;
    Some(begun.entries.iter().map(|entry| entry.record.name()).take(2).collect())
}

/// What became of the row is forgotten, and its id, or the answer, may be another's by now.
#[tokio::test]
async fn p4_a_late_id_of_a_forgotten_create_is_reported_where_it_proves_nothing_any_more() {
    let fresh = |_: &mut _| {};
    assert_eq!(learnt(fresh, false).await.unwrap(), ["prepared", "undoing"]);
    let reused = |plan: &mut Plan| plan.ids = Ids::Reused;
    assert_eq!(learnt(reused, false).await.unwrap(), ["prepared", "reported"]);
    let replayed = |plan: &mut Plan| {
        if let Kind::Create(create) = &mut plan.kind {
            create.replayed = true;
        }
    };
    assert_eq!(learnt(replayed, false).await.unwrap(), ["prepared", "reported"]);
    assert_eq!(learnt(replayed, true).await, None, "its row has another operation");
}
