//! One wrong for each column of the summary, planted in the doubles, to show that the column rises,
//! and no other.

use std::collections::BTreeSet;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use super::check::Kind;
use super::lane::Lane;
use super::ledger::Ledger;
use super::plan::Plan;
use super::tally::{Line, Tally};
use crate::support::eventually;
use crate::support::service::Service;

/// A wrong that is planted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Plant {
    /// The back end acknowledges a deregistration, and does not do it.
    Orphan,
    /// A row of which a client was told, and its relationship, vanish.
    Lost,
    /// The back end refuses to deregister what is not registered, each time.
    Stuck,
    /// A row of which a client was told is removed by a request of no client, and its relationship
    /// with it: as if the sidecar had undone it.
    Taken,
}

/// How long an operation may take that never ends. It must end soon after L where nothing is wrong.
const PATIENCE: Duration = Duration::from_secs(8);

/// Not each round comes to what a wrong needs: a delete, or an undo, or a row that stands.
const ROUNDS: u64 = 12;

impl FromStr for Plant {
    type Err = String;

    /// From the name of its column.
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "orphans" => Ok(Self::Orphan),
            "lost" => Ok(Self::Lost),
            "stuck" => Ok(Self::Stuck),
            "taken" => Ok(Self::Taken),
            _ => Err(format!("nothing to plant is called {text:?}")),
        }
    }
}

impl Plant {
    /// The kind of what is found where it is planted.
    pub fn kind(self) -> Kind {
        match self {
            Self::Orphan => Kind::Orphan,
            Self::Lost => Kind::Lost,
            Self::Stuck => Kind::Stuck,
            Self::Taken => Kind::Taken,
        }
    }

    /// Runs rounds with it until something is found; gives what, with all of the rounds added up.
    pub async fn raise(self, service: Arc<Service>) -> (BTreeSet<Kind>, Tally) {
        let name = format!("planted-{self:?}").to_lowercase();
        let mut lane = Lane::plain(&name, service).await;
        lane.plant = Some(self);
        if self == Self::Stuck {
            lane.patience = PATIENCE;
        }
        let (mut kinds, mut tally) = (BTreeSet::new(), Tally::default());
        for number in 0..ROUNDS {
            let plan = Plan { provider: Vec::new(), ..Plan::new(17, number, false) };
            let outcome = lane.round(&plan).await;
            tally.add(&Line::new(number, &outcome));
            if outcome.void.is_none() {
                kinds.extend(outcome.violations.iter().map(|violation| violation.kind));
            }
            if !kinds.is_empty() {
                break;
            }
        }
        (kinds, tally)
    }

    /// Before the load.
    pub fn before(self, lane: &Lane) {
        match self {
            Self::Orphan => lane.provider.deregister().answers_with(200, r#"{"success": true}"#),
            Self::Stuck => lane.provider.deregister().refuses_unknown(403),
            Self::Lost | Self::Taken => {}
        }
    }

    /// When all is quiet.
    pub async fn after(self, lane: &Lane, agent: &str, ledger: &Ledger) {
        let rows = lane.service.made(agent, &[]).await.into_iter().map(|row| row.id);
        let rows: BTreeSet<_> = rows.collect();
        let mut told = ledger.creates.iter().filter_map(|create| create.told.as_ref());
        let deleted = |id: &&String| ledger.may_have_deleted(id);
        let Some(id) = told.find(|id| rows.contains(*id) && !deleted(id)) else { return };
        match self {
            Self::Lost => lane.service.remove(id).await,
            Self::Taken => {
                let undo = lane.service.client().delete(&format!("/agent_api_keys/{id}"));
                undo.send().await;
                // The service commits after it answers.
                eventually("the row is gone", || async {
                    let rows = lane.service.made(agent, &[]).await;
                    rows.iter().all(|row| row.id != *id).then_some(())
                })
                .await;
            }
            Self::Orphan | Self::Stuck => return,
        }
        lane.provider.forget(&format!("api_key:{id}"));
    }
}
