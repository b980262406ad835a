//! A create and a delete of one row at the same time (docs/DESIGN.md, section 6).

use std::time::Duration;

use crate::support::eventually;
use crate::support::keys::{Fault, Gate, Route};
use crate::world::World;

/// One attempt of a registration may be held as long as a test wants.
async fn patient() -> World {
    World::with(|settings| {
        settings.register = "8s";
        settings.attempt = "8s";
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn p3_a_row_deleted_by_id_while_it_is_registered_leaves_no_edge() {
    let world = patient().await;
    let gate = world.provider.register().once().holds();
    let create = tokio::spawn(world.create("k").send());
    gate.arrived(1).await;
    let id = world.keys.rows().first().unwrap().clone();
    world.delete(&id).send().await.expect(200);
    gate.release();
    let status = create.await.unwrap().status;
    assert!(status == 200 || status == 503, "{status}");
    world.comes_to_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p3_a_row_deleted_by_name_while_it_is_registered_leaves_no_edge() {
    let world = patient().await;
    let gate = world.provider.register().once().holds();
    let create = tokio::spawn(world.create("k").send());
    gate.arrived(1).await;
    world.delete_by_name("k").send().await.expect(200);
    gate.release();
    let status = create.await.unwrap().status;
    assert!(status == 200 || status == 503, "{status}");
    world.comes_to_nothing().await;
}

/// The delete's probe saw no row; the create's row came, and was the one that went.
#[tokio::test(flavor = "multi_thread")]
async fn p3_a_row_made_between_the_probe_and_the_delete_by_name_leaves_no_edge() {
    let world = patient().await;
    let gate = Gate::closed();
    world.keys.on(Route::DeleteByName, Fault::once().held_before(&gate));
    let delete = tokio::spawn(world.delete_by_name("k").send());
    gate.reached(1).await;
    world.made("k").await;
    gate.open();
    delete.await.unwrap().expect(200);
    world.comes_to_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p3_a_row_deleted_by_name_before_its_create_is_answered_leaves_no_edge() {
    let world = patient().await;
    let gate = Gate::closed();
    world.keys.on(Route::Create, Fault::once().held_after(&gate));
    let create = tokio::spawn(world.create("k").send());
    gate.reached(1).await;
    world.delete_by_name("k").send().await.expect(200);
    gate.open();
    create.await.unwrap().expect(200);
    world.comes_to_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p3_a_registration_that_lands_after_the_delete_is_removed() {
    let world = World::with(|settings| settings.register = "8s").await;
    // The first attempt times out and lands much later; the second one is acknowledged.
    let gate = world.provider.register().once().lands_after();
    let id = world.made("k").await;
    world.delete(&id).send().await.expect(200);
    world.operation_in("looking").await;
    gate.release();
    world.provider.wait_until(|provider| !provider.registered().is_empty()).await;
    world.comes_to_nothing().await;
}

/// The delete saw the row before its create had an id on record, and was recorded after the create had
/// ended: nothing but the delete can know that a registration may land late.
#[tokio::test(flavor = "multi_thread")]
async fn p3_a_delete_of_a_row_whose_create_is_not_answered_yet_waits_for_its_registration() {
    let world = World::with(|settings| {
        settings.register = "8s";
        settings.attempt = "150ms";
    })
    .await;
    let landing = world.provider.register().once().lands_after();
    let creating = Gate::closed();
    world.keys.on(Route::Create, Fault::once().held_after(&creating));
    let create = tokio::spawn(world.create("k").send());
    creating.reached(1).await;
    let id = world.keys.rows().first().unwrap().clone();
    let authn = world.provider.authn().once().holds();
    let delete = tokio::spawn(world.delete(&id).header("x-user-id", "u-2").send());
    authn.arrived(1).await;
    let probed = || std::future::ready((world.keys.calls(Route::Get) > 0).then_some(()));
    eventually("the probe sees the row", probed).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    creating.open();
    create.await.unwrap().expect(200);
    authn.release();
    delete.await.unwrap().expect(200);
    world.operation_in("looking").await;
    landing.release();
    world.provider.wait_until(|provider| !provider.registered().is_empty()).await;
    world.comes_to_nothing().await;
}

/// The service commits after its answer: a row that can't be seen yet is not gone.
#[tokio::test(flavor = "multi_thread")]
async fn p2_a_key_deleted_by_id_before_the_service_has_committed_it_keeps_its_edge() {
    let world = World::new().await;
    let gate = Gate::closed();
    world.keys.on(Route::Create, Fault::once().lands_after(&gate));
    let id = world.made("k").await;
    // As far as the service knows there is nothing to delete.
    world.delete(&id).send().await.expect(200);
    world.has_asked(Route::Get, 1).await;
    gate.open();
    world.quiescent().await;
    assert_eq!(world.keys.rows(), [id].into());
    world.same_set();
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_a_key_made_beside_a_delete_of_its_name_and_committed_late_keeps_its_edge() {
    let world = patient().await;
    let committed = Gate::closed();
    world.keys.on(Route::Create, Fault::once().lands_after(&committed));
    let registered = world.provider.register().once().holds();
    let create = tokio::spawn(world.create("k").send());
    registered.arrived(1).await;
    world.delete_by_name("k").send().await.expect(404);
    registered.release();
    create.await.unwrap().expect(200);
    world.operation_in("registered").await;
    committed.open();
    world.quiescent().await;
    assert_eq!(world.keys.rows().len(), 1);
    world.same_set();
}

/// The service commits a delete, too, after its answer: a row that is there may be about to go.
#[tokio::test(flavor = "multi_thread")]
async fn p3_a_row_whose_delete_by_name_is_committed_late_leaves_no_edge() {
    let world = patient().await;
    let (sent, answered, committed) = (Gate::closed(), Gate::closed(), Gate::closed());
    world.keys.on(Route::Create, Fault::once().held_after(&answered));
    let late = Fault::once().held_before(&sent).lands_after(&committed);
    world.keys.on(Route::DeleteByName, late);
    let delete = tokio::spawn(world.delete_by_name("k").send());
    sent.reached(1).await;
    let create = tokio::spawn(world.create("k").send());
    answered.reached(1).await;
    sent.open();
    delete.await.unwrap().expect(200);
    answered.open();
    create.await.unwrap().expect(200);
    world.operation_in("registered").await;
    committed.open();
    world.comes_to_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p3_a_row_whose_delete_by_id_overtakes_its_create_and_is_committed_late_leaves_no_edge() {
    let world = patient().await;
    let (answered, committed) = (Gate::closed(), Gate::closed());
    world.keys.on(Route::Create, Fault::once().held_after(&answered));
    world.keys.on(Route::Delete, Fault::once().lands_after(&committed));
    let create = tokio::spawn(world.create("k").send());
    answered.reached(1).await;
    let id = world.keys.rows().first().unwrap().clone();
    world.delete(&id).send().await.expect(200);
    answered.open();
    create.await.unwrap().expect(200);
    world.has_asked(Route::Get, 1).await;
    committed.open();
    world.comes_to_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_a_key_that_was_registered_before_a_crash_and_committed_after_it_keeps_its_edge() {
    let mut world = World::new().await;
    let gate = Gate::closed();
    world.keys.on(Route::Create, Fault::once().lands_after(&gate));
    // Its creator is asked about the delete beside it, and the sidecar dies meanwhile.
    let registered = world.provider.register().once().holds();
    let create = tokio::spawn(world.create("k").try_send());
    registered.arrived(1).await;
    world.delete_by_name("k").send().await.expect(404);
    let asked = Gate::closed();
    world.keys.on(Route::Get, Fault::times(2).held_before(&asked));
    registered.release();
    asked.reached(1).await;
    world.restart().await;
    drop(create.await);
    asked.open();
    world.has_asked(Route::Get, 1).await;
    gate.open();
    world.quiescent().await;
    assert_eq!(world.keys.rows().len(), 1);
    world.same_set();
}

#[tokio::test(flavor = "multi_thread")]
async fn p3_a_key_deleted_by_name_and_made_again_stays_registered() {
    let world = World::new().await;
    let first = world.made("k").await;
    world.delete_by_name("k").send().await.expect(200);
    let second = world.made("k").await;
    world.quiescent().await;
    assert!(!world.is_registered(&first) && world.is_registered(&second));
    world.same_set();
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_equal_creates_of_which_some_fail_undo_none_that_stands() {
    let world = World::new().await;
    let fail = Fault::times(3).status(500);
    world.keys.on(Route::Create, fail);
    let creates: Vec<_> = (0..8).map(|_| tokio::spawn(world.create("k").send())).collect();
    let mut acknowledged = std::collections::BTreeSet::new();
    for create in creates {
        let answer = create.await.unwrap();
        if answer.status == 200 {
            acknowledged.insert(answer.id());
        }
    }
    assert_eq!(acknowledged.len(), 5);
    world.quiescent().await;
    assert_eq!(world.keys.rows(), acknowledged);
    world.same_set();
}

#[tokio::test(flavor = "multi_thread")]
async fn p3_clients_that_create_and_delete_one_name_end_with_one_set() {
    let world = std::sync::Arc::new(World::new().await);
    let clients: Vec<_> = (0..6)
        .map(|client| {
            let world = world.clone();
            tokio::spawn(async move {
                for round in 0..8 {
                    match (client + round) % 4 {
                        0 | 1 => _ = world.create("k").send().await,
                        2 => _ = world.delete_by_name("k").send().await,
                        _ => {
                            let id = world.keys.rows().first().cloned();
                            if let Some(id) = id {
                                world.delete(&id).send().await;
                            }
                        }
                    }
                }
            })
        })
        .collect();
    for client in clients {
        client.await.unwrap();
    }
    world.quiescent().await;
    world.same_set();
}
