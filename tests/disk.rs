//! The real disk: the journal's process runs on one that loses power, lies, fails and fills, made of a
//! preloaded library (disk/shim.c). What was acknowledged is there after a restart.
//!
//! `DISK_SEEDS=FROM-TO` runs other seeds than the few that every run takes.

// clippy.toml's exception for tests ends at their helpers.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "tests may fail loudly"
)]

#[path = "disk/dice.rs"]
mod dice;
#[path = "disk/faults.rs"]
mod faults;
#[path = "journal/fixture.rs"]
#[allow(dead_code, reason = "made for the journal's tests, which use all of it")]
mod fixture;
#[path = "disk/group.rs"]
mod group;
#[path = "disk/image.rs"]
mod image;
#[path = "disk/power.rs"]
mod power;
#[path = "disk/shim.rs"]
mod shim;
#[path = "disk/sidecar.rs"]
mod sidecar;
mod support;
#[path = "disk/victim.rs"]
mod victim;

fn seeds() -> std::ops::RangeInclusive<u64> {
    let asked = std::env::var("DISK_SEEDS").ok();
    let range = asked.as_deref().unwrap_or("1-4").split_once('-');
    let (from, to) = range.expect("DISK_SEEDS=FROM-TO");
    from.parse().unwrap()..=to.parse().unwrap()
}
