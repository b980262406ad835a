//! Adds up rounds, over all runs that write to the same directory: one line a round.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::check::Kind;
use super::round::Outcome;

/// What a round came to, as it is kept.
#[derive(Clone, Default, Debug, Serialize, Deserialize)]
pub struct Line {
    /// The round's number.
    pub round: u64,
    pub kills: usize,
    pub operations: usize,
    pub orphans: usize,
    pub lost: usize,
    pub stuck: usize,
    #[serde(default)]
    pub taken: usize,
    /// Rows that an operator had to remove.
    pub reported: usize,
    /// Clients that were told `undo: done`.
    #[serde(default)]
    pub undone: usize,
    /// Orders that were followed, and of these those that ended an operation.
    #[serde(default)]
    pub orders: usize,
    #[serde(default)]
    pub discards: usize,
    /// Milliseconds, one for each recovery that was not cut short.
    pub recoveries: Vec<u64>,
    /// Where the process was killed.
    pub killed: Vec<String>,
    /// Places that it came to.
    pub places: BTreeSet<String>,
    /// Whether the service broke L in it, so that it counts for nothing.
    #[serde(default)]
    pub void: bool,
}

/// Rounds, added up.
#[derive(Clone, Default, Debug)]
pub struct Tally {
    pub kills: usize,
    pub operations: usize,
    pub orphans: usize,
    pub lost: usize,
    pub stuck: usize,
    pub taken: usize,
    pub reported: usize,
    pub undone: usize,
    pub orders: usize,
    pub discards: usize,
    recoveries: Vec<u64>,
    /// The rounds that are in it.
    pub rounds: BTreeSet<u64>,
    /// How often a round was void. Nothing else of those is in it.
    pub void: usize,
    /// Places that a process was killed at, and came to.
    pub killed: BTreeSet<String>,
    pub places: BTreeSet<String>,
}

impl Line {
    pub fn new(round: u64, outcome: &Outcome) -> Self {
        let of = |kind| outcome.violations.iter().filter(|found| found.kind == kind).count();
        Self {
            round,
            kills: outcome.kills.len(),
            operations: outcome.operations,
            orphans: of(Kind::Orphan),
            lost: of(Kind::Lost),
            stuck: of(Kind::Stuck),
            taken: of(Kind::Taken),
            reported: outcome.reported,
            undone: outcome.ledger.undone(),
            orders: outcome.ledger.ordered("retried") + outcome.ledger.ordered("discarded"),
            discards: outcome.ledger.ordered("discarded"),
            recoveries: outcome.recoveries.clone(),
            killed: outcome.kills.clone(),
            places: outcome.places.clone(),
            void: outcome.void.is_some(),
        }
    }

    /// Appends itself to a log, on a line of its own: a run that was killed may have left a part of one.
    pub fn append(&self, log: &Path) {
        let line = format!("\n{}", serde_json::to_string(self).unwrap());
        let mut log = OpenOptions::new().create(true).append(true).open(log).unwrap();
        log.write_all(line.as_bytes()).unwrap();
    }
}

impl Tally {
    /// The rounds of a log; nothing where there is none. A last line that was cut is not counted.
    pub fn read(log: &Path) -> Self {
        let mut tally = Self::default();
        let text = std::fs::read_to_string(log).unwrap_or_default();
        for line in text.lines().filter_map(|line| serde_json::from_str::<Line>(line).ok()) {
            tally.add(&line);
        }
        tally
    }

    /// Adds a round.
    pub fn add(&mut self, line: &Line) {
        if line.void {
            self.void += 1;
            return;
        }
        self.kills += line.kills;
        self.operations += line.operations;
        self.orphans += line.orphans;
        self.lost += line.lost;
        self.stuck += line.stuck;
        self.taken += line.taken;
        self.reported += line.reported;
        self.undone += line.undone;
        self.orders += line.orders;
        self.discards += line.discards;
        self.recoveries.extend(&line.recoveries);
        self.rounds.insert(line.round);
        let places = line.killed.iter().filter_map(|killed| killed.split_once(':'));
        self.killed.extend(places.map(|(place, _)| place.to_owned()));
        self.places.extend(line.places.iter().cloned());
    }

    /// Adds all of another.
    pub fn join(&mut self, other: Self) {
        self.kills += other.kills;
        self.operations += other.operations;
        self.orphans += other.orphans;
        self.lost += other.lost;
        self.stuck += other.stuck;
        self.taken += other.taken;
        self.reported += other.reported;
        self.undone += other.undone;
        self.orders += other.orders;
        self.discards += other.discards;
        self.recoveries.extend(other.recoveries);
        self.rounds.extend(other.rounds);
        self.void += other.void;
        self.killed.extend(other.killed);
        self.places.extend(other.places);
    }

    /// Whether so many rounds were void that the others may not be worth much either: one in ten,
    /// and more than one standstill makes.
    pub fn is_blind(&self) -> bool {
        self.void > 20 && self.void * 10 > self.rounds.len()
    }

    /// Whether all came up that a long run is to compare: undos that clients were told of, and
    /// orders of both kinds.
    pub fn is_full(&self) -> bool {
        self.undone > 0 && self.discards > 0 && self.orders > self.discards
    }

    /// Whether nothing is wrong.
    pub fn is_clean(&self) -> bool {
        self.orphans + self.lost + self.stuck + self.taken == 0
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut sorted = self.recoveries.clone();
        sorted.sort_unstable();
        let median = sorted.get(sorted.len() / 2).copied().unwrap_or_default();
        let longest = sorted.last().copied().unwrap_or_default();
        write!(
            f,
            "kills={} operations={} orphans={} lost={} stuck={} taken={} \
             recovery_p50_ms={median} recovery_max_ms={longest}",
            self.kills, self.operations, self.orphans, self.lost, self.stuck, self.taken
        )
    }
}
