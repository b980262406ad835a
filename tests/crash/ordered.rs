//! The comparison sees an order that is lost, and waives exactly what a discard gave up.

use std::collections::BTreeSet;

use crate::crash::check::{Kind, Seen, waived};
use crate::crash::ledger::{Create, GivenUp, Ledger, Order, Target};
use crate::support::service::Made;
use crate::{found, told, world};

fn order(record: &'static str, told: Option<u16>) -> Order {
    Order { operation: "o".into(), record, given_up: GivenUp::default(), told }
}

/// Somebody discarded what saw to the row `k`, or (without an id) to one that no client knows.
fn give_up(ledger: &mut Ledger, id: Option<&str>, told: Option<u16>) {
    let ids: BTreeSet<_> = id.map(str::to_owned).into_iter().collect();
    let rows = usize::from(id.is_none());
    ledger.order(Order { given_up: GivenUp { ids, rows }, ..order("discarded", told) });
}

/// On record, where it is to be.
fn recorded(seen: &mut Seen, record: &str, times: usize) {
    seen.orders.insert(("o".into(), record.into()), times);
}

#[test]
fn p9_an_order_that_was_answered_and_is_not_on_record_is_seen() {
    for record in ["retried", "discarded"] {
        let (mut ledger, mut seen) = world();
        ledger.order(order(record, Some(200)));
        assert_eq!(found(&ledger, &seen), [Kind::Lost]);
        recorded(&mut seen, record, 1);
        assert_eq!(found(&ledger, &seen), []);
        ledger.order(order(record, Some(200)));
        assert_eq!(found(&ledger, &seen), [Kind::Lost], "one of the two");
        seen.records = None;
        assert_eq!(found(&ledger, &seen), [], "without a journal nothing is known of records");
    }
}

#[test]
fn p9_a_record_of_an_order_that_was_refused_or_that_nobody_gave_is_seen() {
    let (mut ledger, mut seen) = world();
    recorded(&mut seen, "retried", 1);
    assert_eq!(found(&ledger, &seen), [Kind::Orphan], "nobody gave it");
    ledger.order(order("retried", Some(409)));
    assert_eq!(found(&ledger, &seen), [Kind::Orphan], "it was refused");
    // Nobody knows: the connection broke, or the journal could not tell.
    for unknown in [None, Some(503)] {
        ledger.orders[0].told = unknown;
        assert_eq!(found(&ledger, &seen), []);
        let unrecorded = Seen { orders: [].into(), ..seen.clone() };
        assert_eq!(found(&ledger, &unrecorded), []);
    }
}

#[test]
fn p2_p3_only_what_a_discard_gave_up_is_waived() {
    let (mut ledger, mut seen) = world();
    recorded(&mut seen, "discarded", 1);
    give_up(&mut ledger, Some("k"), Some(200));
    let unregistered = Seen { edges: [].into(), ..seen.clone() };
    let removed = Seen { rows: [].into(), ..seen.clone() };
    for seen in [&unregistered, &removed] {
        assert_eq!(found(&ledger, seen), []);
        assert_eq!(waived(&ledger, seen), BTreeSet::from(["k".to_owned()]));
    }
    ledger.orders[0].told = None;
    assert_eq!(found(&ledger, &unregistered), [], "it may have been taken");
    let refused = Seen { orders: [].into(), ..unregistered.clone() };
    ledger.orders[0].told = Some(409);
    assert_eq!(found(&ledger, &refused), [Kind::Orphan]);
    ledger.orders[0] = Order { told: Some(200), ..ledger.orders[0].clone() };
    ledger.orders[0].given_up.ids = BTreeSet::from(["l".to_owned()]);
    assert_eq!(found(&ledger, &unregistered), [Kind::Orphan], "it was about another row");
    assert_eq!(found(&ledger, &removed), [Kind::Orphan], "it was about another row");
}

#[test]
fn p2_a_discard_gives_up_no_row_that_a_client_was_told_of() {
    let (mut ledger, mut seen) = world();
    recorded(&mut seen, "discarded", 1);
    told(&mut ledger);
    give_up(&mut ledger, Some("k"), Some(200));
    seen.rows.clear();
    assert_eq!(found(&ledger, &seen), [Kind::Lost]);
    ledger.delete(Target::Id("k".into()));
    assert_eq!(found(&ledger, &seen), []);
}

#[test]
fn p2_a_discarded_create_of_unknown_outcome_explains_one_row_that_nobody_else_sees_to() {
    let (mut ledger, mut seen) = world();
    recorded(&mut seen, "discarded", 1);
    seen.edges.clear();
    give_up(&mut ledger, None, Some(200));
    assert_eq!(found(&ledger, &seen), [Kind::Orphan], "its create is on record, and not discarded");
    seen.records.as_mut().unwrap().clear();
    assert_eq!(found(&ledger, &seen), []);
    let registered = Seen { edges: ["k".to_owned()].into(), ..seen.clone() };
    let why = "its id was to be on record first";
    assert_eq!(found(&ledger, &registered), [Kind::Orphan], "{why}");
    let removed = Seen { rows: [].into(), ..registered };
    assert_eq!(found(&ledger, &removed), [Kind::Orphan], "{why}");
    let other = Create { secret: "t".into(), ..ledger.creates[0].clone() };
    ledger.creates.push(other);
    seen.rows.push(Made { id: "l".into(), secret: Some("t".into()), ..seen.rows[0].clone() });
    assert_eq!(found(&ledger, &seen), [Kind::Orphan], "one of the two");
    seen.rows.pop();
    told(&mut ledger);
    let kinds = found(&ledger, &seen);
    assert!(kinds.contains(&Kind::Orphan), "its client knows it: {kinds:?}");
}
