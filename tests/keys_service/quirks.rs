//! The quirks that the crash matrix switches on for an agent do what they say.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::client::{Answer, Call};
use crate::support::eventually;
use crate::support::service::quirks::Quirks;
use crate::support::service::removed::MARK;
use crate::support::service::{Options, Service};

const FAR: f64 = 1e6;

async fn with(quirks: Quirks) -> Service {
    let service = Service::with_agent(Options::default()).await;
    service.quirks("a1", &quirks).await;
    service
}

fn create(service: &Service, name: &str) -> Call {
    let body = json!({"agent_id": "agent-a1", "name": name, "api_key": format!("secret-{name}")});
    service.client().post("/agent_api_keys").json(&body)
}

fn key(id: &str) -> String {
    format!("/agent_api_keys/{id}")
}

async fn get(service: &Service, id: &str) -> Answer {
    service.client().get(&key(id)).send().await
}

async fn listed(service: &Service) -> usize {
    let list = service.client().get("/agent_api_keys?agent_id=agent-a1").send().await;
    list.json().as_array().unwrap().len()
}

#[tokio::test]
async fn a_create_with_a_known_idempotency_key_repeats_the_first_answer_and_makes_nothing() {
    let service = with(Quirks { replays: true, ..Quirks::default() }).await;
    let keyed = |key: &str| create(&service, "n").header("idempotency-key", key);
    let first = keyed("k").send().await.json();
    service.idle().await;
    assert_eq!(keyed("k").send().await.json(), first);
    assert_eq!(keyed("l").send().await.status, 409, "another key is another request");
    service.client().delete(&key(first["id"].as_str().unwrap())).send().await;
    service.idle().await;
    assert_eq!(keyed("k").send().await.json(), first, "also once its row is gone");
    assert_eq!(service.ids().await.len(), 0);
}

#[tokio::test]
async fn creates_with_one_idempotency_key_at_once_make_one_row() {
    let service = with(Quirks { replays: true, ..Quirks::default() }).await;
    service.fault("POST /agent_api_keys").delay_commit(0.2).arm().await;
    let creates: Vec<_> = (0..5)
        .map(|_| tokio::spawn(create(&service, "n").header("idempotency-key", "k").send()))
        .collect();
    for create in creates {
        assert_eq!(create.await.unwrap().status, 200);
    }
    service.idle().await;
    assert_eq!(service.ids().await.len(), 1);
}

#[tokio::test]
async fn reads_lag_and_a_delete_of_what_they_do_not_show_is_200_and_deletes_nothing() {
    let service = with(Quirks { lag: FAR, seed: 3, ..Quirks::default() }).await;
    let id = create(&service, "n").send().await.id();
    service.idle().await;
    assert_eq!(service.ids().await, [id.as_str()], "it is there");
    assert_eq!((get(&service, &id).await.status, listed(&service).await), (404, 0));
    assert_eq!(service.client().delete(&key(&id)).send().await.status, 200);
    service.idle().await;
    assert_eq!(service.ids().await, [id.as_str()], "it is still there");
}

#[tokio::test]
async fn what_reads_do_not_show_yet_they_show_once_the_lag_has_passed_and_not_for_longer() {
    let lag = 0.3;
    let service = with(Quirks { lag, ..Quirks::default() }).await;
    let id = create(&service, "n").send().await.id();
    service.idle().await;
    tokio::time::sleep(Duration::from_secs_f64(lag)).await;
    assert_eq!((get(&service, &id).await.status, listed(&service).await), (200, 1));
    assert_eq!(service.client().delete(&key(&id)).send().await.status, 200);
    service.idle().await;
    assert_eq!(service.ids().await.len(), 0);
    tokio::time::sleep(Duration::from_secs_f64(lag)).await;
    assert_eq!((get(&service, &id).await.status, listed(&service).await), (404, 0));
}

#[tokio::test]
async fn effects_come_late_and_no_later_than_asked() {
    let late = 0.4;
    let service = with(Quirks { late, seed: 5, ..Quirks::default() }).await;
    let began = Instant::now();
    for number in 0..10 {
        // The delays of a request's own faults count.
        let fault = json!([{"route": "POST /agent_api_keys", "point": "before", "do": "delay", "value": FAR}]);
        let own = create(&service, &format!("own-{number}")).header("x-fault", &fault.to_string());
        tokio::join!(create(&service, &format!("n-{number}")).send(), own.send());
    }
    service.idle().await;
    assert!(began.elapsed() > Duration::from_secs_f64(10.0 * late));
    assert_eq!(service.ids().await.len(), 20);
    let bound = Duration::from_secs_f64(2.0 * late);
    let late = service.late(Duration::from_mins(1), bound).await;
    assert!(late.iter().all(|late| late.what == "standing still"), "{late:?}");
}

#[tokio::test]
async fn a_storm_answers_500_before_and_after_the_work_and_passes() {
    let quirks = Quirks { storms: vec![(0.0, 1.0)], seed: 1, ..Quirks::default() };
    let service = with(quirks).await;
    let mut failed = 0;
    for number in 0..20 {
        failed += usize::from(create(&service, &format!("n-{number}")).send().await.status == 500);
    }
    service.idle().await;
    let made = service.ids().await.len();
    assert!((5..20).contains(&failed), "{failed}");
    assert!(made > 20 - failed && made < 20, "{made} rows in spite of {failed} answers");
    eventually("the storm has passed", || async {
        (listed_status(&service).await == 200).then_some(())
    })
    .await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    for number in 20..30 {
        assert_eq!(create(&service, &format!("n-{number}")).send().await.status, 200);
    }
}

async fn listed_status(service: &Service) -> u16 {
    service.client().get("/agent_api_keys?agent_id=agent-a1").send().await.status
}

#[tokio::test]
async fn other_agents_are_not_struck() {
    let service =
        with(Quirks { lag: FAR, late: 1.0, storms: vec![(0.0, FAR)], ..Quirks::default() });
    let service = service.await;
    service.agent("a2").await;
    let body = json!({"agent_name": "a2", "name": "n"});
    let created = service.client().post("/agent_api_keys").json(&body).send().await;
    assert_eq!(created.status, 200);
    service.idle().await;
    assert_eq!(get(&service, &created.id()).await.status, 200);
}

#[tokio::test]
async fn it_is_known_which_request_removed_a_row() {
    let service = Service::with_agent(Options::default()).await;
    let mut ids = Vec::new();
    for name in ["a", "b", "c"] {
        ids.push(create(&service, name).send().await.id());
    }
    service.idle().await;
    let rows = service.made("agent-a1", &["secret-a".into()]).await;
    assert!(rows.iter().all(|row| row.age.is_some()));
    service.client().delete(&key(&ids[0])).header(MARK, "delete 7").send().await;
    service.client().delete(&key(&ids[1])).send().await;
    // A row that is gone is not removed again, nor is one that nobody asked the service to remove.
    service.client().delete(&key(&ids[0])).send().await;
    service.remove(&ids[2]).await;
    service.idle().await;
    let removed = service.removed("agent-a1", &["secret-a".into()]).await;
    let told: Vec<_> =
        removed.iter().map(|row| (&*row.id, row.secret.as_deref(), row.by.as_deref())).collect();
    assert_eq!(told, [(&*ids[0], Some("secret-a"), Some("delete 7")), (&*ids[1], None, None)]);
}
