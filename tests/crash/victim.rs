//! What is killed: the sidecar, or a service that does the dual write itself.

use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};

use super::person::unfinished;
use crate::support::client::Client;
use crate::support::postgres::{Postgres, python};
use crate::support::service::Service;
use crate::support::sidecar::{Config, Sidecar};
use crate::support::{PATIENCE, repository};

const SIGKILL: i32 = 9;

/// What is killed.
pub enum Victim {
    /// The sidecar.
    Sidecar(Box<Sidecar>),
    /// `tests/service/inprocess.py`.
    InProcess(Box<InProcess>),
}

impl Victim {
    /// Starts a sidecar.
    pub async fn sidecar(config: Config) -> Self {
        Self::Sidecar(Box::new(Sidecar::start(config).await))
    }

    /// Starts a service that does the dual write itself, over the database of `service`.
    pub async fn in_process(service: &Service, provider: &str) -> Self {
        let (database, provider) = (service.database().to_owned(), provider.to_owned());
        Self::InProcess(Box::new(InProcess::launch(database, provider, "0").await))
    }

    /// Where clients connect.
    pub fn client(&self) -> Client {
        match self {
            Self::Sidecar(sidecar) => sidecar.client(),
            Self::InProcess(service) => Client::new(&service.address),
        }
    }

    /// Kills it where it runs and starts it anew, at other addresses, to die at `place`
    /// (`name:times`). Gives whether it came to listen.
    pub async fn restart(&mut self, place: Option<String>) -> bool {
        match self {
            Self::Sidecar(sidecar) => {
                // A value that names no place has the places logged all the same.
                let place = place.unwrap_or_else(|| "nowhere:1".into());
                let config = sidecar.config().env("FAILPOINT", &place);
                sidecar.leave_addresses();
                sidecar.try_restart_as(config).await.is_ok()
            }
            Self::InProcess(service) => {
                service.restart().await;
                true
            }
        }
    }

    /// Kills it.
    pub async fn kill(&mut self) {
        match self {
            Self::Sidecar(sidecar) => sidecar.kill9().await,
            Self::InProcess(service) => service.child.kill().await.unwrap(),
        }
    }

    /// Waits until it is dead. Gives whether it was killed, and did not end by itself.
    pub async fn ended(&mut self) -> bool {
        let status = match self {
            Self::Sidecar(sidecar) => sidecar.ended().await,
            Self::InProcess(service) => service.child.wait().await.unwrap(),
        };
        status.signal() == Some(SIGKILL)
    }

    /// Operations that have not ended, as operators see them; `None` where it does not answer.
    pub async fn unfinished(&self) -> Option<Vec<Value>> {
        match self {
            Self::Sidecar(sidecar) => unfinished(&sidecar.admin()).await,
            Self::InProcess(_) => Some(Vec::new()),
        }
    }

    /// Where operators connect. The service has no such port, and nothing unfinished to order about.
    pub fn admin(&self) -> Client {
        match self {
            Self::Sidecar(sidecar) => sidecar.admin(),
            Self::InProcess(_) => self.client(),
        }
    }

    /// What it logged since this was last asked for.
    pub fn take_log(&self) -> Vec<String> {
        match self {
            Self::Sidecar(sidecar) => sidecar.take_log(),
            Self::InProcess(_) => Vec::new(),
        }
    }
}

/// A service that does the dual write itself.
pub struct InProcess {
    database: String,
    provider: String,
    address: String,
    child: Child,
    // It ends when this closes.
    _alive: ChildStdin,
}

impl InProcess {
    async fn restart(&mut self) {
        // It may be dead already.
        let _ = self.child.kill().await;
        let (_, port) = self.address.rsplit_once(':').unwrap();
        *self = Self::launch(self.database.clone(), self.provider.clone(), port).await;
    }

    async fn launch(database: String, provider: String, port: &str) -> Self {
        let host = tokio::task::spawn_blocking(|| Postgres::shared().host()).await.unwrap();
        let mut child = Command::new(python())
            .arg(repository("tests/service/inprocess.py"))
            .arg("--database-host")
            .arg(host)
            .args(["--database", &database, "--provider", &provider, "--port", port])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let alive = child.stdin.take().unwrap();
        let mut line = String::new();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let read = stdout.read_line(&mut line);
        tokio::time::timeout(PATIENCE * 2, read).await.expect("it starts").unwrap();
        let bound: Value = serde_json::from_str(&line).expect("it tells where it listens");
        let address = bound["listening"].as_str().unwrap().to_owned();
        Self { database, provider, address, child, _alive: alive }
    }
}
