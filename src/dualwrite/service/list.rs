//! Lists of rows, complete or not at all.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex};

use serde_json::Value;

use super::{CallError, Service, no_answer};
use crate::dualwrite::config::READINGS;
use crate::dualwrite::credentials::Credentials;
use crate::dualwrite::line::{Line, lock};
use crate::dualwrite::rows::SightedRow;
use crate::failpoint;
use crate::model::{Probe, ResourceId};

impl Service {
    /// Lists, completely, the rows that satisfy the probe's conditions.
    pub(in crate::dualwrite) async fn list(
        &self,
        probe: &Probe,
        credentials: &Credentials,
    ) -> Result<Vec<SightedRow>, CallError> {
        self.list_any(probe, &[probe], credentials).await
    }

    /// Lists, completely, the rows that satisfy the conditions of any of `probes`, which make the same calls
    /// as `call`.
    ///
    /// A list of several pages is complete when three readings in a row, each begun λ after the one
    /// before, show the same ids. A row can be missed at the edge of a page because another row is
    /// removed, which makes the next reading differ, or because another row is made while the pages lag
    /// apart, which makes this reading differ from the one before: the one in the middle misses nothing.
    async fn list_any(
        &self,
        call: &Probe,
        probes: &[&Probe],
        credentials: &Credentials,
    ) -> Result<Vec<SightedRow>, CallError> {
        const EQUAL: usize = 3;
        let reading = async {
            let (mut last, mut equal) = (Listed::default(), 0);
            for _ in 0..READINGS {
                let again = self.list_once(call, probes, credentials).await?;
                equal = if again.ids == last.ids { equal + 1 } else { 1 };
                last = again;
                if last.pages <= 1 || equal == EQUAL {
                    return Ok(last.wanted);
                }
                tokio::time::sleep(self.config.read_lag.0).await;
            }
            Err(no_answer(&call.call, "the list changed with every reading"))
        };
        let listed = tokio::time::timeout(self.config.list(), reading).await;
        listed.unwrap_or_else(|_| Err(no_answer(&call.call, "the list took too long")))
    }

    async fn list_once(
        &self,
        probe: &Probe,
        probes: &[&Probe],
        credentials: &Credentials,
    ) -> Result<Listed, CallError> {
        let mut listed = Listed::default();
        for number in 1..=self.config.probe_pages {
            let call = match &probe.page {
                Some(page) => probe.call.with_query(&page.parameter, &number.to_string()),
                None => probe.call.clone(),
            };
            failpoint::hit("list.asking");
            let answer = self.call(&call, credentials).await?;
            failpoint::hit("list.told");
            let answer = self.json(&call, answer)?;
            let Some(Value::Array(items)) = probe.rows.of(&answer) else {
                return Err(no_answer(&call, "the answer is not a list of rows"));
            };
            for item in items {
                let id = probe.row.id.id_of(item);
                let id =
                    id.ok_or_else(|| no_answer(&call, "a row holds no id where the rule says"))?;
                if probes.iter().any(|probe| probe.matches(item)) {
                    let (id, json) = (id.clone(), item.clone());
                    listed.wanted.push(SightedRow { id, is_found: false, is_back: false, json });
                }
                listed.ids.insert(id);
            }
            listed.pages = number;
            if probe.page.as_ref().is_none_or(|page| items.len() < page.size) {
                return Ok(listed);
            }
        }
        Err(no_answer(&probe.call, "the list has more pages than bounds.probe_pages"))
    }
}

/// One reading of all pages.
#[derive(Default)]
struct Listed {
    wanted: Vec<SightedRow>,
    ids: BTreeSet<ResourceId>,
    pages: usize,
}

/// Lists that unfinished operations share: after an outage hundreds look for rows in a few lists.
#[derive(Default)]
pub(in crate::dualwrite) struct Lists {
    lines: Mutex<HashMap<Vec<u8>, Arc<Readings>>>,
}

type Readings = Line<Probe, Result<Arc<Vec<SightedRow>>, Arc<CallError>>>;

/// A line of lists rests for as many times the length of each: looking takes at most a fifth of what one
/// connection can ask of the service, however many look.
const REST: u32 = 4;

impl Lists {
    /// Lists the rows that satisfy the probe's conditions, together with all who ask for the same list.
    pub(in crate::dualwrite) async fn of(
        &self,
        service: &Service,
        probe: &Probe,
        credentials: &Credentials,
    ) -> Result<Vec<SightedRow>, Arc<CallError>> {
        let line = self.line(probe, credentials);
        let read = async |asked: Vec<Arc<Probe>>| {
            let probes: Vec<&Probe> = asked.iter().map(Arc::as_ref).collect();
            let listed = service.list_any(probe, &probes, credentials).await;
            listed.map(Arc::new).map_err(Arc::new)
        };
        let listed = line.ask(Arc::new(probe.clone()), read).await?;
        Ok(listed.iter().filter(|row| probe.matches(&row.json)).cloned().collect())
    }

    /// Those who make the same calls with the same credentials. A line that nobody is in is dropped
    /// once it has rested.
    fn line(&self, probe: &Probe, credentials: &Credentials) -> Arc<Readings> {
        let Probe { call, page, rows, row, .. } = probe;
        let mut key = format!("{call:?} {page:?} {rows:?} {row:?} ").into_bytes();
        credentials.identify(&mut key);
        let mut lines = lock(&self.lines);
        lines.retain(|_, line| Arc::strong_count(line) > 1 || line.is_busy());
        Arc::clone(lines.entry(key).or_insert_with(|| Arc::new(Line::resting(REST))))
    }
}

#[cfg(test)]
mod tests;
