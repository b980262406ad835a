//! The back end `memory`: a graph in this process, for the demo and for tests. It forgets
//! everything when the process ends.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use super::{Authorizer, Error, ErrorKind, Register};
use crate::model::{Principal, Resource};

/// Configures the back end `memory`.
#[derive(Clone, Debug, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MemoryConfig {
    /// How many resources it holds at most; it refuses to register more. Default 100000.
    pub capacity: usize,
}

impl Default for MemoryConfig {
    fn default() -> Self {
        Self { capacity: 100_000 }
    }
}

/// A graph in memory. Cheap to clone; clones share the graph.
#[derive(Clone)]
pub struct MemoryAuthorizer {
    capacity: usize,
    register: Register,
    graph: Arc<Mutex<Graph>>,
}

/// What the graph holds of one resource.
#[derive(Clone, PartialEq, Eq)]
pub struct Registration {
    /// The resource.
    pub resource: Resource,
    /// The owner's principal context, verbatim; it may hold a secret.
    pub owner: String,
    /// The parent edge.
    pub parent: Option<Resource>,
}

#[derive(Default)]
struct Graph {
    unavailable: bool,
    registrations: BTreeMap<Resource, (String, Option<Resource>)>,
}

impl MemoryAuthorizer {
    /// An empty graph.
    #[must_use]
    pub fn new(config: &MemoryConfig, register: Register) -> Self {
        Self { capacity: config.capacity, register, graph: Arc::default() }
    }

    /// Plays an outage: until it is made available again, every call fails without effect.
    pub fn set_available(&self, available: bool) {
        self.graph().unavailable = !available;
    }

    /// Whether `resource` is registered.
    #[must_use]
    pub fn contains(&self, resource: &Resource) -> bool {
        self.graph().registrations.contains_key(resource)
    }

    /// Everything that is registered, in the order of type and id.
    #[must_use]
    pub fn snapshot(&self) -> Vec<Registration> {
        let graph = self.graph();
        let registration =
            |(resource, (owner, parent)): (&Resource, &(String, Option<Resource>))| Registration {
                resource: resource.clone(),
                owner: owner.clone(),
                parent: parent.clone(),
            };
        graph.registrations.iter().map(registration).collect()
    }

    /// The graph, where it is available.
    fn available(&self) -> Result<MutexGuard<'_, Graph>, Error> {
        let graph = self.graph();
        if graph.unavailable { Err(unavailable("it is switched off")) } else { Ok(graph) }
    }

    /// No change of the graph can stop half-way, so a poisoned lock guards a whole graph.
    fn graph(&self) -> MutexGuard<'_, Graph> {
        self.graph.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for MemoryAuthorizer {
    fn default() -> Self {
        Self::new(&MemoryConfig::default(), Register::default())
    }
}

fn unavailable(why: &str) -> Error {
    let detail = format!("the back end in memory: {why}");
    Error { kind: ErrorKind::Unavailable, detail, ambiguous: false }
}

#[async_trait]
impl Authorizer for MemoryAuthorizer {
    async fn register(
        &self,
        principal: &Principal,
        resource: &Resource,
        parent: Option<&Resource>,
    ) -> Result<(), Error> {
        let mut graph = self.available()?;
        let full = graph.registrations.len() >= self.capacity;
        if full && !graph.registrations.contains_key(resource) {
            return Err(unavailable("it is full; raise authz.memory.capacity"));
        }
        let registration = (principal.json().get().to_owned(), parent.cloned());
        match (graph.registrations.entry(resource.clone()), self.register) {
            (Entry::Occupied(_), Register::KeepsOwner) => {}
            (entry, _) => _ = entry.insert_entry(registration),
        }
        Ok(())
    }

    async fn deregister(&self, _principal: &Principal, resource: &Resource) -> Result<(), Error> {
        self.available()?.registrations.remove(resource);
        Ok(())
    }
}

impl std::fmt::Debug for MemoryAuthorizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemoryAuthorizer")
            .field("registrations", &self.graph().registrations.len())
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Registration {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registration")
            .field("resource", &self.resource)
            .field("parent", &self.parent)
            .finish_non_exhaustive()
    }
}
