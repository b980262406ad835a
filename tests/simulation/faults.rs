//! What can go wrong with a call, and how likely that is in one schedule.

use std::time::Duration;

use fastrand::Rng;

/// How likely each fault of one neighbour is. A schedule has some of them, seldom all: a fault that
/// always strikes hides what the others would find.
#[derive(Clone, Debug, Default)]
pub(crate) struct Faults {
    /// No connection: nothing is sent.
    pub(crate) refuse: f64,
    /// The request, or the answer, is lost.
    pub(crate) lose: f64,
    /// The request or the answer takes longer than anybody waits, up to L.
    pub(crate) late: f64,
    /// 5xx, before or after the work was done.
    pub(crate) fail: f64,
    /// An answer that nothing can be made of, or that refuses.
    pub(crate) odd: f64,
    /// The call arrives twice, the second time up to L later.
    pub(crate) twice: f64,
    /// The answer comes before the effect.
    pub(crate) lazy: f64,
    /// A way, or the work, takes a time that is drawn log-uniformly, up to the declared bound.
    pub(crate) slow: f64,
    /// Whether an effect may come after the answer where something is slow.
    pub(crate) commits_late: bool,
    /// Nothing works in this time.
    pub(crate) outage: Option<(Duration, Duration)>,
}

/// How one call goes.
#[derive(Clone, Debug)]
pub(crate) struct Manner {
    pub(crate) request: Request,
    pub(crate) answer: Answer,
    /// A second arrival, this long after the call.
    pub(crate) again: Option<Duration>,
    pub(crate) work: Work,
    /// How long after the work its effect is there to be seen.
    pub(crate) effect: Duration,
}

/// What becomes of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Request {
    /// Nothing of it leaves.
    Refused,
    /// It never arrives.
    Lost,
    /// It arrives this long after it was sent.
    Arrives(Duration),
}

/// What becomes of an answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Answer {
    /// It comes this long after the work.
    Comes(Duration),
    /// The connection breaks, this long after the call.
    Cut(Duration),
    /// It never comes, and nothing breaks.
    Never,
}

/// What the neighbour does about a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Work {
    /// It does it.
    Done,
    /// It fails before.
    FailsBefore,
    /// It fails after.
    FailsAfter,
    /// It answers something odd; which, the number says.
    Odd(u8),
}

impl Faults {
    /// Some faults, each of its own strength, or none.
    pub(crate) fn any(rng: &mut Rng, during: Duration) -> Self {
        let some = |rng: &mut Rng| if rng.bool() { 0.0 } else { strength(rng) };
        Self {
            refuse: some(rng),
            lose: some(rng),
            late: some(rng),
            fail: some(rng),
            odd: some(rng),
            twice: some(rng),
            lazy: some(rng),
            slow: 0.0,
            commits_late: false,
            outage: (rng.u8(..) < 40).then(|| {
                let from = millis(rng, 0, during.as_millis());
                (from, from + millis(rng, 20, 1500))
            }),
        }
    }

    /// Beyond the limits is a registration that was acknowledged and has its effect a second time.
    pub(crate) fn delivered_once(self) -> Self {
        Self { twice: 0.0, ..self }
    }

    /// Whether what is answered has had its effect by then.
    pub(crate) fn commit_before_answers(&self) -> bool {
        !self.commits_late && self.lazy == 0.0 && self.twice == 0.0
    }

    /// How a call that begins at `now` goes. Nothing takes effect later than `limit` after it.
    pub(crate) fn draw(&self, rng: &mut Rng, now: Duration, limit: Duration) -> Manner {
        let out = self.outage.is_some_and(|(from, to)| (from..to).contains(&now));
        let mut manner = Manner::fine(rng);
        let strikes = |rng: &mut Rng, likely: f64| likely > 0.0 && rng.f64() < likely;
        if out && rng.bool() || strikes(rng, self.refuse) {
            manner.request = Request::Refused;
        } else if out {
            manner.request = Request::Lost;
            manner.answer = broken(rng);
        } else if strikes(rng, self.lose) {
            if rng.bool() {
                manner.request = Request::Lost;
            }
            manner.answer = broken(rng);
        } else if strikes(rng, self.late) {
            manner.request = Request::Arrives(millis(rng, 20, limit.as_millis()));
            if rng.u8(..) < 100 {
                manner.answer = Answer::Never;
            }
        }
        if strikes(rng, self.fail) {
            manner.work = if rng.bool() { Work::FailsBefore } else { Work::FailsAfter };
        } else if strikes(rng, self.odd) {
            manner.work = Work::Odd(rng.u8(..));
        }
        if strikes(rng, self.twice) {
            manner.again = Some(millis(rng, 1, limit.as_millis()));
        }
        if self.slow > 0.0 {
            self.slow_down(&mut manner, rng, limit);
        }
        if strikes(rng, self.lazy) {
            let Request::Arrives(after) = manner.request else { return manner };
            let left = limit.saturating_sub(after);
            manner.effect = millis(rng, 1, 40).min(left);
        }
        // What arrives a second time is done in time, too.
        manner.again = manner.again.map(|again| again.min(limit.saturating_sub(manner.effect)));
        manner
    }

    /// Makes some parts of a call slow. Way and work together take no longer than `limit`; the way
    /// back may take as long again.
    fn slow_down(&self, manner: &mut Manner, rng: &mut Rng, limit: Duration) {
        let strikes = |rng: &mut Rng| rng.f64() < self.slow;
        let Request::Arrives(mut way) = manner.request else { return };
        if strikes(rng) {
            way = log_uniform(rng, limit);
            manner.request = Request::Arrives(way);
        }
        if strikes(rng) {
            manner.effect = log_uniform(rng, limit.saturating_sub(way));
        }
        if let Answer::Comes(back) = manner.answer {
            let back = if strikes(rng) { log_uniform(rng, limit) } else { back };
            let waits =
                if self.commits_late && rng.bool() { Duration::ZERO } else { manner.effect };
            manner.answer = Answer::Comes(waits + back);
        }
    }
}

impl Manner {
    /// Everything works, within some milliseconds.
    pub(crate) fn fine(rng: &mut Rng) -> Self {
        Self {
            request: Request::Arrives(millis(rng, 0, 6)),
            answer: Answer::Comes(millis(rng, 0, 6)),
            again: None,
            work: Work::Done,
            effect: Duration::ZERO,
        }
    }
}

fn broken(rng: &mut Rng) -> Answer {
    if rng.bool() { Answer::Never } else { Answer::Cut(millis(rng, 1, 60)) }
}

/// A time up to `longest`, each order of magnitude as likely as any other; sometimes `longest`.
pub(crate) fn log_uniform(rng: &mut Rng, longest: Duration) -> Duration {
    let (shortest, longest) = (Duration::from_micros(100), longest);
    if longest <= shortest || rng.u8(..) < 4 {
        return longest;
    }
    let spread = (longest.as_secs_f64() / shortest.as_secs_f64()).ln();
    let drawn = shortest.mul_f64((rng.f64() * spread).exp());
    Duration::from_micros(u64::try_from(drawn.as_micros()).expect("a short time")).min(longest)
}

pub(crate) fn strength(rng: &mut Rng) -> f64 {
    *rng.choice(&[0.03, 0.1, 0.3, 0.6]).expect("there are some")
}

/// A time between the two, in milliseconds, both ends counted.
pub(crate) fn millis(rng: &mut Rng, from: u64, to: impl TryInto<u64>) -> Duration {
    let to = to.try_into().unwrap_or(u64::MAX).max(from);
    Duration::from_millis(rng.u64(from..=to))
}
