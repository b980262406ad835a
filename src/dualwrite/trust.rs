//! Tells other processes on the journal, and later ones, that creates of a type may pass unrecorded.
//!
//! Where others may write to the service, or where a rule observes, a row may be made of which no record tells.
//! A process that judges rows must know that, also if it is another one, or if it has other settings by now
//! (docs/design/CORE.md, section 4). So there is a record that stands for all such creates: a create without
//! enforcement, of unknown outcome, that may have made any row of its type. It ends some time ahead, and is
//! followed by the next one before that, for as long as the process runs.

use std::time::Duration;

use super::context::{Context, Halt};
use super::index;
use crate::model::{
    Commits, CreatePlan, Effect, Entry, Ids, Kind, Mode, Opening, PassReason, Plan, Record,
    Resolution, ResourceType, Timestamp,
};

/// Records, durably, that creates of the distrusted types may pass unrecorded for the next time L.
pub(super) async fn record(context: &Context) -> Result<(), Halt> {
    for resource_type in &context.distrusted {
        let entries = unrecorded(resource_type, context.now(), context.policy.bounds.late_effect);
        let (_, append) = index::begin(context.new_id(), entries)?;
        context.journal.append(append).await?;
    }
    Ok(())
}

/// Goes on recording that, for ever. Returns at once where every create is recorded.
pub(super) async fn keep_recording(context: &Context) {
    const RETRY: Duration = Duration::from_secs(1);
    if context.distrusted.is_empty() {
        return;
    }
    let every = context.policy.bounds.late_effect / 2;
    let mut pause = every;
    loop {
        tokio::time::sleep(pause).await;
        pause = match record(context).await {
            Ok(()) => every,
            Err(halt) => {
                tracing::warn!(%halt, "could not record that creates may pass unrecorded");
                RETRY.min(every)
            }
        };
    }
}

/// Stands for all creates of the type that pass unrecorded from `now` on, `length` long.
fn unrecorded(resource_type: &ResourceType, now: Timestamp, length: Duration) -> Vec<Entry> {
    let (until, pass) = (now.plus(length), Some(PassReason::Unrecorded));
    let opening = Opening { pass, ..Opening::new(any_create(resource_type), now) };
    vec![
        Entry { at: now, record: Record::Prepared(opening) },
        Entry { at: until, record: Record::Closed { effect: Effect::MayCome } },
        Entry { at: until, record: Record::Finished { resolution: Resolution::Unsettled } },
    ]
}

/// A create that may have made any row of its type. Nothing is ever sent for it.
fn any_create(resource_type: &ResourceType) -> Plan {
    Plan {
        rule: "unrecorded".into(),
        mode: Mode::Observe,
        resource_type: resource_type.clone(),
        commits: Commits::Late,
        ids: Ids::default(),
        kind: Kind::Create(CreatePlan::on_the_side(Vec::new())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::OperationId;

    /// The process may die right before it records the next.
    #[test]
    fn s3_p4_what_passes_unrecorded_matters_until_its_record_has_a_successor() {
        let (now, length) = (Timestamp::from_micros(1_000_000), Duration::from_mins(2));
        let entries = unrecorded(&ResourceType::new("api_key"), now, length);
        let (operation, append) = index::begin(OperationId::new(), entries).unwrap();
        assert!(operation.is_finished() && !operation.is_enforced());
        assert_eq!(append.index.opened_at, now);
        assert_eq!(append.index.settled_at, Some(now.plus(length)));
    }
}
