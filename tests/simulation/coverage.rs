//! Coverage: which event of one request fell between which two events of another that may concern
//! the same row. What a run never saw in that order, it did not try.

use std::collections::BTreeSet;
use std::fmt;

use crate::wire::Asked;
use crate::world::State;

tokio::task_local! {
    /// Which request of a client the present task serves.
    pub(crate) static SERVED: u16;
}

/// Something that happens to the request of a client, or on its behalf.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Event {
    /// The journal knows of it.
    Prepared,
    /// It was sent to the service.
    Sent,
    /// It came there.
    Arrived,
    /// Its effect is there to be seen.
    Committed,
    /// The sidecar has the service's answer.
    Answered,
    /// The back end has the registration.
    Registered,
    /// The back end has it no more.
    Deregistered,
    /// A read by the sidecar that may show its row, or that of its rivals.
    Looked,
    /// Nothing is left to be done for it.
    Ended,
}

/// What a request is for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Act {
    Create,
    Delete,
}

/// One event of one kind of request.
type Moment = (Act, Event);

/// The orders that were seen.
#[derive(Clone, Default, Debug)]
pub(crate) struct Pairs {
    /// An event, and the two events of another request between which it fell.
    seen: BTreeSet<(Moment, Act, Event, Event)>,
    /// What happened at all.
    moments: BTreeSet<Moment>,
    /// Which event followed upon which, of one request.
    steps: BTreeSet<(Act, Event, Event)>,
}

impl Pairs {
    /// Those of a schedule.
    pub(crate) fn of(state: &State) -> Self {
        let mut pairs = Self::default();
        let acts: Vec<_> = (0..state.clients.len()).map(|number| state.act(number)).collect();
        for (other, act) in acts.iter().enumerate() {
            let own = |(_, (number, _)): &(usize, &(usize, Event))| *number == other;
            let events: Vec<_> = state.happened.iter().enumerate().filter(own).collect();
            for two in events.windows(2) {
                let [(from, (_, first)), (to, (_, second))] = two else { continue };
                pairs.steps.insert((*act, *first, *second));
                for (number, event) in &state.happened[from + 1..*to] {
                    if state.are_rivals(*number, other) {
                        pairs.seen.insert(((acts[*number], *event), *act, *first, *second));
                    }
                }
            }
        }
        pairs.moments = state.happened.iter().map(|(of, event)| (acts[*of], *event)).collect();
        pairs
    }

    pub(crate) fn extend(&mut self, other: Self) {
        self.seen.extend(other.seen);
        self.moments.extend(other.moments);
        self.steps.extend(other.steps);
    }

    /// What was never seen, of all that the events which happened could make.
    fn unseen(&self) -> Vec<(Moment, Act, Event, Event)> {
        let all = self.moments.iter().flat_map(|moment| {
            self.steps.iter().map(|(act, first, second)| (*moment, *act, *first, *second))
        });
        all.filter(|pair| !self.seen.contains(pair)).collect()
    }
}

impl fmt::Display for Pairs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unseen = self.unseen();
        writeln!(f, "pairs of overlapping events: {} seen, {} not", self.seen.len(), unseen.len())?;
        for ((act, event), other, first, second) in unseen {
            writeln!(
                f,
                "unseen: a {act:?} is {event:?} while another {other:?} is {first:?} and not yet {second:?}"
            )?;
        }
        Ok(())
    }
}

impl State {
    /// Notes an event. What happens again before anything else does is one event.
    pub(crate) fn happens(&mut self, client: usize, event: Event) {
        let last = self.happened.iter().rev().find(|(of, _)| *of == client);
        let ended = matches!(last, Some((_, Event::Ended)));
        if !ended && last.is_none_or(|(_, last)| *last != event) {
            self.happened.push((client, event));
        }
    }

    /// Notes what happens to a request, where it is a client's own.
    pub(crate) fn happens_to(&mut self, asked: &Asked, event: Event) {
        if let Some(client) = asked.client {
            self.happens(client, event);
        }
    }

    /// Notes what happens to the row or the registration of an id.
    pub(crate) fn happens_on(&mut self, id: &str, event: Event) {
        for client in 0..self.clients.len() {
            let fits = match event {
                Event::Registered => self.act(client) == Act::Create,
                _ => true,
            };
            if fits && self.clients[client].rows.contains(id) {
                self.happens(client, event);
            }
        }
    }

    /// A client's request names a row, makes it or removes it.
    pub(crate) fn touches(&mut self, asked: &Asked, id: &str) {
        if let Some(client) = asked.client {
            self.clients[client].rows.insert(id.to_owned());
        }
    }

    /// The sidecar reads.
    pub(crate) fn looked(&mut self, asked: &Asked) {
        let path: Vec<_> = asked.path().into_iter().map(str::to_owned).collect();
        match path.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["agent_api_keys", id] | ["v1", "documents", id] => {
                self.happens_on(id, Event::Looked);
            }
            ["agent_api_keys"] | ["v1", "documents"] => {
                for client in 0..self.clients.len() {
                    let subject = self.clients[client].planned.wish.subject();
                    let means = subject.is_some_and(|(agent, _)| asked.lists_of(agent));
                    if means && self.clients[client].asked.is_some() {
                        self.happens(client, Event::Looked);
                    }
                }
            }
            _ => {}
        }
    }

    fn act(&self, client: usize) -> Act {
        if self.clients[client].planned.wish.creates() { Act::Create } else { Act::Delete }
    }

    /// Whether two requests may concern the same row.
    fn are_rivals(&self, one: usize, other: usize) -> bool {
        let (a, b) = (&self.clients[one], &self.clients[other]);
        let subject = a.planned.wish.subject();
        one != other
            && (!a.rows.is_disjoint(&b.rows)
                || subject.is_some() && subject == b.planned.wish.subject())
    }
}
