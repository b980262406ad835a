//! The house rules that no compiler checks: which room may see which, what the pure core may not
//! touch, how long a file may be, which words and links may stand in it.
//!
//! Each rule is a function from a [`tree::Tree`] to its complaints. The tests below run it on the
//! project's own files; beside each rule stand tests that show, on trees of a few lines, that it
//! can fail.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests, helpers included, may fail loudly")]

#[path = "tidy/code.rs"]
mod code;
#[path = "tidy/core.rs"]
mod core;
#[path = "tidy/deviations.rs"]
mod deviations;
#[path = "tidy/files.rs"]
mod files;
#[path = "tidy/links.rs"]
mod links;
#[path = "tidy/rooms.rs"]
mod rooms;
#[path = "tidy/tree.rs"]
mod tree;
#[path = "tidy/words.rs"]
mod words;

use self::tree::Tree;

/// Fails with one complaint a line.
fn assert_tidy(rule: fn(&Tree) -> Vec<String>) {
    let complaints = rule(&Tree::tracked());
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

#[test]
fn imports_point_down_the_list_of_rooms() {
    assert_tidy(rooms::complaints);
}

#[test]
fn the_design_names_tests_that_exist() {
    assert_tidy(links::unknown_tests);
}

#[test]
fn the_map_names_every_room() {
    assert_tidy(rooms::unmapped);
}

#[test]
fn the_pure_core_has_no_clock_no_sockets_and_no_tasks() {
    assert_tidy(core::impure);
}

#[test]
fn nothing_unwraps_outside_tests() {
    assert_tidy(core::unwraps);
}

#[test]
fn source_files_are_short_and_say_what_they_are_for() {
    assert_tidy(files::complaints);
}

#[test]
fn every_test_is_run() {
    assert_tidy(files::unrun);
}

#[test]
fn no_leftovers_and_no_places_of_one_machine() {
    assert_tidy(words::complaints);
}

#[test]
fn relative_links_lead_somewhere() {
    assert_tidy(links::complaints);
}

#[test]
fn every_deviation_has_its_test() {
    assert_tidy(deviations::complaints);
}
