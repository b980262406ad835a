//! What went wrong in schedules, in numbers: a simulation in which nothing does shows nothing.

use std::ops::AddAssign;

/// How often it happened.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Counts {
    /// A replica's lease ran out, and another saw that.
    pub(crate) take_overs: usize,
    /// A write came after the take-over of who sent it.
    pub(crate) fenced_writes: usize,
    /// A create took effect after its client was told that it failed.
    pub(crate) late_effects: usize,
    /// A process was killed.
    pub(crate) crashes: usize,
    /// What a journal wrote was torn or gone after a crash.
    pub(crate) lost_writes: usize,
    /// A connection to a shared journal broke, with the answer that was on its way.
    pub(crate) cuts: usize,
    /// An operation was left to a person.
    pub(crate) reports: usize,
}

impl Counts {
    /// What never happened.
    pub(crate) fn missing(&self) -> Vec<&'static str> {
        let Self { take_overs, fenced_writes, late_effects, crashes, lost_writes, cuts, reports } =
            *self;
        let all = [
            (take_overs, "take-overs"),
            (fenced_writes, "fenced writes"),
            (late_effects, "late effects"),
            (crashes, "crashes"),
            (lost_writes, "lost writes"),
            (cuts, "cut connections"),
            (reports, "reports"),
        ];
        all.into_iter().filter(|(count, _)| *count == 0).map(|(_, what)| what).collect()
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.take_overs += other.take_overs;
        self.fenced_writes += other.fenced_writes;
        self.late_effects += other.late_effects;
        self.crashes += other.crashes;
        self.lost_writes += other.lost_writes;
        self.cuts += other.cuts;
        self.reports += other.reports;
    }
}
