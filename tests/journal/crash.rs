//! Processes that die, and disks that fill: this test's own binary, run again as the victim.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use authz_sidecar::journal::{Config, Error, Journal, Location, Metrics, SqlJournal, open};
use authz_sidecar::model::OperationId;
use futures_util::future::try_join;

use crate::fixture::{Calls, Place, closed, committed, names, opened, prepared};

const JOURNAL: &str = "AUTHZ_SIDECAR_TEST_JOURNAL";

/// Appends for ever from eight tasks, and prints each operation once it is acknowledged.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn victim() {
    let Some(path) = std::env::var_os(JOURNAL) else { return };
    let journal =
        open(&Config::at(Location::Sqlite(path.into())), Metrics::default()).await.unwrap();
    let journal = std::sync::Arc::new(journal);
    println!("\nopen");
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let journal = journal.clone();
        tasks.spawn(async move {
            loop {
                let operation = OperationId::new();
                let id = operation.to_string();
                if let Err(error) = append(&*journal, operation, &id).await {
                    return error;
                }
                println!("ack {id}");
            }
        });
    }
    for error in tasks.join_all().await {
        match error {
            Error::Unknown(why) => println!("unknown {why}"),
            Error::Broken(why) => println!("broken {why}"),
            other => println!("other {other}"),
        }
    }
    println!("health {}", if journal.health().is_err() { "broken" } else { "fine" });
    println!("end");
}

async fn append(journal: &dyn Journal, operation: OperationId, id: &str) -> Result<(), Error> {
    journal.write(operation, vec![prepared("api_key", 1)]).await?;
    // The second does not wait for the first.
    let (first, second) = (vec![committed(2, id)], vec![closed(3)]);
    let calls = try_join(journal.write(operation, first), journal.write(operation, second));
    calls.await.map(drop)
}

fn victim_command(program: &str, place: &Place) -> Command {
    let mut command = Command::new(program);
    command.env(JOURNAL, place.path()).stdout(Stdio::piped()).stderr(Stdio::null());
    command
}

const VICTIM: [&str; 3] = ["--exact", "crash::victim", "--nocapture"];

fn acknowledged(lines: &[String]) -> Vec<OperationId> {
    let ids = lines.iter().filter_map(|line| line.strip_prefix("ack "));
    ids.map(|id| OperationId::parse(id).unwrap()).collect()
}

async fn assert_all_there(place: &Place, acknowledged: &[OperationId]) -> SqlJournal {
    let journal = place.open();
    for operation in acknowledged {
        assert_eq!(names(&journal, *operation).await, ["prepared", "committed", "closed"]);
    }
    // What was not acknowledged is a beginning of it, never a later record without an earlier.
    for stored in journal.unfinished().await.unwrap() {
        let kept = stored.entries.iter().map(|entry| entry.record.name());
        assert!(kept.zip(["prepared", "committed", "closed"]).all(|(is, must)| is == must));
    }
    journal
}

#[tokio::test]
async fn p2_what_was_acknowledged_survives_a_kill_at_any_moment() {
    let place = Place::new();
    let mut all = Vec::new();
    for round in 1..=5 {
        let program = std::env::current_exe().unwrap();
        let mut command = victim_command(program.to_str().unwrap(), &place);
        let mut child = command.args(VICTIM).spawn().unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut lines = Vec::new();
        while acknowledged(&lines).len() < 40 * round {
            lines.push(output.next().expect("the victim ended by itself").unwrap());
        }
        child.kill().unwrap();
        child.wait().unwrap();
        // What it had printed by then was acknowledged, too; a line cut short was not printed.
        lines.extend(output.map_while(Result::ok).filter(|line| line.len() == "ack ".len() + 36));
        all.extend(acknowledged(&lines));
        assert_all_there(&place, &all).await;
    }
}

#[tokio::test]
async fn a_full_disk_breaks_the_journal_and_loses_nothing_acknowledged() {
    let place = Place::new();
    drop(place.open());
    let program = std::env::current_exe().unwrap();
    let mut command = victim_command("sh", &place);
    // A limit on file sizes fails writes as a full disk does, and needs no privilege.
    let script = "trap '' XFSZ; ulimit -f 600; exec \"$0\" \"$@\"";
    let output = command.args(["-c", script]).arg(program).args(VICTIM).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<String> = text.lines().map(str::to_owned).collect();
    assert!(text.contains("\nhealth broken\nend"), "{text}");
    assert!(text.contains("\nunknown ") || text.contains("\nbroken "), "{text}");
    assert!(!text.contains("\nother "), "{text}");
    let acknowledged = acknowledged(&lines);
    assert!(!acknowledged.is_empty());
    let journal = assert_all_there(&place, &acknowledged).await;
    opened(&journal, 9).await;
}
