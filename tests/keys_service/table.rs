//! The table that says which test covers which line of the contract, checked.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::support::repository;

/// One line of the table.
struct Line {
    id: String,
    quote: String,
    tests: Vec<String>,
}

fn table() -> Vec<Line> {
    let text = std::fs::read_to_string(repository("tests/contract/keys-service.tsv")).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let [id, tests, quote] = line.split('\t').collect::<Vec<_>>()[..] else {
                panic!("not three columns: {line}")
            };
            let tests = tests.split(' ').map(str::to_owned).collect();
            Line { id: id.into(), quote: quote.into(), tests }
        })
        .collect()
}

/// The facts of the page: each row of its table, each item of its lists, and what the paragraphs
/// say; white space is one space.
fn facts() -> Vec<String> {
    let page = std::fs::read_to_string(repository("docs/contract/keys-service.md")).unwrap();
    let body = page.split_once("## Routes").unwrap().1;
    let mut facts: Vec<String> = Vec::new();
    let mut open = false;
    for line in body.lines() {
        let starts = line.starts_with("| `") || line.starts_with("- ");
        if starts {
            facts.push(line.trim_start_matches("- ").to_owned());
        } else if open && line.starts_with("  ") {
            let last = facts.last_mut().unwrap();
            last.push(' ');
            last.push_str(line.trim());
        } else if !line.is_empty() && !line.starts_with(['#', '|']) {
            if open && !starts && facts.last().is_some_and(|last| last.starts_with('\u{b6}')) {
                let last = facts.last_mut().unwrap();
                last.push(' ');
                last.push_str(line.trim());
            } else {
                facts.push(format!("\u{b6}{line}"));
            }
        }
        open = !line.is_empty();
    }
    facts.iter().map(|fact| fact.trim_start_matches('\u{b6}').to_owned()).collect()
}

#[test]
fn every_fact_of_the_contract_is_quoted_in_the_table_and_the_other_way_round() {
    let facts = facts();
    assert!(facts.len() > 25, "the page is read: {facts:#?}");
    let lines = table();
    let ids: BTreeSet<_> = lines.iter().map(|line| &line.id).collect();
    assert_eq!(ids.len(), lines.len(), "ids are unique");
    let mut quoted: BTreeMap<&str, usize> = BTreeMap::new();
    for line in &lines {
        let fact = facts.iter().find(|fact| fact.contains(&line.quote));
        let fact = fact.unwrap_or_else(|| panic!("{}: the page doesn't say it", line.id));
        *quoted.entry(fact).or_default() += line.quote.len();
    }
    // What is left of a fact without its quotes is punctuation, not another fact.
    let missing: Vec<_> = facts
        .iter()
        .filter(|fact| quoted.get(fact.as_str()).is_none_or(|length| fact.len() > length + 20))
        .collect();
    assert!(missing.is_empty(), "not covered by the table: {missing:#?}");
}

#[test]
fn every_test_that_the_table_names_exists() {
    let mut known = BTreeSet::new();
    for root in ["tests", "src"] {
        collect(&repository(root), &mut known);
    }
    let mut missing = BTreeSet::new();
    for line in table() {
        assert!(!line.tests.is_empty(), "{} names no test", line.id);
        missing.extend(line.tests.into_iter().filter(|test| !known.contains(test)));
    }
    assert!(missing.is_empty(), "there are no such tests: {missing:#?}");
}

/// Adds the names of the functions below `directory` that are marked as tests.
fn collect(directory: &Path, known: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, known);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            let mut marked = false;
            for line in text.lines().map(str::trim) {
                if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
                    marked = true;
                } else if let Some(at) = line.find("fn ").filter(|_| marked) {
                    let name = line[at + 3..].split('(').next().unwrap();
                    known.insert(name.to_owned());
                    marked = false;
                }
            }
        }
    }
}
