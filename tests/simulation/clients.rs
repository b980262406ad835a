//! Clients: what they ask, and what they are told.

use std::sync::Arc;
use std::time::Duration;

use authz_sidecar::model::DecodedPath;
use authz_sidecar::rules::{Matched, Route};
use authz_sidecar::upstream::{Body, Collected, collect};
use bytes::Bytes;
use http::{Method, Request, Response};
use serde_json::{Value, json};

use crate::replica::{Replica, Running};
use crate::schedule::{Planned, Wish};
use crate::settings::config;
use crate::wire::MARK;
use crate::world::{State, World};

/// A client, as far as it came.
#[derive(Clone, Debug, Default)]
pub(crate) struct Client {
    /// When its request was handed to a replica.
    pub(crate) asked: Option<Duration>,
    pub(crate) told: Option<Told>,
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
        body.get("id").or_else(|| body.get("key_id"))?.as_str()
    }
}

impl Wish {
    pub(crate) fn creates(&self) -> bool {
        matches!(self, Self::Create { .. } | Self::Webhook { .. } | Self::Own { .. })
    }

    /// Whether it is to be registered.
    pub(crate) fn is_enforced(&self) -> bool {
        matches!(self, Self::Create { .. } | Self::Webhook { .. })
    }
}

/// Asks for what the client with `number` wants, once.
pub(crate) async fn run(number: usize, world: Arc<World>, replicas: Vec<Arc<Replica>>) {
    let planned = world.with(|state| state.schedule.wishes[number].clone());
    tokio::time::sleep(planned.at).await;
    let told = match find(&world, &replicas).await {
        Some(running) => ask(number, &world, &planned, running).await,
        None => Told::Nothing,
    };
    let name = format!("client {number}");
    world.with(|state| {
        state.say(&name, "is told", |_| match &told {
            Told::Nothing => "nothing".into(),
            Told::Answer { status, body } => format!("{status} {body}"),
        });
        state.clients[number].told = Some(told);
        state.judge_answer(number);
    });
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
    let life = Arc::clone(&running.life);
    world.say(&format!("client {number}"), "asks", |_| {
        format!("{} {} of {}", request.method(), request.uri(), life.name)
    });
    let matched = matched(&request);
    let answer = async {
        life.cross().await;
        world.with(|state| state.clients[number].asked = Some(state.now));
        // A task of its own, as the proxy does: a client that hangs up changes nothing.
        let serving = async move { running.dual_write.serve(matched, request).await };
        match tokio::spawn(serving).await {
            Ok(response) => {
                life.cross().await;
                read(response).await
            }
            Err(error) => {
                world.with(|state| state.breaks(format!("serving panicked: {error}")));
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

fn request(state: &mut State, number: usize, planned: &Planned) -> Request<Bytes> {
    let typed =
        |kind: Option<&str>| kind.map(|kind| format!("&api_key_type={kind}")).unwrap_or_default();
    let (method, target, body) = match &planned.wish {
        Wish::Create { agent, name, kind } => {
            let mut body = json!({"agent_id": agent, "name": name});
            if let Some(kind) = kind {
                body["api_key_type"] = (*kind).into();
            }
            (Method::POST, "/agent_api_keys".to_owned(), Some(body))
        }
        Wish::Own { agent, name } => {
            let body = json!({"agent_id": agent, "name": name});
            (Method::POST, "/agent_api_keys".to_owned(), Some(body))
        }
        Wish::Webhook { agent, name } => {
            let body = json!({"agent_name": format!("name-of-{agent}"), "source": "github",
                "name": name, "forward_path": "/f"});
            (Method::POST, "/agent_api_keys/webhook-trigger".to_owned(), Some(body))
        }
        Wish::Delete(which) => {
            let there = state.service.rows.keys().chain(state.service.removed.keys());
            let known: Vec<_> = there.cloned().collect();
            let id = known.get(which % known.len().max(1)).cloned();
            let id = id.unwrap_or_else(|| "none".into());
            (Method::DELETE, format!("/agent_api_keys/{id}"), None)
        }
        Wish::DeleteByName { agent, name, kind } => {
            let path = format!("/agent_api_keys/name/{name}?agent_id={agent}{}", typed(*kind));
            (Method::DELETE, path, None)
        }
    };
    let mut builder = Request::builder()
        .method(method)
        .uri(target)
        .header("x-user-id", &planned.user)
        .header(MARK, number.to_string());
    if matches!(planned.wish, Wish::Own { .. }) {
        builder = builder.header("x-agent-identity", "a1");
    }
    let bytes = body.map(|body| Bytes::from(body.to_string())).unwrap_or_default();
    builder.body(bytes).expect("a valid request")
}

fn matched(request: &Request<Bytes>) -> Matched {
    let path = DecodedPath::parse(request.uri().path()).expect("a path");
    match config().rules.route(request.method(), &path) {
        Route::Matched(matched) => matched,
        route => panic!("{} {}: {route:?}", request.method(), request.uri()),
    }
}
