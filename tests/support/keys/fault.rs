//! What a double is told to do wrong, and the gates that hold it at a chosen moment.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::http::{Out, Response};

/// A place where requests wait until a test lets them on.
#[derive(Clone)]
pub struct Gate {
    open: Arc<watch::Sender<bool>>,
    arrived: Arc<watch::Sender<usize>>,
}

impl Gate {
    /// A gate that holds whatever comes.
    pub fn closed() -> Self {
        Self { open: Arc::new(watch::channel(false).0), arrived: Arc::new(watch::channel(0).0) }
    }

    /// Lets on everything that waits, and everything that comes later.
    pub fn open(&self) {
        self.open.send_replace(true);
    }

    /// Waits until `count` requests have come to the gate.
    pub async fn reached(&self, count: usize) {
        let mut arrived = self.arrived.subscribe();
        let patience = Duration::from_secs(10);
        let reached = tokio::time::timeout(patience, arrived.wait_for(|at| *at >= count)).await;
        reached.expect("nobody came to the gate").expect("the sender lives as long as the gate");
    }

    /// Comes to the gate, and waits until it is open.
    pub async fn pass(&self) {
        self.arrived.send_modify(|count| *count += 1);
        let mut open = self.open.subscribe();
        open.wait_for(|open| *open).await.expect("the sender lives as long as the gate");
    }
}

/// What happens to some requests of one route.
#[derive(Clone)]
pub struct Fault {
    pub(crate) left: usize,
    before: Option<Gate>,
    effect: Effect,
    after: Option<Gate>,
    says: Says,
}

#[derive(Clone)]
enum Effect {
    Now,
    Never,
    At(Gate),
}

#[derive(Clone)]
enum Says {
    Own,
    Changed(Arc<dyn Fn(&mut Response) + Send + Sync>),
    Bytes(Arc<[u8]>),
    CutHead,
    CutBody,
    Nothing,
    Trickles { body_alone: bool, pause: Duration },
}

impl Fault {
    /// One request, which is served as usual: the rest says what is not usual.
    pub fn once() -> Self {
        Self { left: 1, before: None, effect: Effect::Now, after: None, says: Says::Own }
    }

    /// The next `count` requests.
    pub fn times(count: usize) -> Self {
        Self { left: count, ..Self::once() }
    }

    /// Every request from now on.
    pub fn always() -> Self {
        Self::times(usize::MAX)
    }

    /// Nothing is done; the answer may say otherwise.
    pub fn without_effect(self) -> Self {
        Self { effect: Effect::Never, ..self }
    }

    /// It is done when `gate` opens, whatever is answered before.
    pub fn lands_after(self, gate: &Gate) -> Self {
        Self { effect: Effect::At(gate.clone()), ..self }
    }

    /// The request waits at `gate` before anything is done.
    pub fn held_before(self, gate: &Gate) -> Self {
        Self { before: Some(gate.clone()), ..self }
    }

    /// It is done, and then the answer waits at `gate`.
    pub fn held_after(self, gate: &Gate) -> Self {
        Self { after: Some(gate.clone()), ..self }
    }

    /// The answer is this status, with a body that says nothing.
    pub fn status(self, status: u16) -> Self {
        self.changed(move |response| {
            *response = Response::json(status, &serde_json::json!({"detail": "as the test wants"}));
        })
    }

    /// The answer is the usual one, changed.
    pub fn changed(self, change: impl Fn(&mut Response) + Send + Sync + 'static) -> Self {
        Self { says: Says::Changed(Arc::new(change)), ..self }
    }

    /// These bytes are the answer, whether or not they are HTTP; then the connection ends.
    pub fn bytes(self, bytes: impl Into<Vec<u8>>) -> Self {
        Self { says: Says::Bytes(bytes.into().into()), ..self }
    }

    /// The connection ends in the middle of the answer's head.
    pub fn cut_in_head(self) -> Self {
        Self { says: Says::CutHead, ..self }
    }

    /// The connection ends in the middle of the answer's body.
    pub fn cut_in_body(self) -> Self {
        Self { says: Says::CutBody, ..self }
    }

    /// The answer comes a byte at a time, from its head on, with this pause before each.
    pub fn trickles(self, pause: Duration) -> Self {
        Self { says: Says::Trickles { body_alone: false, pause }, ..self }
    }

    /// The answer's head comes at once, its body as [`Fault::trickles`] says.
    pub fn trickles_body(self, pause: Duration) -> Self {
        Self { says: Says::Trickles { body_alone: true, pause }, ..self }
    }

    /// The connection ends without an answer.
    pub fn closes(self) -> Self {
        Self { says: Says::Nothing, ..self }
    }

    /// Serves one request: `work` looks at the state of that moment and gives the effect and the
    /// usual answer.
    pub(crate) async fn serve<W, E>(self, work: W) -> Out
    where
        W: FnOnce() -> (E, Response),
        E: FnOnce() + Send + 'static,
    {
        if let Some(gate) = &self.before {
            gate.pass().await;
        }
        // The work and its effect are one: what looks is what does, without another in between.
        let (effect, mut response) = work();
        match self.effect {
            Effect::Now => effect(),
            Effect::Never => {}
            Effect::At(gate) => {
                tokio::spawn(async move {
                    gate.pass().await;
                    effect();
                });
            }
        }
        if let Some(gate) = &self.after {
            gate.pass().await;
        }
        match self.says {
            Says::Own => Out::Answer(response),
            Says::Changed(change) => {
                change(&mut response);
                Out::Answer(response)
            }
            Says::Bytes(bytes) => Out::Last(bytes.to_vec()),
            Says::CutHead => Out::Last(response.to_bytes()[..20].to_vec()),
            Says::CutBody => {
                let bytes = response.to_bytes();
                Out::Last(bytes[..bytes.len() - 5].to_vec())
            }
            Says::Nothing => Out::Last(Vec::new()),
            Says::Trickles { body_alone, pause } => {
                let mut head = response.to_bytes();
                let body = head.len() - response.body.len();
                let rest = head.split_off(if body_alone { body } else { 0 });
                Out::Trickle { head, rest, pause }
            }
        }
    }
}
