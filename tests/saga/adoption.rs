//! What other replicas leave, at moments at which the journal shows less than there is.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use authz_sidecar::authz::{self, Circuits};
use authz_sidecar::config::Config;
use authz_sidecar::dualwrite::operation::Operation;
use authz_sidecar::dualwrite::{self, DualWrite, Parts};
use authz_sidecar::http::breaker;
use authz_sidecar::journal::{
    Arrival, Deposit, Error, Journal, MemoryJournal, Of, Owner, Receipt, Shared,
};
use authz_sidecar::model::{
    As, Clock, Confirm, DeletePlan, Entry, IdCall, Kind, Late, Mode, OperationId, Plan, Pointer,
    Record, Resource, ResourceId, ResourceType, Stored, StoredPrincipal, SystemClock, Timestamp,
};
use authz_sidecar::principal::{self, Resolver};
use authz_sidecar::upstream;
use http::{HeaderMap, HeaderValue};
use prometheus_client::registry::Registry;
use tokio::sync::mpsc;

use crate::support::eventually;
use crate::world::World;

/// A shared journal in memory. What is enqueued can't be read before the next append, as where it
/// waits for its commit; what arrives is the test's.
struct Slow {
    inner: MemoryJournal,
    enqueued: Mutex<Vec<(OperationId, Vec<Entry>)>>,
    /// How many readings of an operation fail from now on.
    unreadable: AtomicUsize,
    arrivals: tokio::sync::Mutex<mpsc::Receiver<Arrival>>,
    settled: AtomicUsize,
}

impl Slow {
    fn new() -> (Arc<Self>, mpsc::Sender<Arrival>) {
        let (sender, arrivals) = mpsc::channel(1);
        let journal = Self {
            inner: MemoryJournal::new(),
            enqueued: Mutex::default(),
            unreadable: AtomicUsize::new(0),
            arrivals: tokio::sync::Mutex::new(arrivals),
            settled: AtomicUsize::new(0),
        };
        (Arc::new(journal), sender)
    }

    /// The names of the records of an operation, those included that can't be read yet.
    fn names(&self, id: OperationId) -> Vec<&'static str> {
        let kept = self.inner.entries().into_iter().filter(|stored| stored.id == id);
        let mut entries: Vec<Entry> = kept.flat_map(|stored| stored.entries).collect();
        let enqueued = self.enqueued.lock().unwrap();
        let waiting = enqueued.iter().filter(|(operation, _)| *operation == id);
        entries.extend(waiting.flat_map(|(_, entries)| entries.clone()));
        entries.iter().map(|entry| entry.record.name()).collect()
    }
}

#[async_trait]
impl Journal for Slow {
    async fn append(&self, operation: OperationId, entries: Vec<Entry>) -> Result<(), Error> {
        let enqueued = std::mem::take(&mut *self.enqueued.lock().unwrap());
        for (operation, entries) in enqueued {
            self.inner.append(operation, entries).await?;
        }
        self.inner.append(operation, entries).await
    }

    async fn enqueue(&self, operation: OperationId, entries: Vec<Entry>) -> Result<(), Error> {
        self.enqueued.lock().unwrap().push((operation, entries));
        Ok(())
    }

    async fn unfinished(&self) -> Result<Vec<Stored>, Error> {
        self.inner.unfinished().await
    }

    async fn unfinished_page(
        &self,
        after: Option<(Timestamp, OperationId)>,
        limit: usize,
    ) -> Result<Vec<Stored>, Error> {
        self.inner.unfinished_page(after, limit).await
    }

    async fn operation(&self, id: OperationId) -> Result<Option<Stored>, Error> {
        let left = |left: usize| left.checked_sub(1);
        match self.unreadable.fetch_update(Ordering::SeqCst, Ordering::SeqCst, left) {
            Ok(_) => Err(Error::Unavailable("as the test wants".into())),
            Err(_) => self.inner.operation(id).await,
        }
    }

    async fn holder(&self, resource: &Resource) -> Result<Option<Stored>, Error> {
        self.inner.holder(resource).await
    }

    async fn overlapping(
        &self,
        resource_type: &ResourceType,
        of: Of,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Vec<Stored>, Error> {
        self.inner.overlapping(resource_type, of, from, to).await
    }

    async fn prune(&self, _: Timestamp, _: Timestamp) -> Result<usize, Error> {
        Ok(0)
    }

    fn health(&self) -> Result<(), Error> {
        self.inner.health()
    }

    fn shared(&self) -> Option<&dyn Shared> {
        Some(self)
    }
}

#[async_trait]
impl Shared for Slow {
    fn may_act(&self) -> Result<(), Error> {
        Ok(())
    }

    async fn recover(&self) -> Result<Vec<Stored>, Error> {
        Ok(Vec::new())
    }

    async fn arrivals(&self) -> Result<Vec<Arrival>, Error> {
        match self.arrivals.lock().await.recv().await {
            Some(arrival) => Ok(vec![arrival]),
            None => Err(Error::Fenced),
        }
    }

    async fn claim(&self, _: OperationId) -> Result<Option<Owner>, Error> {
        Ok(None)
    }

    async fn deposit(&self, _: Deposit) -> Result<(), Error> {
        Ok(())
    }

    async fn settle(&self, _: Receipt) -> Result<(), Error> {
        self.settled.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    async fn release(&self) {}
}

/// A process on that journal, between the world's service and back end.
fn process(world: &World, journal: Arc<Slow>) -> DualWrite {
    let config = Config::parse("test.yaml", &world.yaml(), []).unwrap();
    let mut registry = Registry::default();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let metrics = breaker::Metrics::new(&mut registry);
    let circuits = Circuits::new(&config.authz.breaker, &metrics);
    let authorizer = config.authz.build(authz::Metrics::new(&mut registry), circuits.clone());
    let of_callers = principal::Metrics::new(&mut registry);
    DualWrite::new(Parts {
        register: config.authz.deadline.0,
        exclusive_writer: true,
        upstream: Arc::new(upstream::Client::new(config.upstream.clone(), config.pool.clone())),
        service_headers: HeaderMap::new(),
        host: HeaderValue::from_static("keys"),
        authorizer: authorizer.unwrap(),
        circuits,
        service_circuit: dualwrite::service_circuit(metrics),
        journal,
        resolver: Resolver::new(&config.principal, Arc::clone(&clock), of_callers).unwrap(),
        clock,
        ids: OperationId::new,
        metrics: dualwrite::Metrics::new(&mut registry),
        config: config.bounds.clone(),
    })
}

/// A delete whose row is gone, and that is to be deregistered.
fn deleted(id: &ResourceId) -> Stored {
    let confirm = Confirm {
        call: IdCall {
            method: "GET".into(),
            before: "/agent_api_keys/".into(),
            after: String::new(),
            credentials: As::Service,
        },
        gone_on: vec![404],
        id: Pointer::parse("/id").unwrap(),
    };
    let resource_type = ResourceType::new("api_key");
    let plan = Plan {
        rule: "delete-key".into(),
        mode: Mode::Enforce,
        resource_type: resource_type.clone(),
        kind: Kind::Delete(DeletePlan::ById { id: id.clone(), confirm }),
    };
    let (intent, ids) = (SystemClock.now(), vec![id.clone()]);
    let records = [
        Record::Prepared { plan, intent, principal: StoredPrincipal::default(), pass: None },
        Record::Targets { ids: ids.clone(), seen: true, young: false },
        Record::Deleted { ids },
    ];
    let entries = records.map(|record| Entry { at: intent, record }).to_vec();
    Stored { id: OperationId::new(), resource_type, entries }
}

/// A world with a process, an operation that another left, and its key.
async fn left() -> (World, Arc<Slow>, mpsc::Sender<Arrival>, Stored, String) {
    let world = World::without_sidecar().await;
    let key = world.given("k");
    world.keys.remove(&key);
    let (journal, arrivals) = Slow::new();
    let stored = deleted(&ResourceId::new(&key).unwrap());
    journal.inner.append(stored.id, stored.entries.clone()).await.unwrap();
    tokio::spawn(process(&world, Arc::clone(&journal)).follow());
    (world, journal, arrivals, stored, key)
}

impl Slow {
    /// Waits until the last record of an operation is its end, which can't be read yet.
    async fn ends(&self, id: OperationId) {
        let ended = || async { (self.names(id).last() == Some(&"finished")).then_some(()) };
        eventually("it ended", ended).await;
    }
}

#[tokio::test]
async fn p3_an_operation_that_is_adopted_while_the_journal_can_not_be_read_is_carried_on() {
    let (world, journal, arrivals, stored, key) = left().await;
    journal.unreadable.store(3, Ordering::SeqCst);
    arrivals.send(Arrival::Adopted(stored.clone())).await.unwrap();
    journal.ends(stored.id).await;
    assert!(!world.is_registered(&key));
}

/// Of an operation that ended a moment ago the journal still shows that it is unfinished. Who believed
/// that would drive it a second time, to a second end, which makes its history an impossible one, and
/// let the evidence change nothing. (Found by the simulation.)
#[tokio::test]
async fn p3_evidence_that_comes_right_after_the_end_reopens_what_ended() {
    let (world, journal, arrivals, stored, key) = left().await;
    arrivals.send(Arrival::Adopted(stored.clone())).await.unwrap();
    journal.ends(stored.id).await;
    assert!(!world.is_registered(&key));
    assert_eq!(journal.inner.entries()[0].entries.len(), 3, "which can't be read yet");
    let (receipt, late) = (Receipt(1), Late::Sent);
    arrivals.send(Arrival::Evidence { receipt, operation: stored.id, late }).await.unwrap();
    let settled = || async { (journal.settled.load(Ordering::SeqCst) == 1).then_some(()) };
    eventually("the evidence is taken", settled).await;
    let reopened = ["prepared", "targets", "deleted", "finished", "closed"];
    assert_eq!(journal.names(stored.id)[..5], reopened);
    journal.ends(stored.id).await;
    journal.append(stored.id, Vec::new()).await.unwrap();
    let kept = journal.operation(stored.id).await.unwrap().unwrap();
    let operation = Operation::replay(&kept).expect("a possible history");
    assert!(operation.is_finished());
}
