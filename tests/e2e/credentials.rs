//! P5: authn, the cache and the service see the same credentials, or nobody sees any.

use std::collections::{BTreeMap, HashSet};

use bytes::Bytes;
use fastrand::Rng;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};

use crate::support::provider::AUTHN;
use crate::support::service::Seen;
use crate::{World, resource};

type Headers = Vec<(String, String)>;

/// A caller's headers: some twice, some named by others, some that are credentials only where a `_` is
/// a `-`. Few values, so that the cache is asked for the same again.
fn headers(rng: &mut Rng) -> Headers {
    let all: &[(&str, &[&str], u8)] = &[
        ("x-user-id", &["alice", "bob"], 95),
        ("x-user-id", &["alice", "bob"], 5),
        ("x_user_id", &["mallory"], 5),
        ("x-auth-token", &["t", "u", ""], 20),
        ("x-auth_token", &["t"], 5),
        ("authorization", &["Bearer s", "bearer s", "Bearer s, t"], 20),
        ("authorization", &["Bearer s"], 3),
        ("cookie", &["a=1", "b=2", "a=1; b=2", ""], 30),
        ("cookie", &["a=1", "b=2"], 30),
        ("x-selected-account-id", &["1", "2"], 10),
        ("x-agent-identity", &["agent-a1", ""], 10),
        ("x_agent_identity", &["agent-a1"], 5),
        ("x-forwarded-for", &["10.0.0.1"], 10),
        ("x-other", &["x-user-id", "bob"], 20),
    ];
    let mut headers = Headers::new();
    for (name, values, percent) in all {
        if rng.u8(..100) < *percent {
            headers.push(((*name).to_owned(), values[rng.usize(..values.len())].to_owned()));
        }
    }
    rng.shuffle(&mut headers);
    headers
}

/// As it goes out over HTTP/1.1: in any case, and with a `Connection` that may name credentials.
fn head(rng: &mut Rng, target: &str, headers: &Headers, length: usize) -> String {
    let named =
        ["x-none", "x-user-id", "Cookie", "authorization", "x-auth-token", "x-agent-identity"];
    let named = named[rng.usize(..named.len())];
    let mut head = format!(
        "POST {target} HTTP/1.1\r\nHost: keys\r\nConnection: close, {named}\r\n\
         Content-Type: application/json\r\nContent-Length: {length}\r\n"
    );
    for (name, value) in headers {
        let name = if rng.bool() { name.to_uppercase() } else { name.clone() };
        head.extend([name.as_str(), ": ", value, "\r\n"]);
    }
    head + "\r\n"
}

/// Creates a key, over HTTP/1.1 or HTTP/2. Gives the status.
async fn create(world: &World, rng: &mut Rng, number: usize, headers: &Headers) -> u16 {
    let target = format!("/agent_api_keys?case={number}");
    let body = json!({"agent_id": "agent-a1", "name": format!("k{number}")}).to_string();
    if rng.bool() {
        let head = head(rng, &target, headers, body.len());
        let answer = world.sidecar.client().raw(head + &body).await;
        return String::from_utf8_lossy(&answer[9..12]).parse().unwrap();
    }
    let stream = tokio::net::TcpStream::connect(world.sidecar.address()).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    tokio::spawn(connection);
    let mut request = Request::post(format!("http://keys{target}"));
    for (name, value) in headers {
        request = request.header(name, value);
    }
    let request = request.header("content-type", "application/json");
    let body = Full::new(Bytes::from(body));
    let answer = sender.send_request(request.body(body).unwrap()).await.unwrap();
    let status = answer.status().as_u16();
    answer.into_body().collect().await.unwrap();
    status
}

/// The credentials among headers, each of which is there once.
fn credentials(headers: &Headers) -> BTreeMap<String, String> {
    let exact = ["authorization", "cookie", "x-user-id", "x-selected-account-id"];
    let mut found = BTreeMap::new();
    for (name, value) in headers {
        if exact.contains(&name.as_str()) || name.starts_with("x-auth") {
            // Parsers differ in whether space at a value's end is there.
            let again = found.insert(name.clone(), value.trim_end().to_owned());
            assert_eq!(again, None, "which {name} counts is in doubt");
        }
    }
    found
}

/// What came of the cases.
#[derive(Default, Debug)]
struct Came {
    /// Of what authn was asked for so far.
    asked: HashSet<BTreeMap<String, String>>,
    refused: usize,
    cached: usize,
    bypassed: usize,
}

impl Came {
    fn check(&mut self, world: &World, status: u16, seen: Option<&Seen>, row: Option<&str>) {
        let calls = world.provider.calls(AUTHN);
        let Some(seen) = seen else {
            self.refused += 1;
            assert!(status == 400 && calls.is_empty() || status == 401, "{status}");
            return;
        };
        assert_eq!(status, 200);
        let row = resource(row.unwrap());
        if seen.header("x-agent-identity").is_some_and(|value| !value.is_empty()) {
            self.bypassed += 1;
            assert_eq!(world.provider.owner_of(&row), None);
            return;
        }
        let view = credentials(&seen.headers);
        match &calls[..] {
            [] => self.cached += 1,
            [call] => {
                assert_eq!(credentials(&call.headers), view);
                assert!(self.asked.insert(view.clone()), "it was asked for already");
            }
            more => panic!("{} calls of authn", more.len()),
        }
        assert!(self.asked.contains(&view), "it is another's entry");
        let owner = world.provider.owner_of(&row).expect("it is registered");
        let owner: Value = serde_json::from_str(&owner).unwrap();
        assert_eq!(owner["user_id"], view["x-user-id"]);
    }
}

#[tokio::test]
async fn p5_authn_the_cache_and_the_service_see_the_same_credentials() {
    let world = World::start().await;
    let (mut rng, mut came) = (Rng::with_seed(7), Came::default());
    for number in 0..250 {
        let headers = headers(&mut rng);
        let (before, ()) = (world.service.ids().await, world.service.forget().await);
        world.provider.clear_calls();
        let status = create(&world, &mut rng, number, &headers).await;
        world.service.idle().await;
        let seen = world.service.requests_to("create_key").await;
        let ids = world.service.ids().await;
        let row = ids.iter().find(|id| !before.contains(id));
        came.check(&world, status, seen.first(), row.map(String::as_str));
    }
    assert!(came.asked.len() > 40 && came.cached > 40, "too few got through");
    assert!(came.refused > 30 && came.bypassed > 8, "too few were odd");
}
