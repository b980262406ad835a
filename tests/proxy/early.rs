//! Answers that come before their request has gone out, where its body is in memory: what becomes of the
//! connection.

use std::future::pending;
use std::sync::Mutex;
use std::time::Duration;

use authz_sidecar::model::Span;
use authz_sidecar::upstream::{Body, Client, Collected, Config, RequestBody, collect};
use bytes::Bytes;
use http::{Request, Response};
use tokio::sync::oneshot;

use super::support::{Service, Wire, soon};

/// More than the kernel takes of a body that nobody reads.
const LONG: usize = 32 << 20;

const LIMIT: Duration = Duration::from_millis(500);

/// A client that has one connection, and finds within that time that it is not free.
fn client(service: &Service) -> Client {
    let config = Config {
        max_connections: 1,
        idle_timeout: Span(LIMIT),
        connect_timeout: Span(4 * LIMIT),
        ..Config::default()
    };
    Client::new(service.endpoint().parse().unwrap(), config)
}

/// Sends a long body and gives the answer.
async fn post(client: &Client) -> Response<Body> {
    let request = Request::post("/keys").header("content-length", LONG);
    let request = request.body(RequestBody::Whole(Bytes::from(vec![b'x'; LONG]))).unwrap();
    soon(client.send(request)).await.unwrap()
}

async fn read(answer: Response<Body>) {
    assert!(
        matches!(collect(answer.into_body(), 9).await, Collected::Whole(body, _) if body == "ok")
    );
}

async fn answer(wire: &mut Wire) {
    wire.head().await;
    wire.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
}

#[tokio::test]
async fn p8_a_service_that_answers_and_reads_no_more_costs_no_connection() {
    let service = Service::scripted(|mut wire, _| async move {
        answer(&mut wire).await;
        pending::<()>().await;
    })
    .await;
    let client = client(&service);
    for connections in 1..=3 {
        read(post(&client).await).await;
        assert_eq!(service.connections(), connections, "none of them is used again");
    }
}

#[tokio::test]
async fn p8_an_answer_that_nobody_wants_costs_no_connection_to_a_service_that_reads_no_more() {
    let service = Service::scripted(|mut wire, _| async move {
        wire.head().await;
        wire.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n").await;
        pending::<()>().await;
    })
    .await;
    let client = client(&service);
    for _ in 0..3 {
        drop(post(&client).await);
    }
}

/// It reads on for longer than a connection may stand still.
#[tokio::test]
async fn a_service_that_answers_and_reads_on_slowly_gets_the_whole_body() {
    let (tell, told) = oneshot::channel();
    let tell = Mutex::new(Some(tell));
    let service = Service::scripted(move |mut wire, _| {
        let tell = tell.lock().unwrap().take().unwrap();
        async move {
            answer(&mut wire).await;
            for _ in 0..8 {
                tokio::time::sleep(LIMIT / 4).await;
                wire.exactly(LONG / 8).await;
            }
            tell.send(()).unwrap();
        }
    })
    .await;
    read(post(&client(&service)).await).await;
    soon(told).await.expect("the connection was closed");
}
