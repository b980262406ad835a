//! Absences: what a reader may rely on never to find.

use super::code::{Word, without_tests, words};
use super::tree::Tree;

/// The saga's decisions: the same input gives the same answer, whenever and wherever.
const PURE: [&str; 7] = ["state", "operation", "outcome", "newness", "rows", "overlap", "index"];

/// What would make a decision depend on more than its input, or wait.
const IMPURE: [&[&str]; 9] = [
    &["SystemTime"],
    &["Instant", ":", ":", "now"],
    &["tokio"],
    &["hyper"],
    &["async"],
    &["await"],
    &["fastrand"],
    &["tracing"],
    &["Timestamp", ":", ":", "now"],
];

/// Clocks, sockets, tasks, chance and logs in the pure core.
pub(crate) fn impure(tree: &Tree) -> Vec<String> {
    let mut complaints = Vec::new();
    for name in PURE {
        let room = format!("src/dualwrite/{name}");
        let (file, inside) = (format!("{room}.rs"), format!("{room}/"));
        if tree.text(&file).is_none() {
            complaints.push(format!("{file}: a part of the pure core is missing"));
        }
        for (path, source) in product(tree) {
            if path != file && !path.starts_with(&inside) {
                continue;
            }
            let all = words(source);
            let (code, _) = without_tests(&all);
            for banned in IMPURE {
                complaints.extend(found(&code, banned).map(|line| {
                    format!("{path}:{line}: `{}` has no place in the pure core", banned.concat())
                }));
            }
        }
    }
    complaints
}

/// `unwrap` and `expect` in code that the product runs.
pub(crate) fn unwraps(tree: &Tree) -> Vec<String> {
    let mut complaints = Vec::new();
    for (path, source) in product(tree) {
        let all = words(source);
        let (code, _) = without_tests(&all);
        for banned in [[".", "unwrap", "("], [".", "expect", "("]] {
            complaints.extend(
                found(&code, &banned)
                    .map(|line| format!("{path}:{line}: `{}` outside tests", banned.concat())),
            );
        }
    }
    complaints
}

/// The sources without the files of modules that only tests see.
fn product(tree: &Tree) -> Vec<(&str, &str)> {
    let tests = test_modules(tree);
    let tested = |path: &str| {
        let module = path.trim_end_matches(".rs");
        let within = |test: &String| {
            module.strip_prefix(test.as_str()).is_some_and(|r| r.is_empty() || r.starts_with('/'))
        };
        tests.iter().any(within)
    };
    tree.sources().filter(|(path, _)| !tested(path)).collect()
}

/// The paths, without their end, of modules that only tests see.
fn test_modules(tree: &Tree) -> Vec<String> {
    let mut files = Vec::new();
    for (path, source) in tree.sources() {
        let all = words(source);
        let (_, modules) = without_tests(&all);
        let inside = match path.trim_end_matches(".rs") {
            "src/lib" | "src/main" => "src",
            inside => inside,
        };
        files.extend(modules.iter().map(|module| format!("{inside}/{module}")));
    }
    files
}

/// The lines where `wanted` stands.
fn found(code: &[Word<'_>], wanted: &[&str]) -> impl Iterator<Item = usize> {
    code.windows(wanted.len())
        .filter(|window| window.iter().map(|word| word.text).eq(wanted.iter().copied()))
        .filter_map(|window| window.first().map(|word| word.line))
}

#[test]
fn each_impurity_is_found() {
    for banned in IMPURE {
        let source = format!("//! tokio\nfn f() {{ {}; }}", banned.concat());
        let mut files = PURE.map(|name| (format!("src/dualwrite/{name}.rs"), String::new()));
        files[1].1 = source;
        let tree = Tree::of(files.each_ref().map(|(path, text)| (path.as_str(), text.as_str())));
        let found = impure(&tree);
        assert_eq!(found.len(), 1, "{banned:?}: {found:?}");
        assert!(found.concat().starts_with("src/dualwrite/operation.rs:2: "));
    }
    assert_eq!(impure(&Tree::of([])).len(), PURE.len(), "a file that went away is noticed");
    let inside = Tree::of([
        ("src/dualwrite/rows.rs", "#[cfg(test)]\nmod tests;"),
        ("src/dualwrite/rows/rule.rs", "async fn f() {}"),
        ("src/dualwrite/rows/tests.rs", "async fn f() {}"),
    ]);
    let found = impure(&inside);
    assert_eq!(found.iter().filter(|one| one.contains("/rows/")).count(), 1, "{found:?}");
}

#[test]
fn an_unwrap_is_found_unless_tests_alone_see_it() {
    let tree = Tree::of([
        ("src/a.rs", "fn f() { x\n.unwrap(); y.unwrap_or(1); }\n#[cfg(test)] mod tests;"),
        ("src/a/tests.rs", "fn f() { x.unwrap() }"),
        ("src/a/tests/deep.rs", "fn f() { x.unwrap() }"),
        ("src/b.rs", "#[cfg(test)] mod tests { fn f() { x.unwrap() } } fn g() { h.expect(\"\") }"),
        ("src/lib.rs", "#[cfg(test)] mod fixtures; /// x.unwrap()\nmod a;"),
        ("src/fixtures.rs", "fn f() { x.expect(\"\") }"),
    ]);
    assert_eq!(
        unwraps(&tree),
        ["src/a.rs:2: `.unwrap(` outside tests", "src/b.rs:1: `.expect(` outside tests"]
    );
}
