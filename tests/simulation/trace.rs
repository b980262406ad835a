//! What happened, in lines that a person can follow.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use authz_sidecar::model::OperationId;

/// The lines of one schedule. Nothing is kept unless somebody is going to read it.
#[derive(Default)]
pub(crate) struct Trace {
    kept: bool,
    lines: Vec<(Duration, String)>,
    operations: BTreeMap<OperationId, usize>,
}

impl Trace {
    pub(crate) fn new(kept: bool) -> Self {
        Self { kept, ..Self::default() }
    }

    /// Keeps `+1.204s  replica A  journal   text`.
    pub(crate) fn say(
        &mut self,
        at: Duration,
        who: &str,
        what: &str,
        text: impl FnOnce(&mut Self) -> String,
    ) {
        if self.kept {
            let text = text(self);
            let seconds = at.as_secs_f64();
            self.lines.push((at, format!("+{seconds:.3}s  {who:<10}  {what:<9}  {text}")));
        }
    }

    /// A short name of an operation: they are numbered as they appear.
    pub(crate) fn name(&mut self, id: OperationId) -> String {
        let next = self.operations.len() + 1;
        format!("op {}", self.operations.entry(id).or_insert(next))
    }

    /// The lines, by time.
    pub(crate) fn text(mut self) -> String {
        // Stable: what happened at one time stays in the order in which it was told.
        self.lines.sort_by_key(|(at, _)| *at);
        self.lines.iter().fold(String::new(), |mut text, (_, line)| {
            let _ = writeln!(text, "{line}");
            text
        })
    }
}
