//! The back end, the journal, and the times that the saga's reasoning rests on.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::model::{ByteSize, Span};
use crate::rules::Flaw;

/// The authorization back end: exactly one of them.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Authz {
    /// The agentex authorization service.
    pub agentex: Option<Agentex>,
    /// In memory, for demonstrations and tests: a restart forgets everything.
    pub memory: Option<Memory>,
    /// Time for a registration, retries included. Default 2s.
    #[serde(default = "deadline")]
    pub deadline: Span,
}

fn deadline() -> Span {
    Span(Duration::from_secs(2))
}

/// The agentex authorization service.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Agentex {
    /// Its root, as in `http://agentex-auth:8080`.
    pub url: String,
}

/// The back end in memory.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Memory {}

impl Authz {
    pub(in crate::config) fn problem(&self) -> Option<Flaw> {
        let mend = "write agentex: {url: http://HOST:PORT}, or memory: {} for a demonstration";
        match (&self.agentex, &self.memory) {
            (Some(_), None) | (None, Some(_)) => None,
            (None, None) => Some(Flaw::new("authz names no back end", mend)),
            (Some(_), Some(_)) => Some(Flaw::new("authz names two back ends", mend)),
        }
    }
}

/// The journal.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Journal {
    /// `sqlite:/PATH`, on a disk that survives the container.
    pub url: String,
    /// Whether all creates of the service go through this journal: then rows whose create had
    /// an unknown outcome can be proven ours and are undone; else they are only reported. Default
    /// false.
    #[serde(default)]
    pub exclusive_writer: bool,
    /// Entries that wait for the disk, at most; further requests wait. Default 1024.
    #[serde(default = "queue")]
    pub queue: usize,
    /// Size beyond which intercepted requests are refused. Default 1GiB.
    #[serde(default = "max_size")]
    pub max_size: ByteSize,
}

fn queue() -> usize {
    1024
}

fn max_size() -> ByteSize {
    ByteSize(1 << 30)
}

/// Times.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Bounds {
    /// *L*: how late a request that was sent may still take effect. Default 120s.
    pub late_effect: Span,
    /// *S*: how far the service's `created_at` may be from our clock. Default
    /// 5s.
    pub clock_skew: Span,
    /// How long a client waits for the undo of its create before it is told `undo: pending`.
    /// Default 5s.
    pub reply_deadline: Span,
    /// How long a client waits for the deregister of its delete. Default 250ms.
    pub inline_deregister: Span,
    /// Time to connect to the service. Default 2s.
    pub connect: Span,
    /// Time for the service to answer an intercepted request. Default 60s.
    pub answer: Span,
    /// How long an idle connection to the service is kept: below the service's own keep-alive.
    /// Default 4s.
    pub idle: Span,
    /// How long requests may go on after SIGTERM. Default 25s.
    pub drain: Span,
}

impl Default for Bounds {
    fn default() -> Self {
        let seconds = |seconds| Span(Duration::from_secs(seconds));
        Self {
            late_effect: seconds(120),
            clock_skew: seconds(5),
            reply_deadline: seconds(5),
            inline_deregister: Span(Duration::from_millis(250)),
            connect: seconds(2),
            answer: seconds(60),
            idle: seconds(4),
            drain: seconds(25),
        }
    }
}

impl Bounds {
    pub(in crate::config) fn problem(&self) -> Option<Flaw> {
        (self.answer > self.late_effect).then(|| {
            let what = format!(
                "bounds.answer ({}) exceeds bounds.late_effect ({})",
                self.answer, self.late_effect
            );
            Flaw::new(
                what,
                "a request may take effect as long as it is waited for: raise late_effect",
            )
        })
    }
}
