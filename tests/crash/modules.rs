//! The parts of the crash tests, which two programs share.
#![allow(
    unreachable_pub,
    dead_code,
    missing_docs,
    reason = "each program uses a part of it, and a module of tests has no outside"
)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a fixture fails loudly"
)]

#[path = "bounds.rs"]
pub mod bounds;
#[path = "check.rs"]
pub mod check;
#[path = "fault.rs"]
pub mod fault;
#[path = "journal.rs"]
pub mod journal;
#[path = "lane.rs"]
pub mod lane;
#[path = "ledger.rs"]
pub mod ledger;
#[path = "load.rs"]
pub mod load;
#[path = "names.rs"]
pub mod names;
#[path = "person.rs"]
pub mod person;
#[path = "plan.rs"]
pub mod plan;
#[path = "plant.rs"]
pub mod plant;
#[path = "quirks.rs"]
pub mod quirks;
#[path = "round.rs"]
pub mod round;
#[path = "run.rs"]
pub mod run;
#[path = "tally.rs"]
pub mod tally;
#[path = "victim.rs"]
pub mod victim;
#[path = "wanted.rs"]
pub mod wanted;
