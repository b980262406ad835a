//! A replica: processes that run one after the other on one disk.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use authz_sidecar::authz::{Circuits, Guarded};
use authz_sidecar::config::Config;
use authz_sidecar::dualwrite::{self, DualWrite, Parts};
use authz_sidecar::http::breaker;
use authz_sidecar::journal::{Arrival, Deposit, Error, Journal};
use authz_sidecar::model::{Clock, Entry, Opening, OperationId, Record, Stored, Timestamp};
use authz_sidecar::principal::{self, Resolver};
use fastrand::Rng;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderValue};
use prometheus_client::registry::Registry;

use crate::coverage::{self, Event};
use crate::disk::Disk;
use crate::faults::millis;
use crate::journal::{Host, ModelJournal};
use crate::life::Life;
use crate::settings;
use crate::shared::{self, Bug, Database};
use crate::world::{World, wall};
use crate::{provider, service};

/// A place where one process runs at a time.
pub(crate) struct Replica {
    number: usize,
    name: String,
    world: Arc<World>,
    store: Store,
    running: Mutex<Option<Running>>,
}

const NAMES: [&str; 3] = ["replica A", "replica B", "replica C"];

/// Where the journal is.
#[derive(Clone)]
pub(crate) enum Store {
    /// On a disk of its own.
    Own(Arc<Mutex<Disk>>),
    /// In a database that several replicas share.
    Shared(Arc<Database>),
}

/// The journal of a process.
#[derive(Clone)]
pub(crate) enum Opened {
    Own(ModelJournal),
    Shared(Arc<Database>),
}

impl Opened {
    /// What is unfinished, for whoever judges the schedule.
    pub(crate) fn left(&self) -> Vec<Stored> {
        match self {
            Self::Own(journal) => journal.left(),
            Self::Shared(database) => database.left(),
        }
    }

    /// Whether nothing waits to be taken in.
    pub(crate) fn is_still(&self) -> bool {
        !matches!(self, Self::Shared(database) if database.has_evidence())
    }
}

/// A process that serves.
#[derive(Clone)]
pub(crate) struct Running {
    pub(crate) life: Arc<Life>,
    pub(crate) dual_write: DualWrite,
    pub(crate) config: Arc<Config>,
    pub(crate) journal: Opened,
}

impl Replica {
    pub(crate) fn new(number: usize, world: &Arc<World>, store: Store) -> Arc<Self> {
        let (name, world) = (NAMES[number].to_owned(), Arc::clone(world));
        Arc::new(Self { number, name, world, store, running: Mutex::default() })
    }

    /// The process that serves, if there is one.
    pub(crate) fn running(&self) -> Option<Running> {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.clone().filter(|running| !running.life.is_dead())
    }

    /// Starts a process whenever there is none.
    pub(crate) async fn supervise(self: Arc<Self>) {
        loop {
            let life = Life::begin(&self.name, self.number, &self.world);
            life.say("process", || "starts".into());
            tokio::select! {
                biased;
                () = life.death() => {}
                () = self.run(&life) => {}
            }
            life.die("stops");
            let down = self.world.with(|state| {
                if let Store::Own(disk) = &self.store {
                    let mut disk = disk.lock().unwrap_or_else(PoisonError::into_inner);
                    let written = disk.written();
                    disk.tear_last(&mut state.rng);
                    if state.rng.bool() {
                        state.say(&self.name, "machine", |_| "loses what was not synced".into());
                        disk.crash(&mut state.rng);
                    }
                    state.counts.lost_writes += usize::from(disk.written() < written);
                }
                let long = !state.calm && state.rng.u8(..) < 60;
                millis(
                    &mut state.rng,
                    1,
                    if long { 2 * state.schedule.times.late_effect.as_millis() } else { 40 },
                )
            });
            tokio::time::sleep(down).await;
        }
    }

    /// Recovers and serves, until the process dies or can't go on.
    async fn run(&self, life: &Arc<Life>) {
        let host = Owner { life: Arc::clone(life) };
        let (journal, opened): (Arc<dyn Journal>, _) = match &self.store {
            Store::Own(disk) => {
                let journal = ModelJournal::open(Arc::clone(disk), host);
                (Arc::new(journal.clone()), Opened::Own(journal))
            }
            Store::Shared(database) => {
                let way = shared::Way::open(database, host);
                (Arc::new(way), Opened::Shared(Arc::clone(database)))
            }
        };
        let dual_write = dual_write(life, journal);
        match dual_write.recover().await {
            Ok(recovered) => {
                life.say("process", || "serves".into());
                tokio::spawn(recovered.carry_on());
            }
            Err(halt) => {
                life.say("process", || format!("can't recover: {halt}"));
                return;
            }
        }
        let config = life.world.with(|state| settings::config(&state.schedule, life.replica));
        let running = Running { life: Arc::clone(life), dual_write, config, journal: opened };
        *self.running.lock().unwrap_or_else(PoisonError::into_inner) = Some(running);
        life.death().await;
    }
}

fn dual_write(life: &Arc<Life>, journal: Arc<dyn Journal>) -> DualWrite {
    let mut registry = Registry::default();
    let schedule = life.world.with(|state| Arc::clone(&state.schedule));
    let config = settings::config(&schedule, life.replica);
    let provider = Arc::new(provider::Way(Arc::clone(life)));
    let resolver = Resolver::asking(
        provider.clone(),
        &config.principal,
        Arc::new(MachineClock(Arc::clone(life))),
        principal::Metrics::default(),
    );
    let metrics = breaker::Metrics::new(&mut registry);
    let circuits = Circuits::new(&config.authz.breaker, &metrics);
    DualWrite::new(Parts {
        config: settings::bounds(&schedule.times),
        register: settings::register(&schedule.times),
        exclusive_writer: schedule.exclusive,
        distrusted: config.rules.distrusted(schedule.exclusive),
        upstream: Arc::new(service::Way(Arc::clone(life))),
        service_headers: HeaderMap::new(),
        host: HeaderValue::from_static("keys"),
        authorizer: Arc::new(Guarded::new(provider, circuits.clone())),
        circuits,
        service_circuit: dualwrite::service_circuit(metrics),
        journal,
        resolver: resolver.expect("a valid configuration"),
        ids,
        metrics: dualwrite::Metrics::new(&mut registry),
    })
}

/// Ids by chance, but of the schedule's chance. (The simulation seeds it.) Their end tells which
/// request of a client the operation serves.
fn ids() -> OperationId {
    let mut bytes = fastrand::u128(..).to_be_bytes();
    let client = coverage::SERVED.try_with(|client| *client).unwrap_or(u16::MAX);
    bytes[14..].copy_from_slice(&client.to_be_bytes());
    uuid::Uuid::from_bytes(bytes).into()
}

/// Which request of a client an operation serves.
pub(crate) fn served(operation: OperationId) -> Option<usize> {
    let hex: String = operation.to_string().chars().filter(char::is_ascii_hexdigit).collect();
    let client = u16::from_str_radix(hex.get(28..)?, 16).ok()?;
    (client != u16::MAX).then_some(client.into())
}

/// The clock of a journal that one process has to itself: what the wall clock showed when the machine started, off by
/// what the schedule says, carried on by the machine's uptime.
struct MachineClock(Arc<Life>);

impl Clock for MachineClock {
    fn now(&self) -> Timestamp {
        let off = self.0.world.with(|state| state.schedule.replica_clocks[self.0.replica]);
        wall(self.0.now(), off)
    }
}

/// A process as its journal knows it.
struct Owner {
    life: Arc<Life>,
}

impl Owner {
    fn chance(&self, likely: impl Fn(&crate::schedule::Schedule) -> f64) -> bool {
        self.life.world.with(|state| {
            let likely = likely(&state.schedule);
            !state.calm && likely > 0.0 && state.rng.f64() < likely
        })
    }
}

impl Host for Owner {
    fn cross(&self) -> BoxFuture<'_, ()> {
        self.life.cross().boxed()
    }

    fn sync_fails(&self) -> bool {
        self.chance(|schedule| schedule.sync_fails)
    }

    fn is_full(&self) -> bool {
        self.chance(|schedule| schedule.full)
    }

    fn lies(&self) -> bool {
        self.life.world.with(|state| state.schedule.lies)
    }

    fn pace(&self) -> (Duration, Duration) {
        self.life.world.with(|state| {
            let slow = !state.calm && state.rng.u8(..) < 8;
            let sync = millis(&mut state.rng, 0, if slow { 300 } else { 4 });
            (millis(&mut state.rng, 0, 1), sync)
        })
    }

    fn rng(&self) -> Rng {
        self.life.world.with(|state| state.rng.fork())
    }

    fn clock(&self) -> Arc<dyn Clock> {
        Arc::new(MachineClock(Arc::clone(&self.life)))
    }

    fn broke(&self) {
        let life = Arc::clone(&self.life);
        life.say("journal", || "is broken".into());
        // As a liveness probe does.
        tokio::spawn(async move {
            let after = life.world.with(|state| millis(&mut state.rng, 1, 60));
            tokio::time::sleep(after).await;
            life.die("is restarted, since its journal is broken");
        });
    }

    fn refused(&self, error: &Error) {
        self.life.say("journal", || format!("refuses: {error}"));
    }

    fn durable(&self, operation: OperationId, entries: &[Entry]) {
        self.tells(operation, entries);
    }
}

impl Owner {
    fn tells(&self, operation: OperationId, entries: &[Entry]) {
        for Entry { record, .. } in entries {
            let event = match record {
                Record::Prepared(_) => Some(Event::Prepared),
                Record::Finished { .. } => Some(Event::Ended),
                _ => None,
            };
            if let (Some(client), Some(event)) = (served(operation), event) {
                self.life.world.with(|state| state.happens(client, event));
            }
            self.life.world.say(&self.life.name, "journal", |trace| {
                format!("{} {}", trace.name(operation), shown(record))
            });
        }
    }
}

impl shared::Host for Owner {
    fn clock_error(&self) -> (Duration, i64) {
        let schedule = self.life.world.with(|state| Arc::clone(&state.schedule));
        let longest = settings::skew(&schedule.times);
        let most = i64::try_from(longest.as_micros()).expect("seconds");
        (longest, schedule.replica_clocks[self.life.replica].clamp(-most, most))
    }

    fn cross(&self) -> BoxFuture<'_, ()> {
        self.life.cross().boxed()
    }

    fn distance(&self) -> Duration {
        self.life.world.with(|state| {
            let slow = !state.calm && state.rng.u8(..) < 6;
            millis(&mut state.rng, 0, if slow { 150 } else { 3 })
        })
    }

    fn cut(&self) -> Option<Duration> {
        let cut = self.chance(|schedule| schedule.cuts);
        cut.then(|| {
            self.life.say("journal", || "loses its connection".into());
            self.life.world.with(|state| {
                state.counts.cuts += 1;
                millis(&mut state.rng, 1, 150)
            })
        })
    }

    fn lease(&self) -> Duration {
        self.life.world.with(|state| state.schedule.times.lease)
    }

    fn now(&self) -> Duration {
        self.life.now()
    }

    fn time(&self) -> Duration {
        self.life.world.elapsed()
    }

    fn took_over(&self, replicas: usize) {
        self.life.world.with(|state| state.counts.take_overs += replicas);
    }

    fn fences(&self) {
        self.life.world.with(|state| state.counts.fenced_writes += 1);
    }

    fn bug(&self) -> Option<Bug> {
        self.life.world.with(|state| state.schedule.bug)
    }

    fn fenced(&self) {
        let life = Arc::clone(&self.life);
        life.say("journal", || "is fenced: another replica took over".into());
        // As a liveness probe does, once what was learnt late is handed in.
        tokio::spawn(async move {
            let longest = life.world.with(|state| {
                state.fenced += 1;
                state.schedule.times.late_effect
            });
            tokio::time::sleep(2 * longest).await;
            life.die("is restarted, since it was fenced");
            life.world.with(|state| state.fenced -= 1);
        });
    }

    fn durable(&self, operation: OperationId, entries: &[Entry]) {
        self.tells(operation, entries);
    }

    fn arrives(&self, arrival: &Arrival) {
        self.life.world.say(&self.life.name, "journal", |trace| match arrival {
            Arrival::Adopted(operation) => format!("hands over {}", trace.name(*operation)),
            Arrival::Evidence { deposit, .. } => {
                format!("tells of {}: {:?}", trace.name(deposit.operation), deposit.late)
            }
        });
    }

    fn keeps(&self, receipt: i64, deposit: &Deposit) {
        self.life.say("journal", || format!("keeps evidence {receipt}: {:?}", deposit.late));
    }
}

fn shown(record: &Record) -> String {
    match record {
        Record::Prepared(Opening { plan, .. }) => format!("prepared ({})", plan.rule),
        record => {
            let json = serde_json::to_string(record).expect("records are JSON");
            format!("{} {json}", record.name())
        }
    }
}
