//! What every back end keeps to (the doc of `Authorizer`).

use std::future::Future;

use authz_sidecar::authz::{
    Agentex, AgentexConfig, Authorizer, ErrorKind, MemoryAuthorizer, Metered, Metrics,
};
use authz_sidecar::model::{Principal, Resource, ResourceId, ResourceType};

use crate::support::provider::Provider;

pub(crate) fn resource(kind: &str, id: &str) -> Resource {
    Resource { kind: ResourceType::new(kind), id: ResourceId::new(id).unwrap() }
}

pub(crate) fn principal(json: &str) -> Principal {
    Principal::from_json(json).unwrap()
}

/// A back end under test and a view of its graph.
trait World: Sync {
    fn authorizer(&self) -> &dyn Authorizer;
    /// Owner and parent of a resource, where it is registered.
    fn of(&self, resource: &Resource) -> Option<(String, Option<String>)>;
    fn set_available(&self, available: bool);
}

struct MemoryWorld {
    memory: MemoryAuthorizer,
    metered: Metered<MemoryAuthorizer>,
}

impl World for MemoryWorld {
    fn authorizer(&self) -> &dyn Authorizer {
        &self.metered
    }

    fn of(&self, resource: &Resource) -> Option<(String, Option<String>)> {
        let found = self.memory.snapshot().into_iter().find(|one| &one.resource == resource);
        assert_eq!(found.is_some(), self.memory.contains(resource));
        found.map(|one| (one.owner, one.parent.map(|parent| parent.to_string())))
    }

    fn set_available(&self, available: bool) {
        self.memory.set_available(available);
    }
}

struct AgentexWorld {
    provider: Provider,
    agentex: Metered<Agentex>,
}

impl World for AgentexWorld {
    fn authorizer(&self) -> &dyn Authorizer {
        &self.agentex
    }

    fn of(&self, resource: &Resource) -> Option<(String, Option<String>)> {
        let name = resource.to_string();
        Some((self.provider.owner_of(&name)?, self.provider.parent_of(&name)))
    }

    fn set_available(&self, available: bool) {
        if available { self.provider.up() } else { self.provider.down() }
    }
}

async fn on_each<F: Future<Output = ()>>(promise: impl Fn(Box<dyn World>) -> F) {
    let memory = MemoryAuthorizer::default();
    let metered = Metered::new(memory.clone(), Metrics::default());
    promise(Box::new(MemoryWorld { memory, metered })).await;
    let provider = Provider::start();
    let config: AgentexConfig =
        serde_saphyr::from_str(&format!("url: {}", provider.url())).unwrap();
    let agentex = Metered::new(Agentex::new(&config).unwrap(), Metrics::default());
    promise(Box::new(AgentexWorld { provider, agentex })).await;
}

const ALICE: &str = r#"{ "user_id":"alice",  "score":1.0, "x":{"b":1,"a":1e3} }"#;

#[tokio::test]
async fn p1_a_register_writes_owner_and_parent_in_one_step_and_verbatim() {
    on_each(async |world| {
        let (key, agent) = (resource("api_key", "k1"), resource("agent", "a1"));
        world.authorizer().register(&principal(ALICE), &key, Some(&agent)).await.unwrap();
        assert_eq!(world.of(&key), Some((ALICE.into(), Some("agent:a1".into()))));
        assert_eq!(world.of(&agent), None);
        world.authorizer().register(&principal(ALICE), &agent, None).await.unwrap();
        assert_eq!(world.of(&agent), Some((ALICE.into(), None)));
    })
    .await;
}

#[tokio::test]
async fn doing_it_twice_leaves_what_doing_it_once_leaves() {
    on_each(async |world| {
        let (key, agent) = (resource("api_key", "k1"), resource("agent", "a1"));
        for _ in 0..2 {
            world.authorizer().register(&principal(ALICE), &key, Some(&agent)).await.unwrap();
            assert_eq!(world.of(&key), Some((ALICE.into(), Some("agent:a1".into()))));
        }
        for _ in 0..2 {
            world.authorizer().deregister(&principal(ALICE), &key).await.unwrap();
            assert_eq!(world.of(&key), None);
        }
    })
    .await;
}

#[tokio::test]
async fn p3_a_deregister_removes_all_of_one_resource_and_nothing_of_another() {
    on_each(async |world| {
        let (one, other) = (resource("api_key", "k1"), resource("api_key", "k2"));
        let same_id = resource("task", "k1");
        let agent = resource("agent", "a1");
        for each in [&one, &other, &same_id] {
            world.authorizer().register(&principal(ALICE), each, Some(&agent)).await.unwrap();
        }
        // Anybody's principal will do: it is often not the creator's.
        world.authorizer().deregister(&principal(r#"{"s":1}"#), &one).await.unwrap();
        assert_eq!(world.of(&one), None);
        assert!(world.of(&other).is_some() && world.of(&same_id).is_some());
    })
    .await;
}

#[tokio::test]
async fn ids_are_taken_byte_for_byte() {
    on_each(async |world| {
        for id in ["a\"b\\c", "ä/%2F", "K1", "k1", "k1 ", "{}", "x:y"] {
            let key = resource("api_key", id);
            world.authorizer().register(&principal(ALICE), &key, None).await.unwrap();
            assert!(world.of(&key).is_some(), "{id}");
        }
        world.authorizer().deregister(&principal(ALICE), &resource("api_key", "k1")).await.unwrap();
        assert!(world.of(&resource("api_key", "K1")).is_some());
        assert!(world.of(&resource("api_key", "k1 ")).is_some());
    })
    .await;
}

#[tokio::test]
async fn an_outage_is_worth_a_retry_has_no_effect_and_ends() {
    on_each(async |world| {
        let key = resource("api_key", "k1");
        world.set_available(false);
        let error = world.authorizer().register(&principal(ALICE), &key, None).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unavailable);
        assert!(error.kind.retry());
        assert!(!error.ambiguous, "{error}");
        assert!(world.authorizer().deregister(&principal(ALICE), &key).await.is_err());
        world.set_available(true);
        assert_eq!(world.of(&key), None);
        world.authorizer().register(&principal(ALICE), &key, None).await.unwrap();
        assert!(world.of(&key).is_some());
    })
    .await;
}
