//! Words that may stand in no tracked file: what was left for later, and names of one machine.

use super::tree::Tree;

/// Not ours to word: generated, or quoted whole.
const EXCEPT: [&str; 2] = ["Cargo.lock", "LICENSE"];

/// Found where no letter, digit or `_` stands right before; those that end in a letter, where
/// none stands right after either. Each is written in two halves, so that this file may stand too.
const BANNED: [(&str, &str); 18] = [
    ("TO", "DO"),
    ("FIX", "ME"),
    ("X", "XX"),
    ("dbg", "!("),
    ("todo", "!("),
    ("unimplemented", "!("),
    ("#[", "ignore"),
    ("/wo", "rk/"),
    ("/ro", "ot/"),
    ("/ho", "me/"),
    ("pypi", ".org"),
    ("files.python", "hosted.org"),
    ("registry.", "npmjs.org"),
    ("index.", "crates.io"),
    ("static.", "crates.io"),
    ("proxy.", "golang.org"),
    ("--index", "-url"),
    ("--find", "-links"),
];

/// Banned words, with the place.
pub(crate) fn complaints(tree: &Tree) -> Vec<String> {
    let mut complaints = Vec::new();
    for (path, text) in tree.files().filter(|(path, _)| !EXCEPT.contains(path)) {
        for (number, line) in (1..).zip(text.lines()) {
            for word in BANNED.map(|(start, end)| format!("{start}{end}")) {
                if holds(line, &word) {
                    complaints.push(format!("{path}:{number}: `{word}`"));
                }
            }
        }
    }
    complaints
}

fn holds(line: &str, word: &str) -> bool {
    let part_of_name = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        let before = line.get(..at).and_then(|text| text.chars().next_back());
        let after = line.get(at + word.len()..).and_then(|text| text.chars().next());
        let joined = word.ends_with(part_of_name) && after.is_some_and(part_of_name);
        !joined && !before.is_some_and(part_of_name)
    })
}

#[test]
fn each_banned_word_is_found() {
    for word in BANNED.map(|(start, end)| format!("{start}{end}")) {
        for path in ["src/x.rs", "README.md", "deploy/x.yaml"] {
            let text = format!("fine\n- {word} …\n");
            assert_eq!(complaints(&Tree::of([(path, &text)])), [format!("{path}:2: `{word}`")]);
        }
    }
}

#[test]
fn words_that_only_look_alike_may_stand() {
    let fine = "mktemp XXXXXX; todo = \"warn\"; framework/x; dbg_macro; MASTODON";
    assert!(complaints(&Tree::of([("x.sh", fine)])).is_empty());
}
