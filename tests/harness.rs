//! The end-to-end harness itself: the real binary before the real service, killed and restarted.

// clippy.toml's exception for tests ends at their helpers.
#![allow(clippy::unwrap_used, reason = "tests may fail loudly")]

mod support;

use std::fs::{File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use support::postgres::Postgres;
use support::service::{Options, Service};
use support::sidecar::{Config, Sidecar};
use support::{PATIENCE, eventually};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Nothing here needs a provider: no request that a rule matches is sent.
const NO_PROVIDER: &str = "http://127.0.0.1:9";

#[tokio::test]
async fn e2e_reads_pass_through_untouched() {
    for options in [Options::default(), Options::default().h11().unix()] {
        let service = Service::with_agent(options).await;
        let id = service.key("agent-a1", "n").await;
        let sidecar = Sidecar::start(Config::new(&service.upstream(), NO_PROVIDER)).await;
        for target in [
            "/agent_api_keys?agent_name=a1".to_owned(),
            format!("/agent_api_keys/{id}"),
            "/agent_api_keys/nothing".to_owned(),
            "/agent_api_keys/name/n?agent_id=agent-a1".to_owned(),
            "/agents".to_owned(),
            "/agents/agent-a1".to_owned(),
            "/agents/name/a1".to_owned(),
        ] {
            let (through, straight) =
                (sidecar.client().get(&target), service.client().get(&target));
            let (through, straight) = (through.send().await, straight.send().await);
            assert_eq!((through.status, &through.body), (straight.status, &straight.body));
        }
        assert_eq!(sidecar.operations().await, Vec::<serde_json::Value>::new());
    }
}

/// How often the only worker of a process has gone to sleep.
async fn sleeps_of_worker(pid: u32) -> u64 {
    let read = |task: std::io::Result<std::fs::DirEntry>| {
        std::fs::read_to_string(task.unwrap().path().join("status")).ok()
    };
    // It gives itself its name.
    let worker = eventually("a worker", || async {
        let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
        tasks.filter_map(read).find(|status| status.starts_with("Name:\tproxy-0\n"))
    });
    let worker = worker.await;
    let sleeps = worker.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    sleeps.unwrap().trim().parse().unwrap()
}

/// Whoever sends a byte and no more is to cost little. Each look wakes the worker.
#[tokio::test]
async fn p8_the_rest_of_an_http2_preface_is_looked_for_ever_more_seldom_and_found() {
    let config = Config::new("http://127.0.0.1:9", NO_PROVIDER).set("/limits/workers", 1);
    let sidecar = Sidecar::start(config).await;
    let mut client = TcpStream::connect(sidecar.address()).await.unwrap();
    client.write_all(b"P").await.unwrap();
    let before = sleeps_of_worker(sidecar.pid()).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let looks = sleeps_of_worker(sidecar.pid()).await - before;
    // Some twenty; every five milliseconds would be four hundred.
    assert!(looks < 100, "{looks} looks in two seconds");
    client.write_all(b"RI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    let mut settings = [0; 9];
    let answered = tokio::time::timeout(PATIENCE, client.read_exact(&mut settings)).await;
    answered.expect("it was not found").unwrap();
    assert_eq!(settings[3], 4, "HTTP/2 is spoken: {settings:?}");
}

#[tokio::test]
async fn a_sidecar_is_killed_restarted_and_stopped() {
    let mut service = Service::with_agent(Options::default()).await;
    let mut sidecar = Sidecar::start(Config::new(&service.upstream(), NO_PROVIDER)).await;
    let address = sidecar.address().to_owned();
    assert_eq!(sidecar.health().get("/livez").send().await.status, 200);
    assert!(sidecar.metrics().await.contains("authz_sidecar_"));
    sidecar.kill9().await;
    assert!(sidecar.client().get("/healthz").try_send().await.is_err());
    sidecar.restart().await;
    assert_eq!(sidecar.address(), address);
    service.restart().await;
    assert_eq!(sidecar.client().get("/healthz").send().await.status, 200);
    sidecar.wait_quiescent().await;
    assert!(!sidecar.journal_bytes().is_empty());
    assert!(sidecar.stop().await.success());
    let listened = sidecar.log().iter().filter(|line| line.contains("\"listening\"")).count();
    assert_eq!(listened, 2);
}

/// Else a keeper that ends removes the files of the one that starts, and whoever came first fails.
#[test]
fn a_database_is_removed_before_its_lease_is_free() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).unwrap();
    drop(Postgres::start(directory.path().to_owned()));
    let lease = File::open(directory.path().join("lease")).unwrap();
    let began = Instant::now();
    while lease.try_lock_shared().is_ok() {
        assert!(began.elapsed() < PATIENCE, "the keeper does not end its server");
        lease.unlock().unwrap();
        std::thread::sleep(Duration::from_millis(5));
    }
    lease.lock_shared().unwrap();
    assert!(!directory.path().join("data").exists());
}
