//! What holds for each source file as a whole.

use super::tree::Tree;

/// Longer files are more than one thing. Most are far shorter.
const LONGEST: usize = 400;

/// Tests that cargo would not run: since Cargo.toml names them one by one, a new file is easily
/// left out.
pub(crate) fn unrun(tree: &Tree) -> Vec<String> {
    let manifest = tree.text("Cargo.toml").unwrap_or_default();
    let mut complaints = Vec::new();
    for (path, _) in tree.files() {
        let name = path.strip_prefix("tests/").and_then(|name| name.strip_suffix(".rs"));
        // The module that tests share.
        let Some(name) = name.filter(|name| !name.contains('/') && *name != "support") else {
            continue;
        };
        let entry = format!("[[test]]\nname = \"{name}\"\npath = \"{path}\"\n");
        if manifest.contains("autotests = false") && !manifest.contains(&entry) {
            complaints.push(format!("{path}: never run: Cargo.toml has no [[test]] for it"));
        }
    }
    complaints
}

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
fn a_test_that_is_not_run_is_found() {
    let manifest = "autotests = false\n[[test]]\nname = \"a\"\npath = \"tests/a.rs\"\n";
    let files = [("tests/a.rs", ""), ("tests/a/b.rs", ""), ("tests/b.rs", "")];
    let [a, inside, b] = files;
    let tree = Tree::of([("Cargo.toml", manifest), a, inside, b, ("tests/support.rs", "")]);
    assert_eq!(unrun(&tree), ["tests/b.rs: never run: Cargo.toml has no [[test]] for it"]);
    assert!(unrun(&Tree::of([("Cargo.toml", ""), a, inside, b])).is_empty());
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
