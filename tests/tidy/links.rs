//! Links within the documents.

use std::path::Path;

use super::tree::Tree;

/// Relative links in Markdown files that lead nowhere.
pub(crate) fn complaints(tree: &Tree) -> Vec<String> {
    let mut complaints = Vec::new();
    for (path, text) in tree.files().filter(|(path, _)| is_document(path)) {
        let directory = path.rsplit_once('/').map_or("", |(directory, _)| directory);
        for (line, target) in targets(text) {
            let file = target.split('#').next().unwrap_or_default();
            let elsewhere = target.contains("://") || target.starts_with("mailto:");
            if elsewhere || file.is_empty() {
                continue;
            }
            if !resolve(directory, file).is_some_and(|file| tree.holds(&file)) {
                complaints.push(format!("{path}:{line}: {target} leads nowhere"));
            }
        }
    }
    complaints
}

/// Tests that the design names and that do not exist: it tells which test stands for which schedule.
pub(crate) fn unknown_tests(tree: &Tree) -> Vec<String> {
    let design = tree.text("docs/DESIGN.md").unwrap_or_default();
    let is_test = |word: &&str| {
        let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        word.chars().all(is_name) && word.matches('_').count() > 3
    };
    let named = design.split('`').skip(1).step_by(2).filter(is_test);
    let exists = |name: &str| {
        let definition = format!("fn {name}(");
        let mut code = tree.files().filter(|(path, _)| path.contains(".rs"));
        code.any(|(_, text)| text.contains(&definition))
    };
    let unknown = named.filter(|name| !exists(name));
    unknown.map(|name| format!("docs/DESIGN.md: there is no test {name}")).collect()
}

#[test]
fn a_test_that_is_gone_is_missed_in_the_design() {
    let page = "| 1 | `p1_a_b_c_d`, `p1_a_b_c_e` | `x.rs`, `old_name_of_it` |";
    let tree = Tree::of([("docs/DESIGN.md", page), ("tests/x.rs", "fn p1_a_b_c_d() {}")]);
    assert_eq!(unknown_tests(&tree), ["docs/DESIGN.md: there is no test p1_a_b_c_e"]);
}

fn is_document(path: &str) -> bool {
    Path::new(path).extension().is_some_and(|end| end == "md")
}

/// What follows `](`, and `[name]: ` at a line's start; not inside fences.
fn targets(text: &str) -> Vec<(usize, &str)> {
    let (mut targets, mut fenced) = (Vec::new(), false);
    for (number, line) in (1..).zip(text.lines()) {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        }
        if fenced {
            continue;
        }
        let inline = line.split("](").skip(1).filter_map(|rest| rest.split([')', ' ']).next());
        let reference = line.strip_prefix('[').and_then(|rest| rest.split_once("]: "));
        let reference = reference.and_then(|(_, target)| target.split_whitespace().next());
        targets.extend(inline.chain(reference).map(|target| (number, target)));
    }
    targets
}

/// The path from the root, or nothing if it leads out of it.
fn resolve(directory: &str, target: &str) -> Option<String> {
    let mut parts: Vec<&str> = directory.split('/').filter(|part| !part.is_empty()).collect();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

#[test]
fn links_that_lead_nowhere_are_found() {
    let page = "[a](b.md) [c](../README.md#x) ![d](gone.png)\n[e]: ../../out.md\n[f](#here)\n\
                [g](https://example.org/x)\n```\n[h](nothing.md)\n```\n[i](.) [j](../src/)\n";
    let tree =
        Tree::of([("docs/a.md", page), ("docs/b.md", ""), ("README.md", ""), ("src/x.rs", "")]);
    assert_eq!(
        complaints(&tree),
        ["docs/a.md:1: gone.png leads nowhere", "docs/a.md:2: ../../out.md leads nowhere",]
    );
}
