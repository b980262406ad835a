//! What is not unique, not yet committed, or done for nobody.

use serde_json::json;

use crate::support::eventually;
use crate::support::service::{Options, Service};

#[tokio::test]
async fn twenty_creates_of_one_name_at_once_make_several_rows() {
    let service = Service::with_agent(Options::default().setting("commit_delay", 0.02)).await;
    let creates = (0..20).map(|_| {
        let body = json!({"agent_id": "agent-a1", "name": "n"});
        service.client().post("/agent_api_keys").json(&body).send()
    });
    let answers = futures_util::future::join_all(creates).await;
    let made = answers.iter().filter(|answer| answer.status == 200).count();
    service.idle().await;
    assert_eq!(service.ids().await.len(), made);
    assert!((2..=20).contains(&made), "{made} rows");
    assert!(answers.iter().all(|answer| matches!(answer.status, 200 | 409)));
}

#[tokio::test]
async fn a_delete_by_name_removes_an_arbitrary_one_of_several_rows() {
    let service = Service::with_agent(Options::default()).await;
    let mut removed_the_first = [false; 2];
    for _ in 0..40 {
        let (first, second) =
            (service.key("agent-a1", "n").await, service.key("agent-a1", "n").await);
        let gone = service.client().delete("/agent_api_keys/name/n?agent_name=a1").send().await;
        assert_eq!(gone.status, 200);
        service.idle().await;
        let left = service.ids().await;
        assert_eq!(left.len(), 1, "one goes");
        removed_the_first[usize::from(left[0] == second)] = true;
        for id in [first, second] {
            service.remove(&id).await;
        }
        if removed_the_first == [true, true] {
            return;
        }
    }
    panic!("the same one each time: {removed_the_first:?}");
}

#[tokio::test]
async fn the_commit_comes_after_the_answer() {
    let service = Service::with_agent(Options::default()).await;
    service.fault("POST /agent_api_keys").hang_commit().times(1).arm().await;
    let body = json!({"agent_id": "agent-a1", "name": "n"});
    let made = service.client().post("/agent_api_keys").json(&body).send().await;
    assert_eq!(made.status, 200);
    assert_eq!(service.ids().await, Vec::<String>::new(), "answered, but not there");
    service.release().await;
    eventually("the row", || async { (service.ids().await == [made.id()]).then_some(()) }).await;
}

#[tokio::test]
async fn a_commit_may_be_lost_after_the_answer() {
    let service = Service::with_agent(Options::default()).await;
    service.fault("POST /agent_api_keys").lose_commit().times(1).arm().await;
    let body = json!({"agent_id": "agent-a1", "name": "n"});
    let made = service.client().post("/agent_api_keys").json(&body).send().await;
    service.idle().await;
    assert_eq!((made.status, service.ids().await.len()), (200, 0));
}

#[tokio::test]
async fn who_hangs_up_after_sending_creates_and_deletes_all_the_same() {
    for options in [Options::default(), Options::default().h11()] {
        let service = Service::with_agent(options).await;
        let doomed = service.key("agent-a1", "old").await;
        let body = json!({"agent_id": "agent-a1", "name": "new"});
        service.client().post("/agent_api_keys").json(&body).hang_up().await;
        service.client().delete(&format!("/agent_api_keys/{doomed}")).hang_up().await;
        eventually("both took effect", || async {
            let rows = service.rows().await;
            (rows.len() == 1 && rows[0].name == "new").then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn rows_outlive_the_service() {
    let mut service = Service::with_agent(Options::default()).await;
    let id = service.key("agent-a1", "n").await;
    let before = service.address().to_owned();
    service.restart().await;
    assert_eq!(service.client().get(&format!("/agent_api_keys/{id}")).send().await.status, 200);
    assert_eq!(service.address(), before);
}
