//! The journal in a PostgreSQL database, shared by several replicas.
//!
//! Each start of a process is an *epoch* with a lease. Every write first takes a lock on its
//! epoch's row that goes together with all but a take-over; a take-over marks the row dead under the
//! opposite lock. So once a replica is taken over nothing of it is written any more, whatever its
//! clock says and however long it slept. One task writes on one connection, the lease is kept by another on
//! another, and reads share a third.

mod adopt;
mod connect;
mod keeper;
mod lease;
mod link;
mod mailbox;
mod read;
mod replica;
mod schema;
mod store;

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::time::Instant;

use self::connect::Connector;
use self::keeper::Keeper;
use self::lease::begin;
use self::read::PostgresReads;
use self::replica::{ARRIVALS, Replica};
use self::store::PostgresStore;
use super::config::PostgresUrl;
use super::database::SqlJournal;
use super::problem::Problem;
use super::writer::Queue;
use super::{Config, Metrics};

/// Opens the journal at `url`, making its tables where there are none, and begins an epoch.
///
/// # Errors
/// When the database can't be reached or used.
pub(super) async fn open(
    url: &PostgresUrl,
    config: &Config,
    metrics: Metrics,
) -> Result<SqlJournal, Problem> {
    let settings = &config.postgres;
    let connector = Connector::new(url, settings.clone())?;
    let mut link = connector.connect().await?;
    schema::make(&mut link.client).await?;
    let lease = Arc::new(begin(&link, settings.granted()).await?);
    let store = PostgresStore {
        connector: connector.clone(),
        lease: Arc::clone(&lease),
        link: None,
        committed: 0,
        max_bytes: config.max_bytes(),
        timeout: settings.statement_timeout.0,
        metrics: metrics.clone(),
    };
    let standing = Arc::clone(&lease.standing);
    let (queue, writer) = Queue::new(config.queue, store, Arc::clone(&standing), metrics.clone());
    let (arriving, arrivals) = mpsc::channel(ARRIVALS);
    let recovered = Arc::default();
    let keeper = Keeper {
        connector: connector.clone(),
        metrics,
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
    let reads = Arc::new(PostgresReads::new(connector, settings.statement_timeout.0));
    let clock = Arc::clone(&lease.clock);
    let arrivals = tokio::sync::Mutex::new(arrivals);
    let replica = Replica { reads: Arc::clone(&reads), lease, recovered, arrivals };
    Ok(SqlJournal { queue, reads, standing, clock, shared: Some(Box::new(replica)) })
}
