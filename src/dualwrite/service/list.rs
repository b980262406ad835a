//! Lists of rows, complete or not at all.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{CallError, Service, no_answer};
use crate::dualwrite::config::READINGS;
use crate::dualwrite::credentials::Credentials;
use crate::dualwrite::rows::SightedRow;
use crate::failpoint;
use crate::model::{Call, Probe, ResourceId};

impl Service {
    /// Lists, completely, the rows that satisfy the probe's conditions.
    ///
    /// A list of several pages is complete when three readings in a row, each begun λ after the one
    /// before, show the same ids. A row can be missed at the edge of a page because another row is
    /// removed, which makes the next reading differ, or because another row is made while the pages lag
    /// apart, which makes this reading differ from the one before: the one in the middle misses nothing.
    pub(in crate::dualwrite) async fn list(
        &self,
        probe: &Probe,
        credentials: &Credentials,
    ) -> Result<Vec<SightedRow>, CallError> {
        let reading = self.list_completely(probe, credentials);
        match tokio::time::timeout(self.limits.list, reading).await {
            Ok(listed) => listed,
            Err(_) => Err(no_answer(&probe.call, "the list took too long")),
        }
    }

    async fn list_completely(
        &self,
        probe: &Probe,
        credentials: &Credentials,
    ) -> Result<Vec<SightedRow>, CallError> {
        const EQUAL: usize = 3;
        let (mut rows, pages) = self.list_once(probe, credentials).await?;
        if pages <= 1 {
            return Ok(rows);
        }
        let mut equal = 1;
        for _ in 1..READINGS {
            tokio::time::sleep(self.limits.lag).await;
            let (again, _) = self.list_once(probe, credentials).await?;
            equal = if ids(&again) == ids(&rows) { equal + 1 } else { 1 };
            rows = again;
            if equal == EQUAL {
                return Ok(rows);
            }
        }
        Err(no_answer(&probe.call, "the list changed with every reading"))
    }

    async fn list_once(
        &self,
        probe: &Probe,
        credentials: &Credentials,
    ) -> Result<(Vec<SightedRow>, usize), CallError> {
        let mut rows = Vec::new();
        for number in 1..=self.limits.pages {
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
            for item in items.iter().filter(|item| probe.conditions.iter().all(|c| c.holds(item))) {
                rows.push(sighted(probe, item, &call)?);
            }
            if probe.page.as_ref().is_none_or(|page| items.len() < page.size) {
                return Ok((rows, number));
            }
        }
        Err(no_answer(&probe.call, "the list has more pages than bounds.probe_pages"))
    }
}

fn sighted(probe: &Probe, item: &Value, call: &Call) -> Result<SightedRow, CallError> {
    let id = probe.row.id.of(item).and_then(ResourceId::from_json);
    let id = id.ok_or_else(|| no_answer(call, "a row holds no id where the rule says"))?;
    Ok(SightedRow { id, json: item.clone() })
}

fn ids(rows: &[SightedRow]) -> BTreeSet<&ResourceId> {
    rows.iter().map(|row| &row.id).collect()
}
