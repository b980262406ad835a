//! What this process carries on: for each unfinished operation where it stands, the attempts, the
//! last failure, the next try, and the letters to it. Memory only; the journal holds what matters.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::gauge::ConstGauge;
use tokio::sync::{mpsc, oneshot, watch};

use super::context::Halt;
use super::line::lock;
use super::operation::{Operation, Phase};
use crate::journal::Receipt;
use crate::model::{Late, OperationId, Order, Timestamp};

/// Failed attempts in a row from which on an operation counts as stuck.
pub(super) const STUCK_AFTER: u32 = 5;

/// Letters that may wait for one operation. Its driver reads them between two attempts; who
/// posts more waits for room.
const CAPACITY: usize = 16;

/// All unfinished operations that this process drives.
#[derive(Debug, Default)]
pub(super) struct Board {
    driven: Mutex<HashMap<OperationId, Driven>>,
}

/// What others see of an operation, and how they reach it.
#[derive(Clone, Debug)]
struct Driven {
    note: watch::Receiver<Note>,
    letters: mpsc::Sender<Letter>,
}

/// The driver's side of that. Once it is dropped, the operation is off the board.
pub(super) struct Sheet {
    board: Arc<Board>,
    id: OperationId,
    pub(super) note: watch::Sender<Note>,
    /// Nothing is lost where the future of a letter is dropped.
    pub(super) letters: mpsc::Receiver<Letter>,
}

/// Something that an operation is told from outside its own loop.
#[derive(Debug)]
pub(super) enum Letter {
    /// A person's order, and where to tell that it is durable, or why it was not taken.
    Order(Order, oneshot::Sender<Result<(), Halt>>),
    /// This was learnt too late to decide anything. If another process learnt it, there is a receipt for when it is
    /// recorded.
    Evidence(Late, Option<Receipt>),
}

/// The note on one operation.
#[derive(Clone, Debug)]
pub(super) struct Note {
    rule: String,
    intent: Timestamp,
    /// Whether only a person can decide it.
    pub(super) reported: bool,
    /// How far it is.
    pub(super) progress: Progress,
    /// Failed attempts since the last success.
    pub(super) attempts: u32,
    /// Why the last one failed.
    pub(super) failure: Option<String>,
    /// When the next is due.
    pub(super) next: Option<Timestamp>,
    /// What was tried last.
    pub(super) task: Option<&'static str>,
    /// The neighbour that is down and that it waits for.
    pub(super) waits_for: Option<&'static str>,
}

/// How far a driven operation is, for those that wait for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Progress {
    /// At work.
    Busy,
    /// Nothing more happens for now: it waits for a time, or for its next attempt.
    Resting {
        /// Whether all that the client may wait for is done: the row is proven gone, or nothing is left.
        settled: bool,
    },
    /// A person has to decide, or ended it, whatever was left to be done.
    Reported,
}

impl Note {
    /// Whether it does not get on: its last attempts all failed, or it makes none because the
    /// neighbour that it needs is down.
    pub(super) fn is_stuck(&self) -> bool {
        self.attempts >= STUCK_AFTER || self.waits_for.is_some()
    }
}

impl Board {
    /// Puts an operation on the board. Of two sheets for one operation the later gets the letters.
    pub(super) fn begin(self: &Arc<Self>, operation: &Operation) -> Sheet {
        let (note, seen) = watch::channel(Note {
            rule: operation.plan.rule.clone(),
            intent: operation.intent,
            reported: matches!(operation.phase, Phase::Reported(_)),
            progress: Progress::Busy,
            attempts: 0,
            failure: None,
            next: None,
            task: None,
            waits_for: None,
        });
        let (sender, letters) = mpsc::channel(CAPACITY);
        lock(&self.driven).insert(operation.id, Driven { note: seen, letters: sender });
        Sheet { board: Arc::clone(self), id: operation.id, note, letters }
    }

    /// Posts a letter, and waits for room. Gives whether it will be read; nobody reads it where
    /// this process does not drive the operation, or no more.
    pub(super) async fn post(&self, id: OperationId, letter: Letter) -> bool {
        match self.driven(id) {
            Some(driven) => driven.letters.send(letter).await.is_ok(),
            None => false,
        }
    }

    /// The note on an operation, if this process drives it, so that letters to it are read.
    pub(super) fn note(&self, id: OperationId) -> Option<Note> {
        self.driven(id).map(|driven| driven.note.borrow().clone())
    }

    fn driven(&self, id: OperationId) -> Option<Driven> {
        lock(&self.driven).get(&id).filter(|driven| !driven.letters.is_closed()).cloned()
    }

    fn by_rule(&self) -> BTreeMap<String, Vec<Note>> {
        let mut rules: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for driven in lock(&self.driven).values() {
            let note = driven.note.borrow().clone();
            rules.entry(note.rule.clone()).or_default().push(note);
        }
        rules
    }
}

impl Drop for Sheet {
    fn drop(&mut self) {
        self.letters.close();
        let mut driven = lock(&self.board.driven);
        // A later sheet's letters are read.
        if driven.get(&self.id).is_some_and(|driven| driven.letters.is_closed()) {
            driven.remove(&self.id);
        }
    }
}

/// One gauge: its name, what it tells, and its value for a rule's notes.
type Gauge = (&'static str, &'static str, fn(&[Note]) -> i64);

/// By rule, of which the configuration names a few. A rule without unfinished operations has none.
const GAUGES: [Gauge; 4] = [
    (
        "operations_unfinished",
        "Operations whose request is over and that this process carries on",
        |notes| notes.iter().map(|_| 1).sum(),
    ),
    (
        "operations_stuck",
        "Unfinished operations that don't get on: their last attempts all failed, or what they call is down",
        |notes| notes.iter().map(|note| i64::from(note.is_stuck())).sum(),
    ),
    ("operations_reported", "Unfinished operations that only a person can decide", |notes| {
        notes.iter().map(|note| i64::from(note.reported)).sum()
    }),
    (
        "operations_oldest_timestamp_seconds",
        "When the request of the oldest unfinished operation was sent, in Unix time",
        |notes| notes.iter().map(|note| note.intent.as_micros() / 1_000_000).min().unwrap_or(0),
    ),
];

/// Counted when they are read: most notes change many times between two readings.
impl Collector for Board {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let rules = self.by_rule();
        for (name, help, value) in GAUGES {
            let kind = prometheus_client::metrics::MetricType::Gauge;
            let mut family = encoder.encode_descriptor(name, help, None, kind)?;
            for (rule, notes) in &rules {
                let labels = [("rule", rule.as_str())];
                let series = family.encode_family(&labels)?;
                ConstGauge::new(value(notes)).encode(series)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dualwrite::fixtures::create;
    use crate::model::Mode;

    fn late() -> Letter {
        Letter::Evidence(Late::Sent, None)
    }

    #[tokio::test]
    async fn letters_reach_whoever_began_last_until_it_is_dropped() {
        let (board, operation) = (Arc::new(Board::default()), create(Mode::Enforce, None));
        let id = operation.id;
        assert!(!board.post(id, late()).await, "nobody reads");
        let mut first = board.begin(&operation);
        assert!(board.post(id, late()).await);
        assert!(matches!(first.letters.recv().await, Some(Letter::Evidence(..))));
        let mut second = board.begin(&operation);
        drop(first);
        assert!(board.post(id, late()).await);
        assert!(matches!(second.letters.try_recv(), Ok(Letter::Evidence(..))));
        assert!(second.letters.try_recv().is_err());
        drop(second);
        assert!(!board.post(id, late()).await, "nobody reads any more");
        assert!(lock(&board.driven).is_empty());
    }

    #[tokio::test]
    async fn p8_a_letter_waits_for_room_and_is_refused_once_nobody_reads() {
        let (board, operation) = (Arc::new(Board::default()), create(Mode::Enforce, None));
        let id = operation.id;
        let sheet = board.begin(&operation);
        for _ in 0..CAPACITY {
            assert!(board.post(id, late()).await);
        }
        let one_more = board.post(id, late());
        let reader_leaves = async {
            tokio::task::yield_now().await;
            drop(sheet);
        };
        let (posted, ()) = tokio::join!(one_more, reader_leaves);
        assert!(!posted);
    }
}
