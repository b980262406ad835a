//! A model of the journal: [`MemoryJournal`] for the contract, a simulated disk for durability, and
//! a writer that commits in groups and takes its time.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::support::memory::MemoryJournal;
use async_trait::async_trait;
use authz_sidecar::journal::{Append, Error, Journal, State, Window};
use authz_sidecar::model::{Clock, Entry, OperationId, Resource, Stored, Timestamp};
use fastrand::Rng;
use futures_util::FutureExt;
use tokio::sync::oneshot;

use super::disk::{Disk, Frame};

/// What a journal's owner is told, and decides.
pub(crate) trait Host: Send + Sync + 'static {
    /// Waits where the process may stand still or die.
    fn cross(&self) -> futures_util::future::BoxFuture<'_, ()>;
    /// Whether a sync fails now.
    fn sync_fails(&self) -> bool;
    /// Whether this call is refused because the disk is full.
    fn is_full(&self) -> bool;
    /// Whether syncs are not what they say.
    fn lies(&self) -> bool;
    /// How long a write and a sync take.
    fn pace(&self) -> (Duration, Duration);
    /// Chance.
    fn rng(&self) -> Rng;
    /// The journal's time, as the process knows it.
    fn clock(&self) -> Arc<dyn Clock>;
    /// The journal accepts no more.
    fn broke(&self);
    /// A call was refused.
    fn refused(&self, error: &Error);
    /// What became durable.
    fn durable(&self, operation: OperationId, entries: &[Entry]);
}

/// A journal on a simulated disk.
#[derive(Clone)]
pub(crate) struct ModelJournal {
    shared: Arc<Shared>,
}

struct Shared {
    host: Box<dyn Host>,
    disk: Arc<Mutex<Disk>>,
    /// What is durable; what readers see.
    durable: MemoryJournal,
    /// What is written; what writers are checked against.
    written: MemoryJournal,
    queue: Mutex<Queue>,
}

#[derive(Default)]
struct Queue {
    calls: VecDeque<Call>,
    writing: bool,
    broken: Option<String>,
}

struct Call {
    what: What,
    done: oneshot::Sender<Done>,
}

enum What {
    Append(Append),
    Prune(Timestamp, Timestamp),
}

/// What a call came to: for a prune, how many were forgotten.
type Done = Result<usize, Error>;

impl ModelJournal {
    /// Opens the journal that is on `disk`.
    pub(crate) fn open(disk: Arc<Mutex<Disk>>, host: impl Host) -> Self {
        let (durable, written) = (MemoryJournal::new(), MemoryJournal::new());
        for frame in lock(&disk).open() {
            for journal in [&durable, &written] {
                replay(journal, frame.clone());
            }
        }
        let (host, queue) = (Box::new(host), Mutex::default());
        Self { shared: Arc::new(Shared { host, disk, durable, written, queue }) }
    }

    /// What is unfinished, for whoever judges the schedule.
    pub(crate) fn left(&self) -> Vec<Stored> {
        let all = self.shared.durable.unfinished_page(None, usize::MAX);
        now(all).expect("it never fails by itself")
    }

    fn call(&self, what: What) -> Result<oneshot::Receiver<Done>, Error> {
        let (done, told) = oneshot::channel();
        let mut queue = self.shared.queue();
        if let Some(why) = &queue.broken {
            return Err(Error::Broken(why.clone()));
        }
        queue.calls.push_back(Call { what, done });
        if !queue.writing {
            queue.writing = true;
            tokio::spawn(write(Arc::clone(&self.shared)));
        }
        Ok(told)
    }

    async fn wait(&self, what: What) -> Done {
        let told = self.call(what)?;
        let done = told.await.unwrap_or_else(|_| Err(Error::Broken("the writer is gone".into())));
        self.shared.host.cross().await;
        done
    }

    fn read<T>(&self, read: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        self.health()?;
        now(read)
    }
}

/// Writes what is queued, group by group.
async fn write(shared: Arc<Shared>) {
    loop {
        let (writing, syncing) = shared.host.pace();
        tokio::time::sleep(writing).await;
        shared.host.cross().await;
        let calls = {
            let mut queue = shared.queue();
            queue.writing = !queue.calls.is_empty();
            if !queue.writing {
                return;
            }
            std::mem::take(&mut queue.calls)
        };
        let (answers, frames) = shared.take(calls);
        tokio::time::sleep(syncing).await;
        shared.host.cross().await;
        if shared.host.sync_fails() {
            return shared.fail(answers);
        }
        if !shared.host.lies() {
            lock(&shared.disk).sync();
        }
        for frame in frames {
            if let Frame::Calls(calls) = &frame {
                for Append { operation, entries, .. } in calls {
                    shared.host.durable(*operation, entries);
                }
            }
            replay(&shared.durable, frame);
        }
        for (done, answer) in answers {
            // Who asked may be gone.
            _ = done.send(answer);
        }
    }
}

type Answers = Vec<(oneshot::Sender<Done>, Done)>;

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        lock(&self.queue)
    }

    /// Checks the calls one by one, as the contract says, and writes what is accepted.
    fn take(&self, calls: VecDeque<Call>) -> (Answers, Vec<Frame>) {
        let (mut answers, mut frames, mut accepted) = (Vec::new(), Vec::new(), Vec::new());
        for call in calls {
            let answer = match call.what {
                What::Append(append) => self.keep(append, &mut accepted).map(|()| 0),
                What::Prune(at, before) => {
                    if !accepted.is_empty() {
                        frames.push(Frame::Calls(std::mem::take(&mut accepted)));
                    }
                    frames.push(Frame::Prune(at, before));
                    now(self.written.prune(at, before))
                }
            };
            if let Err(error) = &answer {
                self.host.refused(error);
            }
            answers.push((call.done, answer));
        }
        if !accepted.is_empty() {
            frames.push(Frame::Calls(accepted));
        }
        let mut disk = lock(&self.disk);
        for frame in &frames {
            disk.write(frame);
        }
        (answers, frames)
    }

    fn keep(&self, append: Append, accepted: &mut Vec<Append>) -> Result<(), Error> {
        let opens = append.begins && !matches!(append.index.state, State::Finished(_));
        if opens && self.host.is_full() {
            return Err(Error::Full { max_bytes: 1 });
        }
        now(self.written.append(append.clone()))?;
        accepted.push(append);
        Ok(())
    }

    fn fail(&self, answers: Answers) {
        lock(&self.disk).fail_sync(&mut self.host.rng());
        let why = "the sync failed".to_owned();
        let mut queue = self.queue();
        queue.broken = Some(why.clone());
        for (done, answer) in answers {
            _ = done.send(answer.and(Err(Error::Unknown(why.clone()))));
        }
        for call in queue.calls.drain(..) {
            _ = call.done.send(Err(Error::Broken(why.clone())));
        }
        self.host.broke();
    }
}

fn replay(journal: &MemoryJournal, frame: Frame) {
    match frame {
        Frame::Calls(calls) => {
            for append in calls {
                now(journal.append(append)).expect("it was accepted before");
            }
        }
        Frame::Prune(at, before) => _ = now(journal.prune(at, before)),
    }
}

/// What a future gives that never waits.
fn now<T>(future: impl Future<Output = T>) -> T {
    future.now_or_never().expect("a journal in memory never waits")
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[async_trait]
impl Journal for ModelJournal {
    async fn append(&self, append: Append) -> Result<(), Error> {
        self.wait(What::Append(append)).await.map(drop)
    }

    async fn unfinished_page(
        &self,
        after: Option<OperationId>,
        limit: usize,
    ) -> Result<Vec<Stored>, Error> {
        self.shared.host.cross().await;
        self.read(self.shared.durable.unfinished_page(after, limit))
    }

    async fn operation(&self, id: OperationId) -> Result<Option<Stored>, Error> {
        self.shared.host.cross().await;
        self.read(self.shared.durable.operation(id))
    }

    async fn holder(&self, resource: &Resource) -> Result<Option<Stored>, Error> {
        self.shared.host.cross().await;
        self.read(self.shared.durable.holder(resource))
    }

    async fn overlapping(
        &self,
        window: &Window,
        after: Option<OperationId>,
        limit: usize,
    ) -> Result<Vec<Stored>, Error> {
        self.shared.host.cross().await;
        self.read(self.shared.durable.overlapping(window, after, limit))
    }

    async fn prune(&self, now: Timestamp, before: Timestamp) -> Result<usize, Error> {
        self.wait(What::Prune(now, before)).await
    }

    fn health(&self) -> Result<(), Error> {
        self.shared.queue().broken.clone().map_or(Ok(()), |why| Err(Error::Broken(why)))
    }

    fn clock(&self) -> Arc<dyn Clock> {
        self.shared.host.clock()
    }
}
