//! Whether the service's effects came in time: see `tests/service/delays.py`.

use std::fmt;
use std::time::Duration;

use tokio::process::Command;

use super::Service;

/// What took effect later than it may, or has not yet.
#[derive(Clone, PartialEq, Debug, serde::Deserialize)]
pub struct Late {
    /// The request; or that the service stood still.
    pub what: String,
    /// Seconds since it was sent.
    pub took: f64,
    /// Those of them in which it waited for a connection to the database.
    pub waited: f64,
    /// For how many seconds faults and settings had it wait.
    pub asked: f64,
}

impl fmt::Display for Late {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, took, waited, asked } = self;
        write!(
            f,
            "{what} took {took:.1} s: {waited:.1} s for a connection to its database, {asked:.1} s \
             asked for"
        )
    }
}

impl Service {
    /// What changes something and took longer than `bound`, from being sent to its commit, without
    /// being asked to: of what was committed in the last `within`, and of what is under way. So
    /// does a time in which the service stood still. The longest first.
    pub async fn late(&self, within: Duration, bound: Duration) -> Vec<Late> {
        let (within, bound) = (within.as_secs_f64(), bound.as_secs_f64());
        let target = format!("/late?within={within}&bound={bound}");
        serde_json::from_value(self.ask("GET", &target, None).await).unwrap()
    }

    /// Sends it a signal: `STOP`, `CONT`.
    pub async fn signal(&self, name: &str) {
        let pid = self.process.child.id().unwrap().to_string();
        let sent = Command::new("kill").args([&format!("-{name}"), &pid]).status().await.unwrap();
        assert!(sent.success());
    }
}
