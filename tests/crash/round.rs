//! One round of a lane: load, kills, recovery, and then the comparison.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use serde_json::Value;

use super::check::{Seen, Violation, check, waived};
use super::fault::arm;
use super::lane::Lane;
use super::ledger::Ledger;
use super::load::Load;
use super::names::{REPORTED, waits};
use super::person::Person;
use super::plan::{Kill, Plan};
use super::victim::Victim;
use crate::support::service::late::Late;
use crate::support::service::quirks::Quirks;

/// How long after the load a process that did not come to its place is killed.
const GRACE: Duration = Duration::from_millis(100);

/// What came of a round.
#[derive(Default, Debug)]
pub struct Outcome {
    /// Where, or how, the process was killed.
    pub kills: Vec<String>,
    /// How many requests were sent that a rule matches.
    pub operations: usize,
    /// How long each recovery took, in milliseconds, until only the passing of L was waited for.
    pub recoveries: Vec<u64>,
    /// Rows that an operator removed since nobody could tell whose they are.
    pub reported: usize,
    /// What is wrong.
    pub violations: Vec<Violation>,
    /// How the service broke L, so that nothing follows from what is wrong.
    pub void: Option<Late>,
    /// Places that the process came to.
    pub places: BTreeSet<String>,
    /// Whose keys they were.
    pub agent: String,
    /// What the clients know.
    pub ledger: Ledger,
    /// What the sidecar logged.
    pub log: Vec<String>,
}

/// How a wait for quiet ended.
enum Quiet {
    /// All operations have ended.
    Yes,
    /// The process died.
    Died,
    /// Some operations don't end.
    Not(Vec<Value>),
}

impl Lane {
    /// Runs a round: load, kills, recovery, and then the comparison.
    pub async fn round(&mut self, plan: &Plan) -> Outcome {
        let mut outcome = Outcome::default();
        let began = (Instant::now(), now());
        // A void round is run again, with an agent of its own.
        let name = format!("{}-{}-{}", self.name, plan.number, self.void.len());
        let agent = self.service.agent(&name).await;
        let load = self.clients(plan, name, agent.clone());
        let ledger = Arc::clone(&load.ledger);
        let service = Arc::clone(&self.service);
        let person = Person::new(plan, service, agent.clone(), Arc::clone(&ledger));
        plan.provider.iter().for_each(|fault| arm(&self.provider, *fault));
        if let Some(plant) = self.plant {
            plant.before(self);
        }
        let person = self.load(plan, load, person, &mut outcome).await;
        let over = Instant::now();
        let quiet = self.recover(plan, person, &mut outcome).await;
        // What was sent may take effect until now, also what was not worth a record.
        tokio::time::sleep(self.bounds.late_effect.saturating_sub(over.elapsed())).await;
        outcome.ledger = ledger.lock().unwrap().clone();
        outcome.operations = outcome.ledger.operations();
        if let Some(plant) = self.plant {
            plant.after(self, &agent, &outcome.ledger).await;
        }
        let mut seen = self.seen(&agent, &outcome.ledger, began.1).await;
        if let Quiet::Not(unfinished) = quiet {
            seen.unfinished = unfinished;
        }
        if began.0.elapsed() > self.bounds.kept() {
            seen.records = None;
        }
        self.compare(&seen, &mut outcome);
        // Later than what was seen: what was under way then, and is late, is told too.
        let late = self.service.late(began.0.elapsed(), self.bounds.late_effect).await;
        outcome.void = late.into_iter().next();
        if outcome.void.is_some() {
            self.void.insert(agent.clone());
        }
        outcome.agent = agent;
        self.take_log(&mut outcome);
        self.provider.register().reset();
        self.provider.deregister().reset();
        self.provider.clear_calls();
        outcome
    }

    fn clients(&self, plan: &Plan, agent_name: String, agent_id: String) -> Load {
        Load {
            client: self.victim.client(),
            service: Arc::clone(&self.service),
            agent_id,
            agent_name,
            everything: matches!(self.victim, Victim::Sidecar(..)),
            past: (!self.exclusive).then(|| self.service.client()),
            quarrel: plan.quarrel,
            slow: plan.slow,
            too_long: self.bounds.exchange.as_secs_f64() + 0.15,
            quirks: plan.quirks.clone(),
            ledger: Arc::default(),
            stop: Arc::default(),
        }
    }

    /// Notes what is wrong, and what the comparison at the end is not to find once more.
    fn compare(&mut self, seen: &Seen, outcome: &mut Outcome) {
        self.passed.extend(outcome.ledger.passed(&seen.rows));
        self.waived.extend(waived(&outcome.ledger, seen));
        self.waived.extend(seen.differing());
        self.waived.extend(outcome.ledger.aside(&seen.rows));
        outcome.violations = check(&outcome.ledger, seen);
    }

    /// The first part of a round: clients and a person, and the death of the process under them.
    async fn load(
        &mut self,
        plan: &Plan,
        mut load: Load,
        person: Person,
        outcome: &mut Outcome,
    ) -> Person {
        if let Kill::At(..) = plan.first
            && !self.victim.restart(place(plan.first)).await
        {
            // It had come to its place before it listened: there was something to recover.
            outcome.kills.push(told(plan.first));
        }
        load.client = self.victim.client();
        if plan.quirks != Quirks::default() {
            self.service.quirks(&load.agent_name, &plan.quirks).await;
        }
        let stop: Arc<AtomicBool> = Arc::clone(&load.stop);
        let mut clients = tokio::spawn(load.run(plan.clients, plan.requests, plan.seed));
        let person = tokio::spawn(person.work(self.victim.admin(), Arc::clone(&stop)));
        let struck = match plan.first {
            Kill::After(delay) => {
                tokio::time::sleep(delay).await;
                false
            }
            Kill::At(..) => {
                let over = async {
                    (&mut clients).await.unwrap();
                    tokio::time::sleep(GRACE).await;
                };
                tokio::select! {
                    killed = self.victim.ended() => {
                        assert!(killed, "it ended by itself: {:#?}", self.victim.take_log());
                        true
                    }
                    () = over => false,
                }
            }
        };
        stop.store(true, Ordering::Relaxed);
        if struck {
            outcome.kills.push(told(plan.first));
        } else {
            self.victim.kill().await;
            let how = if matches!(plan.first, Kill::At(..)) { "later" } else { "random" };
            outcome.kills.push(how.into());
        }
        if !clients.is_finished() {
            clients.await.unwrap();
        }
        person.await.unwrap()
    }

    /// The second part: restarts, with further deaths, until all is quiet.
    async fn recover(&mut self, plan: &Plan, mut person: Person, outcome: &mut Outcome) -> Quiet {
        // A place that it died at is not tried again.
        let struck = place(plan.first).is_some_and(|place| outcome.kills.contains(&place));
        let mut kills: Vec<_> = plan.again.iter().copied().map(Some).collect();
        kills.drain(..usize::from(struck));
        kills.push(None);
        for kill in kills {
            let began = Instant::now();
            if !self.victim.restart(kill.and_then(place)).await {
                outcome.kills.push(kill.map_or_else(|| "by itself".into(), told));
                continue;
            }
            if let Some(Kill::After(delay)) = kill {
                tokio::time::sleep(delay).await;
                self.victim.kill().await;
                outcome.kills.push("random".into());
                continue;
            }
            match self.settle(began, &mut person, outcome).await {
                Quiet::Died => outcome.kills.push(kill.map_or_else(|| "by itself".into(), told)),
                quiet => return quiet,
            }
        }
        gone()
    }

    /// Waits until all operations have ended.
    async fn settle(
        &mut self,
        began: Instant,
        person: &mut Person,
        outcome: &mut Outcome,
    ) -> Quiet {
        let mut recovered = false;
        loop {
            let pause = if began.elapsed() < Duration::from_millis(500) { 20 } else { 100 };
            tokio::select! {
                biased;
                killed = self.victim.ended() => return if killed { Quiet::Died } else { gone() },
                () = tokio::time::sleep(Duration::from_millis(pause)) => {}
            }
            let Some(unfinished) = self.victim.unfinished().await else { continue };
            let admin = self.victim.admin();
            let waits = |operation: &Value| operation["phase"].as_str().is_some_and(waits);
            if !recovered && unfinished.iter().all(waits) {
                recovered = true;
                let millis = u64::try_from(began.elapsed().as_millis()).unwrap();
                outcome.recoveries.push(millis);
            }
            if unfinished.is_empty() {
                return Quiet::Yes;
            }
            if unfinished.iter().all(|operation| operation["phase"] == REPORTED) {
                let client = self.victim.client();
                outcome.reported += person.clear_up(&client, &admin, &unfinished).await;
            } else {
                person.look(&admin, &unfinished).await;
            }
            if began.elapsed() > self.patience {
                return Quiet::Not(unfinished);
            }
        }
    }

    fn take_log(&self, outcome: &mut Outcome) {
        outcome.log = self.victim.take_log();
        for line in &outcome.log {
            let event: Value = serde_json::from_str(line).unwrap_or_default();
            if event["message"] == "came to a place" {
                outcome.places.insert(event["name"].as_str().unwrap().to_owned());
            }
        }
    }
}

/// It does not stay up.
fn gone() -> Quiet {
    Quiet::Not(vec!["the sidecar ended by itself".into()])
}

fn place(kill: Kill) -> Option<String> {
    match kill {
        Kill::At(name, times) => Some(format!("{name}:{times}")),
        Kill::After(_) => None,
    }
}

fn told(kill: Kill) -> String {
    place(kill).unwrap_or_else(|| "random".into())
}

/// Microseconds of Unix time.
fn now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    i64::try_from(since.as_micros()).unwrap()
}
