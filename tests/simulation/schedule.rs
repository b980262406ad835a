//! One schedule: what is configured, what clients want, and what can go wrong. Made from a seed
//! alone, and printed at the head of a trace.

#[path = "schedule/narrow.rs"]
mod narrow;
#[path = "schedule/shown.rs"]
mod shown;
#[path = "schedule/wide.rs"]
mod wide;

use std::time::Duration;

use crate::faults::Faults;
use crate::shared::Bug;

/// How schedules are drawn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Draws {
    /// The keys service alone, with short delays and clocks that are close to each other.
    Narrow,
    /// Everything that may happen within the declared bounds.
    Wide,
}

/// A schedule.
#[derive(Clone, Debug)]
pub(crate) struct Schedule {
    pub(crate) seed: u64,
    pub(crate) draws: Draws,
    pub(crate) times: Times,
    pub(crate) habits: Habits,
    /// How many replicas; several share a journal.
    pub(crate) replicas: usize,
    /// Which of the create rules each replica only observes.
    pub(crate) observes: [Observes; 3],
    /// `journal.exclusive_writer`.
    pub(crate) exclusive: bool,
    /// Rows that are there before.
    pub(crate) given: usize,
    pub(crate) wishes: Vec<Planned>,
    /// What somebody does past the sidecar, and when. Empty where writing is exclusive.
    pub(crate) outsiders: Vec<Duration>,
    pub(crate) service: Faults,
    pub(crate) provider: Faults,
    pub(crate) authn: Faults,
    /// How often processes may die.
    pub(crate) crashes: u32,
    /// A process dies before it has made so many calls.
    pub(crate) fuses: Vec<u32>,
    /// How likely a process dies just after a neighbour answered it.
    pub(crate) strikes: f64,
    /// How likely a process stands still wherever it could.
    pub(crate) pauses: f64,
    /// How likely a sync fails.
    pub(crate) sync_fails: f64,
    /// How likely the disk is full for a new operation.
    pub(crate) full: f64,
    /// How likely a connection to the shared journal breaks.
    pub(crate) cuts: f64,
    /// How far the service's clock is off, in microseconds.
    pub(crate) service_clock: i64,
    /// How far the replicas' clocks are off.
    pub(crate) replica_clocks: [i64; 3],
    /// Steps of wall clocks.
    pub(crate) steps: Vec<Step>,
    /// How late a request may take effect, after it was sent.
    pub(crate) latest: Duration,
    /// Beyond the limits: syncs are not what they say.
    pub(crate) lies: bool,
    /// Beyond the limits: effects come later than L. Operations must end or be reported all the same.
    pub(crate) beyond: bool,
    /// How likely the answer to a create is held back until another request has removed its row.
    pub(crate) holds: f64,
    /// What the model of a shared journal does wrong, so that it is seen that this is found.
    pub(crate) bug: Option<Bug>,
}

/// The bounds that are declared, and that the world keeps.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    /// L: how late a request that was sent may still take effect.
    pub(crate) late_effect: Duration,
    /// How far a read of the service may lag behind its writes.
    pub(crate) read_lag: Duration,
    /// How long the service may take for an intercepted request.
    pub(crate) exchange: Duration,
    /// How long a lease on the shared journal lasts.
    pub(crate) lease: Duration,
}

/// How the service and the back end do things.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a habit of its own")]
pub(crate) struct Habits {
    /// It refuses a key's name that it sees taken.
    pub(crate) unique_names: bool,
    /// What the delete of nothing is answered.
    pub(crate) absent: u16,
    /// A delete looks its row up in what a lagging replica shows, and does nothing without it.
    pub(crate) delete_reads_replica: bool,
    /// An empty list is a 404.
    pub(crate) empty_is_404: bool,
    /// Callers see their own rows only.
    pub(crate) hides: bool,
    /// Names are kept without the spaces around them.
    pub(crate) trims: bool,
    /// A POST of a document whose name is there answers the document that has it, with 200.
    pub(crate) upserts: bool,
    /// A POST of a document with an `Idempotency-Key` that was seen repeats the first answer.
    pub(crate) replays: bool,
    /// The back end leaves the owner of what is registered as it is.
    pub(crate) keeps_owner: bool,
    /// The rules of documents have a probe.
    pub(crate) documents_probed: bool,
}

/// Which create rules have `mode: observe`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Observes {
    Nothing,
    Webhooks,
    Everything,
}

/// A step of wall clocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    pub(crate) at: Duration,
    pub(crate) whose: Clocks,
    /// By how many microseconds.
    pub(crate) by: i64,
}

/// Whose clock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Clocks {
    All,
    Service,
    Replica(usize),
}

/// What a client wants, and when.
#[derive(Clone, Debug)]
pub(crate) struct Planned {
    pub(crate) at: Duration,
    pub(crate) user: String,
    pub(crate) wish: Wish,
    /// After what time it hangs up.
    pub(crate) patience: Option<Duration>,
    /// How often it asks again, as the same user, where that failed.
    pub(crate) retries: u32,
}

/// What a client wants. An agent may be told by its id or by its name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Wish {
    Create {
        agent: Agent,
        name: String,
        kind: Option<&'static str>,
    },
    /// A create that tells the agent by its name, so that the parent is looked up.
    Webhook {
        agent: String,
        name: String,
    },
    /// A create by an agent itself, which nothing is registered for.
    Own {
        agent: String,
        name: String,
    },
    /// A request that makes a key on the side, and does not tell its id.
    Aside {
        agent: String,
        name: String,
    },
    /// A delete of some row that is there, or was.
    Delete(usize),
    /// A delete of the row that was made last.
    DeleteNewest,
    DeleteByName {
        agent: Agent,
        name: String,
        kind: Option<&'static str>,
    },
    /// A create of a document under an id that the client chose; an update where it is there.
    Put {
        id: String,
        folder: String,
        name: String,
    },
    /// A create of a document under an id that the service chooses.
    Post {
        folder: String,
        name: String,
        key: Option<String>,
    },
    DeleteDocument {
        id: String,
    },
}

/// How a request spells its agent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Agent {
    Id(String),
    Name(String),
}

impl Agent {
    /// The id of the agent that is meant.
    pub(crate) fn id(&self) -> &str {
        match self {
            Self::Id(id) | Self::Name(id) => id,
        }
    }
}

impl Wish {
    pub(crate) fn creates(&self) -> bool {
        !matches!(
            self,
            Self::Delete(_)
                | Self::DeleteNewest
                | Self::DeleteByName { .. }
                | Self::DeleteDocument { .. }
        )
    }

    pub(crate) fn is_of_document(&self) -> bool {
        matches!(self, Self::Put { .. } | Self::Post { .. } | Self::DeleteDocument { .. })
    }

    /// Whether the row that it makes, if it makes one, is to be registered.
    pub(crate) fn registers(&self) -> bool {
        self.creates() && !matches!(self, Self::Own { .. } | Self::Aside { .. })
    }

    /// The agent and the name that it is about, where it says so.
    pub(crate) fn subject(&self) -> Option<(&str, &str)> {
        match self {
            Self::Create { agent, name, .. } | Self::DeleteByName { agent, name, .. } => {
                Some((agent.id(), name.trim()))
            }
            Self::Webhook { agent, name }
            | Self::Own { agent, name }
            | Self::Aside { agent, name } => Some((agent, name.trim())),
            Self::Put { folder, name, .. } | Self::Post { folder, name, .. } => {
                Some((folder, name.trim()))
            }
            Self::Delete(_) | Self::DeleteNewest | Self::DeleteDocument { .. } => None,
        }
    }
}

impl Schedule {
    pub(crate) fn new(seed: u64, draws: Draws) -> Self {
        match draws {
            Draws::Narrow => Self::narrow(seed),
            Draws::Wide => Self::wide(seed),
        }
    }

    /// How far the service's clock is off at `now`.
    pub(crate) fn clock_of_service(&self, now: Duration) -> i64 {
        self.service_clock + self.stepped(Clocks::Service, now)
    }

    /// How far all clocks were stepped together until `now`.
    pub(crate) fn stepped(&self, whose: Clocks, now: Duration) -> i64 {
        let meant =
            |step: &&Step| now >= step.at && (step.whose == Clocks::All || step.whose == whose);
        self.steps.iter().filter(meant).map(|step| step.by).sum()
    }

    /// Whether the promises hold for it at all.
    pub(crate) fn is_within_limits(&self) -> bool {
        !self.lies && !self.beyond
    }
}
