//! The faults do what they say.

use serde_json::json;

use crate::support::client::{Answer, Error};
use crate::support::eventually;
use crate::support::service::{Fault, Options, Service};

const ROUTE: &str = "POST /agent_api_keys";

async fn create(service: &Service) -> Result<Answer, Error> {
    let body = json!({"agent_id": "agent-a1", "name": "n"});
    service.client().post("/agent_api_keys").json(&body).try_send().await
}

/// What one create answers under a fault, and how many rows there are after it. The fault is gone
/// afterwards, the rows too.
async fn under(service: &Service, fault: Fault<'_>) -> (Result<Answer, Error>, usize) {
    let armed = fault.times(1).arm().await;
    let answer = create(service).await;
    assert_eq!(armed.hits().await, 1);
    service.reset().await;
    service.idle().await;
    let ids = service.ids().await;
    for id in &ids {
        service.remove(id).await;
    }
    (answer, ids.len())
}

#[tokio::test]
async fn an_answer_is_cut_or_missing_although_the_row_is_there() {
    for options in [Options::default(), Options::default().h11()] {
        let service = Service::with_agent(options).await;
        let fault = || service.fault(ROUTE);
        for broken in [
            fault().cut(),
            fault().cut_chunked(),
            fault().close_after(),
            fault().abort_after(),
            fault().raw("HTTP/9 what"),
        ] {
            let (answer, _) = under(&service, broken).await;
            assert!(answer.is_err(), "{answer:?}");
        }
        assert_eq!(under(&service, fault().close_after()).await.1, 1);
        assert_eq!(under(&service, fault().cut()).await.1, 1);
        let (answer, rows) = under(&service, fault().close_before()).await;
        assert!(answer.is_err() && rows == 0);
    }
}

#[tokio::test]
async fn an_answer_is_bent() {
    let service = Service::with_agent(Options::default()).await;
    let bent = |fault| async { under(&service, fault).await.0.unwrap() };
    let fault = || service.fault(ROUTE);
    assert_eq!(bent(fault().answer_status(202)).await.status, 202);
    assert!(!bent(fault().answer_without("id")).await.text().contains("\"id\""));
    assert!(bent(fault().answer_padded(1 << 20)).await.body.len() > 1 << 20);
    assert_eq!(bent(fault().answer_body("{\"id\": ")).await.text(), "{\"id\": ");
    let packed = bent(fault().answer_encoded("gzip")).await;
    assert_eq!(packed.header("content-encoding"), "gzip");
    assert_eq!(&packed.body[..2], b"\x1f\x8b");
    fault().answer_header("location", "/x").times(1).arm().await;
    let moved = bent(fault().answer_status(303)).await;
    assert_eq!((moved.status, moved.header("location")), (303, "/x"));
}

#[tokio::test]
async fn what_hangs_before_the_handler_takes_effect_late() {
    let service = Service::with_agent(Options::default()).await;
    let armed = service.fault(ROUTE).hang_before().times(1).arm().await;
    let body = json!({"agent_id": "agent-a1", "name": "n"});
    service.client().post("/agent_api_keys").json(&body).hang_up().await;
    armed.struck(1).await;
    assert_eq!(service.ids().await.len(), 0);
    service.release().await;
    eventually("the late row", || async { (service.ids().await.len() == 1).then_some(()) }).await;
}

#[tokio::test]
async fn a_stalled_answer_goes_on_when_released() {
    let service = Service::with_agent(Options::default()).await;
    service.fault(ROUTE).commit_first().times(1).arm().await;
    let armed = service.fault(ROUTE).stall().times(1).arm().await;
    let (answer, ()) = tokio::join!(create(&service), async {
        armed.struck(1).await;
        assert_eq!(service.ids().await.len(), 1, "committed before the answer");
        service.release().await;
    });
    assert_eq!([answer.unwrap().id()].as_slice(), service.ids().await);
}

#[tokio::test]
async fn faults_are_counted_skipped_drawn_and_bound_to_their_route() {
    let service = Service::with_agent(Options::default()).await;
    let route = "GET /agent_api_keys/{id}";
    let get = || async { service.client().get("/agent_api_keys/x").send().await.status };
    service.fault(route).before(503).skip(1).times(2).arm().await;
    assert_eq!([get().await, get().await, get().await, get().await], [404, 503, 503, 404]);
    service.fault(route).before(502).probability(0.5).arm().await;
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..60 {
        seen.insert(get().await);
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), [404, 502]);
    assert_eq!(service.client().get("/agents/name/a1").send().await.status, 200);
    service.reset().await;
    assert_eq!(get().await, 404);
}

#[tokio::test]
async fn a_delay_makes_it_as_slow_as_the_real_one() {
    let service = Service::with_agent(Options::default()).await;
    service.fault(ROUTE).delay_before(0.015).arm().await;
    let begun = std::time::Instant::now();
    assert_eq!(create(&service).await.unwrap().status, 200);
    assert!(begun.elapsed() >= std::time::Duration::from_millis(15));
}
