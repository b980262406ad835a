//! Group commit: the more clients create at once, the more creates share one sync of the disk.

use std::path::Path;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::task::JoinSet;

use crate::image::syncs;
use crate::shim::{Fault, Shim};
use crate::sidecar::{World, create};
use crate::support::sidecar::Sidecar;

/// What one number of clients came to.
struct Row {
    clients: usize,
    creates: usize,
    syncs: usize,
    took: Duration,
    /// Of each create, sorted.
    waits: Vec<Duration>,
}

impl Row {
    /// Clients that create `each` keys one after the other, on a disk whose syncs take 4 ms.
    async fn of(clients: usize, each: usize) -> Self {
        let world = World::new().await;
        let (directory, log) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        let log = log.path().join("log");
        std::fs::create_dir_all(log.parent().unwrap()).unwrap();
        let mut shim = Shim::new(directory.path(), Fault::None).logging(log.clone());
        (shim.delay, shim.is_terse) = (4000, true);
        let sidecar = Sidecar::start(world.config(directory.path(), Some(&shim))).await;
        assert_eq!(create(&sidecar.client(), "first").send().await.status, 200);
        sidecar.wait_quiescent().await;

        let (before, began) = (log_syncs(&log), Instant::now());
        let mut tasks = JoinSet::new();
        for number in 0..clients {
            let client = sidecar.client();
            tasks.spawn(async move {
                let mut waits = Vec::new();
                for _ in 0..each {
                    let began = Instant::now();
                    let answer = create(&client, &format!("k{number}")).send().await;
                    assert_eq!(answer.status, 200, "{}", answer.text());
                    waits.push(began.elapsed());
                }
                waits
            });
        }
        let mut waits = tasks.join_all().await.concat();
        let (took, after) = (began.elapsed(), log_syncs(&log));
        waits.sort();
        Self { clients, creates: clients * each, syncs: after - before, took, waits }
    }

    fn per_sync(&self) -> f64 {
        count(self.creates) / count(self.syncs)
    }

    fn show(&self) {
        let ms = |at: usize| self.waits[at].as_secs_f64() * 1000.0;
        println!(
            "| {} | {} | {} | {:.2} | {:.0} | {:.1} | {:.1} |",
            self.clients,
            self.creates,
            self.syncs,
            self.per_sync(),
            count(self.creates) / self.took.as_secs_f64(),
            ms(self.waits.len() / 2),
            ms(self.waits.len() * 99 / 100),
        );
    }
}

fn log_syncs(log: &Path) -> usize {
    syncs(log, "journal.db-wal")
}

fn count(number: usize) -> f64 {
    f64::from(u32::try_from(number).unwrap())
}

/// `GROUP_COMMIT_CLIENTS` names other numbers of clients, `GROUP_COMMIT_EACH` of creates.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn creates_share_syncs_the_more_the_more_come_at_once() {
    let clients = std::env::var("GROUP_COMMIT_CLIENTS").unwrap_or("1,32".into());
    let each = std::env::var("GROUP_COMMIT_EACH").map_or(8, |text| text.parse().unwrap());
    println!("| clients | creates | syncs | creates per sync | creates/s | p50 ms | p99 ms |");
    println!("|---|---|---|---|---|---|---|");
    let mut rows = Vec::new();
    for number in clients.split(',') {
        let row = Row::of(number.parse().unwrap(), each).await;
        row.show();
        rows.push(row);
    }
    let (first, last) = (rows.first().unwrap(), rows.last().unwrap());
    assert!(last.per_sync() > first.per_sync() * 4.0, "they don't share");
}
