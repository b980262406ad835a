//! Compares what was sent, what arrived, what was answered, and what was told the back end.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::case::{Case, ENCODINGS};
use super::servers::Arrival;
use super::wire::Answer;

/// A registration or deregistration: what a rule took a request for.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Effect {
    deletes: bool,
    /// The rule, by the name of the handler that it is for.
    rule: String,
    id: String,
    /// The agent of a create that takes it from the request.
    parent: String,
}

impl Effect {
    pub(crate) fn created(rule: &str, id: &str, parent: &str) -> Self {
        Self { deletes: false, rule: rule.into(), id: id.into(), parent: parent.into() }
    }

    pub(crate) fn deleted(rule: &str, argument: &str) -> Self {
        // As the server names the row that it shows to who asks for a name.
        let gone = if rule == "delete_key_by_name" { "gone-" } else { "" };
        let (rule, id) = (rule.into(), format!("{gone}{argument}"));
        Self { deletes: true, rule, id, parent: String::new() }
    }

    /// As the back end was told.
    pub(crate) fn told(deletes: bool, rule: &str, id: &str, parent: &str) -> Self {
        let parent = if rule == "create_webhook_key" { parent } else { "" };
        Self { deletes, ..Self::created(rule, id, parent) }
    }

    /// What must come of an arrival, where a handler ran that creates or deletes.
    fn of(arrival: &Arrival) -> Option<Self> {
        match arrival.handler.as_deref()? {
            handler @ ("create_key" | "create_webhook_key") => {
                Some(Self::created(handler, &arrival.case, &arrival.parent))
            }
            handler @ ("delete_key" | "delete_key_by_name") => {
                Some(Self::deleted(handler, &arrival.argument))
            }
            _ => None,
        }
    }
}

/// The credentials of a request, as the servers print them.
pub(crate) fn caller<'a>(header: impl Fn(&'static str) -> Option<&'a str>) -> String {
    let names = ["x-user-id", "authorization", "cookie", "x-auth-token"];
    names.map(|name| header(name).unwrap_or_default()).join("|")
}

/// What became of a case at the client.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) answers: Vec<Answer>,
    /// Whether the connection neither answered nor ended.
    pub(crate) hung: bool,
}

/// All that is to be compared.
pub(crate) struct Evidence<'a> {
    pub(crate) cases: &'a [Case],
    /// One for each case.
    pub(crate) outcomes: &'a [Outcome],
    pub(crate) arrivals: &'a [Arrival],
    pub(crate) effects: &'a BTreeSet<Effect>,
    /// Whom authn was asked about, where somebody asks.
    pub(crate) callers: Option<&'a BTreeSet<String>>,
}

/// The counts of a server.
#[derive(Clone, Default, Debug)]
pub(crate) struct Verdict {
    pub(crate) cases: usize,
    pub(crate) handlers: usize,
    pub(crate) intercepted: usize,
    pub(crate) refused: usize,
    /// Of the handlers, those that ran for a request of HTTP/2.
    pub(crate) http2: usize,
    /// Connections that became a `WebSocket`.
    pub(crate) tunnels: usize,
    /// Of the mismatches, those of requests of HTTP/2.
    pub(crate) mismatches_http2: usize,
    pub(crate) mismatches: Vec<String>,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cases, handlers, intercepted, refused, http2, mismatches, .. } = self;
        let mismatches = mismatches.len();
        write!(f, "cases={cases} handlers={handlers} intercepted={intercepted} ")?;
        write!(f, "refused={refused} h2={http2} mismatches={mismatches}")
    }
}

/// What the sidecar took an arrival for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Decision {
    Passed,
    Intercepted,
    /// A call of the sidecar itself.
    Own,
    Unknown,
}

impl Decision {
    fn of(arrival: &Arrival) -> Self {
        match arrival.encodings.as_str() {
            ENCODINGS => Self::Passed,
            "gzip" => Self::Intercepted,
            "identity" => Self::Own,
            _ => Self::Unknown,
        }
    }
}

impl Evidence<'_> {
    pub(crate) fn judge(&self) -> Verdict {
        let mut verdict = Verdict { cases: self.cases.len(), ..Verdict::default() };
        let owners: BTreeMap<&str, usize> = (self.cases.iter().enumerate())
            .flat_map(|(index, case)| case.allowed.iter().map(move |name| (name.as_str(), index)))
            .collect();
        let mut arrived: BTreeMap<usize, Vec<&Arrival>> = BTreeMap::new();
        let mut expected = BTreeSet::new();
        for arrival in self.arrivals.iter().filter(|arrival| Decision::of(arrival) != Decision::Own)
        {
            let Some(index) = owners.get(arrival.case.as_str()) else {
                // What a case hides has its name and a letter.
                let name = arrival.case.trim_end_matches(char::is_alphabetic);
                let case = self.cases.iter().find(|case| case.name == name);
                let sent = case.map_or_else(|| "?".into(), Case::shown);
                let what = format!("a request that was not sent: {}", told(arrival));
                verdict.mismatches.push(format!("{what}\n    {sent}"));
                continue;
            };
            arrived.entry(*index).or_default().push(arrival);
            expected.extend(Effect::of(arrival));
        }
        for (index, (case, outcome)) in self.cases.iter().zip(self.outcomes).enumerate() {
            let arrivals = arrived.remove(&index).unwrap_or_default();
            let complaints = self.complaints(case, outcome, &arrivals);
            for what in complaints {
                let statuses: Vec<_> = outcome.answers.iter().map(|answer| answer.status).collect();
                let told: Vec<_> = arrivals.iter().map(|arrival| told(arrival)).collect();
                let told = told.join("; ");
                let sent = case.shown();
                verdict.mismatches.push(format!("{what}: {statuses:?} {told}\n    {sent}"));
                verdict.mismatches_http2 += usize::from(case.is_http2());
            }
            let decided = |decision| {
                arrivals.iter().filter(|arrival| Decision::of(arrival) == decision).count()
            };
            verdict.intercepted += decided(Decision::Intercepted);
            let ran = arrivals.iter().filter_map(|arrival| Effect::of(arrival)).count();
            verdict.handlers += ran;
            verdict.http2 += if case.is_http2() { ran } else { 0 };
            let refused = outcome.answers.iter().all(|answer| answer.refusal);
            verdict.refused += usize::from(arrivals.is_empty() && refused);
            let switched = outcome.answers.iter().filter(|answer| answer.status == 101);
            verdict.tunnels += switched.count();
        }
        for effect in self.effects.difference(&expected) {
            verdict.mismatches.push(format!("an effect of no handler: {effect:?}"));
        }
        verdict
    }

    fn complaints(
        &self,
        case: &Case,
        outcome: &Outcome,
        arrivals: &[&Arrival],
    ) -> Vec<&'static str> {
        let mut complaints = Vec::new();
        let mut complain = |is: bool, what| {
            if is {
                complaints.push(what);
            }
        };
        let mut ran = BTreeSet::new();
        for arrival in arrivals {
            let decision = Decision::of(arrival);
            let effect = Effect::of(arrival);
            let names = |answer: &&Answer| answer.case.as_deref() == Some(&arrival.case);
            let answer = outcome.answers.iter().find(names);
            let good = answer.is_some_and(|answer| (200..300).contains(&answer.status));
            complain(decision == Decision::Unknown, "a request whose mark is lost");
            let upgraded = arrival.kind == "websocket" && case.may_upgrade();
            complain(arrival.kind != "http" && !upgraded, "an upgrade that nobody asked for");
            let Some(effect) = effect else { continue };
            complain(!ran.insert(&arrival.case), "a handler that ran twice");
            complain(decision == Decision::Passed, "a handler that ran without intercept");
            let told = self.effects.contains(&effect);
            complain(
                good && !told && decision == Decision::Intercepted,
                "a handler of another rule",
            );
            let read = |body: &Vec<u8>| arrival.body == latin1(body);
            complain(!case.body.as_ref().is_none_or(read), "another body");
            complain(!case.whole, "a handler that ran for less than a request");
            let asked = self.callers.is_none_or(|callers| callers.contains(&arrival.caller));
            // Who deletes is the service's affair; a deregistration needs no principal.
            complain(
                !asked && !effect.deletes,
                "a handler that ran for another caller than authn was asked about",
            );
        }
        let named: Vec<_> =
            outcome.answers.iter().filter_map(|answer| answer.case.as_ref()).collect();
        let mut allowed = case.allowed.iter();
        let in_order = named.iter().all(|name| allowed.any(|allowed| *name == allowed));
        complain(!in_order, "an answer to another request");
        complain(outcome.hung, "no answer");
        complaints
    }
}

/// Bytes as the servers print them.
fn latin1(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

fn told(arrival: &Arrival) -> String {
    let decision = Decision::of(arrival);
    let Arrival { case, method, path, handler, argument, .. } = arrival;
    let handler = handler.as_deref().unwrap_or("no handler");
    format!("{case}, {decision:?}: {method} {path:?} ran {handler}({argument:?})")
}
