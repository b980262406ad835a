//! The task that looks for the rows of a create whose outcome is unknown.

use std::sync::Arc;

use super::{Driver, Trouble};
use crate::dualwrite::Event;
use crate::dualwrite::context::{Context, Halt};
use crate::dualwrite::driver::{Memory, drive};
use crate::dualwrite::rows::{Judgement, Verdict, judge};
use crate::journal::{self, Of};
use crate::model::{
    Effect, Evidence, Kind, Opening, Plan, Record, ResourceId, Timestamp, UndoReason,
};

/// So many that the pauses between them are the longest.
const MANY_ROUNDS: u32 = 16;

impl Driver {
    /// Looks for rows of a create whose outcome is unknown.
    ///
    /// The creates that may have made a row are read after the list was answered: each was recorded
    /// before it was sent, so whichever made a row is among them, or holds the row by now.
    pub(super) async fn probe(&mut self) -> Result<Event, Trouble> {
        let asked = self.context.now();
        let Kind::Create(plan) = &self.operation.plan.kind else {
            return Err(Trouble::Failed("probe", "a delete is not probed for".into()));
        };
        let Some(probe) = &plan.probe else {
            let why = "the rule has no probe that could find the row".to_owned();
            return Ok(unprovable(why, asked));
        };
        let Context { service, lists, .. } = &*self.context;
        let rows = match lists.of(service, probe, &self.memory.credentials).await {
            Ok(rows) => rows,
            // A refusal is no outage: if the service answers it time and again, as where the parent was deleted,
            // a person has to know.
            Err(error) if self.is_refused_for_good(&error) => {
                return Ok(unprovable(format!("the rows can't be listed: {error}"), asked));
            }
            Err(error) => return Err(self.failed("probe", &error)),
        };
        self.refusals = 0;
        let others = self.context.others(&self.operation, Of::Creates).await?;
        let deletes = if self.operation.reuses_ids() {
            self.context.others(&self.operation, Of::Deletes).await?
        } else {
            Vec::new()
        };
        let mut free = Vec::new();
        for mut row in rows {
            let holder = self.context.holder(&self.operation.resource(&row.id)).await?;
            let holder = holder.filter(|holder| holder.id != self.operation.id);
            if row.assess(holder.as_ref(), &others, &deletes) {
                free.push(row);
            }
        }
        let all_known = self.context.knows_all(&self.operation.plan.resource_type);
        let Judgement { condemned, rest } = judge(&self.operation, &free, &others, all_known);
        if !condemned.is_empty() {
            // Most likely one of them is its own: there is no hurry to look for another.
            self.rounds = MANY_ROUNDS;
        }
        for id in condemned {
            self.condemn(id).await?;
        }
        Ok(Event::Probed(rest, asked))
    }

    /// Begins the removal of a row that a list showed and that nobody may keep: an operation of its own, which
    /// holds the id. Another create that looks may be first.
    async fn condemn(&self, id: ResourceId) -> Result<(), Halt> {
        let Self { context, operation, memory, .. } = self;
        let opening = Opening::new(Plan::clone(&operation.plan), context.now());
        let principal = operation.principal.clone();
        let prepared = Record::Prepared(Opening { principal, ..opening });
        let (evidence, reason) = (Evidence::Listed, UndoReason::Unknown);
        let undoing = Record::Undoing { id: id.clone(), evidence, reason, ambiguous: false };
        let records = vec![prepared, Record::Closed { effect: Effect::Past }, undoing];
        let removal = match context.begin_alone(records).await {
            Err(Halt::Journal(journal::Error::Taken { .. })) => return Ok(()),
            begun => begun?,
        };
        context.metrics.stands(&removal);
        tracing::info!(row = %id, removal = %removal.id, "a row that no client was told of is undone");
        let (credentials, room) = (memory.credentials.clone(), context.enter());
        let memory = Memory { credentials, room, ..Memory::default() };
        drive(Arc::clone(context), removal, memory);
        Ok(())
    }
}

/// Nothing is proven; `why` says what is missing.
fn unprovable(why: String, asked: Timestamp) -> Event {
    Event::Probed(Verdict::Unprovable { rows: Vec::new(), why }, asked)
}
