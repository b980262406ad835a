//! What must hold: some of it at each moment, the rest once everything is quiet.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use authz_sidecar::dualwrite::operation::{Operation, Phase};
use authz_sidecar::model::Stored;

use crate::clients::{Client, Told};
use crate::provider::Edge;
use crate::replica::served;
use crate::schedule::{Draws, Wish};
use crate::service::rows::Row;
use crate::wire::Whose;
use crate::world::State;

/// Which promise was broken.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Kind {
    /// A success without a registration.
    P1,
    /// A row without its registration, or a success whose row is lost.
    P2,
    /// A registration without its row.
    P3,
    /// Somebody else's registration was changed.
    P4,
    /// A row was removed that somebody was told stands, or that no enforced create made (P4).
    Taken,
    /// A client was told that its create is undone, and its row was there or came (P2).
    Undone,
    /// An operation neither ended nor was reported (P9).
    Stuck,
    /// What should not happen, and is no promise of its own.
    Other,
}

/// A promise that was broken.
#[derive(Clone, Debug)]
pub(crate) struct Broken {
    pub(crate) kind: Kind,
    pub(crate) what: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.kind, self.what)
    }
}

impl State {
    /// A row was removed just now.
    pub(crate) fn judge_removal(&mut self, row: &Row, by: Whose) {
        if by != Whose::Sidecar || self.schedule.lies || self.schedule.beyond {
            return;
        }
        let id = &row.id;
        // Where ids come back, a client may have been told of an earlier row.
        let is_of = |(number, client): &(usize, &Client)| {
            client.found == Some(row.made) || row.maker == Whose::Client(*number)
        };
        let told = self.clients.iter().enumerate().filter(is_of);
        let told = { told }.find(|(_, client)| client.acknowledged() == Some(id));
        let told = told.map(|(number, _)| number);
        // Observed requests are not kept apart from others that name the same id.
        if told.is_some_and(|client| self.clients[client].observed) && id.starts_with('d') {
            return;
        }
        match (row.maker, told) {
            (Whose::Client(_), Some(client)) => {
                let what = format!("{id} was undone, and client {client} was told it stands");
                self.breaks(Kind::Taken, what);
            }
            (Whose::Client(maker), None) if self.clients[maker].enforced => {}
            (maker, _) => {
                self.breaks(Kind::Taken, format!("{id} was undone, which {maker:?} made"));
            }
        }
    }

    /// A row is there since now.
    pub(crate) fn judge_insertion(&mut self, row: &Row) {
        let Whose::Client(maker) = row.maker else { return };
        let told = self.clients[maker].told.as_ref();
        if told.and_then(Told::undo) == Some("done") && self.schedule.is_within_limits() {
            let id = &row.id;
            let what = format!("client {maker} was told that its create is undone: now {id} comes");
            self.breaks(Kind::Undone, what);
        }
    }

    /// A client was told something just now.
    pub(crate) fn judge_answer(&mut self, number: usize) {
        let client = self.clients[number].clone();
        let Some(told) = client.told.filter(|_| client.planned.wish.creates()) else { return };
        if self.schedule.lies || self.schedule.beyond {
            return;
        }
        if told.undo() == Some("done") && self.schedule.is_within_limits() {
            let own = |row: &&Row| row.maker == Whose::Client(number);
            if let Some(id) = self.service.there.values().find(own).map(|row| row.id.clone()) {
                let what =
                    format!("client {number} is told that its create is undone, and {id} is there");
                self.breaks(Kind::Undone, what);
            }
        }
        if !told.is_success() {
            return;
        }
        let Some(id) = told.id() else {
            if client.enforced {
                let what = format!("client {number} was told a success without an id");
                self.breaks(Kind::P1, what);
            }
            return;
        };
        let acknowledged = self.provider.acknowledged.get(id);
        let registered =
            acknowledged.is_some_and(|at| client.asked.is_some_and(|asked| *at >= asked));
        // What a request only found is registered by the request that made it.
        if client.enforced && client.found.is_none() && !registered {
            let what = format!("client {number} was told of {id}, which was not acknowledged");
            self.breaks(Kind::P1, what);
        }
        let removed = matches!(self.service.removed.get(id), Some((_, Whose::Sidecar)));
        let stands = self.service.there.contains_key(id) || self.service.pending.contains(id);
        if removed && !stands && self.schedule.is_within_limits() {
            let what = format!("client {number} was told of {id}, which was undone");
            self.breaks(Kind::P2, what);
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
        if self.schedule.beyond {
            return;
        }
        self.judge_rows(&reported);
        self.judge_edges(&reported);
        self.judge_clients(&reported);
    }

    /// What did not end is reported; and by the narrow draws only what the schedule makes unprovable.
    fn judge_reports(&mut self, left: &[Operation]) -> BTreeSet<String> {
        let mut rows = BTreeSet::new();
        for operation in left {
            let Phase::Reported(why) = &operation.phase else {
                let what = format!("not reported, not ended: {:?}", operation.phase);
                self.breaks(Kind::Stuck, what);
                continue;
            };
            let schedule = &self.schedule;
            let has_own = schedule.wishes.iter().any(|p| matches!(p.wish, Wish::Own { .. }));
            let expected = schedule.draws == Draws::Wide
                || !schedule.exclusive && why.contains("exclusive_writer")
                || has_own && why.contains("not enforced")
                // The list before could not be read, or it had ended until evidence came.
                || why.contains("no complete list")
                || why.contains("was reported");
            if !expected {
                self.breaks(Kind::Other, format!("reported without need: {why}"));
            }
            self.counts.reports += 1;
            rows.extend(operation.reported.iter().map(ToString::to_string));
            // Where no list could be read, a person was told of the create, and not of its row.
            if let Some(client) = served(operation.id) {
                let there = self.service.there.values();
                let made = there.filter(|row| row.maker == Whose::Client(client));
                rows.extend(made.map(|row| row.id.clone()));
            }
        }
        rows
    }

    /// Each row has its relationships, with the right owner and parent.
    fn judge_rows(&mut self, reported: &BTreeSet<String>) {
        let rows: Vec<_> = self.service.there.values().cloned().collect();
        for row in rows {
            let edge = self.provider.edges.get(&row.id).cloned();
            let (expected, required) = self.expected_edge(&row);
            // What was found is passed on unregistered: an exception to P1.
            let found = self.clients.iter().any(|client| client.found_row(&row.id));
            let waived = !required || found || reported.contains(&row.id);
            // Requests that the sidecar does not enforce, or does not see, are not kept apart from others that name
            // the same id.
            let is_apart =
                matches!(row.maker, Whose::Client(maker) if self.clients[maker].enforced);
            if !is_apart && row.id.starts_with('d') {
                continue;
            }
            let owner = |edge: &Option<Edge>| edge.as_ref().map(|edge| edge.owner.clone());
            let kind = match &edge {
                None if waived => continue,
                // Somebody else's registration is gone.
                None if !matches!(row.maker, Whose::Client(_)) => Kind::P4,
                _ if edge == expected => continue,
                // A person decides whose it is.
                _ if reported.contains(&row.id) => continue,
                Some(_) if owner(&edge) != owner(&expected) => Kind::P4,
                _ => Kind::P2,
            };
            let (id, maker) = (&row.id, row.maker);
            let what = format!("row {id} of {maker:?} has {edge:?} instead of {expected:?}");
            self.breaks(kind, what);
        }
    }

    /// The registration of a row, and whether it must be there.
    fn expected_edge(&self, row: &Row) -> (Option<Edge>, bool) {
        let parent = row.agent.clone();
        match row.maker {
            Whose::Client(maker) => {
                let client = &self.clients[maker];
                let owner = client.planned.user.clone();
                (client.planned.wish.registers().then_some(Edge { owner, parent }), client.enforced)
            }
            _ => (Some(Edge { owner: "outsider".into(), parent }), true),
        }
    }

    /// Each relationship has its row, unless a person was told of that row.
    fn judge_edges(&mut self, reported: &BTreeSet<String>) {
        let orphans: Vec<_> = self.provider.edges.keys().cloned().collect();
        for id in orphans {
            let is_there = self.service.there.contains_key(&id) || reported.contains(&id);
            if is_there || self.is_out_of_reach(&id) {
                continue;
            }
            let gone = self.service.removed.get(&id).map(|(_, by)| *by);
            let what = format!("{id} has relationships and no row (removed by {gone:?})");
            self.breaks(Kind::P3, what);
        }
    }

    /// Whether a delete by name removed a row that somebody made past the sidecar while it ran, or so shortly before
    /// that reads did not show it; or a delete that is only observed may have passed unrecorded.
    fn is_out_of_reach(&self, id: &str) -> bool {
        let Some((row, Whose::Client(by))) = self.service.removed.get(id) else { return false };
        let by = &self.clients[*by];
        let began = by.asked.unwrap_or(Duration::MAX);
        let schedule = &self.schedule;
        let is_journal_lame = schedule.full > 0.0 || schedule.cuts > 0.0;
        row.maker == Whose::Outsider && row.made + schedule.times.read_lag >= began
            || by.observed && is_journal_lame
    }

    /// What clients were told is so.
    fn judge_clients(&mut self, reported: &BTreeSet<String>) {
        for number in 0..self.clients.len() {
            let client = self.clients[number].clone();
            let Some(told) = &client.told else {
                self.breaks(Kind::Other, format!("client {number} was never answered"));
                continue;
            };
            if !client.enforced {
                continue;
            }
            if let Some(id) = client.acknowledged() {
                // Where ids come back, the last row with this id may be another's.
                let own =
                    |(row, by): &(Row, Whose)| (row.maker == Whose::Client(number)).then_some(*by);
                let by = self.service.removed.get(id).map(own);
                let stands = self.service.there.contains_key(id) || client.found.is_some();
                if !stands && matches!(by, None | Some(Some(Whose::Sidecar))) {
                    let what = format!("client {number} was told of {id}, which is lost");
                    self.breaks(Kind::P2, what);
                }
            } else if matches!(told, Told::Answer { .. }) && told.undo() != Some("unknown") {
                // Another request may have been answered the row, and its client be gone.
                let others = |row: &Row| {
                    self.clients.iter().any(|client| {
                        let left = client.told == Some(Told::Nothing);
                        client.acknowledged() == Some(&row.id)
                            || left && client.found == Some(row.made)
                    })
                };
                let mine = |row: &&Row| row.maker == Whose::Client(number);
                let left = self.service.there.values().filter(mine);
                let left = left.filter(|row| !reported.contains(&row.id) && !others(row));
                let left: Vec<_> = left.map(|row| row.id.clone()).collect();
                for id in left {
                    let what = format!("client {number} was told of a failure, and {id} stands");
                    self.breaks(Kind::P2, what);
                }
            }
        }
    }
}
