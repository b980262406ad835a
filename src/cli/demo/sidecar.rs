//! The sidecar of the demo: this same binary, in a process of its own that can be killed.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use serde_json::Value;
use tokio::process::{Child, Command};
use tokio::time::Instant;

use super::Trouble;
use super::world::World;
use crate::app::Addresses;

/// The example configuration: the demo runs with its rules.
const EXAMPLE: &str = include_str!("../../../config/agentex.yaml");

/// How long the sidecar may take to listen, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(15);

/// How often its log is looked at meanwhile.
const POLL: Duration = Duration::from_millis(10);

/// L of the demo: how late a request may still take effect.
pub(super) const LATE_EFFECT: Duration = Duration::from_secs(3);

/// A running sidecar; dropping it kills it.
pub(super) struct Sidecar {
    child: Child,
    addresses: Addresses,
}

impl Sidecar {
    /// Starts the sidecar before `world`, on the journal that is there, and waits until it
    /// listens.
    pub(super) async fn start(world: &World) -> Result<Self, Trouble> {
        let stuck = |error: io::Error| Trouble::Stuck(format!("the sidecar can't start: {error}"));
        let config = world.directory().join("config.yaml");
        fs::write(&config, configuration(world)).map_err(stuck)?;
        let log = Log::open(world).map_err(stuck)?;
        let mut command = Command::new(std::env::current_exe().map_err(stuck)?);
        command.arg("run").arg(&config).stdin(Stdio::null()).stdout(Stdio::null());
        // Settings of the user's own sidecar are not meant for this one.
        let ours = std::env::vars_os().map(|(name, _)| name);
        for name in ours.filter(|name| name.to_string_lossy().starts_with("AUTHZ_SIDECAR_")) {
            command.env_remove(name);
        }
        let log_end = log.file.try_clone().map_err(stuck)?;
        let child = command.stderr(log_end).kill_on_drop(true).spawn().map_err(stuck)?;
        log.wait_for_addresses(child).await
    }

    /// Where it listens.
    pub(super) fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// Its process id, while it runs.
    pub(super) fn pid(&self) -> u32 {
        self.child.id().unwrap_or_default()
    }

    /// Kills it with SIGKILL; it is gone when this returns.
    pub(super) async fn kill(&mut self) -> Result<(), Trouble> {
        let killed = self.child.kill().await;
        killed.map_err(|error| Trouble::Stuck(format!("the sidecar can't be killed: {error}")))
    }

    /// Waits until it has died, and tells how.
    pub(super) async fn died(&mut self) -> Result<ExitStatus, Trouble> {
        let died = self.child.wait().await;
        died.map_err(|error| Trouble::Stuck(format!("the sidecar can't be watched: {error}")))
    }
}

/// The sidecar's log: a file, so that nobody has to read it lest the sidecar should block.
struct Log {
    path: PathBuf,
    file: File,
    /// How long it was before this start.
    before: usize,
}

impl Log {
    fn open(world: &World) -> io::Result<Self> {
        let path = world.directory().join("sidecar.log");
        let file = OpenOptions::new().create(true).append(true).open(&path)?;
        let before = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
        Ok(Self { path, file, before })
    }

    async fn wait_for_addresses(&self, mut child: Child) -> Result<Sidecar, Trouble> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let text = self.written();
            if let Some(addresses) = text.lines().find_map(addresses) {
                return Ok(Sidecar { child, addresses });
            }
            let dead = child.try_wait().ok().flatten();
            if dead.is_some() || Instant::now() >= deadline {
                let how = dead.map_or("it does not listen".to_owned(), |status| status.to_string());
                let said = text.lines().last().unwrap_or("nothing");
                return Err(Trouble::Stuck(format!("the sidecar: {how}; its last words: {said}")));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    fn written(&self) -> String {
        let bytes = fs::read(&self.path).unwrap_or_default();
        String::from_utf8_lossy(bytes.get(self.before..).unwrap_or_default()).into_owned()
    }
}

/// The addresses, if `line` is the one with which the sidecar says that it listens.
fn addresses(line: &str) -> Option<Addresses> {
    let line: Value = serde_json::from_str(line).ok()?;
    let field = |name| line.get(name)?.as_str();
    if field("message") != Some("listening") {
        return None;
    }
    let address = |name| field(name)?.parse::<SocketAddr>().ok();
    Some(Addresses {
        listen: address("listen")?,
        health: address("health")?,
        admin: address("admin")?,
    })
}

/// The rules of the example, and around them what fits the demo.
fn configuration(world: &World) -> String {
    let rules = EXAMPLE.find("\nrules:").and_then(|at| EXAMPLE.get(at..)).unwrap_or_default();
    // The demo's service has made or removed a row when it answers.
    let rules = rules.replace("\n    match:", "\n    commits: before_answer\n    match:");
    let (service, back_end) = (world.service(), world.back_end());
    let late = LATE_EFFECT.as_secs();
    // A JSON string is a YAML string, whatever is in the path.
    let journal = Value::from(format!("sqlite:{}", world.directory().join("journal.db").display()));
    format!(
        "# Written by `authz-sidecar demo`. Its times are short, so that the demo is: in production
# leave `bounds` and `authz.deadline` at their defaults.

listen: 127.0.0.1:0
health: 127.0.0.1:0
admin: 127.0.0.1:0
upstream: http://{service}
forwarded: {{ trust: [] }}
principal:
  authn: {{ url: \"http://{back_end}/v1/authn\" }}
  headers: [x-user-id]
  store: [principal_type, user_id, account_id]
  deregister_as: {{ principal_type: service, service_account_id: authz-sidecar }}
authz:
  agentex: {{ url: \"http://{back_end}\" }}
  deadline: 1s
journal:
  url: {journal}
  exclusive_writer: true      # every create of the demo's keys service comes through here
bounds:
  late_effect: {late}s             # default 120s
  exchange: {late}s                # default 30s
  retry: 500ms                # default 10s
{rules}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[tokio::test]
    async fn the_configuration_is_valid_and_has_the_examples_rules() {
        let world = World::open().await.unwrap();
        let written = Config::parse("demo", &configuration(&world), []).unwrap();
        let example = Config::parse("example", EXAMPLE, []).unwrap();
        let names = |config: &Config| {
            config.rules.iter().map(|rule| rule.name().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(names(&written), names(&example));
        assert!(!names(&written).is_empty());
        assert!(written.journal.exclusive_writer);
    }

    #[test]
    fn only_the_line_that_says_so_tells_the_addresses() {
        let line = |message: &str, admin: &str| {
            format!(
                r#"{{"level":"INFO","message":"{message}","listen":"127.0.0.1:1","health":"127.0.0.1:2","admin":"{admin}"}}"#
            )
        };
        let told = addresses(&line("listening", "127.0.0.1:3")).unwrap();
        assert_eq!((told.listen.port(), told.health.port(), told.admin.port()), (1, 2, 3));
        assert_eq!(addresses(&line("stopping", "127.0.0.1:3")), None);
        assert_eq!(addresses(&line("listening", "nowhere")), None);
        assert_eq!(addresses("listening"), None);
    }
}
