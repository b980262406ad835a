//! Clients: what they ask, and what they are told.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use authz_sidecar::config::Config;
use authz_sidecar::model::DecodedPath;
use authz_sidecar::rules::{Matched, Route};
use authz_sidecar::upstream::{Body, Collected, collect};
use bytes::Bytes;
use http::{Method, Request, Response};
use serde_json::{Value, json};

use crate::coverage::SERVED;
use crate::faults::log_uniform;
use crate::invariants::Kind;
use crate::replica::{Replica, Running};
use crate::schedule::{Agent, Observes, Planned, Wish};
use crate::service::rows::Row;
use crate::wire::MARK;
use crate::world::{State, World};

/// One request of a client, as far as it came.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    pub(crate) planned: Planned,
    /// When it was handed to a replica.
    pub(crate) asked: Option<Duration>,
    /// Whether what it makes is to be registered: so the replica is configured that it asked.
    pub(crate) enforced: bool,
    /// Whether the rule that it met observes on that replica.
    pub(crate) observed: bool,
    /// When the row was made that the service answered it and that it did not make.
    pub(crate) found: Option<Duration>,
    /// The rows that it named, made or removed.
    pub(crate) rows: BTreeSet<String>,
    pub(crate) told: Option<Told>,
}

impl Client {
    pub(crate) fn new(planned: Planned) -> Self {
        Self {
            planned,
            asked: None,
            enforced: false,
            observed: false,
            found: None,
            rows: BTreeSet::new(),
            told: None,
        }
    }

    /// Whether it was told of the row with this id, which its request had not made.
    pub(crate) fn found_row(&self, id: &str) -> bool {
        self.found.is_some() && self.acknowledged() == Some(id)
    }

    /// The id of the row that it was told stands.
    pub(crate) fn acknowledged(&self) -> Option<&str> {
        let told = self.told.as_ref().filter(|told| told.is_success())?;
        told.id().filter(|_| self.planned.wish.creates())
    }
}

/// What a client was told.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Told {
    /// Nothing: nobody listened, the connection broke, or it hung up.
    Nothing,
    Answer {
        status: u16,
        body: Value,
    },
}

impl Told {
    pub(crate) fn is_success(&self) -> bool {
        matches!(self, Self::Answer { status: 200..=299, .. })
    }

    /// How far the undo has come, where it says so.
    pub(crate) fn undo(&self) -> Option<&str> {
        let Self::Answer { body, .. } = self else { return None };
        body.get("undo")?.as_str()
    }

    /// The id in a create's answer.
    pub(crate) fn id(&self) -> Option<&str> {
        let Self::Answer { body, .. } = self else { return None };
        let row = body.get("data").unwrap_or(body);
        row.get("id").or_else(|| row.get("key_id"))?.as_str()
    }

    /// Whether a client would ask again.
    fn is_failure(&self) -> bool {
        matches!(self, Self::Nothing | Self::Answer { status: 408 | 429 | 500.., .. })
    }
}

/// Asks for what the client with `number` wants, and again where that fails.
pub(crate) async fn run(number: usize, world: Arc<World>, replicas: Vec<Arc<Replica>>) {
    let planned = world.with(|state| state.clients[number].planned.clone());
    tokio::time::sleep(planned.at).await;
    let (mut number, mut left) = (number, planned.retries);
    loop {
        let told = match find(&world, &replicas).await {
            Some(running) => ask(number, &world, &planned, running).await,
            None => Told::Nothing,
        };
        let again = told.is_failure() && left > 0;
        let next = world.with(|state| {
            state.say(&format!("client {number}"), "is told", |_| match &told {
                Told::Nothing => "nothing".into(),
                Told::Answer { status, body } => format!("{status} {body}"),
            });
            state.clients[number].told = Some(told);
            state.judge_answer(number);
            again.then(|| {
                state.clients.push(Client::new(planned.clone()));
                let longest = state.schedule.times.late_effect;
                (state.clients.len() - 1, log_uniform(&mut state.rng, longest))
            })
        });
        let Some((next, pause)) = next else { return };
        tokio::time::sleep(pause).await;
        number = next;
        left -= 1;
    }
}

/// A replica that listens, if one does before long.
async fn find(world: &World, replicas: &[Arc<Replica>]) -> Option<Running> {
    for _ in 0..40 {
        let up: Vec<_> = replicas.iter().filter_map(|replica| replica.running()).collect();
        if let Some(chosen) = world.with(|state| state.rng.choice(up)) {
            return Some(chosen);
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    None
}

async fn ask(number: usize, world: &World, planned: &Planned, running: Running) -> Told {
    let request = world.with(|state| request(state, number, planned));
    let matched = matched(&running.config, &request);
    let life = Arc::clone(&running.life);
    world.say(&format!("client {number}"), "asks", |_| {
        format!("{} {} of {}", request.method(), request.uri(), life.name)
    });
    let answer = async {
        life.cross().await;
        world.with(|state| {
            let observed = match state.schedule.observes[life.replica] {
                Observes::Nothing => false,
                Observes::Webhooks => matches!(planned.wish, Wish::Webhook { .. }),
                Observes::Everything => true,
            };
            let client = &mut state.clients[number];
            client.asked = Some(state.now);
            client.observed = observed;
            client.enforced = !observed && planned.wish.registers();
        });
        // A task of its own, as the proxy does: a client that hangs up changes nothing.
        let serving = async move { running.dual_write.serve(matched, request).await };
        let client = u16::try_from(number).expect("a few clients");
        match tokio::spawn(SERVED.scope(client, serving)).await {
            Ok(response) => {
                life.cross().await;
                read(response).await
            }
            Err(error) => {
                world.with(|state| state.breaks(Kind::Other, format!("serving panicked: {error}")));
                Told::Nothing
            }
        }
    };
    let patience = planned.patience.unwrap_or(Duration::from_mins(10));
    tokio::select! {
        biased;
        () = life.death() => Told::Nothing,
        () = tokio::time::sleep(patience) => Told::Nothing,
        told = answer => told,
    }
}

async fn read(response: Response<Body>) -> Told {
    let (head, body) = response.into_parts();
    match collect(body, 1 << 20).await {
        Collected::Whole(body, _) => {
            let body = serde_json::from_slice(&body).unwrap_or_default();
            Told::Answer { status: head.status.as_u16(), body }
        }
        _ => Told::Nothing,
    }
}

fn request(state: &State, number: usize, planned: &Planned) -> Request<Bytes> {
    let (method, target, body) = written(state, &planned.wish);
    let mut builder = Request::builder()
        .method(method)
        .uri(target)
        .header("x-user-id", &planned.user)
        .header(MARK, number.to_string());
    match &planned.wish {
        Wish::Own { .. } => builder = builder.header("x-agent-identity", "a1"),
        Wish::Post { key: Some(key), .. } => builder = builder.header("idempotency-key", key),
        _ => {}
    }
    let bytes = body.map(|body| Bytes::from(body.to_string())).unwrap_or_default();
    builder.body(bytes).expect("a valid request")
}

/// How a wish is told to the service.
fn written(state: &State, wish: &Wish) -> (Method, String, Option<Value>) {
    match wish {
        Wish::Create { agent, name, kind } => {
            let mut body = match agent {
                Agent::Id(id) => json!({"agent_id": id, "name": name}),
                Agent::Name(id) => json!({"agent_name": format!("name-of-{id}"), "name": name}),
            };
            if let Some(kind) = kind {
                body["api_key_type"] = (*kind).into();
            }
            (Method::POST, "/agent_api_keys".to_owned(), Some(body))
        }
        Wish::Own { agent, name } => {
            let body = json!({"agent_id": agent, "name": name});
            (Method::POST, "/agent_api_keys".to_owned(), Some(body))
        }
        Wish::Aside { agent, name } => {
            let body = json!({"agent_id": agent, "name": name});
            (Method::POST, "/agents/register".to_owned(), Some(body))
        }
        Wish::Webhook { agent, name } => {
            let body = json!({"agent_name": format!("name-of-{agent}"), "source": "github",
                "name": name, "forward_path": "/f"});
            (Method::POST, "/agent_api_keys/webhook-trigger".to_owned(), Some(body))
        }
        Wish::Put { id, folder, name } => {
            let body = json!({"folder": folder, "name": name});
            (Method::PUT, format!("/v1/documents/{id}"), Some(body))
        }
        Wish::Post { folder, name, .. } => {
            let body = json!({"folder": folder, "name": name});
            (Method::POST, "/v1/documents".to_owned(), Some(body))
        }
        Wish::DeleteDocument { id } => (Method::DELETE, format!("/v1/documents/{id}"), None),
        Wish::Delete(which) => {
            let there = state.service.there.values();
            let removed = state.service.removed.values().map(|(row, _)| row);
            let known: Vec<_> = there.chain(removed).collect();
            let row = known.get(which % known.len().max(1));
            (Method::DELETE, place_of(row.copied()), None)
        }
        Wish::DeleteNewest => {
            let newest = state.service.there.values().max_by_key(|row| row.made);
            (Method::DELETE, place_of(newest), None)
        }
        Wish::DeleteByName { agent, name, kind } => {
            let agent = match agent {
                Agent::Id(id) => format!("agent_id={id}"),
                Agent::Name(id) => format!("agent_name=name-of-{id}"),
            };
            let typed = kind.map(|kind| format!("&api_key_type={kind}")).unwrap_or_default();
            (Method::DELETE, format!("/agent_api_keys/name/{name}?{agent}{typed}"), None)
        }
    }
}

/// Where a row is.
fn place_of(row: Option<&Row>) -> String {
    match row {
        Some(row) if row.is_document() => format!("/v1/documents/{}", row.id),
        Some(row) => format!("/agent_api_keys/{}", row.id),
        None => "/agent_api_keys/none".to_owned(),
    }
}

fn matched(config: &Config, request: &Request<Bytes>) -> Matched {
    let path = DecodedPath::parse(request.uri().path()).expect("a path");
    match config.rules.route(request.method(), &path) {
        Route::Matched(matched) => matched,
        route => panic!("{} {}: {route:?}", request.method(), request.uri()),
    }
}
