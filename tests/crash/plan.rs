//! What happens in a round: a function of the run's seed and the round's number.

use std::time::Duration;

use authz_sidecar::failpoint;
use fastrand::Rng;

use super::quirks::Faults;
use crate::support::service::quirks::Quirks;

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
    /// Whether many creates are answered after the sidecar's patience.
    pub slow: bool,
    /// How the process dies under load.
    pub first: Kill,
    /// How it dies in the recoveries after that, one after the other.
    pub again: Vec<Kill>,
    /// What goes wrong in the back end.
    pub provider: Vec<ProviderFault>,
    /// What a person orders beside the clients, and in recoveries.
    pub orders: Orders,
    /// What the service is like.
    pub quirks: Quirks,
}

/// What a person orders about operations that are unfinished.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Orders {
    None,
    /// Attempts.
    Retries,
    /// Attempts, and the end of some operations.
    Discards,
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
        let orders = match dice.u8(..4) {
            _ if !failpoints => Orders::None,
            0 => Orders::Discards,
            1 => Orders::Retries,
            _ => Orders::None,
        };
        let seed = mixed;
        let mut plan = Self {
            number,
            seed,
            clients,
            requests,
            quarrel,
            slow: false,
            first,
            again,
            provider,
            orders,
            quirks: Quirks::default(),
        };
        if let Kill::At(place, _) = first {
            plan.provoke(place);
        }
        plan
    }

    /// The same round with a service that has some quirks.
    pub fn with(self, faults: &Faults) -> Self {
        Self { quirks: faults.draw(self.seed), ..self }
    }

    /// Has a round come to a place that chance seldom comes to: undos, what people order about them,
    /// deregistrations that are refused at first, and answers that come late.
    fn provoke(&mut self, place: &str) {
        let refused =
            |of_register| ProviderFault { of_register, times: 4, what: Fails::Answers(403) };
        let (room, last) = place.rsplit_once('.').expect("a place has a dot in its name");
        self.slow = place == "create.late";
        match last {
            "retried" if self.orders == Orders::None => self.orders = Orders::Retries,
            "discarded" => self.orders = Orders::Discards,
            _ => {}
        }
        if matches!(room, "undo" | "stand_in") || matches!(last, "retried" | "discarded") {
            self.provider.insert(0, refused(true));
        }
        if room == "stand_in" {
            self.provider.insert(0, refused(false));
        }
    }
}

impl ProviderFault {
    fn roll(dice: &mut Rng) -> Self {
        let of_register = dice.u8(..3) > 0;
        let short = Duration::from_millis(dice.u64(50..600));
        let what = match dice.u8(..9) {
            0 => Fails::Answers(503),
            1 | 2 => Fails::Answers(403),
            3 => Fails::AppliesAndAnswers(500),
            4 => Fails::Closes { applied: false },
            5 => Fails::Closes { applied: true },
            6 if of_register => Fails::Lands(short),
            _ => Fails::Delays(short),
        };
        Self { of_register, times: dice.usize(1..=4), what }
    }
}
