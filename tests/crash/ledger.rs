//! What clients asked for in one round, and what they were told.

use std::collections::BTreeMap;

use crate::support::service::Made;

/// All that the clients of a round know.
#[derive(Clone, Default, Debug)]
pub struct Ledger {
    /// Creates that were sent.
    pub creates: Vec<Create>,
    /// Deletes that were sent.
    pub deletes: Vec<Delete>,
    /// How often each kind of answer came.
    pub answers: BTreeMap<String, usize>,
}

/// A create.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Create {
    /// The `api_key` that it brought, by which its row is known.
    pub secret: String,
    /// The name that it asked for.
    pub name: String,
    /// Whether the configuration lets it pass unregistered.
    pub bypass: bool,
    /// The id that a 2xx told the client.
    pub told: Option<String>,
}

/// A delete.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Delete {
    /// What it means.
    pub target: Target,
    /// The status that the client got, if it got an answer.
    pub told: Option<u16>,
}

/// What a delete means.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Target {
    /// The row with this id.
    Id(String),
    /// Any one row of this name.
    Name(String),
}

impl Ledger {
    /// Notes a create that is about to be sent; gives its place.
    pub fn create(&mut self, create: Create) -> usize {
        self.creates.push(create);
        self.creates.len() - 1
    }

    /// Notes a delete that is about to be sent; gives its place.
    pub fn delete(&mut self, target: Target) -> usize {
        self.deletes.push(Delete { target, told: None });
        self.deletes.len() - 1
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

    /// Whether a client asked for the removal of the row with `id`, and was not told that
    /// nothing was removed.
    pub fn may_have_deleted(&self, id: &str) -> bool {
        self.deletes.iter().any(|delete| {
            delete.may_have_worked() && matches!(&delete.target, Target::Id(known) if known == id)
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
