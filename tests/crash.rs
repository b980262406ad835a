//! The crash tests see what they look for: planted faults, and what a dual write inside the service
//! leaves behind. (`scripts/crash.sh` is the long run.)

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "helpers of tests fail as loudly as tests, and tell their seed"
)]

#[path = "crash/modules.rs"]
mod crash;
#[path = "crash/drawn.rs"]
mod drawn;
#[path = "crash/judged.rs"]
mod judged;
#[path = "crash/ordered.rs"]
mod ordered;
#[path = "crash/planted.rs"]
mod planted;
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use authz_sidecar::error::{Kind as Problems, Problem, UndoState};
use authz_sidecar::failpoint;
use serde_json::json;

use crash::bounds::Bounds;
use crash::check::{Kind, Seen, check};
use crash::lane::Lane;
use crash::ledger::{Create, Delete, Ledger, Refusal, Target};
use crash::plan::{Kill, Plan};
use crash::round::Outcome;
use crash::tally::{Line, Tally};
use support::database::Database;
use support::service::{Made, Options, Service};
use support::{PATIENCE, eventually};

/// A row of the create `secret`, registered, and its records.
fn world() -> (Ledger, Seen) {
    let (secret, name) = ("s".into(), "n".into());
    let create = Create {
        secret,
        name,
        bypass: false,
        aside: false,
        told: None,
        refused: None,
        answered: 0.0,
    };
    let ledger = Ledger { creates: vec![create], ..Ledger::default() };
    let row = Made { id: "k".into(), name: "n".into(), secret: Some("s".into()), age: None };
    let names = ["prepared", "committed", "registered", "finished"].map(str::to_owned);
    let records = BTreeMap::from([("k".to_owned(), BTreeSet::from(names))]);
    let edges = BTreeSet::from(["k".to_owned()]);
    (ledger, Seen { rows: vec![row], edges, records: Some(records), ..Seen::default() })
}

fn found(ledger: &Ledger, seen: &Seen) -> Vec<Kind> {
    check(ledger, seen).into_iter().map(|violation| violation.kind).collect()
}

fn told(ledger: &mut Ledger) {
    ledger.creates[0].told = Some("k".into());
}

#[test]
fn a_world_in_order_is_not_complained_of() {
    let (mut ledger, seen) = world();
    assert_eq!(found(&ledger, &seen), []);
    told(&mut ledger);
    assert_eq!(found(&ledger, &seen), []);
    assert_eq!(found(&Ledger::default(), &Seen::default()), []);
}

#[test]
fn p2_a_row_without_edge_is_seen() {
    let (ledger, mut seen) = world();
    seen.edges.clear();
    assert_eq!(found(&ledger, &seen), [Kind::Orphan]);
}

#[test]
fn p2_a_row_that_nobody_asked_for_is_seen() {
    let (ledger, mut seen) = world();
    seen.rows[0].secret = None;
    assert_eq!(found(&ledger, &seen), [Kind::Orphan]);
}

#[test]
fn p2_a_row_that_stayed_without_a_registered_record_is_seen() {
    let (ledger, mut seen) = world();
    seen.records.as_mut().unwrap().get_mut("k").unwrap().remove("registered");
    assert_eq!(found(&ledger, &seen), [Kind::Orphan]);
    seen.records = None;
    assert_eq!(found(&ledger, &seen), [], "without a journal nothing is known of records");
}

#[test]
fn p3_an_edge_without_row_is_seen() {
    let (ledger, mut seen) = world();
    seen.rows.clear();
    assert_eq!(found(&ledger, &seen), [Kind::Orphan]);
}

#[test]
fn p1_only_a_key_that_passed_has_no_edge() {
    let (mut ledger, mut seen) = world();
    ledger.creates[0].bypass = true;
    assert_eq!(found(&ledger, &seen), [Kind::Orphan]);
    seen.edges.clear();
    assert_eq!(found(&ledger, &seen), []);
}

#[test]
fn p2_an_acknowledged_create_that_is_gone_is_seen_unless_a_client_deleted_it() {
    let (mut ledger, mut seen) = world();
    told(&mut ledger);
    seen.rows.clear();
    seen.edges.clear();
    assert_eq!(found(&ledger, &seen), [Kind::Lost]);
    for target in [Target::Id("k".into()), Target::Name("n".into())] {
        let mut ledger = ledger.clone();
        let place = ledger.delete(target);
        assert_eq!(found(&ledger, &seen), []);
        ledger.deletes[place].told = Some(404);
        assert_eq!(
            found(&ledger, &seen),
            [Kind::Lost],
            "the client was told that it removed nothing"
        );
    }
    for target in [Target::Id("l".into()), Target::Name("m".into())] {
        let mut ledger = ledger.clone();
        ledger.delete(target);
        assert_eq!(found(&ledger, &seen), [Kind::Lost]);
    }
}

#[test]
fn p2_one_delete_by_name_explains_one_missing_row() {
    let (mut ledger, mut seen) = world();
    told(&mut ledger);
    let other = Create { secret: "t".into(), told: Some("l".into()), ..ledger.creates[0].clone() };
    ledger.creates.push(other);
    seen.rows.clear();
    seen.edges.clear();
    seen.records = None;
    ledger.delete(Target::Name("n".into()));
    assert_eq!(found(&ledger, &seen), [Kind::Lost]);
    ledger.delete(Target::Name("n".into()));
    assert_eq!(found(&ledger, &seen), []);
}

#[test]
fn p2_an_acknowledged_create_that_was_undone_or_is_anothers_is_seen() {
    let (mut ledger, mut seen) = world();
    told(&mut ledger);
    seen.records.as_mut().unwrap().get_mut("k").unwrap().insert("undoing".into());
    assert_eq!(found(&ledger, &seen), [Kind::Lost]);
    let (mut ledger, mut seen) = world();
    ledger.creates.push(Create { secret: "t".into(), ..ledger.creates[0].clone() });
    told(&mut ledger);
    seen.rows[0].secret = Some("t".into());
    assert_eq!(found(&ledger, &seen), [Kind::Lost]);
}

#[test]
fn p2_a_row_that_stands_although_its_client_was_told_that_it_does_not_is_seen() {
    for refusal in [Refusal::Undone, Refusal::Refused] {
        let (mut ledger, mut seen) = world();
        ledger.creates[0].refused = Some(refusal);
        assert_eq!(found(&ledger, &seen), [Kind::Orphan]);
        ledger.creates[0].bypass = true;
        let registered = std::mem::take(&mut seen.edges);
        assert_eq!(found(&ledger, &seen), [Kind::Orphan], "it passed unregistered");
        seen.rows.clear();
        assert_eq!(found(&ledger, &seen), []);
        seen.edges = registered;
        assert_eq!(found(&ledger, &seen), [Kind::Orphan], "it is registered");
    }
    // Another request of the client made the row of this name.
    let (mut ledger, seen) = world();
    let refused = Some(Refusal::Undone);
    let other = Create { secret: "t".into(), refused, ..ledger.creates[0].clone() };
    ledger.creates.push(other);
    assert_eq!(found(&ledger, &seen), []);
}

#[test]
fn p2_only_an_answer_that_denies_the_row_is_taken_for_a_refusal() {
    let told = |kind, undo: Option<UndoState>| {
        let problem = Problem::new(kind, "why");
        let answer = undo.map_or(problem.clone(), |undo| problem.undo(undo)).into_response();
        Refusal::of(answer.status().as_u16(), answer.body())
    };
    for kind in [Problems::Unavailable, Problems::Overloaded, Problems::UpstreamUnreachable] {
        assert_eq!(told(kind, None), Some(Refusal::Refused));
    }
    for kind in [Problems::UpstreamCut, Problems::UpstreamInvalid, Problems::UpstreamTimeout] {
        assert_eq!(told(kind, None), None);
    }
    assert_eq!(told(Problems::NotRegistered, Some(UndoState::Done)), Some(Refusal::Undone));
    assert_eq!(told(Problems::NotRegistered, Some(UndoState::Pending)), None);
    assert_eq!(told(Problems::NotRegistered, Some(UndoState::Unknown)), None);
    let services = br#"{"message": "Refused on demand", "code": 503, "data": null}"#;
    assert_eq!(Refusal::of(409, services), Some(Refusal::Refused));
    assert_eq!(Refusal::of(500, services), None);
    assert_eq!(Refusal::of(503, services), None);
}

#[test]
fn p3_a_row_that_stands_although_its_delete_was_answered_200_is_seen() {
    let (mut ledger, seen) = world();
    told(&mut ledger);
    let place = ledger.delete(Target::Id("k".into()));
    assert_eq!(found(&ledger, &seen), [], "nobody was told anything");
    ledger.deletes[place].told = Some(200);
    assert_eq!(found(&ledger, &seen), [], "it may not have been committed yet");
    ledger.deletes[place].existed = true;
    assert_eq!(found(&ledger, &seen), [Kind::Orphan]);
    for status in [202, 404, 500, 503] {
        ledger.deletes[place].told = Some(status);
        assert_eq!(found(&ledger, &seen), [], "{status}");
    }
    ledger.deletes[place] =
        Delete { target: Target::Id("l".into()), told: Some(200), existed: true };
    assert_eq!(found(&ledger, &seen), [], "it meant another row");
}

#[test]
fn an_operation_that_never_ends_is_seen() {
    let (ledger, mut seen) = world();
    seen.unfinished.push(json!({"phase": "unknown"}));
    assert_eq!(found(&ledger, &seen), [Kind::Stuck]);
}

#[test]
fn a_round_is_a_function_of_seed_and_number() {
    for number in 0..1000 {
        assert_eq!(Plan::new(7, number, true), Plan::new(7, number, true));
    }
    assert_ne!(Plan::new(7, 1, true).seed, Plan::new(8, 1, true).seed);
    let places = (0..1000).filter_map(|number| match Plan::new(7, number, true).first {
        Kill::At(place, times) => Some((place, times)),
        Kill::After(_) => None,
    });
    let places: BTreeSet<_> = places.collect();
    assert_eq!(places.len(), 3 * failpoint::ALL.len(), "each place, three times");
}

#[test]
fn there_is_a_place_for_each_record_at_each_stage_and_no_place_twice() {
    let places = BTreeSet::from(failpoint::ALL);
    assert_eq!(places.len(), failpoint::ALL.len());
    for stage in ["before", "written", "committed"] {
        let prefix = format!("journal.{stage}.");
        // As many as `model::Record` has variants.
        assert_eq!(places.iter().filter(|place| place.starts_with(&prefix)).count(), 12);
    }
}

#[test]
fn what_several_runs_logged_adds_up() {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("7.log");
    for round in 0..3 {
        let killed = vec!["random".into(), "list.told:2".into()];
        let line = Line {
            round,
            kills: 2,
            operations: 10,
            recoveries: vec![round],
            killed,
            ..Line::default()
        };
        line.append(&log);
    }
    // A run that was killed in the middle of a line.
    std::fs::write(&log, std::fs::read_to_string(&log).unwrap() + "\n{\"round\":").unwrap();
    let tally = Tally::read(&log);
    assert_eq!(
        tally.to_string(),
        "kills=6 operations=30 orphans=0 lost=0 stuck=0 taken=0 recovery_p50_ms=1 recovery_max_ms=2"
    );
    assert_eq!(tally.killed, BTreeSet::from(["list.told".to_owned()]));
    assert!(tally.is_clean());
    let line = Line { round: 3, lost: 1, ..Line::default() };
    line.append(&log);
    assert!(!Tally::read(&log).is_clean());
}

/// Runs a round, again where it is void: this machine may be busy.
async fn round_of(lane: &mut Lane, plan: &Plan) -> Outcome {
    for _ in 0..10 {
        let outcome = lane.round(plan).await;
        if outcome.void.is_none() {
            return outcome;
        }
    }
    unreachable!("the service does not keep L on this machine");
}

/// A few rounds of the long run, with the process killed at random instants.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p2_p3_what_is_killed_under_load_loses_nothing() {
    let service = Arc::new(Service::start(Options::default()).await);
    let seed = fastrand::u64(1..1_000_000);
    println!("seed {seed}");
    let lanes: Vec<_> = (0..3)
        .map(|number| {
            let service = Arc::clone(&service);
            tokio::spawn(async move {
                let name = format!("lane{number}");
                let mut lane = Lane::plain(&name, service).await;
                for round in 0..3 {
                    let plan = Plan::new(seed, number * 3 + round, false);
                    let outcome = round_of(&mut lane, &plan).await;
                    assert_eq!(outcome.violations, [], "{outcome:#?}");
                    assert!(!outcome.kills.is_empty() && outcome.operations > 0);
                }
                assert_eq!(lane.whole().await, []);
            })
        })
        .collect();
    for lane in lanes {
        lane.await.unwrap();
    }
}

/// What is planted behind the sidecar's back is found by the same comparison.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_planted_between_service_and_back_end_is_found() {
    let service = Arc::new(Service::start(Options::default()).await);
    let mut lane = Lane::plain("planted", Arc::clone(&service)).await;
    let mut rounds = 0..20;
    // The first round that leaves something.
    let (ledger, seen) = loop {
        let number = rounds.next().expect("a round that leaves a registered row");
        let plan = Plan { provider: Vec::new(), ..Plan::new(11, number, false) };
        let outcome = round_of(&mut lane, &plan).await;
        assert_eq!(outcome.violations, []);
        let seen = lane.seen(&outcome.agent, &outcome.ledger, 0).await;
        if !seen.edges.is_empty() {
            break (outcome.ledger, seen);
        }
    };
    assert_eq!(lane.whole().await, []);
    let id = seen.edges.first().unwrap();
    service.remove(id).await;
    let rows = seen.rows.iter().filter(|row| row.id != *id).cloned().collect();
    assert!(found(&ledger, &Seen { rows, ..seen }).contains(&Kind::Orphan));
    assert_eq!(lane.whole().await.len(), 1);
}

/// A service that breaks L proves nothing about the sidecar.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_round_in_which_the_service_broke_l_is_void_and_is_run_again() {
    let service = Arc::new(Service::start(Options::default()).await);
    let mut lane = Lane::plain("void", Arc::clone(&service)).await;
    let first = Kill::After(2 * Bounds::default().exchange);
    let plan = Plan { first, again: Vec::new(), provider: Vec::new(), ..Plan::new(5, 0, false) };
    let database = Database::meddle_with(&service).await;
    database.batch_execute("BEGIN; LOCK TABLE agent_api_keys IN EXCLUSIVE MODE").await.unwrap();
    let stalled = async {
        eventually("L is broken", || async {
            service.late(PATIENCE, Bounds::default().late_effect).await.pop()
        })
        .await;
        database.batch_execute("COMMIT").await.unwrap();
    };
    let (void, ()) = tokio::join!(lane.round(&plan), stalled);
    assert!(void.void.is_some(), "{void:#?}");
    service.idle().await;
    assert_eq!(lane.whole().await, [], "what a void round left is not looked at");
    let again = lane.round(&plan).await;
    assert_eq!((again.void, again.violations), (None, Vec::new()));
    assert!(again.operations > 0);
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("5.log");
    Line { kills: 3, lost: 1, void: true, ..Line::default() }.append(&log);
    let tally = Tally::read(&log);
    assert_eq!((tally.kills, tally.void, tally.rounds.len()), (0, 1, 0));
    assert!(tally.is_clean() && !tally.is_blind());
}

/// What went wrong for any other reason is not void.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p2_a_row_that_is_lost_with_no_standstill_is_found_and_not_void() {
    let service = Arc::new(Service::start(Options::default()).await);
    let mut lane = Lane::plain("lost", Arc::clone(&service)).await;
    // They are told of, and never committed.
    service.fault("POST /agent_api_keys").hang_commit().arm().await;
    let mut rounds = 0..20;
    loop {
        let number = rounds.next().expect("a round that loses a row");
        let plan = Plan { provider: Vec::new(), ..Plan::new(13, number, false) };
        let outcome = lane.round(&plan).await;
        assert_eq!(outcome.void, None);
        println!("round {number}: {:?}", outcome.violations);
        // Where the process died before the answer, there is an edge without row and nothing lost.
        if outcome.violations.iter().any(|found| found.kind == Kind::Lost) {
            break;
        }
    }
    service.release().await;
}

#[test]
fn a_run_with_many_void_rounds_is_blind() {
    let add = |tally: &mut Tally, rounds: std::ops::Range<u64>, void| {
        rounds.for_each(|round| tally.add(&Line { round, void, ..Line::default() }));
    };
    let mut tally = Tally::default();
    add(&mut tally, 0..20, true);
    assert!(!tally.is_blind(), "one standstill voids a round of each lane");
    add(&mut tally, 20..21, true);
    assert!(tally.is_blind());
    add(&mut tally, 0..210, false);
    assert!(!tally.is_blind());
    let mut other = Tally::default();
    add(&mut other, 0..10, true);
    tally.join(other);
    assert!(tally.is_blind());
}

/// The same clients and the same comparison, with a service that does the dual write itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_in_process_dual_write_leaves_orphans_and_they_are_found() {
    let service = Arc::new(Service::start(Options::default()).await);
    let mut lane = Lane::in_process("control", service).await;
    let (mut kills, mut orphans) = (0, 0);
    for number in 0..60 {
        let plan =
            Plan { clients: 8, requests: 30, again: Vec::new(), ..Plan::new(3, number, false) };
        let outcome = lane.round(&plan).await;
        kills += outcome.kills.len();
        orphans += outcome.violations.iter().filter(|found| found.kind == Kind::Orphan).count();
        if orphans >= 3 {
            break;
        }
    }
    println!("kills={kills} orphans={orphans}");
    assert!(orphans > 0, "{kills} kills and no orphan");
}
