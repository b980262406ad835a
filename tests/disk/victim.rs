//! A process that writes to a journal and says what it was told: this test's own binary, run again.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use authz_sidecar::journal::{Config, Error, Journal, Location, Metrics, OpenError, open};
use authz_sidecar::model::OperationId;

use crate::fixture::{Calls, at, closed, committed, finished, names, prepared};
use crate::image::SAID;
use crate::shim::Shim;

const JOURNAL: &str = "DISK_VICTIM_JOURNAL";
const OPERATIONS: &str = "DISK_VICTIM_OPERATIONS";

/// What it was told: by operation, how many of its records are durable.
pub(crate) type Told = BTreeMap<OperationId, usize>;

/// The records of an operation, in their order.
const RECORDS: [&str; 3] = ["prepared", "committed", "closed"];

/// Runs it on that disk until it has made so many operations, or its journal broke; then it dies,
/// without an orderly end. Returns what it said on its standard output.
pub(crate) fn run(shim: &Shim, operations: usize) -> String {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "victim::victim", "--nocapture"]);
    command.env(JOURNAL, shim.directory.join("journal.db"));
    command.env(OPERATIONS, operations.to_string()).envs(shim.environment());
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut said = String::new();
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        if line == "end" {
            break;
        }
        said.push_str(&line);
        said.push('\n');
    }
    child.kill().unwrap();
    child.wait().unwrap();
    said
}

/// The process's part: eight callers, one of which makes work for pruning.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn victim() {
    let Some(path) = std::env::var_os(JOURNAL).map(PathBuf::from) else { return };
    let operations: usize = std::env::var(OPERATIONS).unwrap().parse().unwrap();
    let journal = match open(&Config::at(Location::Sqlite(path.clone())), Metrics::default()).await
    {
        Ok(journal) => Arc::new(journal),
        Err(error) => return println!("\nrefused: {error}\nend"),
    };
    let said = std::fs::File::options().create(true).append(true).open(path.with_file_name(SAID));
    let said = Arc::new(Mutex::new(said.unwrap()));
    let mut callers = tokio::task::JoinSet::new();
    for caller in 0..8 {
        let (journal, said) = (Arc::clone(&journal), Arc::clone(&said));
        callers.spawn(async move {
            for _ in 0..operations.div_ceil(8) {
                let done = if caller == 0 {
                    forget(&*journal).await
                } else {
                    keep(&*journal, &said).await
                };
                if let Err(error) = done {
                    return Some(error);
                }
            }
            None
        });
    }
    let errors: Vec<Error> = callers.join_all().await.into_iter().flatten().collect();
    println!();
    for error in errors {
        println!(
            "{}: {error}",
            if matches!(error, Error::Unknown(_)) { "unknown" } else { "error" }
        );
    }
    println!("health: {:?}\nend", journal.health());
    std::future::pending::<()>().await;
}

async fn keep(journal: &dyn Journal, said: &Mutex<std::fs::File>) -> Result<(), Error> {
    let operation = OperationId::new();
    let id = operation.to_string();
    // One call of the system each, so that the shim sees whole lines.
    let say = |records: usize| {
        // On a full disk it can't be said any more, and then nothing is to be expected.
        _ = said.lock().unwrap().write_all(format!("{id} {records}\n").as_bytes());
    };
    journal.write(operation, vec![prepared("api_key", 1)]).await?;
    say(1);
    journal.write(operation, vec![committed(2, &id)]).await?;
    say(2);
    journal.write(operation, vec![closed(3)]).await?;
    say(3);
    Ok(())
}

/// Long before all that is kept, so that it may be forgotten.
async fn forget(journal: &dyn Journal) -> Result<(), Error> {
    for _ in 0..4 {
        let entries = vec![prepared("api_key", -900), finished(-800)];
        journal.write(OperationId::new(), entries).await?;
    }
    journal.prune(at(2), at(1)).await.map(drop)
}

/// What a disk cost a journal.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Loss {
    #[error("it does not start: {0}")]
    Refused(OpenError),
    #[error("operation {0} is not as somebody was told")]
    Record(OperationId),
}

/// Opens the journal in `directory` and looks for all that somebody was told.
pub(crate) async fn lost(directory: &Path, told: &Told) -> Result<(), Loss> {
    let config = Config::at(Location::Sqlite(directory.join("journal.db")));
    let journal = open(&config, Metrics::default()).await.map_err(Loss::Refused)?;
    for (operation, records) in told {
        let kept = names(&journal, *operation).await;
        if kept.len() < *records || !RECORDS.starts_with(&kept) {
            return Err(Loss::Record(*operation));
        }
    }
    // Nor is there a later record without an earlier.
    for stored in journal.unfinished().await.unwrap() {
        let kept: Vec<_> = stored.entries.iter().map(|entry| entry.record.name()).collect();
        assert!(RECORDS.starts_with(&kept), "{kept:?}");
    }
    Ok(())
}

/// Reads what [`victim`] said into `told`.
pub(crate) fn heard(said: &str, told: &mut Told) {
    for line in said.lines() {
        // The last one may be cut.
        let Some((id, Ok(records))) = line.split_once(' ').map(|(id, n)| (id, n.parse())) else {
            continue;
        };
        told.insert(OperationId::parse(id).unwrap(), records);
    }
}
