//! Recovery at start: the journal is replayed through the same functions as in normal running,
//! before the listener opens; what is left to do goes on behind it.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream};

use super::adoption::{follow, restart, resume};
use super::context::{Context, Halt};
use super::operation::Operation;
use super::state::Policy;
use super::trust;
use crate::model::Stored;

/// How many operations are read and replayed at once.
const PAGE: usize = 64;

/// Operations that an earlier process left unfinished.
pub struct Recovered {
    context: Arc<Context>,
    operations: Vec<Operation>,
}

impl Recovered {
    /// Replays the journal: every create that was still `Prepared` is closed as of now, before a
    /// request can come. Other processes know from then on, too, where creates may pass unrecorded.
    ///
    /// # Errors
    /// When the journal can't be read or written, or holds an impossible history.
    pub(super) async fn replay(context: Arc<Context>) -> Result<Self, Halt> {
        let own: Option<HashSet<_>> = match context.journal.shared() {
            Some(shared) => Some(shared.recover().await?.into_iter().collect()),
            None => None,
        };
        let replay = async |stored: Stored| {
            let mut operation = Operation::replay(&stored)?;
            restart(&context, &mut operation).await?;
            Ok::<_, Halt>(operation)
        };
        let (mut operations, mut after) = (Vec::new(), None);
        loop {
            let left = context.journal.unfinished_page(after, PAGE).await?;
            let Some(last) = left.last() else { break };
            after = Some(last.id);
            let own = |stored: &Stored| own.as_ref().is_none_or(|own| own.contains(&stored.id));
            // At the same time, so that they share the journal's commits.
            let replayed = stream::iter(left.into_iter().filter(own)).map(replay).buffered(PAGE);
            operations.extend(replayed.try_collect::<Vec<_>>().await?);
        }
        if !operations.is_empty() {
            tracing::info!(operations = operations.len(), "unfinished operations were recovered");
        }
        trust::record(&context).await?;
        Ok(Self { context, operations })
    }

    /// Drives them to their ends. Then, for ever: carries on what other replicas on the journal leave, forgets
    /// finished operations, and tells other processes that creates may pass unrecorded, if that is so.
    pub async fn carry_on(self) {
        let Self { context, operations } = self;
        for operation in operations {
            resume(&context, operation);
        }
        // In this order: what arrives for a recovered operation is for its driver.
        tokio::join!(follow(&context), prune(&context), trust::keep_recording(&context));
    }
}

/// How often finished operations are forgotten.
const PRUNE_EVERY: Duration = Duration::from_secs(30);

/// For how long what finished is kept, if reading a list takes at most `list`: 2 L + λ + M (docs/design/CORE.md, section
/// 7), by any clock.
fn kept(policy: &Policy, list: Duration) -> Duration {
    2 * policy.bounds.late_effect + policy.bounds.read_lag + list + 6 * policy.apart
}

/// Forgets what no judgement of rows and no overlap can need any more, unless an open operation's window overlaps it.
async fn prune(context: &Context) {
    let bounds = context.policy.bounds;
    let every = PRUNE_EVERY.min(bounds.late_effect.max(Duration::from_secs(1)));
    loop {
        tokio::time::sleep(every).await;
        let now = context.now();
        let kept = kept(&context.policy, context.config.list());
        match context.journal.prune(now, now.minus(kept)).await {
            Ok(0) => {}
            Ok(forgotten) => tracing::debug!(forgotten, "finished operations were forgotten"),
            Err(error) => tracing::warn!(%error, "finished operations could not be forgotten"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dualwrite::fixtures::policy;

    #[test]
    fn p4_what_finished_is_kept_as_long_as_a_list_or_a_late_effect_may_need_it() {
        let seconds = Duration::from_secs;
        let mut policy = policy();
        policy.bounds.read_lag = seconds(30);
        policy.apart = seconds(10);
        assert_eq!(kept(&policy, seconds(7)), seconds(2 * 120 + 30 + 7 + 6 * 10));
    }
}
