//! The journal in a PostgreSQL database, shared by several replicas.
//!
//! Each start of a process is an *epoch* with a lease. Every write first takes a lock on its
//! epoch's row that goes together with all but a take-over; a take-over marks the row dead under the
//! opposite lock. So once a replica is taken over nothing of it is written any more, whatever its
//! clock says and however long it slept. Writes are batched into one transaction by one task on one
//! connection (group commit), the lease is kept by another, and reads share a pool.

mod adopt;
mod connect;
mod keeper;
mod lease;
mod mailbox;
mod prune;
mod read;
mod schema;
mod store;
mod write;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use self::adopt::{adopt, adopted, claim, micros, take_over};
use self::connect::{Connector, Link, Problem, failed};
use self::keeper::Keeper;
use self::lease::{Identity, Lease, database_time};
use self::read::Reads;
use self::store::PostgresStore;
use self::write::{Session, uuid};
use super::clock::{self, JournalClock, uptime};
use super::config::PostgresUrl;
use super::index::kind;
use super::row::FORMAT;
use super::shared::{Arrival, Deposit, Owner, Receipt, Shared};
use super::writer::Queue;
use super::{Append, Error, Journal, OpenError, OpenOptions, Place, Window};
use crate::model::{Clock, OperationId, Resource, Stored, Timestamp};

/// A journal in a PostgreSQL database.
pub struct PostgresJournal {
    queue: Queue<PostgresStore>,
    reads: Reads,
    connector: Connector,
    lease: Arc<Lease>,
    recovered: Arc<AtomicBool>,
    arrivals: tokio::sync::Mutex<mpsc::Receiver<Arrival>>,
}

impl fmt::Debug for PostgresJournal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresJournal").field("lease", &self.lease).finish_non_exhaustive()
    }
}

/// Arrivals that may wait for whoever takes them.
const ARRIVALS: usize = 1024;

impl PostgresJournal {
    /// Opens the journal at `url`, making its tables where there are none, and begins an epoch.
    ///
    /// # Errors
    /// When the database can't be reached or used.
    pub async fn open(url: &PostgresUrl, options: OpenOptions) -> Result<Self, OpenError> {
        let unopened = |problem: Problem| unopened(url, problem);
        let options = Arc::new(options);
        let connector = Connector::new(url, Arc::clone(&options)).map_err(unopened)?;
        let mut link = connector.connect().await.map_err(unopened)?;
        schema::make(&mut link.client).await.map_err(unopened)?;
        let lease = Arc::new(begin(&link, &options).await.map_err(unopened)?);
        let writing = connector.connect().await.map_err(unopened)?;
        let session = Session::prepare(writing).await.map_err(unopened)?;
        let reads = Reads::new(connector.clone(), &options, Arc::clone(&lease))
            .map_err(|error| unopened(Problem::Unreachable(error)))?;
        let (arriving, arrivals) = mpsc::channel(ARRIVALS);
        let recovered = Arc::default();
        let store = PostgresStore {
            connector: connector.clone(),
            options: Arc::clone(&options),
            lease: Arc::clone(&lease),
            session: Some(session),
            committed: 0,
        };
        let (standing, metrics) = (Arc::clone(&lease.standing), options.metrics.clone());
        let (queue, writer) = Queue::new(options.queue, store, standing, metrics);
        let keeper = Keeper {
            connector: connector.clone(),
            options,
            lease: Arc::clone(&lease),
            recovered: Arc::clone(&recovered),
            arrivals: arriving,
            renewed: Instant::now(),
            steady_since: None,
            is_behind: false,
            told: HashMap::new(),
        };
        tokio::spawn(writer.run());
        tokio::spawn(keeper.run(Some(link)));
        let arrivals = tokio::sync::Mutex::new(arrivals);
        Ok(Self { queue, reads, connector, lease, recovered, arrivals })
    }

    /// This process's epoch.
    #[must_use]
    pub fn epoch(&self) -> i64 {
        self.lease.identity.epoch
    }
}

#[async_trait]
impl Journal for PostgresJournal {
    async fn append(&self, append: Append) -> Result<(), Error> {
        // Somebody waits for what begins, and nothing has been sent yet.
        if append.begins && self.lease.is_down() {
            return Err(Error::Unavailable("there is no connection".into()));
        }
        self.queue.append(append).await
    }

    async fn unfinished_page(
        &self,
        after: Option<Place>,
        limit: usize,
    ) -> Result<Vec<Stored>, Error> {
        let (at, id, limit) = behind(after, limit);
        self.reads.stored(read::UNFINISHED, &[&at, &id, &limit]).await
    }

    async fn operation(&self, id: OperationId) -> Result<Option<Stored>, Error> {
        Ok(self.reads.stored(read::OPERATION, &[&uuid(id)]).await?.pop())
    }

    async fn holder(&self, resource: &Resource) -> Result<Option<Stored>, Error> {
        let values = (resource.kind.as_str(), resource.id.as_str());
        Ok(self.reads.stored(read::HOLDER, &[&values.0, &values.1]).await?.pop())
    }

    async fn overlapping(
        &self,
        window: &Window,
        after: Option<Place>,
        limit: usize,
    ) -> Result<Vec<Stored>, Error> {
        let (at, id, limit) = behind(after, limit);
        let from = window.from.as_micros();
        let (of, kind) = (window.resource_type.as_str(), kind(window.of));
        let values: [&(dyn ToSql + Sync); 6] = [&at, &id, &limit, &of, &kind, &from];
        self.reads.stored(read::OVERLAPPING, &values).await
    }

    async fn prune(&self, now: Timestamp, before: Timestamp) -> Result<usize, Error> {
        self.lease.standing.check()?;
        let mut forgotten = 0;
        loop {
            let chunk = prune::chunk(&self.reads, now, before).await?;
            forgotten += chunk;
            if chunk == 0 {
                return Ok(forgotten);
            }
        }
    }

    fn health(&self) -> Result<(), Error> {
        self.lease.standing.check()
    }

    fn clock(&self) -> Arc<dyn Clock> {
        Arc::<JournalClock>::clone(&self.lease.clock)
    }

    fn shared(&self) -> Option<&dyn Shared> {
        Some(self)
    }
}

impl PostgresJournal {
    /// By a connection of its own, after the owner's lease was ended if it ran out. What others own is
    /// for replicas that go on with it.
    async fn claim_now(&self, operation: OperationId) -> Result<Option<Owner>, Problem> {
        let link = self.connector.connect().await?;
        let (client, identity) = (&link.client, self.lease.identity);
        take_over(client, identity, Some(operation)).await?;
        claim(client, identity, operation).await
    }

    async fn adopt_all(&self) -> Result<Vec<OperationId>, Problem> {
        let link = self.connector.connect().await?;
        let (client, identity) = (&link.client, self.lease.identity);
        take_over(client, identity, None).await?;
        while !adopt(client, identity).await?.is_empty() {}
        let adopted = adopted(client, identity).await?;
        self.recovered.store(true, Ordering::Release);
        Ok(adopted)
    }
}

#[async_trait]
impl Shared for PostgresJournal {
    fn may_act(&self) -> Result<(), Error> {
        self.lease.may_act()
    }

    fn clock_error(&self) -> Duration {
        clock::ERROR
    }

    async fn recover(&self) -> Result<Vec<OperationId>, Error> {
        self.adopt_all().await.map_err(|problem| Error::Unavailable(problem.to_string()))
    }

    async fn arrivals(&self) -> Result<Vec<Arrival>, Error> {
        let mut arrivals = self.arrivals.lock().await;
        let mut arrived = Vec::new();
        match arrivals.recv_many(&mut arrived, ARRIVALS).await {
            0 => Err(self.lease.standing.check().err().unwrap_or_else(stopped)),
            _ => Ok(arrived),
        }
    }

    async fn deposit(&self, deposit: Deposit) -> Result<(), Error> {
        let unwritable =
            |error| self.lease.standing.broken(format!("evidence can't be written: {error}"));
        let (operation, opening, late) = mailbox::encode(&deposit).map_err(unwritable)?;
        self.reads.rows(mailbox::DEPOSIT, &[&operation, &opening, &late]).await.map(drop)
    }

    async fn settle(&self, receipt: Receipt) -> Result<(), Error> {
        self.reads.rows(mailbox::SETTLE, &[&receipt.0]).await.map(drop)
    }

    async fn claim(&self, operation: OperationId) -> Result<Option<Owner>, Error> {
        let claimed = self.claim_now(operation).await;
        claimed.map_err(|problem| Error::Unavailable(problem.to_string()))
    }

    async fn release(&self) {
        let Identity { epoch, token } = self.lease.identity;
        if let Err(error) = self.reads.rows(RELEASE, &[&epoch, &token]).await {
            tracing::warn!(%error, "the lease could not be given up; it runs out by itself");
        }
        self.lease.lost();
    }
}

/// Waits, as a take-over does, for a write that is under way.
const RELEASE: &str = "UPDATE replicas SET dead = true WHERE epoch IN \
     (SELECT epoch FROM replicas WHERE epoch = $1 AND token = $2 FOR UPDATE)";

/// The first three values of a page's statement.
fn behind(after: Option<Place>, limit: usize) -> (i64, Uuid, i64) {
    let (at, id) = after.map_or((i64::MIN, Uuid::nil()), |(at, id)| (at.as_micros(), uuid(id)));
    (at, id, i64::try_from(limit).unwrap_or(i64::MAX))
}

fn stopped() -> Error {
    Error::Unknown("the writer has stopped".into())
}

/// Begins an epoch.
async fn begin(link: &Link, options: &OpenOptions) -> Result<Lease, Problem> {
    let query = concat!(
        "WITH begun AS ( \
             INSERT INTO replicas (token, name, lease, lease_until) \
             SELECT $1, $2, lease, clock_timestamp() + lease \
             FROM (SELECT $3 * interval '1 microsecond') AS of(lease) RETURNING epoch) \
         INSERT INTO writers (epoch, batch) SELECT epoch, 0 FROM begun RETURNING epoch, ",
        database_time!()
    );
    let (token, length) = (Uuid::now_v7(), micros(options.postgres.granted()));
    let asked = uptime();
    let row = link.client.query_one(query, &[&token, &options.name, &length]).await;
    let row = row.map_err(failed)?;
    let (epoch, time): (i64, i64) = (row.get(0), row.get(1));
    let lease = Lease::new(Identity { epoch, token }, options.postgres.granted(), asked);
    if !lease.clock.measure(asked, time) {
        let problem = "the server took more than a second to answer, so that its time is not known";
        return Err(Problem::Unreachable(problem.into()));
    }
    tracing::info!(epoch, name = options.name, "the journal's lease begins");
    Ok(lease)
}

fn unopened(url: &PostgresUrl, problem: Problem) -> OpenError {
    let place = url.to_string();
    match problem {
        Problem::Unreachable(problem) => OpenError::Database {
            place,
            problem,
            mend: "see that the server runs, is not a standby, and has connections left",
        },
        Problem::Unusable { problem, mend } => OpenError::Database { place, problem, mend },
        Problem::OtherFormat(found) => {
            let mend = "stop all replicas of that release, and drop the schema authz_sidecar";
            OpenError::OtherFormat { place, found, known: FORMAT, mend }
        }
    }
}
