//! Real clients, each with every request of requests.json that it can send.

use crate::ways::{Client, Ways, assert_same};

const CURL: Client = Client::Python("by_curl.py", "1");
const HTTPX: Client = Client::Python("by_httpx.py", "1");
const CURL_H2: Client = Client::Python("by_curl.py", "2");
const HTTPX_H2: Client = Client::Python("by_httpx.py", "2");

/// So many rows every client can send.
const ROWS: usize = 45;

/// Runs one client after the other.
async fn compare(server: &'static str, clients: &[Client], but: &[&str]) {
    let ways = Ways::to(server).await;
    for client in clients {
        // The last is a stream of two events: a client that saw the first only with the second would wait
        // for ever.
        assert_same(ways.printed(*client).await, ROWS, but);
    }
}

#[tokio::test]
async fn p6_clients_of_uvicorn_see_the_same() {
    compare("uvicorn-httptools", &[CURL, HTTPX, Client::Fetch], &[]).await;
}

#[tokio::test]
async fn p6_a_client_of_uvicorns_other_parser_sees_the_same() {
    compare("uvicorn-h11", &[CURL], &[]).await;
}

/// hypercorn speaks HTTP/2 itself, and the sidecar HTTP/1.1 to it, which the application could see.
#[tokio::test]
async fn p6_clients_that_speak_http_2_see_the_same() {
    compare("hypercorn", &[CURL_H2, HTTPX_H2], &["x-version"]).await;
}
