//! The order of the rooms, as lib.rs and ARCHITECTURE.md tell it.

use std::collections::BTreeSet;

use super::code::{Word, words};
use super::tree::Tree;

/// From top to bottom. A room may import rooms on lower lines; rooms on one line don't import each
/// other.
const ORDER: [&[&str]; 11] = [
    &["main"],
    &["cli"],
    &["app"],
    &["config"],
    &["admin", "telemetry"],
    &["proxy"],
    &["dualwrite"],
    &["principal", "upstream"],
    &["authz", "journal", "rules"],
    // A problem document names the operation: `error` stands on `model`.
    &["http", "error"],
    &["model", "failpoint"],
];

/// The rooms that may see the configuration as a whole.
const READS_CONFIG: [&str; 2] = ["cli", "app"];

/// Imports that point up or sideways, and rooms that the order doesn't know.
pub(crate) fn complaints(tree: &Tree) -> Vec<String> {
    let mut complaints = Vec::new();
    for (path, source) in tree.sources() {
        let room = room_of(path);
        // lib.rs only declares the rooms.
        if room == "lib" {
            continue;
        }
        let Some(line) = line_of(room) else {
            complaints.push(format!("{path}: the room `{room}` has no place in the order"));
            continue;
        };
        for (seen, at) in rooms_seen(path, &words(source)) {
            let allowed = match line_of(seen) {
                _ if seen == room => true,
                Some(other) => other > line && (seen != "config" || READS_CONFIG.contains(&room)),
                None => false,
            };
            if !allowed {
                complaints.push(format!("{path}:{at}: `{room}` may not see `{seen}`"));
            }
        }
    }
    complaints
}

/// Rooms of lib.rs that the maps don't name: its own table, and ARCHITECTURE.md where there is one.
pub(crate) fn unmapped(tree: &Tree) -> Vec<String> {
    let library = tree.text("src/lib.rs").unwrap_or_default();
    let code = words(library);
    let declared = code.windows(3).filter_map(|three| match three {
        [keyword, name, end] if (keyword.text, end.text) == ("mod", ";") => Some(name.text),
        _ => None,
    });
    let named = |map: &str, room: &str| map.contains(&format!("`{room}`"));
    let mut complaints = Vec::new();
    for room in declared {
        for map in ["src/lib.rs", "ARCHITECTURE.md"] {
            if tree.text(map).is_some_and(|text| !named(text, room)) {
                complaints.push(format!("{map}: the room `{room}` is not named"));
            }
        }
    }
    complaints
}

fn line_of(room: &str) -> Option<usize> {
    ORDER.iter().position(|line| line.contains(&room))
}

fn room_of(path: &str) -> &str {
    let inside = path.strip_prefix("src/").unwrap_or(path);
    inside.split(['/', '.']).next().unwrap_or(inside)
}

/// How many modules deep the file itself is: 1 for a room's own.
fn depth_of(path: &str) -> usize {
    path.matches('/').count()
}

/// The rooms that paths in `code` begin with, and the line: `crate::room`, `crate::{a, b::c}`,
/// the library's own name, and as many `super::` as lead out of the room.
fn rooms_seen<'a>(path: &str, code: &[Word<'a>]) -> BTreeSet<(&'a str, usize)> {
    let mut seen = BTreeSet::new();
    // Modules written inside this file, by the depth of braces they opened at.
    let (mut braces, mut inner) = (0_usize, Vec::new());
    let mut at = 0;
    while let Some(word) = code.get(at) {
        let here = at;
        let next = |ahead: usize| code.get(here + ahead).map_or("", |word| word.text);
        at += 1;
        match word.text {
            "{" => braces += 1,
            "}" => {
                braces = braces.saturating_sub(1);
                inner.retain(|&opened| opened < braces);
            }
            "mod" if next(2) == "{" => inner.push(braces),
            "crate" | "authz_sidecar" if next(1) == ":" => {
                seen.extend(heads(code.get(here + 1..).unwrap_or_default()));
            }
            "super" => {
                let climbs = climbs(code.get(here..).unwrap_or_default());
                if climbs >= depth_of(path) + inner.len() {
                    let rest = code.get(here + 3 * climbs - 2..).unwrap_or_default();
                    seen.extend(heads(rest));
                }
                // Past the whole chain, so that its tail is not read as a shorter one.
                at = here + 3 * climbs;
            }
            _ => {}
        }
    }
    seen
}

/// The number of `super::` in a row.
fn climbs(code: &[Word<'_>]) -> usize {
    code.chunks(3)
        .take_while(|three| three.first().is_some_and(|word| word.text == "super"))
        .count()
}

/// The first names after `::`, of a group each one's.
fn heads<'a>(code: &[Word<'a>]) -> Vec<(&'a str, usize)> {
    let [_, _, first, rest @ ..] = code else { return Vec::new() };
    if first.text != "{" {
        return vec![(first.text, first.line)];
    }
    let (mut heads, mut depth, mut expected) = (Vec::new(), 1, true);
    for word in rest {
        match word.text {
            "{" => depth += 1,
            "}" => depth -= 1,
            "," if depth == 1 => expected = true,
            text if expected && depth == 1 => {
                heads.push((text, word.line));
                expected = false;
            }
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    heads
}

#[test]
fn an_import_that_points_up_is_found_however_it_is_written() {
    for import in [
        "use crate::proxy::Proxy;",
        "use crate::{\n  model::{proxy, Id},\n  proxy,\n};",
        "fn f(p: crate::proxy::Proxy) {}",
        "use super::super::proxy::Proxy;",
        "#[cfg(test)]\nmod tests { use crate::proxy; }",
        "mod tests { use super::super::super::proxy; }",
    ] {
        let tree = Tree::of([("src/dualwrite/state.rs", import)]);
        let found = complaints(&tree);
        assert_eq!(found.len(), 1, "{import}: {found:?}");
        assert!(found.concat().contains("`dualwrite` may not see `proxy`"), "{import}");
    }
}

#[test]
fn what_points_down_or_stays_inside_is_left_alone() {
    for import in [
        "use crate::model::{proxy, Id};",
        "use crate::{journal, rules as r};",
        "use super::proxy;",
        "use self::proxy::X;",
        "/// See [`crate::proxy`].\nfn f() { \"crate::proxy\"; }",
        "mod tests { use super::super::proxy; } use super::proxy;",
    ] {
        let found = complaints(&Tree::of([("src/dualwrite/state.rs", import)]));
        assert!(found.is_empty(), "{import}: {found:?}");
    }
}

#[test]
fn neighbours_unknown_rooms_and_the_configuration_are_refused() {
    let refused = [
        ("src/journal.rs", "use crate::rules::Rule;", "`journal` may not see `rules`"),
        ("src/admin/x.rs", "use crate::telemetry;", "`admin` may not see `telemetry`"),
        ("src/main.rs", "use authz_sidecar::config;", "`main` may not see `config`"),
        ("src/proxy.rs", "use crate::config::Config;", "`proxy` may not see `config`"),
        ("src/app.rs", "use crate::elsewhere;", "`app` may not see `elsewhere`"),
        ("src/elsewhere.rs", "", "the room `elsewhere` has no place"),
    ];
    for (path, source, complaint) in refused {
        let found = complaints(&Tree::of([(path, source)])).concat();
        assert!(found.contains(complaint), "{path}: {found}");
    }
    for room in READS_CONFIG {
        let path = format!("src/{room}/x.rs");
        assert!(complaints(&Tree::of([(&path, "use crate::config;")])).is_empty());
    }
}

#[test]
fn a_room_that_a_map_lacks_is_found() {
    let tree = Tree::of([
        ("src/lib.rs", "//! [`proxy`], [`model`]\npub mod proxy;\npub mod model;\nmod rules;"),
        ("ARCHITECTURE.md", "`proxy` and model and `rules`"),
    ]);
    assert_eq!(
        unmapped(&tree),
        [
            "ARCHITECTURE.md: the room `model` is not named",
            "src/lib.rs: the room `rules` is not named"
        ]
    );
}
