//! Do rows and registrations agree? Pure, so that it can be shown wrong books.

use std::collections::BTreeMap;
use std::fmt;

/// What both systems hold, at one time.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Books {
    /// The keys service's rows: id and agent.
    pub(super) rows: BTreeMap<String, String>,
    /// The back end's registrations: the key's id and its parent.
    pub(super) registrations: BTreeMap<String, Option<String>>,
}

/// A promise that was seen broken.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Broken {
    /// Its name in the design, such as `P2`.
    pub(super) promise: &'static str,
    /// What was seen.
    pub(super) what: String,
}

impl Broken {
    /// `promise` was seen broken.
    pub(super) fn new(promise: &'static str, what: impl Into<String>) -> Self {
        Self { promise, what: what.into() }
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BROKEN {}: {}", self.promise, self.what)
    }
}

impl Books {
    /// Every row is registered with its parent edge, and nothing else is.
    pub(super) fn agree(&self) -> Result<(), Broken> {
        for id in self.rows.keys() {
            self.is_registered(id)?;
        }
        match self.registrations.keys().find(|id| !self.rows.contains_key(*id)) {
            None => Ok(()),
            Some(id) => Err(Broken::new("P3", format!("key {id} is registered and has no row"))),
        }
    }

    /// The key `id` has a row, and is registered with its parent edge.
    pub(super) fn is_registered(&self, id: &str) -> Result<(), Broken> {
        let Some(agent) = self.rows.get(id) else {
            return Err(Broken::new("P4", format!("key {id}, which stands, has no row")));
        };
        let parent = format!("agent:{agent}");
        match self.registrations.get(id) {
            Some(Some(found)) if *found == parent => Ok(()),
            Some(found) => {
                let found = found.as_deref().unwrap_or("no parent");
                let what = format!("key {id} is registered below {found}, not below {parent}");
                Err(Broken::new("P1", what))
            }
            None => Err(Broken::new("P2", format!("key {id} has a row and is not registered"))),
        }
    }

    /// The key `id` has left no trace.
    pub(super) fn is_gone(&self, id: &str) -> Result<(), Broken> {
        if self.rows.contains_key(id) {
            return Err(Broken::new("P2", format!("key {id} still has a row")));
        }
        if self.registrations.contains_key(id) {
            return Err(Broken::new("P3", format!("key {id} is gone and still registered")));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn books(rows: &[&str], registrations: &[(&str, Option<&str>)]) -> Books {
        let row = |id: &&str| ((*id).to_owned(), "a".to_owned());
        let registration =
            |(id, parent): &(&str, Option<&str>)| ((*id).to_owned(), parent.map(str::to_owned));
        Books {
            rows: rows.iter().map(row).collect(),
            registrations: registrations.iter().map(registration).collect(),
        }
    }

    fn verdict(rows: &[&str], registrations: &[(&str, Option<&str>)]) -> String {
        match books(rows, registrations).agree() {
            Ok(()) => "agree".into(),
            Err(broken) => broken.to_string(),
        }
    }

    #[test]
    fn the_same_keys_in_both_books_agree() {
        assert_eq!(verdict(&[], &[]), "agree");
        assert_eq!(verdict(&["k"], &[("k", Some("agent:a"))]), "agree");
    }

    #[test]
    fn p2_a_row_without_a_registration_is_told() {
        let told = verdict(&["k", "l"], &[("k", Some("agent:a"))]);
        assert_eq!(told, "BROKEN P2: key l has a row and is not registered");
    }

    #[test]
    fn p3_a_registration_without_a_row_is_told() {
        let told = verdict(&["k"], &[("k", Some("agent:a")), ("l", Some("agent:a"))]);
        assert_eq!(told, "BROKEN P3: key l is registered and has no row");
    }

    #[test]
    fn p1_a_missing_or_wrong_parent_edge_is_told() {
        let told = verdict(&["k"], &[("k", None)]);
        assert_eq!(told, "BROKEN P1: key k is registered below no parent, not below agent:a");
        assert!(verdict(&["k"], &[("k", Some("agent:b"))]).starts_with("BROKEN P1"));
    }

    #[test]
    fn a_trace_in_either_book_is_told() {
        let parent = Some("agent:a");
        assert_eq!(books(&["l"], &[("l", parent)]).is_gone("k"), Ok(()));
        assert_eq!(books(&["k"], &[]).is_gone("k").unwrap_err().promise, "P2");
        assert_eq!(books(&[], &[("k", parent)]).is_gone("k").unwrap_err().promise, "P3");
        assert_eq!(books(&[], &[]).is_registered("k").unwrap_err().promise, "P4");
    }
}
