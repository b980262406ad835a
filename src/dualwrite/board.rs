//! What this process carries on: for each unfinished operation where it stands, the attempts, the
//! last failure, the next try. Memory only; the journal holds what matters.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::gauge::ConstGauge;

use super::operation::{Operation, Phase};
use crate::model::{OperationId, Timestamp};

/// Failed attempts in a row from which on an operation counts as stuck.
pub(super) const STUCK_AFTER: u32 = 5;

/// The notes on all unfinished operations that this process drives.
#[derive(Debug, Default)]
pub(super) struct Board {
    notes: Mutex<HashMap<OperationId, Note>>,
}

/// The note on one operation.
#[derive(Clone, Debug)]
pub(super) struct Note {
    rule: String,
    intent: Timestamp,
    reported: bool,
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

impl Note {
    /// Whether it does not get on: its last attempts all failed, or it makes none because the
    /// neighbour that it needs is down.
    pub(super) fn is_stuck(&self) -> bool {
        self.attempts >= STUCK_AFTER || self.waits_for.is_some()
    }
}

impl Board {
    /// Begins a note.
    pub(super) fn begin(&self, operation: &Operation) {
        let note = Note {
            rule: operation.plan.rule.clone(),
            intent: operation.intent,
            reported: is_reported(operation),
            attempts: 0,
            failure: None,
            next: None,
            task: None,
            waits_for: None,
        };
        self.lock().insert(operation.id, note);
    }

    /// Notes where an operation stands.
    pub(super) fn stands(&self, operation: &Operation) {
        self.change(operation.id, |note| note.reported = is_reported(operation));
    }

    /// Notes a failure and gives the number of failures since the last success.
    pub(super) fn failed(&self, id: OperationId, failure: String) -> u32 {
        let attempts = self.change(id, |note| {
            note.attempts = note.attempts.saturating_add(1);
            note.failure = Some(failure);
            note.attempts
        });
        attempts.unwrap_or(1)
    }

    /// Notes what is tried.
    pub(super) fn does(&self, id: OperationId, task: &'static str) {
        self.change(id, |note| {
            note.task = Some(task);
            note.next = None;
            note.waits_for = None;
        });
    }

    /// Notes the neighbour before whose return it makes no attempt, if there is one.
    pub(super) fn waits_for(&self, id: OperationId, peer: Option<&'static str>) {
        self.change(id, |note| {
            note.next = None;
            note.waits_for = peer;
        });
    }

    /// Notes that something succeeded.
    pub(super) fn succeeded(&self, id: OperationId) {
        self.change(id, |note| {
            note.attempts = 0;
            note.failure = None;
        });
    }

    /// Notes when the next attempt is due.
    pub(super) fn sleeps_until(&self, id: OperationId, next: Timestamp) {
        self.change(id, |note| {
            note.next = Some(next);
            note.waits_for = None;
        });
    }

    /// Forgets an operation that this process no longer drives.
    pub(super) fn remove(&self, id: OperationId) {
        self.lock().remove(&id);
    }

    /// The note on an operation, if there is one.
    pub(super) fn note(&self, id: OperationId) -> Option<Note> {
        self.lock().get(&id).cloned()
    }

    /// Failed attempts of an operation since its last success.
    pub(super) fn attempts(&self, id: OperationId) -> u32 {
        self.lock().get(&id).map_or(0, |note| note.attempts)
    }

    /// By rule.
    fn counts(&self) -> BTreeMap<String, Counts> {
        let mut counts: BTreeMap<String, Counts> = BTreeMap::new();
        for note in self.lock().values() {
            let of_rule = counts.entry(note.rule.clone()).or_default();
            of_rule.carried_on += 1;
            of_rule.stuck += i64::from(note.is_stuck());
            of_rule.reported += i64::from(note.reported);
            let oldest = of_rule.oldest.map_or(note.intent, |oldest| oldest.min(note.intent));
            of_rule.oldest = Some(oldest);
        }
        counts
    }

    fn change<R>(&self, id: OperationId, change: impl FnOnce(&mut Note) -> R) -> Option<R> {
        self.lock().get_mut(&id).map(change)
    }

    // A panic of another holder leaves whole notes behind: each change is a few assignments.
    fn lock(&self) -> MutexGuard<'_, HashMap<OperationId, Note>> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_reported(operation: &Operation) -> bool {
    matches!(operation.phase, Phase::Reported(_))
}

/// What one rule's operations come to.
#[derive(Default)]
struct Counts {
    carried_on: i64,
    stuck: i64,
    reported: i64,
    oldest: Option<Timestamp>,
}

/// One gauge: its name, what it tells, and its value for a rule.
type Gauge = (&'static str, &'static str, fn(&Counts) -> i64);

/// By rule, of which the configuration names a few. A rule without unfinished operations has none.
const GAUGES: [Gauge; 4] = [
    (
        "operations_unfinished",
        "Operations whose request is over and that this process carries on",
        |counts| counts.carried_on,
    ),
    (
        "operations_stuck",
        "Unfinished operations that don't get on: their last attempts all failed, or what they call is down",
        |counts| counts.stuck,
    ),
    ("operations_reported", "Unfinished operations that only a person can decide", |counts| {
        counts.reported
    }),
    (
        "operations_oldest_timestamp_seconds",
        "When the request of the oldest unfinished operation was sent, in Unix time",
        |counts| counts.oldest.map_or(0, |oldest| oldest.as_micros() / 1_000_000),
    ),
];

/// Counted when they are read: most notes change many times between two readings.
impl Collector for Board {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let counts = self.counts();
        for (name, help, value) in GAUGES {
            let kind = prometheus_client::metrics::MetricType::Gauge;
            let mut family = encoder.encode_descriptor(name, help, None, kind)?;
            for (rule, of_rule) in &counts {
                let labels = [("rule", rule.as_str())];
                let series = family.encode_family(&labels)?;
                ConstGauge::new(value(of_rule)).encode(series)?;
            }
        }
        Ok(())
    }
}
