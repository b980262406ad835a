//! A schedule as the head of a trace, and in a few words.

use std::fmt;

use super::{Clocks, Habits, Observes, Planned, Schedule};
use crate::settings::skew;

impl Schedule {
    /// What is unusual about it, in the order in which a reader would suspect it.
    pub(crate) fn unusual(&self) -> String {
        let Habits { delete_reads_replica, empty_is_404, hides, trims, .. } = self.habits;
        let documents = self.wishes.iter().any(|planned| planned.wish.is_of_document());
        let together = self.steps.iter().any(|step| step.whose == Clocks::All);
        let alone = self.steps.iter().any(|step| step.whose != Clocks::All);
        let observes = self.observes.iter().take(self.replicas).any(|it| *it != Observes::Nothing);
        let far = |clock: &i64| {
            let off = u128::from((self.service_clock - clock).unsigned_abs());
            off > skew(&self.times).as_micros()
        };
        let far = self.replica_clocks.iter().take(self.replicas).any(far);
        let words = [
            (self.beyond, "effects after L"),
            (documents, "documents"),
            (self.service.slow > 0.0, "slow service"),
            (!self.times.read_lag.is_zero(), "reads lag"),
            (delete_reads_replica, "deletes look at a replica"),
            (together, "all clocks step"),
            (alone, "one clock steps"),
            (far, "clocks far apart"),
            (observes, "observes"),
            (self.full > 0.0, "full journal"),
            (self.cuts > 0.0 && self.replicas > 1, "journal away"),
            (self.crashes > 0, "crashes"),
            (self.pauses > 0.0, "pauses"),
            (self.sync_fails > 0.0, "failing syncs"),
            (!self.outsiders.is_empty(), "outsiders"),
            (empty_is_404, "404 for empty lists"),
            (hides, "hidden rows"),
            (trims, "trimmed names"),
            (self.replicas > 1, "replicas"),
        ];
        let words: Vec<_> = words.iter().filter(|(is, _)| *is).map(|(_, word)| *word).collect();
        words.join(", ")
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "schedule {}: {} replicas", self.seed, self.replicas)?;
        if !self.is_within_limits() {
            let Self { lies, beyond, .. } = self;
            writeln!(f, "  BEYOND THE LIMITS: lying syncs {lies}, late {beyond}")?;
        }
        let Self { exclusive, given, crashes, fuses, pauses, observes, .. } = self;
        let Self { strikes, sync_fails, full, cuts, service_clock, replica_clocks, steps, .. } =
            self;
        writeln!(f, "  {:?}", self.times)?;
        writeln!(f, "  {:?}", self.habits)?;
        writeln!(f, "  exclusive_writer {exclusive}, observes {observes:?}, given {given}")?;
        writeln!(f, "  crashes {crashes} within {fuses:?} crossings, pauses {pauses}")?;
        writeln!(f, "  strikes {strikes}, failing syncs {sync_fails}, full {full}, cuts {cuts}")?;
        writeln!(f, "  clocks off by µs: service {service_clock}, replicas {replica_clocks:?}")?;
        writeln!(f, "  steps {steps:?}")?;
        writeln!(f, "  effects come within {:?}; outsiders at {:?}", self.latest, self.outsiders)?;
        for (who, faults) in
            [("service", &self.service), ("back end", &self.provider), ("authn", &self.authn)]
        {
            writeln!(f, "  {who}: {faults:?}")?;
        }
        for (number, planned) in self.wishes.iter().enumerate() {
            let Planned { at, user, wish, patience, retries } = planned;
            writeln!(f, "  client {number}, {user}, at {at:?}: {wish:?}")?;
            writeln!(f, "    patience {patience:?}, retries {retries}")?;
        }
        Ok(())
    }
}
