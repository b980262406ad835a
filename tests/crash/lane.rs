//! One sidecar, its journal and its back end, before a service that it may share with others: one
//! round after the other.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tempfile::NamedTempFile;

use super::bounds::Bounds;
use super::check::{Kind, Seen, Violation};
use super::journal::{Journal, Records};
use super::ledger::Ledger;
use super::person::TOKEN;
use super::plant::Plant;
use super::quirks::Faults;
use super::victim::Victim;
use crate::support::provider::Provider;
use crate::support::service::Service;
use crate::support::sidecar::Config;

/// How long all may take to become quiet. Far more than it needs, on machines far slower.
const PATIENCE: Duration = Duration::from_secs(40);

/// A lane.
pub struct Lane {
    pub service: Arc<Service>,
    pub provider: Provider,
    pub victim: Victim,
    journal: Journal,
    /// What orders must carry is in it.
    _token: NamedTempFile,
    pub(super) bounds: Bounds,
    /// Whether nobody else writes to the service.
    pub(super) exclusive: bool,
    /// How long all may take to become quiet.
    pub patience: Duration,
    /// What is wrong on purpose.
    pub plant: Option<Plant>,
    /// Distinguishes its agents from those of others.
    pub(super) name: String,
    /// The rows of keys that passed unregistered.
    pub(super) passed: BTreeSet<String>,
    /// Rows and edges that discards gave up, or that their round has complained of.
    pub(super) waived: BTreeSet<String>,
    /// The agents of void rounds.
    pub(super) void: BTreeSet<String>,
}

impl Lane {
    /// A lane with a sidecar that has a journal in SQLite, before a service that nobody else writes to and that has no quirks.
    pub async fn plain(name: &str, service: Arc<Service>) -> Self {
        Self::sidecar(name, service, Journal::Sqlite, true, &Faults::default()).await
    }

    /// A lane with a sidecar that has this journal, may or may not take it that nobody else writes to the
    /// service, and expects these faults of that.
    pub async fn sidecar(
        name: &str,
        service: Arc<Service>,
        journal: Journal,
        exclusive: bool,
        faults: &Faults,
    ) -> Self {
        let provider = Provider::start();
        let config = Config::new(&service.upstream(), &provider.url());
        let config = config.set("/journal/exclusive_writer", exclusive);
        let bounds = Bounds::default();
        let token = NamedTempFile::new().unwrap();
        std::fs::write(&token, TOKEN).unwrap();
        let file = token.path().to_str().unwrap();
        let config = config.set("/credentials/admin/token_file", file);
        let config = journal.configure(faults.configure(bounds.configure(config)));
        let victim = Victim::sidecar(config).await;
        let lane = Self::new(name, service, provider, victim, (journal, token));
        Self { exclusive, ..lane }
    }

    /// A lane with a service that does the dual write itself.
    pub async fn in_process(name: &str, service: Arc<Service>) -> Self {
        let provider = Provider::start();
        let victim = Victim::in_process(&service, &provider.url()).await;
        let token = NamedTempFile::new().unwrap();
        Self::new(name, service, provider, victim, (Journal::Sqlite, token))
    }

    fn new(
        name: &str,
        service: Arc<Service>,
        provider: Provider,
        victim: Victim,
        (journal, token): (Journal, NamedTempFile),
    ) -> Self {
        Self {
            service,
            provider,
            victim,
            journal,
            _token: token,
            bounds: Bounds::default(),
            exclusive: true,
            patience: PATIENCE,
            plant: None,
            name: name.into(),
            passed: BTreeSet::new(),
            waived: BTreeSet::new(),
            void: BTreeSet::new(),
        }
    }

    /// Compares all rows and edges of all rounds so far that are not void.
    pub async fn whole(&self) -> Vec<Violation> {
        let agents = format!("agent-{}-", self.name);
        let counts = |agent: &str| agent.starts_with(&agents) && !self.void.contains(agent);
        let rows = self.service.rows().await.into_iter();
        let rows = rows.filter(|row| counts(&row.agent_id)).map(|row| row.id);
        let rows: BTreeSet<_> = rows.filter(|id| !self.passed.contains(id)).collect();
        let mut edges = self.provider.registered();
        for agent in &self.void {
            let void = self.provider.children_of(&format!("agent:{agent}"));
            edges.retain(|edge| !void.contains(edge));
        }
        let edges = edges.iter().filter_map(|name| name.strip_prefix("api_key:"));
        let edges: BTreeSet<_> = edges.map(str::to_owned).collect();
        let differ = rows.symmetric_difference(&edges);
        differ
            .filter(|id| !self.waived.contains(*id))
            .map(|id| Violation {
                kind: Kind::Orphan,
                what: format!("row or edge without the other, later than its round: {id}"),
            })
            .collect()
    }

    /// Copies what a person may want to look at into `directory`.
    pub fn keep(&self, directory: &Path) {
        let Victim::Sidecar(sidecar) = &self.victim else { return };
        for entry in std::fs::read_dir(sidecar.directory()).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap();
            // A sidecar that runs may remove one meanwhile.
            let _ = std::fs::copy(&path, directory.join(name));
        }
    }

    /// What is there.
    pub async fn seen(&self, agent: &str, ledger: &Ledger, since: i64) -> Seen {
        let secrets: Vec<_> = ledger.creates.iter().map(|create| create.secret.clone()).collect();
        let rows = self.service.made(agent, &secrets).await;
        let removed = self.service.removed(agent, &secrets).await;
        let edges = self.provider.children_of(&format!("agent:{agent}"));
        let edges = edges.iter().filter_map(|name| name.strip_prefix("api_key:"));
        let (records, orders) = match &self.victim {
            Victim::Sidecar(sidecar) => {
                let Records { by_id, orders } =
                    self.journal.records(sidecar.directory(), since).await;
                (Some(by_id), orders)
            }
            Victim::InProcess(_) => (None, BTreeMap::new()),
        };
        let edges = edges.map(str::to_owned).collect();
        Seen { rows, removed, edges, records, orders, ..Seen::default() }
    }
}
