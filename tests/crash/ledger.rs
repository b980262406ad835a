//! What clients asked for in one round, and what they were told; and so of the person who gave orders.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::support::service::Made;

/// All that the clients of a round know.
#[derive(Clone, Default, Debug)]
pub struct Ledger {
    /// Creates that were sent.
    pub creates: Vec<Create>,
    /// Deletes that were sent.
    pub deletes: Vec<Delete>,
    /// Orders that were given.
    pub orders: Vec<Order>,
    /// How often each kind of answer came.
    pub answers: BTreeMap<String, usize>,
}

/// A create.
#[derive(Clone, PartialEq, Debug)]
pub struct Create {
    /// The `api_key` that it brought, by which its row is known.
    pub secret: String,
    /// The name that it asked for.
    pub name: String,
    /// Whether the configuration lets it pass unregistered.
    pub bypass: bool,
    /// Whether it was sent straight to the service. Then its row may be registered, by a replay through
    /// the sidecar, or not.
    pub aside: bool,
    /// The id that a 2xx told the client.
    pub told: Option<String>,
    /// Why its row can't stand, as the client was told.
    pub refused: Option<Refusal>,
    /// Unix time at which the client got its answer, in seconds and 0 where it got none.
    pub answered: f64,
}

/// What tells a client that the row of its create does not stand.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// It was refused, or not sent at all. That is true of a 4xx of the service too: none of the
    /// faults of `CREATE_FAULTS` has it answer that after its effect.
    Refused,
    /// `undo: done`.
    Undone,
}

impl Refusal {
    /// What an answer to a create tells; nothing where the row may stand all the same.
    pub fn of(status: u16, body: &[u8]) -> Option<Self> {
        // The service's own answers have none of the members.
        let problem: Value = serde_json::from_slice(body).unwrap_or_default();
        let kind = problem["type"].as_str().unwrap_or_default();
        match (status, kind.strip_prefix("urn:authz-sidecar:problem:")) {
            (400..500, _)
            | (502, Some("upstream-unreachable"))
            | (503, Some("unavailable" | "overloaded")) => Some(Self::Refused),
            (503, Some("not-registered")) if problem["undo"] == "done" => Some(Self::Undone),
            _ => None,
        }
    }
}

/// How a client marks the create that has this place in the ledger.
pub fn create_mark(place: usize) -> String {
    format!("create {place}")
}

/// How a client marks the delete that has this place in the ledger.
pub fn delete_mark(place: usize) -> String {
    format!("delete {place}")
}

/// How a person marks the delete of a row that is nobody's.
pub const OPERATOR_MARK: &str = "delete by an operator";

/// Whether a mark is that of a delete. The sidecar sends no DELETE because of one: whatever carries
/// such a mark is the client's own request.
pub fn is_delete(mark: &str) -> bool {
    mark.starts_with("delete ")
}

/// A delete.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Delete {
    /// What it means.
    pub target: Target,
    /// The status that the client got, if it got an answer.
    pub told: Option<u16>,
    /// Whether the row with its id was committed before it was sent, as somebody saw past the
    /// sidecar. The service answers 200 for a row that is not committed yet, too.
    pub existed: bool,
}

/// What a delete means.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Target {
    /// The row with this id.
    Id(String),
    /// Any one row of this name.
    Name(String),
}

/// A person's order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Order {
    /// The operation's id.
    pub operation: String,
    /// The record that follows from it.
    pub record: &'static str,
    /// What is given up with it.
    pub given_up: GivenUp,
    /// The status that the person got, if there was an answer.
    pub told: Option<u16>,
}

/// Of what nobody sees to it any more that rows and relationships agree, once it is discarded.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct GivenUp {
    /// Rows with these ids.
    pub ids: BTreeSet<String>,
    /// So many rows besides, whose ids nobody knows: no client was told of them.
    pub rows: usize,
}

impl Order {
    /// Whether it was followed.
    pub fn was_taken(&self) -> bool {
        self.told == Some(200)
    }

    /// Whether it may have been followed: nobody said that it was not.
    pub fn may_be_taken(&self) -> bool {
        self.told.is_none_or(|status| !(400..500).contains(&status))
    }
}

impl Ledger {
    /// Notes a create that is about to be sent; gives its place.
    pub fn create(&mut self, create: Create) -> usize {
        self.creates.push(create);
        self.creates.len() - 1
    }

    /// Notes a delete that is about to be sent; gives its place.
    pub fn delete(&mut self, target: Target) -> usize {
        self.deletes.push(Delete { target, told: None, existed: false });
        self.deletes.len() - 1
    }

    /// Notes an order that is about to be sent; gives its place.
    pub fn order(&mut self, order: Order) -> usize {
        self.orders.push(order);
        self.orders.len() - 1
    }

    /// How many orders were followed that make such a `record`.
    pub fn ordered(&self, record: &str) -> usize {
        let taken = |order: &&Order| order.record == record && order.was_taken();
        self.orders.iter().filter(taken).count()
    }

    /// How many clients were told that their create was undone.
    pub fn undone(&self) -> usize {
        let undone = |create: &&Create| create.refused == Some(Refusal::Undone);
        self.creates.iter().filter(undone).count()
    }

    /// All that discards gave up.
    pub fn given_up(&self) -> GivenUp {
        let mut all = GivenUp::default();
        for order in self.orders.iter().filter(|order| order.may_be_taken()) {
            all.ids.extend(order.given_up.ids.iter().cloned());
            all.rows += order.given_up.rows;
        }
        all
    }

    /// Counts an answer.
    pub fn answered(&mut self, what: &str, status: Option<u16>) {
        let status = status.map_or_else(|| "cut".to_owned(), |status| status.to_string());
        *self.answers.entry(format!("{what} {status}")).or_default() += 1;
    }

    /// How many requests were sent that a rule matches.
    pub fn operations(&self) -> usize {
        self.creates.len() + self.deletes.len()
    }

    /// The ids of those of `rows` that passed unregistered.
    pub fn passed(&self, rows: &[Made]) -> Vec<String> {
        let passed = |row: &&Made| {
            self.creates.iter().any(|create| {
                create.bypass && row.secret.as_ref().is_some_and(|secret| *secret == create.secret)
            })
        };
        rows.iter().filter(passed).map(|row| row.id.clone()).collect()
    }

    /// Whether a client was told that the row of this secret was made.
    pub fn told(&self, secret: &str) -> bool {
        self.creates.iter().any(|create| create.secret == secret && create.told.is_some())
    }

    /// The ids of those of `rows` that were made past the sidecar.
    pub fn aside(&self, rows: &[Made]) -> Vec<String> {
        let aside = |row: &&Made| {
            let made_it = |create: &&Create| row.secret.as_ref() == Some(&create.secret);
            self.creates.iter().filter(made_it).any(|create| create.aside)
        };
        rows.iter().filter(aside).map(|row| row.id.clone()).collect()
    }

    /// Whether a client asked for the removal of the row with `id`, and was not told that
    /// nothing was removed.
    pub fn may_have_deleted(&self, id: &str) -> bool {
        self.deletes.iter().any(|delete| {
            delete.may_have_worked() && matches!(&delete.target, Target::Id(known) if known == id)
        })
    }

    /// Whether a client was told that the row with `id` is gone: by a 200 for a row that was there.
    /// None of the faults that the service is asked for has it answer that without effect.
    pub fn has_deleted(&self, id: &str) -> bool {
        self.deletes.iter().any(|delete| {
            delete.existed
                && delete.told == Some(200)
                && matches!(&delete.target, Target::Id(known) if known == id)
        })
    }

    /// How many rows of `name` may have been removed by deletes by name: one each.
    pub fn deletes_by_name(&self, name: &str) -> usize {
        let by_name = self.deletes.iter().filter(|delete| {
            delete.may_have_worked()
                && matches!(&delete.target, Target::Name(known) if known == name)
        });
        by_name.count()
    }
}

impl Delete {
    fn may_have_worked(&self) -> bool {
        self.told.is_none_or(|status| !(400..500).contains(&status))
    }
}
