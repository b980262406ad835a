//! A model of a journal that several replicas share: one database, to which each process has a way
//! of its own, with a lease by the database's clock, take-overs, fences and evidence.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use authz_sidecar::journal::{Append, Arrival, Deposit, Error, Index, Journal, Owner, Receipt};
use authz_sidecar::model::{Entry, OperationId, Stored, Timestamp};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::{Notify, oneshot};

use crate::support::memory::MemoryJournal;

#[path = "contract.rs"]
mod contract;

/// A promise that the model breaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Bug {
    /// A replica that was taken over goes on.
    WritesFenced,
    /// Every third append of a record after the first is acknowledged and not kept.
    LosesAppends,
}

/// The process that has a way to the database, and the world around it.
pub(crate) trait Host: Send + Sync + 'static {
    /// Waits where the process may stand still or die.
    fn cross(&self) -> BoxFuture<'_, ()>;
    /// How long what is sent takes to the database, or back.
    fn distance(&self) -> Duration;
    /// Whether the connection breaks now, and then for how long there is none.
    fn cut(&self) -> Option<Duration>;
    /// How long a lease lasts.
    fn lease(&self) -> Duration;
    /// The time as the process knows it.
    fn now(&self) -> Duration;
    /// The time as the database knows it.
    fn time(&self) -> Duration;
    /// How far the process's idea of that may be off, and how far it is, in microseconds.
    fn clock_error(&self) -> (Duration, i64);
    /// This replica took over from so many.
    fn took_over(&self, replicas: usize);
    /// A write of this process came after another had taken over.
    fn fences(&self);
    /// What is done wrong on purpose.
    fn bug(&self) -> Option<Bug>;
    /// Another replica took over.
    fn fenced(&self);
    /// What became durable.
    fn durable(&self, operation: OperationId, entries: &[Entry]);
    /// What others left to this process.
    fn arrives(&self, arrival: &Arrival);
    /// Evidence was taken in.
    fn keeps(&self, receipt: i64, deposit: &Deposit);
}

/// What the replicas share.
#[derive(Default)]
pub(crate) struct Database {
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    journal: MemoryJournal,
    /// By what each operation is found.
    indexes: BTreeMap<OperationId, Index>,
    owners: BTreeMap<OperationId, usize>,
    /// Who began an operation.
    begun: BTreeMap<OperationId, usize>,
    /// Each start of a process, by its epoch.
    epochs: Vec<Epoch>,
    evidence: BTreeMap<i64, Deposit>,
    receipts: i64,
    /// Appends that were asked for, of records after the first.
    appends: usize,
}

struct Epoch {
    lease_until: Duration,
    dead: bool,
}

/// One process's way to the database.
#[derive(Clone)]
pub(crate) struct Way {
    inner: Arc<Inner>,
}

struct Inner {
    database: Arc<Database>,
    host: Box<dyn Host>,
    epoch: usize,
    fenced: AtomicBool,
    /// Whether the writer is without a connection.
    down: AtomicBool,
    /// Until when the lease holds for certain.
    certain: Mutex<Duration>,
    queue: Mutex<Queue>,
    arrived: Mutex<Arrived>,
    came: Notify,
}

#[derive(Default)]
struct Queue {
    calls: VecDeque<Call>,
    writing: bool,
}

struct Call {
    append: Append,
    done: Sender,
}

type Sender = oneshot::Sender<Result<(), Error>>;

#[derive(Default)]
struct Arrived {
    waiting: Vec<Arrival>,
    handed: BTreeSet<OperationId>,
    /// Evidence, and when it was handed out last.
    told: BTreeMap<Receipt, Duration>,
    recovered: bool,
}

impl Database {
    /// What is unfinished, for whoever judges the schedule.
    pub(crate) fn left(&self) -> Vec<Stored> {
        lock(&self.kept).unfinished()
    }

    /// Whether evidence waits for somebody.
    pub(crate) fn has_evidence(&self) -> bool {
        !lock(&self.kept).evidence.is_empty()
    }

    /// Ends a lease as if it had run out.
    #[allow(dead_code, reason = "in the simulation time ends leases")]
    pub(crate) fn expire(&self, epoch: usize) {
        lock(&self.kept).epochs[epoch].lease_until = Duration::ZERO;
    }
}

impl Way {
    /// Begins an epoch.
    pub(crate) fn open(database: &Arc<Database>, host: impl Host) -> Self {
        let (now, lease) = (host.time(), host.lease());
        let epoch = {
            let mut kept = lock(&database.kept);
            kept.epochs.push(Epoch { lease_until: now + lease, dead: false });
            kept.epochs.len() - 1
        };
        let inner = Arc::new(Inner {
            database: Arc::clone(database),
            host: Box::new(host),
            epoch,
            fenced: AtomicBool::new(false),
            down: AtomicBool::new(false),
            certain: Mutex::new(now + lease * 5 / 6),
            queue: Mutex::default(),
            arrived: Mutex::default(),
            came: Notify::new(),
        });
        tokio::spawn(Arc::clone(&inner).keep());
        Self { inner }
    }

    /// Which start of a process it belongs to.
    #[allow(dead_code, reason = "only who ends a lease by hand needs it")]
    pub(crate) fn epoch(&self) -> usize {
        self.inner.epoch
    }

    fn send(&self, call: Call) -> Result<(), Error> {
        self.health()?;
        let mut queue = lock(&self.inner.queue);
        queue.calls.push_back(call);
        if !queue.writing {
            queue.writing = true;
            tokio::spawn(Arc::clone(&self.inner).write());
        }
        Ok(())
    }

    async fn read<T>(
        &self,
        read: impl FnOnce(&MemoryJournal) -> Result<T, Error>,
    ) -> Result<T, Error> {
        self.inner.travel().await;
        self.inner.holds()?;
        read(&lock(&self.inner.database.kept).journal)
    }
}

impl Inner {
    /// The way to the database, or back.
    async fn travel(&self) {
        self.host.cross().await;
        tokio::time::sleep(self.host.distance()).await;
        self.host.cross().await;
    }

    /// Fails where the connection breaks.
    fn holds(&self) -> Result<(), Error> {
        let broken = || Err(Error::Unavailable("the connection broke".into()));
        self.host.cut().map_or(Ok(()), |_| broken())
    }

    /// Commits what is queued, group by group.
    async fn write(self: Arc<Self>) {
        loop {
            self.travel().await;
            let calls = {
                let mut queue = lock(&self.queue);
                queue.writing = !queue.calls.is_empty();
                if !queue.writing {
                    return;
                }
                std::mem::take(&mut queue.calls)
            };
            // What left arrives, whatever becomes of who sent it.
            let answers: Vec<_> = calls.into_iter().map(|call| self.commit(call)).collect();
            self.travel().await;
            if let Some(time) = self.host.cut() {
                // The answer is lost; the database knows it once there is a connection again.
                self.down.store(true, Relaxed);
                tokio::time::sleep(time).await;
                self.host.cross().await;
                self.down.store(false, Relaxed);
            }
            for (done, answer) in answers {
                if answer == Err(Error::Fenced) {
                    self.lost();
                }
                // Who asked may be gone.
                _ = done.send(answer);
            }
        }
    }

    fn commit(&self, Call { append, done }: Call) -> (Sender, Result<(), Error>) {
        (done, if self.loses(&append) { Ok(()) } else { self.keep_entries(append) })
    }

    fn has(&self, bug: Bug) -> bool {
        self.host.bug() == Some(bug)
    }

    fn is_dead(&self, kept: &Kept) -> bool {
        kept.epochs[self.epoch].dead && !self.has(Bug::WritesFenced)
    }

    fn loses(&self, append: &Append) -> bool {
        if !self.has(Bug::LosesAppends) || append.begins {
            return false;
        }
        let mut kept = lock(&self.database.kept);
        kept.appends += 1;
        kept.appends.is_multiple_of(3)
    }

    /// What the database does about one call.
    fn keep_entries(&self, append: Append) -> Result<(), Error> {
        let operation = append.operation;
        let mut kept = lock(&self.database.kept);
        if self.is_dead(&kept) {
            drop(kept);
            self.host.fences();
            return Err(Error::Fenced);
        }
        match kept.owners.get(&operation) {
            Some(owner) if *owner != self.epoch && !self.has(Bug::WritesFenced) => {
                return Err(Error::NotOwned(operation));
            }
            _ => now(kept.journal.append(append.clone()))?,
        }
        kept.owners.entry(operation).or_insert(self.epoch);
        kept.begun.entry(operation).or_insert(self.epoch);
        kept.indexes.insert(operation, append.index);
        drop(kept);
        self.host.durable(operation, &append.entries);
        Ok(())
    }

    /// Renews the lease, takes over those that ran out, and looks for what was left to this process.
    async fn keep(self: Arc<Self>) {
        let lease = self.host.lease();
        loop {
            tokio::time::sleep(lease / 3).await;
            let asked = self.host.time();
            self.travel().await;
            let time = self.host.time();
            let mut kept = lock(&self.database.kept);
            if self.is_dead(&kept) {
                drop(kept);
                return self.lost();
            }
            kept.epochs[self.epoch].lease_until = time + lease;
            *lock(&self.certain) = asked + lease * 5 / 6;
            let mut arrived = lock(&self.arrived);
            if arrived.recovered {
                self.host.took_over(kept.take_over(time, None));
                let fresh = kept.adopt(self.epoch, &*self.host, &mut arrived);
                arrived.waiting.extend(fresh);
                self.came.notify_one();
            }
        }
    }

    /// Another replica has taken over.
    fn lost(&self) {
        if !self.fenced.swap(true, Relaxed) {
            self.host.fenced();
            self.came.notify_one();
        }
    }
}

impl Kept {
    /// Marks dead who did not renew, whoever it is or the owner of `operation`; how many.
    fn take_over(&mut self, time: Duration, operation: Option<OperationId>) -> usize {
        let owner = operation.map(|operation| self.owners.get(&operation));
        let meant = |epoch| owner.is_none_or(|owner| owner == Some(&epoch));
        let late = self
            .epochs
            .iter_mut()
            .enumerate()
            .filter(|(epoch, of)| meant(*epoch) && !of.dead && of.lease_until < time);
        late.map(|(_, epoch)| epoch.dead = true).count()
    }

    /// Gives `epoch` one operation, unless a living one has it.
    fn claim(&mut self, epoch: usize, operation: OperationId) -> Option<Owner> {
        let owner = self.owners.get_mut(&operation)?;
        if self.epochs[*owner].dead && !self.epochs[epoch].dead {
            *owner = epoch;
        }
        let other = || Owner::Other(format!("epoch {owner}"));
        Some(if *owner == epoch { Owner::This } else { other() })
    }

    fn unfinished(&self) -> Vec<Stored> {
        let all = self.journal.unfinished_page(None, usize::MAX);
        now(all).expect("it never fails by itself")
    }

    /// Forgets what is over, except that for which evidence waits.
    fn prune(&mut self, at: Timestamp, before: Timestamp) -> Result<usize, Error> {
        let mut waited = BTreeMap::new();
        for Deposit { operation, .. } in self.evidence.values() {
            waited.extend(
                now(self.journal.operation(*operation))?.map(|stored| (*operation, stored)),
            );
        }
        let mut forgotten = now(self.journal.prune(at, before))?;
        for (operation, stored) in waited {
            if now(self.journal.operation(operation))?.is_none() {
                let (index, entries) = (self.indexes[&operation].clone(), stored.entries);
                now(self.journal.append(Append { operation, begins: true, index, entries }))?;
                forgotten -= 1;
            }
        }
        // Whatever is kept no more is nobody's.
        let Self { journal, owners, begun, .. } = self;
        owners.retain(|operation, _| now(journal.operation(*operation)) != Ok(None));
        begun.retain(|operation, _| owners.contains_key(operation));
        Ok(forgotten)
    }

    /// Gives `epoch` what nobody else carries on, and the evidence on what is its own.
    fn adopt(&mut self, epoch: usize, host: &dyn Host, arrived: &mut Arrived) -> Vec<Arrival> {
        let time = host.time();
        let mut fresh = Vec::new();
        for stored in self.unfinished() {
            let owner = self.owners.entry(stored.id).or_insert(epoch);
            if *owner != epoch && self.epochs[*owner].dead {
                *owner = epoch;
            }
            let own = self.owners[&stored.id] == epoch;
            // What this process began it drives itself.
            let adopted = self.begun.get(&stored.id) != Some(&epoch);
            if own && adopted && !arrived.handed.contains(&stored.id) {
                arrived.handed.insert(stored.id);
                fresh.push(Arrival::Adopted(stored.id));
            }
        }
        for (receipt, deposit) in self.evidence.clone() {
            let (operation, receipt) = (deposit.operation, Receipt(receipt));
            let kept = now(self.journal.operation(operation)).is_ok_and(|kept| kept.is_some());
            // What is kept no more any replica may begin anew.
            if kept {
                let owner = self.owners.entry(operation).or_insert(epoch);
                if *owner != epoch && self.epochs[*owner].dead {
                    *owner = epoch;
                }
                if *owner != epoch {
                    continue;
                }
                // Whoever takes it drives the operation from then on.
                arrived.handed.insert(operation);
            }
            let recently =
                arrived.told.get(&receipt).is_some_and(|told| time < *told + host.lease());
            if !recently {
                arrived.told.insert(receipt, time);
                fresh.push(Arrival::Evidence { receipt, deposit });
            }
        }
        fresh
    }
}

fn now<T>(future: impl Future<Output = T>) -> T {
    future.now_or_never().expect("a journal in memory never waits")
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
