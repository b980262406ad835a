//! A model of the authorization back end and of authn.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use authz_sidecar::authz::{Authorizer, Error, ErrorKind};
use authz_sidecar::model::{Principal, Resource};
use authz_sidecar::principal::{self, Ask, Resolved};
use http::HeaderMap;

use crate::coverage::Event;
use crate::faults::{Manner, Work};
use crate::life::Life;
use crate::network::{NoAnswer, call};
use crate::settings::attempt;
use crate::world::{Neighbour, State};

/// The relationships.
#[derive(Default)]
pub(crate) struct Provider {
    pub(crate) edges: BTreeMap<String, Edge>,
    /// Registrations that a replica was told of, and when it was last.
    pub(crate) acknowledged: BTreeMap<String, Duration>,
}

/// The owner and the parent of one resource.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Edge {
    pub(crate) owner: String,
    pub(crate) parent: String,
}

/// The way of one replica to the back end and to authn.
pub(crate) struct Way(pub(crate) Arc<Life>);

impl Way {
    /// How long it waits for one answer.
    fn longest(&self) -> Duration {
        self.0.world.with(|state| attempt(&state.schedule.times))
    }

    /// One attempt, as the back end's client makes it: with a time-out.
    async fn attempt(
        &self,
        what: String,
        effect: impl Fn(&mut State) + Clone + Send + Sync + 'static,
    ) -> Result<(), Error> {
        let manner = self.0.world.with(|state| {
            state.say(&self.0.name, "back end", |_| what.clone());
            state.manner(Neighbour::Provider)
        });
        let work = manner.clone();
        let arrives = move |state: &mut State| serve(state, &work, effect.clone());
        let call = tokio::time::timeout(self.longest(), call(&self.0, &manner, arrives));
        let answered = match call.await {
            Ok(Ok(answered)) => answered,
            Ok(Err(NoAnswer::NotSent)) => Err((ErrorKind::Unavailable, false)),
            Ok(Err(NoAnswer::Cut)) | Err(_) => Err((ErrorKind::Unavailable, true)),
        };
        self.0.say("back end", || match &answered {
            Ok(()) => format!("acknowledges: {what}"),
            Err((kind, ambiguous)) => format!("{kind:?}, ambiguous: {ambiguous}, for {what}"),
        });
        let error = |(kind, ambiguous)| Error { kind, detail: "simulated".into(), ambiguous };
        answered.map_err(error)
    }
}

fn serve(
    state: &mut State,
    manner: &Manner,
    effect: impl Fn(&mut State),
) -> Result<(), (ErrorKind, bool)> {
    match manner.work {
        Work::Done => {
            effect(state);
            Ok(())
        }
        Work::FailsBefore => Err((ErrorKind::Unavailable, true)),
        Work::FailsAfter => {
            effect(state);
            Err((ErrorKind::Unavailable, true))
        }
        Work::Odd(which) if which < 100 => Err((ErrorKind::Refused, false)),
        Work::Odd(which) if which < 140 => Err((ErrorKind::Unauthenticated, false)),
        Work::Odd(which) => {
            // A 201 of another contract may well have worked.
            if which.is_multiple_of(2) {
                effect(state);
            }
            Err((ErrorKind::Unexpected, true))
        }
    }
}

#[async_trait]
impl Authorizer for Way {
    async fn register(
        &self,
        principal: &Principal,
        resource: &Resource,
        parent: Option<&Resource>,
    ) -> Result<(), Error> {
        let id = resource.id.to_string();
        let field =
            |name: &str| principal.fields().get(name).and_then(|f| Some(f.as_str()?.to_owned()));
        let owner = field("user_id").unwrap_or_default();
        let parent = parent.map(|parent| parent.id.to_string()).unwrap_or_default();
        let what = format!("register {id} owner {owner} parent {parent}");
        let (edge, key) = (Edge { owner, parent }, id.clone());
        let effect = move |state: &mut State| {
            state.say("back end", "commits", |_| format!("registers {key}"));
            let edge = edge.clone();
            let kept = state.provider.edges.get(&key).filter(|_| state.schedule.habits.keeps_owner);
            let edge = kept.cloned().unwrap_or(edge);
            state.provider.edges.insert(key.clone(), edge);
            state.happens_on(&key, Event::Registered);
        };
        self.attempt(what, effect).await?;
        self.0.world.with(|state| _ = state.provider.acknowledged.insert(id, state.now));
        self.0.hears();
        Ok(())
    }

    async fn deregister(&self, _: &Principal, resource: &Resource) -> Result<(), Error> {
        let id = resource.id.to_string();
        let what = format!("deregister {id}");
        let effect = move |state: &mut State| {
            if state.provider.edges.remove(&id).is_some() {
                state.say("back end", "commits", |_| format!("deregisters {id}"));
            }
            state.happens_on(&id, Event::Deregistered);
        };
        self.attempt(what, effect).await
    }
}

#[async_trait]
impl Ask for Way {
    async fn ask(&self, credentials: HeaderMap) -> Result<Resolved, principal::Error> {
        let manner = self.0.world.with(|state| state.manner(Neighbour::Authn));
        let work = manner.work;
        let answered = call(&self.0, &manner, move |_| work);
        let user = credentials.get("x-user-id").and_then(|user| user.to_str().ok());
        let context = format!(r#"{{"principal_type":"user","user_id":"{}"}}"#, user.unwrap_or("?"));
        match tokio::time::timeout(self.longest(), answered).await {
            Ok(Ok(Work::Done)) => {
                let principal = Principal::from_json(&context).expect("an object");
                Ok(Resolved { principal, has_creator: true })
            }
            Ok(Ok(Work::Odd(_))) => Err(principal::Error::Unauthenticated),
            _ => Err(principal::Error::Unavailable("simulated".into())),
        }
    }
}
