//! When it opens, whom it lets through, and that nobody waits for ever.

use proptest::prelude::*;

use super::*;

const MS: Duration = Duration::from_millis(1);

fn settings() -> Settings {
    Settings { failures: 3, span: 100 * MS, pause: 10 * MS, max_pause: 80 * MS }
}

/// A circuit that opened at the time it is given with.
fn opened() -> (Circuit, Instant) {
    let (mut circuit, start) = (Circuit::new(settings()), Instant::now());
    assert!(!circuit.failed(start, 0));
    assert!(!circuit.failed(start + 99 * MS, 0));
    assert!(circuit.failed(start + 100 * MS, u64::MAX));
    (circuit, start + 100 * MS)
}

fn probe(circuit: &mut Circuit, lane: Lane, now: Instant) -> Probe {
    match circuit.ask(lane, now) {
        Ok(Pass::Probe(probe)) => probe,
        other => panic!("no probe: {other:?}"),
    }
}

#[test]
fn failures_open_it_only_when_they_are_many_and_have_lasted() {
    let (mut circuit, start) = (Circuit::new(settings()), Instant::now());
    for _ in 0..50 {
        assert!(!circuit.failed(start + 99 * MS, 0), "a moment of failures opens nothing");
    }
    assert!(circuit.failed(start + 199 * MS, 0));
    let mut circuit = Circuit::new(settings());
    assert!(!circuit.failed(start, 0));
    assert!(!circuit.failed(start + 900 * MS, 0), "two failures, however far apart, open nothing");
    assert!(circuit.failed(start + 901 * MS, 0));
}

#[test]
fn one_success_ends_the_streak() {
    let (mut circuit, start) = (Circuit::new(settings()), Instant::now());
    for round in 0..20 {
        let now = start + round * 60 * MS;
        assert!(!circuit.failed(now, 0));
        assert!(!circuit.failed(now + 59 * MS, 0));
        assert_eq!(circuit.succeeded(now + 60 * MS), None);
    }
    assert!(!circuit.is_open());
}

#[test]
fn open_it_lets_one_probe_through_after_a_pause() {
    let (mut circuit, now) = opened();
    assert_eq!(circuit.ask(Lane::New, now), Err(10 * MS), "it waits for the pause");
    probe(&mut circuit, Lane::New, now + 10 * MS);
    assert!(circuit.ask(Lane::New, now + 89 * MS).is_err(), "one is out");
    // One that hangs holds the others up for the longest pause only.
    probe(&mut circuit, Lane::New, now + 90 * MS);
}

#[test]
fn pauses_grow_with_each_failed_probe_up_to_the_longest() {
    let (mut circuit, mut now) = opened();
    now += 10 * MS;
    for pause in [20, 40, 80, 80, 80] {
        let probe = probe(&mut circuit, Lane::New, now);
        circuit.ended(probe, true, now + 5 * MS, u64::MAX);
        assert_eq!(circuit.ask(Lane::New, now + 5 * MS), Err((pause - 5) * MS));
        now += pause * MS;
    }
}

#[test]
fn half_of_a_pause_is_chance() {
    for (chance, pause) in [(0, 5), (u64::MAX, 10)] {
        let (mut circuit, start) = (Circuit::new(settings()), Instant::now());
        circuit.failed(start, 0);
        circuit.failed(start, 0);
        assert!(circuit.failed(start + 100 * MS, chance));
        assert_eq!(circuit.ask(Lane::New, start + 100 * MS), Err(pause * MS));
    }
}

#[test]
fn a_probe_that_did_not_need_the_peer_makes_way_at_once() {
    let (mut circuit, now) = opened();
    let now = now + 10 * MS;
    let unused = probe(&mut circuit, Lane::New, now);
    circuit.ended(unused, false, now + MS, 0);
    let next = probe(&mut circuit, Lane::New, now + MS);
    // What an earlier probe comes to later is not the later one's end.
    circuit.ended(unused, false, now + 2 * MS, 0);
    assert!(circuit.ask(Lane::New, now + 2 * MS).is_err());
    circuit.ended(next, true, now + 3 * MS, u64::MAX);
    assert_eq!(circuit.ask(Lane::New, now + 3 * MS), Err(18 * MS), "unused ones don't count");
}

#[test]
fn calls_that_fail_for_ever_leave_a_probe_to_new_ones() {
    let (mut circuit, now) = opened();
    let now = now + 10 * MS;
    let _again = probe(&mut circuit, Lane::Again, now);
    let new = probe(&mut circuit, Lane::New, now);
    circuit.ended(new, true, now, 0);
    assert!(circuit.ask(Lane::New, now).is_err());
    assert!(circuit.ask(Lane::Again, now).is_err());
}

#[test]
fn any_success_closes_it() {
    let (mut circuit, now) = opened();
    assert_eq!(circuit.succeeded(now + 7 * MS), Some(7 * MS));
    assert_eq!(circuit.ask(Lane::Again, now + 7 * MS), Ok(Pass::Free));
    assert!(!circuit.failed(now + 8 * MS, 0), "a new streak begins");
}

#[test]
fn a_reason_to_hope_ends_the_pause() {
    let (mut circuit, now) = opened();
    circuit.expect_success(now);
    probe(&mut circuit, Lane::Again, now);
    probe(&mut circuit, Lane::New, now);
}

#[derive(Clone, Copy, Debug)]
enum Happens {
    Asked(bool),
    Ended(bool),
    Failed,
    Succeeded,
    Hoped,
}

fn happens() -> impl Strategy<Value = (Happens, u64, u64)> {
    let what = prop_oneof![
        4 => any::<bool>().prop_map(Happens::Asked),
        2 => any::<bool>().prop_map(Happens::Ended),
        6 => Just(Happens::Failed),
        1 => Just(Happens::Succeeded),
        1 => Just(Happens::Hoped),
    ];
    (what, 0..200u64, any::<u64>())
}

proptest! {
    /// Whatever happened, nobody waits for longer than the longest pause, and whoever does wait
    /// gets through then: it can't get stuck.
    #[test]
    fn whatever_happened_a_call_goes_out_within_the_longest_pause(
        events in prop::collection::vec(happens(), 0..200)
    ) {
        let (mut circuit, mut now) = (Circuit::new(settings()), Instant::now());
        let mut out = Vec::new();
        for (event, later, chance) in events {
            now += Duration::from_millis(later);
            match event {
                Happens::Asked(new) => {
                    let lane = if new { Lane::New } else { Lane::Again };
                    if let Ok(Pass::Probe(probe)) = circuit.ask(lane, now) {
                        out.push(probe);
                    }
                }
                Happens::Ended(tried) => {
                    if let Some(probe) = out.pop() {
                        circuit.ended(probe, tried, now, chance);
                    }
                }
                Happens::Failed => _ = circuit.failed(now, chance),
                Happens::Succeeded => _ = circuit.succeeded(now),
                Happens::Hoped => circuit.expect_success(now),
            }
        }
        for lane in [Lane::New, Lane::Again] {
            if let Err(wait) = circuit.ask(lane, now) {
                prop_assert!(wait <= settings().max_pause);
                prop_assert!(circuit.ask(lane, now + wait).is_ok());
            }
        }
        circuit.succeeded(now);
        prop_assert_eq!(circuit.ask(Lane::New, now), Ok(Pass::Free));
    }
}
