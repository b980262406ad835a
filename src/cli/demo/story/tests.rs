//! The story must be able to end badly: here it is told about a sidecar that does nothing, the
//! bare service, in the sidecar's place.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::authz::Authorizer;
use crate::cli::demo::provider::Provider;
use crate::model::{Principal, Resource, ResourceId, ResourceType};

fn without_sidecar<'a>(world: &'a World, out: &'a mut dyn Write) -> Story<'a> {
    let service = world.service();
    let at = Addresses { listen: service, health: service, admin: service };
    Story { world, at, out, step: 0, patience: Duration::from_millis(100) }
}

fn told(ended: Result<(), Trouble>) -> String {
    match ended {
        Err(Trouble::Broken(broken)) => broken.to_string(),
        other => panic!("no promise was seen broken: {other:?}"),
    }
}

async fn insert(world: &World, name: &str) -> String {
    let body = creation(name);
    let path = "/agent_api_keys";
    let answer = client::call(world.service(), Method::POST, path, Some(&body)).await.unwrap();
    answer.text("/id").to_owned()
}

async fn register(provider: &Provider, id: &str) {
    let principal = Principal::from_json("{}").unwrap();
    let id = ResourceId::new(id).unwrap();
    let resource = Resource { kind: ResourceType::new("api_key"), id };
    provider.graph().register(&principal, &resource, None).await.unwrap();
}

#[tokio::test]
async fn p1_a_success_without_a_registration_breaks_the_story() {
    let (world, mut out) = (World::open().await.unwrap(), Vec::new());
    let broken = told(without_sidecar(&world, &mut out).creates().await);
    assert!(broken.starts_with("BROKEN P1: the client got its 2xx and key "), "{broken}");
}

#[tokio::test]
async fn p1_a_success_in_an_outage_breaks_the_story() {
    let (world, mut out) = (World::open().await.unwrap(), Vec::new());
    let broken = told(without_sidecar(&world, &mut out).outage().await);
    assert_eq!(broken, "BROKEN P1: without a registration the client got 200 OK");
}

/// A server in the sidecar's place that gives each connection its answer in turn.
async fn answers(all: [(u16, Value); 2]) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    tokio::spawn(async move {
        for (status, body) in all {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 4096];
            while stream.read(&mut request).await.unwrap() == 0 {}
            let (body, close) = (body.to_string(), "connection: close");
            let head = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n{close}", body.len());
            stream.write_all(format!("{head}\r\n\r\n{body}").as_bytes()).await.unwrap();
        }
    });
    at
}

#[tokio::test]
async fn just_after_an_outage_a_create_that_was_refused_unsent_is_sent_again() {
    let refusal = |slug: &str| json!({"type": format!("urn:authz-sidecar:problem:{slug}")});
    let (world, mut out) = (World::open().await.unwrap(), Vec::new());
    for (slug, status) in [("unavailable", 200), ("not-registered", 503)] {
        let mut story = without_sidecar(&world, &mut out);
        story.at.listen = answers([(503, refusal(slug)), (200, json!({"id": "k"}))]).await;
        story.patience = PATIENCE;
        let answer = story.create_after_an_outage("third").await.unwrap();
        assert_eq!(answer.status.as_u16(), status, "{slug}");
    }
}

#[tokio::test]
async fn p3_a_delete_that_leaves_the_registration_breaks_the_story() {
    let (world, mut out) = (World::open().await.unwrap(), Vec::new());
    let id = insert(&world, "first").await;
    register(&world.provider, &id).await;
    let broken = told(without_sidecar(&world, &mut out).deletes().await);
    assert_eq!(broken, format!("BROKEN P3: key {id} is gone and still registered"));
}

#[tokio::test]
async fn p4_a_key_that_was_removed_breaks_the_story() {
    let (world, mut out) = (World::open().await.unwrap(), Vec::new());
    let broken = told(without_sidecar(&world, &mut out).deletes().await);
    assert_eq!(broken, "BROKEN P4: the key first was removed");
}

#[tokio::test]
async fn p7_a_secret_in_a_file_breaks_the_story() {
    let world = World::open().await.unwrap();
    insert(&world, "first").await;
    let file = world.directory().join("sidecar.log");
    std::fs::write(&file, "nothing").unwrap();
    assert!(matches!(world.no_secret_at_rest(), Ok((1, 1))));
    std::fs::write(&file, format!("… {} …", world.keys.secrets()[0])).unwrap();
    let broken = told(world.no_secret_at_rest().map(drop));
    assert!(broken.starts_with("BROKEN P7: a key's secret is in "), "{broken}");
}

#[tokio::test]
async fn a_broken_promise_fails_the_command() {
    let failure = super::super::Failure::from(Trouble::from(Broken::new("P2", "a row stands")));
    assert_eq!(failure.to_string(), "BROKEN P2: a row stands");
}
