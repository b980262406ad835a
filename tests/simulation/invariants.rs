//! What must hold: some of it at each moment, the rest once everything is quiet.

use std::collections::BTreeSet;
use std::time::Duration;

use authz_sidecar::dualwrite::operation::{Operation, Phase};
use authz_sidecar::model::Stored;

use crate::clients::Told;
use crate::provider::Edge;
use crate::schedule::Wish;
use crate::service::Row;
use crate::wire::Whose;
use crate::world::State;

impl State {
    /// A row was removed just now.
    pub(crate) fn judge_removal(&mut self, row: &Row, by: Whose) {
        if by != Whose::Sidecar || self.schedule.lies {
            return;
        }
        let id = &row.id;
        match row.maker {
            Whose::Client(maker) => {
                let told = self.clients[maker].told.as_ref().is_some_and(Told::is_success);
                let enforced = self.schedule.wishes[maker].wish.is_enforced();
                if told && !self.schedule.skewed {
                    self.breaks(format!(
                        "P2: {id} was undone, and client {maker} was told it stands"
                    ));
                } else if !enforced && !self.schedule.skewed {
                    self.breaks(format!("P4: {id} was undone, which passed unregistered"));
                }
            }
            maker => self.breaks(format!("P4: {id} was undone, which was made by {maker:?}")),
        }
    }

    /// A client was told something just now.
    pub(crate) fn judge_answer(&mut self, number: usize) {
        let wish = self.schedule.wishes[number].wish.clone();
        let told = self.clients[number].told.clone();
        let Some(told) = told.filter(|told| wish.creates() && told.is_success()) else { return };
        let Some(id) = told.id() else {
            return self.breaks(format!("P1: client {number} was told a success without an id"));
        };
        if wish.is_enforced() && !self.provider.acknowledged.contains(id) {
            self.breaks(format!(
                "P1: client {number} was told of {id}, which was not acknowledged"
            ));
        }
        let removed = self.service.removed.get(id);
        if matches!(removed, Some((_, Whose::Sidecar))) && self.schedule.is_within_limits() {
            self.breaks(format!("P2: client {number} was told of {id}, which was undone"));
        }
    }

    /// Judges the whole, now that everything is quiet. `left` is what the journal holds as
    /// unfinished.
    pub(crate) fn judge(&mut self, left: &[Stored]) {
        if self.schedule.lies {
            return;
        }
        let left: Vec<_> =
            left.iter().filter_map(|stored| Operation::replay(stored).ok()).collect();
        let reported = self.judge_reports(&left);
        self.judge_rows(&reported);
        self.judge_edges();
        self.judge_clients(&reported);
    }

    /// Only what the schedule makes unprovable may be reported.
    fn judge_reports(&mut self, left: &[Operation]) -> BTreeSet<String> {
        let mut rows = BTreeSet::new();
        for operation in left {
            let Phase::Reported(why) = &operation.phase else {
                self.breaks(format!("P9: not reported, not ended: {:?}", operation.phase));
                continue;
            };
            let schedule = &self.schedule;
            let has_own = schedule.wishes.iter().any(|p| matches!(p.wish, Wish::Own { .. }));
            let expected = !schedule.exclusive && why.contains("exclusive_writer")
                || schedule.skewed
                || has_own && why.contains("not enforced")
                // It had ended, and nothing was kept for it until evidence came.
                || operation.cleared.is_some() && why.contains("forgotten before evidence came");
            if !expected {
                self.breaks(format!("reported without need: {why}"));
            }
            rows.extend(operation.reported.iter().map(ToString::to_string));
        }
        rows
    }

    /// Each row has its relationships, with the right owner and parent.
    fn judge_rows(&mut self, reported: &BTreeSet<String>) {
        let rows: Vec<_> = self.service.rows.values().cloned().collect();
        for row in rows {
            let edge = self.provider.edges.get(&row.id).cloned();
            let expected = self.expected_edge(&row);
            let waived = reported.contains(&row.id) || self.schedule.skewed;
            if edge != expected && !(edge.is_none() && waived) {
                let id = &row.id;
                self.breaks(format!(
                    "P2/P3: row {id} of {:?} has {edge:?} instead of {expected:?}",
                    row.maker
                ));
            }
        }
    }

    fn expected_edge(&self, row: &Row) -> Option<Edge> {
        let parent = row.agent.clone();
        match row.maker {
            Whose::Client(maker) => {
                let planned = &self.schedule.wishes[maker];
                let owner = planned.user.clone();
                planned.wish.is_enforced().then_some(Edge { owner, parent })
            }
            _ => Some(Edge { owner: "outsider".into(), parent }),
        }
    }

    /// Each relationship has its row.
    fn judge_edges(&mut self) {
        let orphans: Vec<_> = self.provider.edges.keys().cloned().collect();
        for id in orphans {
            if self.service.rows.contains_key(&id) || self.is_out_of_reach(&id) {
                continue;
            }
            let gone = self.service.removed.get(&id).map(|(_, by)| *by);
            self.breaks(format!("P3: {id} has relationships and no row (removed by {gone:?})"));
        }
    }

    /// Whether a delete by name removed a row that somebody made past the sidecar while it ran.
    fn is_out_of_reach(&self, id: &str) -> bool {
        let Some((row, Whose::Client(by))) = self.service.removed.get(id) else { return false };
        let began = self.clients[*by].asked.unwrap_or(Duration::MAX);
        row.maker == Whose::Outsider && self.made_after(row, began)
    }

    fn made_after(&self, row: &Row, began: Duration) -> bool {
        row.created_at >= crate::world::wall(began, self.schedule.service_clock)
    }

    /// What clients were told is so.
    fn judge_clients(&mut self, reported: &BTreeSet<String>) {
        if self.schedule.skewed {
            return;
        }
        for number in 0..self.clients.len() {
            let wish = &self.schedule.wishes[number].wish;
            let Some(told) = self.clients[number].told.clone() else {
                self.breaks(format!("client {number} was never answered"));
                continue;
            };
            if !wish.is_enforced() {
                continue;
            }
            if let Some(id) = told.id().filter(|_| told.is_success()) {
                let by = self.service.removed.get(id).map(|(_, by)| *by);
                let stands = self.service.rows.contains_key(id);
                if !stands && matches!(by, None | Some(Whose::Sidecar)) {
                    self.breaks(format!("P2: client {number} was told of {id}, which is lost"));
                }
            } else if matches!(&told, Told::Answer { .. }) && told.undo() != Some("unknown") {
                let mine = |row: &&Row| row.maker == Whose::Client(number);
                let left = self.service.rows.values().filter(mine).map(|row| row.id.clone());
                let left: Vec<_> = left.filter(|id| !reported.contains(id)).collect();
                for id in left {
                    self.breaks(format!(
                        "P2: client {number} was told of a failure, and {id} stands"
                    ));
                }
            }
        }
    }
}
