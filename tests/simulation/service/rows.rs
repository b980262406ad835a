//! The service's rows: those that are there, those that were, and what a replica shows that lags.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use authz_sidecar::model::Timestamp;
use serde_json::{Value, json};

use crate::coverage::Event;
use crate::wire::{Asked, Whose};
use crate::world::State;

/// The rows, and what became of those that are gone.
#[derive(Default)]
pub(crate) struct Rows {
    pub(crate) there: BTreeMap<String, Row>,
    /// Rows that are gone: who had the last one of that id removed.
    pub(crate) removed: BTreeMap<String, (Row, Whose)>,
    /// Ids and replay keys that a transaction holds which has not committed.
    pub(crate) pending: BTreeSet<String>,
    /// Each commit: when, of which id, and what is there since.
    commits: Vec<(Duration, String, Option<Row>)>,
    /// The answers that were given to replay keys: an id, and what was answered.
    pub(crate) replays: BTreeMap<String, Row>,
    made: usize,
}

/// A key or a document.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Row {
    pub(crate) id: String,
    /// The agent of a key, the folder of a document.
    pub(crate) agent: String,
    pub(crate) name: String,
    /// The type of a key.
    pub(crate) kind: String,
    /// As the service's clock showed.
    pub(crate) created_at: Timestamp,
    /// When that was in truth.
    pub(crate) made: Duration,
    /// Who asked for it.
    pub(crate) maker: Whose,
    /// As which user.
    pub(crate) user: String,
}

/// The kind of a row that is a document.
pub(crate) const DOCUMENT: &str = "document";

impl Rows {
    pub(crate) fn next_id(&mut self) -> String {
        self.made += 1;
        format!("k{}", self.made)
    }

    /// What was there at `time`.
    fn at(&self, time: Duration) -> BTreeMap<String, Row> {
        let mut rows = BTreeMap::new();
        for (_, id, row) in self.commits.iter().take_while(|(at, ..)| *at <= time) {
            match row {
                Some(row) => _ = rows.insert(id.clone(), row.clone()),
                None => _ = rows.remove(id),
            }
        }
        rows
    }
}

impl Row {
    pub(crate) fn is_document(&self) -> bool {
        self.kind == DOCUMENT
    }

    pub(crate) fn json(&self) -> Value {
        let created_at = self.created_at.to_string();
        if self.is_document() {
            json!({"id": self.id, "folder": self.agent, "name": self.name, "created_at": created_at})
        } else {
            json!({"id": self.id, "agent_id": self.agent, "name": self.name,
                "api_key_type": self.kind, "created_at": created_at})
        }
    }

    /// Whether the query of `asked` means it. What a query does not say, it does not care about.
    pub(crate) fn is_meant_by(&self, asked: &Asked) -> bool {
        let is = |name: &str, value: &str| asked.query.get(name).is_none_or(|said| said == value);
        asked.lists_of(&self.agent) && is("api_key_type", &self.kind)
    }
}

impl State {
    /// What a read shows that `asked` makes now: at most so old as reads may lag.
    pub(super) fn view(&mut self, asked: &Asked) -> BTreeMap<String, Row> {
        let lag = self.schedule.times.read_lag;
        let lags = !self.calm && !lag.is_zero() && self.rng.bool();
        let mut rows = if lags {
            let lag = crate::faults::log_uniform(&mut self.rng, lag);
            self.service.at(self.now.saturating_sub(lag))
        } else {
            self.service.there.clone()
        };
        rows.retain(|_, row| self.may_see(row, asked));
        rows
    }

    pub(super) fn may_see(&self, row: &Row, asked: &Asked) -> bool {
        let all = !self.schedule.habits.hides;
        all || asked.user.as_ref().is_none_or(|user| *user == row.user)
    }

    /// A name as it is kept.
    pub(super) fn kept(&self, name: String) -> String {
        if self.schedule.habits.trims { name.trim().to_owned() } else { name }
    }

    /// The row that `asked` makes now.
    pub(super) fn new_row(
        &mut self,
        asked: &Asked,
        id: String,
        agent: String,
        name: String,
        kind: String,
    ) -> Row {
        self.touches(asked, &id);
        let name = self.kept(name);
        let (created_at, made, maker) = (self.service_clock(), self.now, asked.whose());
        let user = asked.user.clone().unwrap_or_default();
        Row { id, agent, name, kind, created_at, made, maker, user }
    }

    /// A row is there to be seen.
    pub(crate) fn insert(&mut self, row: Row) {
        if let Whose::Client(maker) = row.maker {
            let told = self.clients[maker].told.as_ref();
            self.counts.late_effects += usize::from(told.is_some_and(|told| !told.is_success()));
            self.happens(maker, Event::Committed);
        }
        self.say("service", "commits", |_| format!("row {} of {:?}", row.id, row.maker));
        self.judge_insertion(&row);
        self.service.pending.remove(&row.id);
        self.service.commits.push((self.now, row.id.clone(), Some(row.clone())));
        self.service.there.insert(row.id.clone(), row);
    }

    /// The row of `id` is gone, if it is the one that was made at `made`.
    pub(crate) fn remove(&mut self, id: &str, made: Duration, whose: Whose) {
        let there = self.service.there.get(id);
        let Some(row) = there.filter(|row| row.made == made).cloned() else { return };
        self.service.there.remove(id);
        if let Whose::Client(by) = whose {
            self.happens(by, Event::Committed);
        }
        self.say("service", "commits", |_| format!("row {id} is gone, by {whose:?}"));
        self.judge_removal(&row, whose);
        self.service.commits.push((self.now, id.to_owned(), None));
        self.service.removed.insert(id.to_owned(), (row, whose));
    }
}
