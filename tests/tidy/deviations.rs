//! The table of deviations: each has its test, and the test is there.

use super::tree::Tree;

const TABLE: &str = "docs/DEVIATIONS.md";

/// Rows whose last column names no test, or one that nobody wrote.
pub(crate) fn complaints(tree: &Tree) -> Vec<String> {
    let text = tree.text(TABLE).unwrap_or_default();
    let mut complaints = Vec::new();
    // Its head, and the line below that, are no rows.
    let rows = (1..).zip(text.lines()).filter(|(_, line)| line.starts_with('|')).skip(2);
    for (number, row) in rows {
        let cells = row.trim_end_matches(['|', ' ']);
        let names: Vec<_> = cells.rsplit('|').next().into_iter().flat_map(quoted).collect();
        if names.is_empty() {
            complaints.push(format!("{TABLE}:{number}: no test"));
        }
        for name in names {
            let declared = format!("fn {name}(");
            if !tree
                .files()
                .any(|(path, text)| path.starts_with("tests/") && text.contains(&declared))
            {
                complaints.push(format!("{TABLE}:{number}: there is no test {name}"));
            }
        }
    }
    complaints
}

/// What stands between backticks.
fn quoted(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

#[test]
fn a_deviation_without_a_test_is_found() {
    let table =
        "| what | why | test |\n|---|---|---|\n| `a` | b | `there`, `gone` |\n| c | d | e |\n";
    let tree = Tree::of([(TABLE, table), ("tests/x.rs", "async fn there() {}\n")]);
    let found = ["docs/DEVIATIONS.md:3: there is no test gone", "docs/DEVIATIONS.md:4: no test"];
    assert_eq!(complaints(&tree), found);
}
