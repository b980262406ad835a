//! One PostgreSQL for all that runs from this checkout at the same time.
//!
//! Whoever holds the lease keeps it up; `tests/service/cluster.py` ends it after the last, however
//! that one ended. See there.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use super::{eventually, repository};

/// A PostgreSQL that runs as long as this process.
pub struct Postgres {
    directory: PathBuf,
    /// Where it listens besides its socket.
    port: Option<u16>,
    _lease: File,
}

impl Postgres {
    /// The one of this checkout, started where it isn't running.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Postgres> = OnceLock::new();
        // Not below the checkout: that may be where PostgreSQL's user can't go, and a socket's
        // path is short. One directory for each checkout.
        let checkout = blake3::hash(env!("CARGO_MANIFEST_DIR").as_bytes()).to_hex();
        let name = format!("authz-sidecar-tests-{}", &checkout[..12]);
        SHARED.get_or_init(|| Self::start(std::env::temp_dir().join(name)))
    }

    /// The one of that directory, which PostgreSQL's user must be able to reach.
    pub fn start(directory: PathBuf) -> Self {
        Self::at(directory, None)
    }

    /// One that listens on that port of 127.0.0.1 too, with TLS and for passwords.
    pub fn with_tls(directory: PathBuf, port: u16) -> Self {
        Self::at(directory, Some(port))
    }

    fn at(directory: PathBuf, port: Option<u16>) -> Self {
        std::fs::create_dir_all(&directory).unwrap();
        // Waits while a keeper that got the lease is ending its server.
        let lease = open(&directory.join("lease"));
        lease.lock_shared().unwrap();
        let starting = open(&directory.join("starting"));
        starting.lock().unwrap();
        let running = Self { directory, port, _lease: lease };
        if !running.answers() {
            running.keep();
        }
        running
    }

    /// The directory of its socket: user `postgres`, no password.
    pub fn host(&self) -> PathBuf {
        self.directory.join("s")
    }

    /// Ends the server with that signal, `INT` or `QUIT`: its fast and its immediate shutdown.
    pub async fn end(&self, signal: &str) {
        File::create(self.directory.join("down")).unwrap();
        let file = std::fs::read_to_string(self.directory.join("data/postmaster.pid")).unwrap();
        let pid = file.lines().next().unwrap();
        let kill = Command::new("kill").args([&format!("-{signal}"), pid]).status().unwrap();
        assert!(kill.success());
        let process = Path::new("/proc").join(pid);
        eventually("PostgreSQL ends", || async { (!process.exists()).then_some(()) }).await;
    }

    /// Has the server that was ended started again, on its data and at its place.
    pub async fn start_again(&self) {
        std::fs::remove_file(self.directory.join("down")).unwrap();
        let ready = async || self.answers().then_some(());
        eventually("PostgreSQL listens again", ready).await;
    }

    fn answers(&self) -> bool {
        let socket = format!(".s.PGSQL.{}", self.port.unwrap_or(5432));
        std::os::unix::net::UnixStream::connect(self.host().join(socket)).is_ok()
    }

    fn keep(&self) {
        let log = File::create(self.directory.join("log")).unwrap();
        let mut keeper = Command::new(python())
            .arg(repository("tests/service/cluster.py"))
            .arg(&self.directory)
            .args(self.port.map(|port| port.to_string()))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            // It outlives whoever started it, and what ends that one's group.
            .process_group(0)
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(keeper.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let log = self.directory.join("log");
        assert_eq!(line.trim(), "ready", "PostgreSQL didn't start: see {}", log.display());
    }
}

/// The project's Python, with what `tests/service/requirements.txt` pins.
pub fn python() -> PathBuf {
    let python = repository(".venv/bin/python");
    assert!(
        python.exists(),
        "no {}: run scripts/test.sh, or python3 -m venv .venv && \
         .venv/bin/pip install -r tests/service/requirements.txt",
        python.display()
    );
    python
}

fn open(path: &Path) -> File {
    OpenOptions::new().create(true).append(true).open(path).unwrap()
}
