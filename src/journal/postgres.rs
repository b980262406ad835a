//! The journal in a PostgreSQL database, shared by several replicas.
//!
//! Each start of a process is an *epoch* with a lease. Every write first takes a lock on its
//! epoch's row that goes together with all but a take-over; a take-over marks the row dead under the
//! opposite lock. So once a replica is taken over nothing of it is written any more, whatever its
//! clock says and however long it slept. Writes are batched into one transaction by one task on one
//! connection (group commit), the lease is kept by another, and reads share a pool.

mod adopt;
mod clock;
mod connect;
mod keeper;
mod lease;
mod mailbox;
mod options;
mod prune;
mod read;
mod schema;
mod write;
mod writer;

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, PoisonError};

use async_trait::async_trait;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout};
use uuid::Uuid;

use self::adopt::{adopt, adopted, claim, micros, take_over};
use self::clock::uptime;
use self::connect::{Connector, Link, Problem, failed};
use self::keeper::{Handed, Keeper};
use self::lease::{Identity, Lease};
pub use self::options::OpenOptions;
use self::read::Reads;
use self::write::{Append, Session, Verdict, uuid};
use self::writer::{Call, Writer};
use super::config::PostgresUrl;
use super::row::Row;
use super::shared::{Arrival, Deposit, Owner, Receipt, Shared};
use super::{Error, Journal, Of, OpenError};
use crate::model::{
    Entry, OperationId, Record, Resolution, Resource, ResourceType, Stored, Timestamp,
};

/// A journal in a PostgreSQL database.
pub struct PostgresJournal {
    calls: mpsc::Sender<Call>,
    reads: Reads,
    connector: Connector,
    options: Arc<OpenOptions>,
    lease: Arc<Lease>,
    handed: Handed,
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
        schema::migrate(&mut link.client).await.map_err(unopened)?;
        let lease = Arc::new(begin(&link, &options).await.map_err(unopened)?);
        let writing = connector.connect().await.map_err(unopened)?;
        let session = Session::prepare(writing).await.map_err(unopened)?;
        let reads = Reads::new(connector.clone(), &options, Arc::clone(&lease))
            .map_err(|error| unopened(Problem::Unreachable(error)))?;
        let (calls, queued) = mpsc::channel(usize::try_from(options.queue.max(1)).unwrap_or(1024));
        let (arriving, arrivals) = mpsc::channel(ARRIVALS);
        let handed = Handed::default();
        let writer = Writer {
            connector: connector.clone(),
            options: Arc::clone(&options),
            lease: Arc::clone(&lease),
            calls: queued,
            session: Some(session),
            committed: 0,
            refused: HashMap::new(),
        };
        let keeper = Keeper {
            connector: connector.clone(),
            options: Arc::clone(&options),
            lease: Arc::clone(&lease),
            handed: Arc::clone(&handed),
            arrivals: arriving,
            renewed: Instant::now(),
            steady_since: None,
            told: HashMap::new(),
        };
        tokio::spawn(writer.run());
        tokio::spawn(keeper.run(Some(link)));
        let arrivals = tokio::sync::Mutex::new(arrivals);
        Ok(Self { calls, reads, connector, options, lease, handed, arrivals })
    }

    /// This process's epoch.
    #[must_use]
    pub fn epoch(&self) -> i64 {
        self.lease.identity.epoch
    }

    /// Hands a call to the writer; waits for room only.
    async fn send(
        &self,
        operation: OperationId,
        entries: Vec<Entry>,
        reply: Option<oneshot::Sender<Verdict>>,
    ) -> Result<(), Error> {
        self.lease.check()?;
        let rows = entries.into_iter().map(Row::encode).collect::<Result<_, _>>();
        let unwritable = |error| self.lease.broken(format!("a record can't be written: {error}"));
        let call = Call { append: Append { operation, rows: rows.map_err(unwritable)? }, reply };
        self.options.metrics.queue_depth.inc();
        self.calls.send(call).await.map_err(|_| stopped())
    }

    /// Gives up waiting for an operation's first records. Where they turn out to be written after
    /// all, the operation ends at once: nobody acts on it.
    fn withdraw(
        &self,
        operation: OperationId,
        at: Timestamp,
        answer: oneshot::Receiver<Verdict>,
    ) -> Error {
        let calls = self.calls.clone();
        let depth = self.options.metrics.queue_depth.clone();
        tokio::spawn(async move {
            if let Ok(Ok(())) = answer.await {
                let record = Record::Finished { resolution: Resolution::NotSent };
                let rows = Row::encode(Entry { at, record }).into_iter().collect();
                depth.inc();
                // Where the writer has stopped, the operation is taken over.
                drop(calls.send(Call { append: Append { operation, rows }, reply: None }).await);
            }
        });
        Error::Unavailable("no answer within journal.postgres.wait".into())
    }

    /// Waits for room and for the answer, but not for long: somebody waits, and nothing has
    /// been sent yet.
    async fn begin(&self, operation: OperationId, entries: Vec<Entry>) -> Result<(), Error> {
        if self.lease.is_down() {
            return Err(Error::Unavailable("there is no connection".into()));
        }
        let at = entries.first().map_or(Timestamp::from_micros(0), |entry| entry.at);
        let (reply, mut answer) = oneshot::channel();
        let sent = async {
            self.send(operation, entries, Some(reply)).await?;
            Ok::<_, Error>((&mut answer).await)
        };
        let sent = timeout(self.options.wait, sent).await;
        match sent {
            Ok(answer) => answer?.unwrap_or_else(|_| Err(stopped())),
            Err(_) => Err(self.withdraw(operation, at, answer)),
        }
    }
}

#[async_trait]
impl Journal for PostgresJournal {
    async fn append(&self, operation: OperationId, entries: Vec<Entry>) -> Result<(), Error> {
        let begins = matches!(entries.first(), Some(Entry { record: Record::Prepared { .. }, .. }));
        if begins {
            return self.begin(operation, entries).await;
        }
        let (reply, answer) = oneshot::channel();
        self.send(operation, entries, Some(reply)).await?;
        answer.await.unwrap_or_else(|_| Err(stopped()))
    }

    async fn enqueue(&self, operation: OperationId, entries: Vec<Entry>) -> Result<(), Error> {
        self.send(operation, entries, None).await
    }

    async fn unfinished(&self) -> Result<Vec<Stored>, Error> {
        self.reads.stored(read::UNFINISHED, &[]).await
    }

    async fn unfinished_page(
        &self,
        after: Option<(Timestamp, OperationId)>,
        limit: usize,
    ) -> Result<Vec<Stored>, Error> {
        let (at, id) = after.map_or((i64::MIN, Uuid::nil()), |(at, id)| (at.as_micros(), uuid(id)));
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.reads.stored(read::UNFINISHED_PAGE, &[&at, &id, &limit]).await
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
        resource_type: &ResourceType,
        of: Of,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Vec<Stored>, Error> {
        let (from, to) = (from.as_micros(), to.as_micros());
        let values = (resource_type.as_str(), schema::code(of));
        self.reads.stored(read::OVERLAPPING, &[&values.0, &values.1, &from, &to]).await
    }

    async fn prune(&self, now: Timestamp, before: Timestamp) -> Result<usize, Error> {
        self.lease.check()?;
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
        self.lease.check()
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

    async fn adopt_all(&self) -> Result<Vec<Stored>, Problem> {
        let link = self.connector.connect().await?;
        let (client, identity) = (&link.client, self.lease.identity);
        take_over(client, identity, None).await?;
        while adopt(client, identity).await? > 0 {}
        mailbox::revive(client, identity).await?;
        let adopted = adopted(client, &self.lease, []).await?;
        let handed = adopted.iter().map(|stored| stored.id).collect::<HashSet<_>>();
        *self.handed.lock().unwrap_or_else(PoisonError::into_inner) = Some(handed);
        Ok(adopted)
    }
}

#[async_trait]
impl Shared for PostgresJournal {
    fn may_act(&self) -> Result<(), Error> {
        self.lease.may_act()
    }

    async fn recover(&self) -> Result<Vec<Stored>, Error> {
        self.adopt_all().await.map_err(|problem| Error::Unavailable(problem.to_string()))
    }

    async fn arrivals(&self) -> Result<Vec<Arrival>, Error> {
        let mut arrivals = self.arrivals.lock().await;
        let mut arrived = Vec::new();
        match arrivals.recv_many(&mut arrived, ARRIVALS).await {
            0 => Err(self.lease.check().err().unwrap_or_else(stopped)),
            _ => Ok(arrived),
        }
    }

    async fn deposit(&self, deposit: Deposit) -> Result<(), Error> {
        let unwritable = |error| self.lease.broken(format!("evidence can't be written: {error}"));
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
        // After what is queued, which is still this process's.
        let queued = self.append(OperationId::new(), Vec::new());
        drop(timeout(self.options.wait, queued).await);
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

fn stopped() -> Error {
    Error::Unknown("the writer has stopped".into())
}

/// Begins an epoch.
async fn begin(link: &Link, options: &OpenOptions) -> Result<Lease, Problem> {
    let query = "WITH begun AS ( \
             INSERT INTO replicas (token, name, lease, lease_until) \
             SELECT $1, $2, lease, clock_timestamp() + lease \
             FROM (SELECT $3 * interval '1 microsecond') AS of(lease) RETURNING epoch) \
         INSERT INTO writers (epoch, batch) SELECT epoch, 0 FROM begun RETURNING epoch";
    let (token, length) = (Uuid::now_v7(), micros(options.granted()));
    let asked = uptime();
    let row = link.client.query_one(query, &[&token, &options.name, &length]).await;
    let epoch: i64 = row.map_err(failed)?.get(0);
    tracing::info!(epoch, name = options.name, "the journal's lease begins");
    Ok(Lease::new(Identity { epoch, token }, options.granted(), asked))
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
        Problem::Newer { what, found, known } => {
            OpenError::NewerDatabase { place, what, found, known }
        }
    }
}
