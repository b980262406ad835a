//! The task that keeps the lease, takes over from replicas that lost theirs, and hands on what
//! they left.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_postgres::Client;

use super::super::Metrics;
use super::super::machine::uptime;
use super::super::problem::Problem;
use super::super::shared::{Arrival, Deposit, Receipt};
use super::adopt::{adopt, adopted, take_over};
use super::connect::Connector;
use super::lease::{Lease, database_time, micros};
use super::link::Link;
use super::mailbox;

/// The task's state.
pub(super) struct Keeper {
    pub(super) connector: Connector,
    pub(super) metrics: Metrics,
    pub(super) lease: Arc<Lease>,
    /// Whether the start has asked for what was left before.
    pub(super) recovered: Arc<AtomicBool>,
    pub(super) arrivals: mpsc::Sender<Arrival>,
    /// When the lease was last renewed.
    pub(super) renewed: Instant,
    /// Since when that has been without a gap, if there was one.
    pub(super) steady_since: Option<Instant>,
    /// Whether there may be operations that were taken over and not handed out.
    pub(super) is_behind: bool,
    /// Evidence that was handed out, and when.
    pub(super) told: HashMap<Receipt, Instant>,
}

const RENEW: &str = concat!(
    "UPDATE replicas SET lease_until = clock_timestamp() + $3 * interval '1 microsecond' \
     WHERE epoch = $1 AND token = $2 AND NOT dead RETURNING ",
    database_time!()
);

const SIZE: &str = "SELECT (pg_total_relation_size('entries') + pg_total_relation_size('operations') \
     + pg_total_relation_size('bindings') + pg_total_relation_size('evidence'))::bigint";

impl Keeper {
    /// Works until nobody listens any more, or the lease is lost.
    pub(super) async fn run(mut self, mut link: Option<Link>) {
        // Often, so that another's end is noticed soon; the lease itself is renewed at a third.
        let mut ticks = interval(self.lease.length / 9);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let closed = self.arrivals.clone();
        loop {
            tokio::select! {
                () = closed.closed() => return,
                _ = ticks.tick() => {}
            }
            if self.lease.standing.check().is_err() {
                return;
            }
            let problem = match timeout(self.lease.length / 3, self.step(&mut link)).await {
                Ok(Ok(())) => continue,
                Ok(Err(problem)) => problem,
                Err(_) => Problem::unreachable("no answer within a third of the lease"),
            };
            link = None;
            self.is_behind = true;
            tracing::warn!(%problem, "the journal's lease could not be kept for now");
        }
    }

    async fn step(&mut self, link: &mut Option<Link>) -> Result<(), Problem> {
        let connected = match link.take() {
            Some(connected) => connected,
            None => self.connector.connect().await?,
        };
        let client = &link.insert(connected).client;
        if self.renewed.elapsed() >= self.lease.length / 3 {
            self.renew(client).await?;
        }
        if !self.recovered.load(Ordering::Acquire) {
            return Ok(());
        }
        let identity = self.lease.identity;
        // Whoever was away, asleep or cut off, does not know who else was.
        let length = self.lease.length;
        if self.steady_since.is_none_or(|since| since.elapsed() >= length) {
            take_over(client, identity, None).await?;
        }
        let mut taken = adopt(client, identity, None).await?;
        // What was taken with an answer that was lost is asked for again. It may be under way here already.
        if self.is_behind {
            taken = adopted(client, identity).await?;
        }
        for id in taken {
            // Nobody listens any more once the process ends.
            drop(self.arrivals.send(Arrival::Adopted(id)).await);
        }
        self.is_behind = false;
        let waiting = mailbox::waiting(client, identity).await?;
        self.hand_on(waiting);
        Ok(())
    }

    /// Renews the lease, and notes how much room the journal takes.
    async fn renew(&mut self, client: &Client) -> Result<(), Problem> {
        let lease = &self.lease;
        let (identity, length) = (lease.identity, micros(lease.length));
        let asked = uptime();
        let values: [&(dyn tokio_postgres::types::ToSql + Sync); 3] =
            [&identity.epoch, &identity.token, &length];
        let Some(row) = client.query_opt(RENEW, &values).await? else {
            lease.lost();
            return Err(Problem::unreachable("the lease is lost"));
        };
        lease.renewed(asked);
        // What was measured before holds on if this took too long.
        lease.clock.measure(asked, row.get(0));
        let now = Instant::now();
        if now.duration_since(self.renewed) > lease.length * 2 / 3 {
            self.steady_since = Some(now);
        }
        self.renewed = now;
        let size: i64 = client.query_one(SIZE, &[]).await?.get(0);
        self.metrics.bytes.set(u64::try_from(size).unwrap_or(0));
        Ok(())
    }

    /// Hands out evidence, again where it was not settled for a lease's length.
    fn hand_on(&mut self, waiting: Vec<(Receipt, Deposit)>) {
        let length = self.lease.length;
        let receipts: HashSet<Receipt> = waiting.iter().map(|(receipt, _)| *receipt).collect();
        self.told.retain(|receipt, at| receipts.contains(receipt) && at.elapsed() < length);
        for (receipt, deposit) in waiting {
            if self.told.contains_key(&receipt) {
                continue;
            }
            if self.arrivals.try_send(Arrival::Evidence { receipt, deposit }).is_ok() {
                self.told.insert(receipt, Instant::now());
            }
        }
    }
}
