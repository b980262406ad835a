//! What happens in a round: a function of the run's seed and the round's number.

use std::time::Duration;

use authz_sidecar::failpoint;
use fastrand::Rng;

/// One round.
#[derive(Clone, PartialEq, Debug)]
pub struct Plan {
    /// Its number.
    pub number: u64,
    /// Of its dice.
    pub seed: u64,
    /// How many clients there are, and how many requests each makes.
    pub clients: u64,
    pub requests: u64,
    /// Whether clients fight over one name, some of them past registration, and much goes wrong:
    /// then there are rows of which nobody can prove whose they are.
    pub quarrel: bool,
    /// How the process dies under load.
    pub first: Kill,
    /// How it dies in the recoveries after that, one after the other.
    pub again: Vec<Kill>,
    /// What goes wrong in the back end.
    pub provider: Vec<ProviderFault>,
}

/// How a process dies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kill {
    /// When it comes to this place for that many times; or soon after the load, or not at all in
    /// a recovery, where it does not.
    At(&'static str, u32),
    /// So long after it began.
    After(Duration),
}

/// A fault of the back end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ProviderFault {
    /// Whether it is one of `register` or of `deregister`.
    pub of_register: bool,
    /// How often it happens.
    pub times: usize,
    /// What happens.
    pub what: Fails,
}

/// What the back end does wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fails {
    /// Answers so, without effect.
    Answers(u16),
    /// Takes effect and answers so.
    AppliesAndAnswers(u16),
    /// Closes the connection, before or after the effect.
    Closes { applied: bool },
    /// Takes its time.
    Delays(Duration),
    /// Never answers; the effect lands so much later.
    Lands(Duration),
}

impl Plan {
    /// The plan of a round. The places take turns in three rounds of four, at the first hit, then
    /// the second, then the third; the instant is random in the fourth. Each sixteenth is a quarrel.
    pub fn new(seed: u64, number: u64, failpoints: bool) -> Self {
        let mixed = (seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15)).wrapping_add(number);
        let mut dice = Rng::with_seed(mixed);
        let clients = dice.u64(2..=5);
        let requests = dice.u64(2..=5);
        let quarrel = failpoints && number % 16 == 15;
        let first = match number % 4 {
            _ if quarrel => {
                let stages = ["before", "written", "committed"];
                let stage = stages[usize::try_from(number / 16 % 3).unwrap()];
                let name = format!("journal.{stage}.reported");
                let place = failpoint::ALL.into_iter().find(|place| *place == name);
                Kill::At(place.expect("such a place"), 1)
            }
            rest @ 0..3 if failpoints => {
                let turn = number / 4 * 3 + rest;
                let places = failpoint::ALL.len() as u64;
                let place = usize::try_from(turn % places).unwrap();
                let times = u32::try_from(turn / places % 3).unwrap() + 1;
                Kill::At(failpoint::ALL[place], times)
            }
            _ => Kill::After(Duration::from_millis(dice.u64(1..400))),
        };
        let mut again = Vec::new();
        // A place that the load does not come to, the recovery may.
        if let Kill::At(name, _) = first {
            again.push(Kill::At(name, 1));
        }
        while dice.u8(..100) < 40 {
            let place = failpoint::ALL[dice.usize(..failpoint::ALL.len())];
            again.push(if failpoints && dice.bool() {
                Kill::At(place, dice.u32(1..=2))
            } else {
                Kill::After(Duration::from_millis(dice.u64(1..500)))
            });
        }
        let faults = if dice.bool() { dice.u8(1..=2) } else { 0 };
        let provider = (0..faults).map(|_| ProviderFault::roll(&mut dice)).collect();
        Self { number, seed: mixed, clients, requests, quarrel, first, again, provider }
    }
}

impl ProviderFault {
    fn roll(dice: &mut Rng) -> Self {
        let of_register = dice.u8(..3) > 0;
        let short = Duration::from_millis(dice.u64(50..600));
        let what = match dice.u8(..8) {
            0 => Fails::Answers(503),
            1 if of_register => Fails::Answers(403),
            2 => Fails::AppliesAndAnswers(500),
            3 => Fails::Closes { applied: false },
            4 => Fails::Closes { applied: true },
            5 if of_register => Fails::Lands(short),
            _ => Fails::Delays(short),
        };
        Self { of_register, times: dice.usize(1..=4), what }
    }
}
