//! What the environment asks of a run, and what the run tells of rounds that went wrong.

use std::path::PathBuf;
use std::str::FromStr;

use super::lane::Lane;
use super::plan::Plan;
use super::quirks::Faults;
use super::round::Outcome;

/// What the environment asks for.
#[derive(Clone)]
pub struct Run {
    /// Kills, those of earlier runs on the same log included.
    pub kills: usize,
    /// Most seconds.
    pub seconds: u64,
    pub seed: u64,
    /// Only this round, again and again.
    pub round: Option<u64>,
    pub lanes: u64,
    /// Where logs and what is left of failed rounds go.
    pub directory: PathBuf,
    /// Whether a service that does the dual write itself takes the sidecar's place.
    pub control: bool,
    /// Whether the sidecar may take it that nobody else writes (`journal.exclusive_writer`).
    pub exclusive: bool,
    /// Whether the journal is in PostgreSQL.
    pub postgres: bool,
    /// What may go wrong with the service in a round, besides what always may.
    pub faults: Faults,
}

impl Run {
    /// With defaults for all that is not asked for.
    pub fn from_environment(directory: PathBuf) -> Self {
        Self {
            kills: from_environment("KILLS").unwrap_or(200),
            seconds: from_environment("SECONDS_AT_MOST").unwrap_or(u64::MAX),
            seed: from_environment("SEED").unwrap_or_else(|| fastrand::u64(1..1_000_000)),
            round: from_environment("ROUND"),
            lanes: from_environment("LANES").unwrap_or(8),
            directory,
            control: std::env::var_os("CONTROL").is_some(),
            postgres: from_environment("JOURNAL") == Some("postgres".to_owned()),
            exclusive: from_environment("EXCLUSIVE") != Some("no".to_owned()),
            faults: named("FAULTS").unwrap_or_default(),
        }
    }

    /// Where its rounds are written to, and those of a control next to them.
    pub fn log(&self) -> PathBuf {
        let kind = if self.control { "control" } else { "log" };
        self.directory.join(format!("{}.{kind}", self.name()))
    }

    fn name(&self) -> String {
        let postgres = if self.postgres { "-postgres" } else { "" };
        let others = if self.exclusive { "" } else { "-others" };
        let faults = if self.faults.are_old() { "" } else { &format!("-{}", self.faults) };
        format!("{}{postgres}{others}{faults}", self.seed)
    }
}

/// What a variable says, if it is set and can be read.
pub fn from_environment<T: FromStr>(name: &str) -> Option<T> {
    std::env::var(name).ok()?.parse().ok()
}

/// As [`from_environment`]; a name that is misspelt must not have another run.
pub fn named<T: FromStr<Err = String>>(name: &str) -> Option<T> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|error| panic!("{name}: {error}")))
}

/// Tells of a void or failed round, and keeps what can be looked at of what is wrong.
pub fn tell(run: &Run, plan: &Plan, outcome: &Outcome, lane: &Lane) {
    let round = run.round.unwrap_or(plan.number);
    let kind = if let Some(late) = &outcome.void {
        println!("void round {round}, to be run again: the service broke L: {late}");
        "void"
    } else {
        "failed"
    };
    if outcome.violations.is_empty() {
        return;
    }
    let kept = run.directory.join(format!("{kind}-{}-{round}", run.name()));
    std::fs::create_dir_all(&kept).unwrap();
    std::fs::write(kept.join("log"), outcome.log.join("\n")).unwrap();
    std::fs::write(kept.join("outcome"), format!("{plan:#?}\n{outcome:#?}")).unwrap();
    lane.keep(&kept);
    println!(
        "{} round {round}: killed at {:?}, with {:?}",
        kind.to_uppercase(),
        outcome.kills,
        plan.quirks
    );
    for violation in &outcome.violations {
        println!("  {violation}");
    }
    println!("  kept in {}", kept.display());
    let postgres = if run.postgres { "JOURNAL=postgres " } else { "" };
    let exclusive = if run.exclusive { "" } else { "EXCLUSIVE=no " };
    let faults = if run.faults.are_old() { "" } else { &format!(" --faults {}", run.faults) };
    println!(
        "  again: {postgres}{exclusive}SEED={} ROUND={round} scripts/crash.sh{faults}",
        run.seed
    );
}
