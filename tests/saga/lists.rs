//! Lists of rows that are slow, long, or older than they seem.

use std::time::{Duration, Instant};

use crate::support::keys::{AGENT, Fault, Gate, Response, Route};
use crate::world::World;

/// A list is of when it was asked for: what the service committed before it answered may be missing.
#[tokio::test(flavor = "multi_thread")]
async fn p2_a_list_that_takes_beyond_l_does_not_end_an_unknown_create() {
    const L: Duration = Duration::from_secs(3);
    let world = World::with(|settings| (settings.call, settings.late_effect) = ("10s", "3s")).await;
    let (landing, listing) = (Gate::closed(), Gate::closed());
    world.keys.on(Route::Create, Fault::once().lands_after(&landing).status(500));
    world.create("k").send().await.expect(500);
    let closed = Instant::now();
    world.keys.on(Route::List, Fault::once().held_after(&listing));
    listing.reached(1).await;
    assert!(closed.elapsed() < L, "the list is asked for before L has passed");
    landing.open();
    while closed.elapsed() <= L {
        world.get("/elsewhere").send().await.expect(200);
    }
    listing.open();
    world.comes_to_nothing().await;
    assert_eq!(world.keys.calls(Route::Delete), 1);
}

/// While it waits for its list, another create makes a row that it could take for its own.
#[tokio::test(flavor = "multi_thread")]
async fn p4_a_create_that_began_while_a_list_was_read_may_have_made_its_row() {
    let world = World::with(|settings| settings.call = "5s").await;
    world.keys.on(Route::Create, Fault::once().without_effect().status(500));
    let (listing, making) = (Gate::closed(), Gate::closed());
    world.create("k").send().await.expect(500);
    world.keys.on(Route::List, Fault::once().held_before(&listing));
    listing.reached(1).await;
    world.keys.on(Route::Create, Fault::once().held_after(&making));
    let other = tokio::spawn(world.create("k").send());
    making.reached(1).await;
    listing.open();
    // The first looks on meanwhile.
    world.has_asked(Route::List, world.keys.calls(Route::List) + 1).await;
    making.open();
    other.await.unwrap().expect(200);
    world.quiescent().await;
    assert_eq!((world.keys.rows().len(), world.keys.calls(Route::Delete)), (1, 0));
}

/// Too many rows to remember: none of them is taken for new.
#[tokio::test(flavor = "multi_thread")]
async fn p4_p8_a_create_before_which_there_were_more_rows_than_are_kept_is_reported() {
    let world = World::with(|settings| settings.answer = "1MiB").await;
    for _ in 0..1001 {
        world.keys.insert(AGENT, "k", "external");
    }
    world.keys.on(Route::Create, Fault::once().status(500));
    world.create("k").send().await.expect(500);
    world.operation_in("reported").await;
    assert_eq!((world.keys.rows().len(), world.keys.calls(Route::Delete)), (1002, 0));
}

/// RFC 9110, section 15.3.7: it is a part, so that what it lacks may be there.
#[tokio::test(flavor = "multi_thread")]
async fn p2_a_part_of_a_list_does_not_end_an_unknown_create() {
    const L: Duration = Duration::from_millis(1500);
    let world = World::new().await;
    world.create("other").send().await.expect(200);
    world.keys.on(Route::Create, Fault::once().status(500));
    world.create("k").send().await.expect(500);
    let part = |answer: &mut Response| (answer.status, answer.body) = (206, b"[]".to_vec());
    world.keys.on(Route::List, Fault::always().changed(part));
    let began = Instant::now();
    while began.elapsed() < 2 * L {
        world.has_asked(Route::List, world.keys.calls(Route::List) + 1).await;
    }
    world.keys.mend();
    world.quiescent().await;
    assert_eq!((world.keys.rows().len(), world.keys.calls(Route::Delete)), (1, 1));
}
