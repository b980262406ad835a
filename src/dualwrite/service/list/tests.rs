//! Lists of several pages whose rows shift while they are read.

use std::collections::VecDeque;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};

use super::*;
use crate::dualwrite::config::Config;
use crate::dualwrite::fixtures::create;
use crate::dualwrite::peers::service_circuit;
use crate::http::breaker::Metrics;
use crate::model::{Kind, Mode, Page, Span};
use crate::upstream::{self, Transport};

/// λ.
const READ_LAG: Duration = Duration::from_millis(1);

/// A service that shows these ids, answer by answer.
struct Pages(Mutex<VecDeque<&'static [&'static str]>>);

#[async_trait]
impl Transport for Pages {
    async fn send(&self, _: Request<Bytes>) -> Result<Response<upstream::Body>, upstream::Error> {
        let ids = lock(&self.0).pop_front().expect("no more answers were expected");
        let rows: Vec<_> =
            ids.iter().map(|id| serde_json::json!({"id": id, "name": "n"})).collect();
        let body = Bytes::from(serde_json::to_vec(&rows).unwrap());
        Ok(Response::new(upstream::Body::whole(body, None)))
    }
}

/// What a list of pages of two rows comes to, if the service gives these answers.
async fn listed(answers: &[&'static [&'static str]]) -> Option<Vec<String>> {
    let transport = Arc::new(Pages(Mutex::new(answers.iter().copied().collect())));
    let (read_lag, call) = (Span(READ_LAG), Span(Duration::from_secs(1)));
    let config = Config { read_lag, call, ..Config::default() };
    let circuit = service_circuit(Metrics::default());
    let (headers, host) = (HeaderMap::new(), HeaderValue::from_static("keys"));
    let service = Service { transport: transport.clone(), circuit, headers, host, config };
    let mut probe = probe();
    probe.page = Some(Page { parameter: "page".into(), size: 2 });
    let rows = service.list(&probe, &Credentials::default()).await;
    assert!(rows.is_err() || lock(&transport.0).is_empty(), "it was not read to the end");
    let ids = |rows: Vec<SightedRow>| rows.into_iter().map(|row| row.id.to_string()).collect();
    rows.ok().map(ids)
}

#[tokio::test]
async fn p2_a_list_of_one_page_is_read_once() {
    assert_eq!(listed(&[&["a"]]).await, Some(vec!["a".into()]));
}

/// Schedules 18 and 27 of docs/DESIGN.md: "a" goes after the first page was read, and "c" moves to a page that was read.
#[tokio::test]
async fn p2_a_row_that_shifts_over_the_edge_of_a_page_is_not_missed() {
    let shifted: [&[&str]; 2] = [&["a", "b"], &[]];
    let whole: [&[&str]; 2] = [&["b", "c"], &[]];
    let answers = [shifted, whole, whole, whole].concat();
    assert_eq!(listed(&answers).await, Some(vec!["b".into(), "c".into()]));
}

#[tokio::test]
async fn p2_a_list_that_changes_with_every_reading_proves_nothing() {
    let answers: Vec<_> = (0..6)
        .flat_map(|n| -> [&[&str]; 2] { [if n % 2 == 0 { &["a", "b"] } else { &["b", "c"] }, &[]] })
        .collect();
    assert_eq!(listed(&answers).await, None);
}

/// Within λ all of them could show the same state, from before the row was made.
#[tokio::test(start_paused = true)]
async fn p2_the_readings_of_a_list_of_several_pages_are_further_apart_than_reads_may_lag() {
    let began = tokio::time::Instant::now();
    let whole: [&[&str]; 2] = [&["a", "b"], &[]];
    assert!(listed(&[whole, whole, whole].concat()).await.is_some());
    assert!(began.elapsed() >= 2 * READ_LAG);
}

/// A service may show each caller their own rows only.
#[test]
fn p2_who_asks_with_other_credentials_reads_a_list_of_their_own() {
    let of = |user: &'static str| {
        let request = Request::builder().header("authorization", user).body(()).unwrap();
        Credentials::of_caller(&request.into_parts().0)
    };
    let (lists, probe) = (Lists::default(), probe());
    let one = lists.line(&probe, &of("one"));
    assert!(Arc::ptr_eq(&one, &lists.line(&probe, &of("one"))));
    assert!(!Arc::ptr_eq(&one, &lists.line(&probe, &of("other"))));
    assert!(!Arc::ptr_eq(&one, &lists.line(&probe, &Credentials::default())));
}

fn probe() -> Probe {
    let create = create(Mode::Enforce, None);
    let Kind::Create(plan) = &create.plan.kind else { panic!("a create") };
    plan.probe.clone().unwrap()
}
