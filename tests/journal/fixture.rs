//! Records to write, and journals to write them to.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use authz_sidecar::journal::{
    Append, Arrival, Config, Error, Index, Journal, Location, Metrics, Of, OpenError, SqlJournal,
    State, Window, open,
};
use authz_sidecar::model::{
    As, Call, Commits, Confirm, CreatePlan, DeletePlan, Effect, Entry, Evidence, IdCall, Ids, Kind,
    Mode, Newness, Opening, OperationId, PassReason, Plan, Pointer, Probe, Record, Resolution,
    Resource, ResourceId, ResourceType, Row, Sees, Stored, Timestamp, Undo, UndoReason, Words,
};
use futures_util::FutureExt;
use futures_util::future::try_join_all;
use tokio::time::timeout;

use crate::support::database::Database;
use crate::support::memory::MemoryJournal;

#[path = "model.rs"]
pub(crate) mod model;

/// A directory with a journal's file.
pub(crate) struct Place {
    directory: tempfile::TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path().join("journal.db")
    }

    pub(crate) fn open(&self) -> SqlJournal {
        try_open(&self.config(), Metrics::default()).unwrap()
    }

    pub(crate) fn config(&self) -> Config {
        Config::at(Location::Sqlite(self.path()))
    }

    /// What it says where it can't be opened.
    pub(crate) fn refusal(&self) -> String {
        try_open(&self.config(), Metrics::default()).unwrap_err().to_string()
    }

    /// A connection past the journal, as an operator's shell or a fault would have it.
    pub(crate) fn meddle(&self, sql: &str) {
        meddle(&self.path(), sql);
    }
}

/// Opens a journal in a file.
pub(crate) fn try_open(config: &Config, metrics: Metrics) -> Result<SqlJournal, OpenError> {
    open(config, metrics).now_or_never().unwrap()
}

pub(crate) fn meddle(path: &Path, sql: &str) {
    rusqlite::Connection::open(path).unwrap().execute_batch(sql).unwrap();
}

/// What others left to a replica.
pub(crate) async fn arrivals(replica: &dyn Journal) -> Vec<Arrival> {
    let arrivals = replica.shared().unwrap().arrivals();
    timeout(Duration::from_secs(20), arrivals).await.expect("something arrives").unwrap()
}

/// Runs `test` on a journal of each kind.
pub(crate) async fn each<F: Future<Output = ()>>(test: impl Fn(std::sync::Arc<dyn Journal>) -> F) {
    test(std::sync::Arc::new(MemoryJournal::new())).await;
    let place = Place::new();
    test(std::sync::Arc::new(place.open())).await;
    test(std::sync::Arc::new(model::model())).await;
    let database = Database::new().await;
    test(std::sync::Arc::new(database.open().await)).await;
    let database = std::sync::Arc::default();
    test(std::sync::Arc::new(model::way(&database, Duration::from_secs(2)))).await;
}

pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros(seconds * 1_000_000)
}

pub(crate) fn id(text: &str) -> ResourceId {
    ResourceId::new(text).unwrap()
}

pub(crate) fn resource(kind: &str, text: &str) -> Resource {
    Resource { kind: ResourceType::new(kind), id: id(text) }
}

/// An entry appended at that second.
pub(crate) fn entry(seconds: i64, record: Record) -> Entry {
    Entry { at: at(seconds), record }
}

/// A delete by name.
pub(crate) fn prepared(kind: &str, intent: i64) -> Entry {
    begun(kind, intent, Kind::Delete(DeletePlan::ByProbe { probe: probe(), confirm: confirm() }))
}

/// What a delete by name begins with.
pub(crate) fn opening(kind: &str, intent: i64) -> Box<Opening> {
    match prepared(kind, intent).record {
        Record::Prepared(opening) => Box::new(opening),
        other => unreachable!("{other:?}"),
    }
}

/// A create.
pub(crate) fn create(intent: i64) -> Entry {
    let call = IdCall { method: "DELETE".into(), ..confirm().call };
    let undo = Undo { call, accepted_on: vec![200, 404] };
    let (id, probe) = (confirm().id, Some(probe()));
    let plan = CreatePlan {
        id,
        names: None,
        parent: None,
        undo,
        confirm: confirm(),
        probe,
        before: false,
        new: Newness::Always,
        keeps_owner: false,
        replayed: false,
    };
    begun("api_key", intent, Kind::Create(plan))
}

fn begun(kind: &str, intent: i64, what: Kind) -> Entry {
    let plan = Plan {
        rule: "key".into(),
        mode: Mode::Enforce,
        resource_type: ResourceType::new(kind),
        commits: Commits::Late,
        ids: Ids::Fresh,
        kind: what,
    };
    entry(intent, Record::Prepared(Opening::new(plan, at(intent))))
}

fn confirm() -> Confirm {
    Confirm {
        call: IdCall {
            method: "GET".into(),
            before: "/keys/".into(),
            after: String::new(),
            credentials: As::Service,
        },
        gone_on: vec![404],
        id: Pointer::parse("/id").unwrap(),
    }
}

fn probe() -> Probe {
    Probe {
        call: Call { method: "GET".into(), target: "/keys".into(), credentials: As::Caller },
        sees: Sees::All,
        page: None,
        rows: Pointer::parse("").unwrap(),
        conditions: Vec::new(),
        row: Row { id: Pointer::parse("/id").unwrap() },
    }
}

pub(crate) fn committed(seconds: i64, text: &str) -> Entry {
    entry(seconds, Record::Committed { id: id(text), is_new: true })
}

pub(crate) fn registered(seconds: i64, text: &str) -> Entry {
    entry(seconds, Record::Registered { id: id(text), ambiguous: false })
}

pub(crate) fn passed(seconds: i64, text: &str) -> Entry {
    entry(seconds, Record::Passed { id: id(text), why: PassReason::Bypass })
}

pub(crate) fn closed(seconds: i64) -> Entry {
    entry(seconds, Record::Closed { effect: Effect::MayCome })
}

pub(crate) fn undoing(seconds: i64, text: &str) -> Entry {
    let (evidence, reason) = (Evidence::Answer, UndoReason::Refused);
    entry(seconds, Record::Undoing { id: id(text), evidence, reason, ambiguous: false })
}

pub(crate) fn deleted(seconds: i64, ids: &[&str]) -> Entry {
    entry(seconds, Record::Deleted { ids: ids.iter().map(|text| id(text)).collect() })
}

pub(crate) fn reported(seconds: i64) -> Entry {
    entry(seconds, Record::Reported { rows: vec![id("r")], why: "no created_at".into() })
}

pub(crate) fn finished(seconds: i64) -> Entry {
    entry(seconds, Record::Finished { resolution: Resolution::Registered })
}

pub(crate) fn undone(seconds: i64) -> Entry {
    entry(seconds, Record::Finished { resolution: Resolution::Undone })
}

pub(crate) fn retried(seconds: i64) -> Entry {
    entry(seconds, Record::Retried { by: words("alice"), reason: None })
}

pub(crate) fn discarded(seconds: i64) -> Entry {
    let (by, reason) = (words("alice"), words("the row stays"));
    entry(seconds, Record::Discarded { by, reason, phase: "unknown".into() })
}

fn words(text: &str) -> Words {
    text.parse().unwrap()
}

/// By what each operation is found, as whoever writes it knows.
static KNOWN: Mutex<BTreeMap<OperationId, Index>> = Mutex::new(BTreeMap::new());

/// What is appended next to `operation`. Histories need not be possible ones here: the journal does
/// not look at them.
pub(crate) fn next(operation: OperationId, entries: Vec<Entry>) -> Append {
    let known = KNOWN.lock().unwrap().get(&operation).cloned();
    let begins = known.is_none();
    let index = entries.iter().fold(known, |index, entry| Some(after(index, entry)));
    let index = index.expect("there are entries");
    Append { operation, begins, index, entries }
}

fn know(written: Append) {
    KNOWN.lock().unwrap().insert(written.operation, written.index);
}

fn after(index: Option<Index>, entry: &Entry) -> Index {
    let Some(mut index) = index else { return first_index(entry) };
    let closed = matches!(entry.record, Record::Closed { .. });
    match &entry.record {
        Record::Finished { resolution } => {
            index.state = State::Finished(entry.at);
            if *resolution == Resolution::Undone {
                index.frees = index.holds.take().into_iter().collect();
            }
        }
        Record::Reported { .. } => {
            index.state = State::Alone;
            index.holds = None;
        }
        Record::Deleted { .. } => index.state = State::Alone,
        Record::Discarded { .. } => index.state = State::Finished(entry.at),
        Record::Retried { .. } => {}
        Record::Committed { id, .. }
        | Record::Registered { id, .. }
        | Record::Passed { id, .. }
        | Record::Undoing { id, .. } => {
            index.holds = Some(id.clone());
            let undone = matches!(entry.record, Record::Undoing { .. });
            index.state = if undone { State::Alone } else { State::Open };
        }
        _ => index.state = State::Open,
    }
    if closed {
        index.settled_at = index.settled_at.max(Some(entry.at));
    } else if index.state != State::Open {
        index.settled_at.get_or_insert(entry.at);
    }
    index
}

#[expect(clippy::panic, reason = "a fixture that was given another first record")]
fn first_index(entry: &Entry) -> Index {
    let Record::Prepared(Opening { plan, intent, .. }) = &entry.record else {
        panic!("it begins otherwise")
    };
    let is_create = matches!(plan.kind, Kind::Create(_));
    Index {
        resource_type: plan.resource_type.clone(),
        of: if is_create { Of::Creates } else { Of::Deletes },
        opened_at: *intent,
        settled_at: None,
        state: State::Open,
        holds: None,
        frees: Vec::new(),
    }
}

/// What tests ask of a journal, said shortly.
pub(crate) trait Calls: Journal {
    /// Appends what comes next to an operation.
    async fn write(&self, operation: OperationId, entries: Vec<Entry>) -> Result<(), Error> {
        let append = next(operation, entries);
        self.append(append.clone()).await.map(|()| know(append))
    }

    /// Appends to operations one after the other, and waits only then, so that calls share commits.
    async fn write_all(&self, calls: Vec<(OperationId, Vec<Entry>)>) -> Result<(), Error> {
        let mut writes = Vec::new();
        for (operation, entries) in calls {
            writes.push(self.write(operation, entries));
        }
        try_join_all(writes).await.map(drop)
    }

    /// All that is unfinished.
    async fn unfinished(&self) -> Result<Vec<Stored>, Error> {
        self.unfinished_page(None, usize::MAX).await
    }

    /// All of that kind that were open at that second or later.
    async fn met(&self, kind: &str, of: Of, from: i64) -> Vec<OperationId> {
        let (resource_type, from) = (ResourceType::new(kind), at(from));
        let window = Window { resource_type, of, from };
        ids(&self.overlapping(&window, None, usize::MAX).await.unwrap())
    }
}

impl<J: Journal + ?Sized> Calls for J {}

/// Opens an operation on an `api_key` with that intent.
pub(crate) async fn opened(journal: &dyn Journal, intent: i64) -> OperationId {
    let operation = OperationId::new();
    journal.write(operation, vec![prepared("api_key", intent)]).await.unwrap();
    operation
}

/// One that opened and finished at those seconds.
pub(crate) async fn done(journal: &dyn Journal, intent: i64, end: i64) -> OperationId {
    let operation = opened(journal, intent).await;
    journal.write(operation, vec![finished(end)]).await.unwrap();
    operation
}

pub(crate) fn ids(stored: &[Stored]) -> Vec<OperationId> {
    stored.iter().map(|stored| stored.id).collect()
}

pub(crate) async fn names(journal: &dyn Journal, operation: OperationId) -> Vec<&'static str> {
    let stored = journal.operation(operation).await.unwrap();
    stored.iter().flat_map(|stored| &stored.entries).map(|entry| entry.record.name()).collect()
}
