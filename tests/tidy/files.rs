//! What holds for each source file as a whole.

use super::tree::Tree;

/// Longer files are more than one thing. Most are far shorter.
const LONGEST: usize = 400;

/// Source files that are too long, say nothing about themselves, or hide in a `mod.rs`.
pub(crate) fn complaints(tree: &Tree) -> Vec<String> {
    let mut complaints = Vec::new();
    for (path, _) in tree.files() {
        if path.ends_with("/mod.rs") {
            complaints.push(format!("{path}: a module's file has its name: foo.rs beside foo/"));
        }
    }
    for (path, text) in tree.sources() {
        let lines = text.lines().count();
        if lines > LONGEST {
            complaints.push(format!("{path}: {lines} lines, of {LONGEST} at most: split it"));
        }
        if !text.starts_with("//! ") {
            complaints.push(format!("{path}: the first line says what the file is for: `//! …`"));
        }
    }
    complaints
}

#[test]
fn long_silent_and_hidden_files_are_found() {
    let long = "//! Long.\n".repeat(LONGEST + 1);
    let tree = Tree::of([
        ("src/long.rs", &long),
        ("src/right.rs", &long[10..]),
        ("src/silent.rs", "// Not a doc.\n"),
        ("tests/a/mod.rs", ""),
        ("tests/silent.rs", ""),
    ]);
    let found = complaints(&tree);
    let starts = ["tests/a/mod.rs: ", "src/long.rs: 401 lines", "src/silent.rs: the first line"];
    assert_eq!(found.len(), starts.len(), "{found:?}");
    for (complaint, start) in found.iter().zip(starts) {
        assert!(complaint.starts_with(start), "{complaint}");
    }
}
