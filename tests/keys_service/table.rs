//! The table that says which test covers which line of the contract, checked.

use std::collections::BTreeSet;
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

/// The facts of the page, one a line: each row of its table, each item of its lists and each
/// paragraph.
fn facts() -> Vec<String> {
    let page = std::fs::read_to_string(repository("docs/contract/keys-service.md")).unwrap();
    let (_, body) = page.split_once("## Routes").unwrap();
    let mut facts: Vec<String> = Vec::new();
    let mut open = false;
    for line in body.lines() {
        let item = line.strip_prefix("- ");
        if let Some(fact) = item.or_else(|| line.starts_with("| `").then_some(line)) {
            facts.push(fact.to_owned());
        } else if !line.is_empty() && !line.starts_with(['#', '|']) {
            match facts.last_mut().filter(|_| open) {
                Some(last) => last.extend([" ", line.trim()]),
                None => facts.push(line.to_owned()),
            }
        }
        open = !line.is_empty() && !line.starts_with('#');
    }
    facts
}

#[test]
fn the_table_quotes_every_fact_of_the_contract_in_its_order() {
    let lines = table();
    let quotes: Vec<_> = lines.iter().map(|line| line.quote.clone()).collect();
    assert_eq!(quotes, facts());
    let ids: BTreeSet<_> = lines.iter().map(|line| &line.id).collect();
    assert_eq!(ids.len(), lines.len(), "ids are unique");
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
