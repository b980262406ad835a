//! The quirks of the service that a run may have, and those of them that a round draws.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use fastrand::Rng;

use super::bounds::Bounds;
use crate::support::service::quirks::Quirks;
use crate::support::sidecar::Config;

/// A quirk, as the command line names it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Quirk {
    /// Creates are sent again with their idempotency key, and get their first answer.
    Replay,
    /// Commits and answers come late, up to L.
    Late,
    /// Reads are behind.
    Lag,
    /// For some time most requests are answered 500.
    Storm,
}

const ALL: [(&str, Quirk); 4] = [
    ("replay", Quirk::Replay),
    ("late", Quirk::Late),
    ("lag", Quirk::Lag),
    ("storm", Quirk::Storm),
];

/// Those that rounds may draw, besides the faults that every run has.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Faults(BTreeSet<Quirk>);

impl FromStr for Faults {
    type Err = String;

    /// From `old` (none of them), `new` (all), or names with commas between.
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "old" => Ok(Self::default()),
            "new" => Ok(Self(ALL.iter().map(|(_, quirk)| *quirk).collect())),
            list => list.split(',').map(quirk).collect::<Result<_, _>>().map(Self),
        }
    }
}

/// The quirk of that name.
fn quirk(name: &str) -> Result<Quirk, String> {
    let known = ALL.iter().find(|(known, _)| *known == name);
    known.map(|(_, quirk)| *quirk).ok_or_else(|| format!("no fault is called {name:?}"))
}

/// As it is read.
impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = ALL.iter().filter(|(_, quirk)| self.0.contains(quirk)).map(|(name, _)| *name);
        match self.0.len() {
            0 => write!(f, "old"),
            4 => write!(f, "new"),
            _ => write!(f, "{}", names.collect::<Vec<_>>().join(",")),
        }
    }
}

impl Faults {
    /// Whether there are none.
    pub fn are_old(&self) -> bool {
        self.0.is_empty()
    }

    /// A configuration that tells of what the service does with these. Where its answers may be repeated, creates with
    /// a replay key are served only if registering a row twice does no harm.
    pub fn configure(&self, config: Config) -> Config {
        if !self.0.contains(&Quirk::Replay) {
            return config;
        }
        let replays = |config: Config, rule: &&str| {
            config.rule(rule, "/replay_headers", vec!["idempotency-key"])
        };
        let creates = ["create-key", "create-webhook-key"];
        creates.iter().fold(config, replays).set("/authz/register", "keeps_owner")
    }

    /// Those of a round: each or not, and one at least where there are any.
    pub fn draw(&self, seed: u64) -> Quirks {
        if self.are_old() {
            return Quirks::default();
        }
        // Of their own, so that all else in a round is the same with and without them.
        let mut dice = Rng::with_seed(seed.wrapping_mul(41));
        let mut drawn: Vec<_> = self.0.iter().copied().filter(|_| dice.bool()).collect();
        if drawn.is_empty() {
            drawn.extend(dice.choice(self.0.iter().copied()));
        }
        let bounds = Bounds::default();
        let mut quirks = Quirks { seed: dice.u64(..1 << 32), ..Quirks::default() };
        for quirk in drawn {
            match quirk {
                Quirk::Replay => quirks.replays = true,
                // A machine that is slow must not make it later than L.
                Quirk::Late => quirks.late = bounds.late_effect.mul_f64(0.8).as_secs_f64(),
                Quirk::Lag => quirks.lag = bounds.read_lag.as_secs_f64(),
                Quirk::Storm => quirks.storms = storms(&mut dice),
            }
        }
        quirks
    }
}

/// Some storms in the seconds of the load and of the recovery.
fn storms(dice: &mut Rng) -> Vec<(f64, f64)> {
    let storm = |dice: &mut Rng| {
        let begin = 3.0 * dice.f64();
        (begin, begin + 0.2 + dice.f64())
    };
    (0..dice.u8(1..=3)).map(|_| storm(dice)).collect()
}
