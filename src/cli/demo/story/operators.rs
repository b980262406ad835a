//! What the story looks at as an operator would: the admin port (promise P9).

use http::Method;
use serde_json::Value;
use tokio::time::Instant;

use super::super::Trouble;
use super::super::books::Broken;
use super::super::client;
use super::super::sidecar::LATE_EFFECT;
use super::{POLL, Story};

impl Story<'_> {
    /// Waits until operators are told that the key `id` can't be deregistered yet.
    pub(super) async fn see_operation(&mut self, id: &str) -> Result<(), Trouble> {
        let deadline = Instant::now() + self.patience;
        let operation = loop {
            let open = self.operations().await?;
            if let Some(found) = open.into_iter().find(|operation| waits_for(operation, id)) {
                break found;
            }
            if Instant::now() >= deadline {
                let what = format!("no open operation tells that key {id} is to be deregistered");
                return Err(Broken::new("P9", what).into());
            }
            tokio::time::sleep(POLL).await;
        };
        let part = |name| operation.get(name).and_then(Value::as_str).unwrap_or_default();
        let (known, next, why) = (part("known"), part("next"), part("last_failure"));
        self.saw(&format!("GET /operations: {known}; {next}"))?;
        self.saw(&format!("last failure: {why}"))?;
        Ok(())
    }

    /// Waits until no operation is open: L after the last undo.
    pub(super) async fn wait_for_no_operation(&self) -> Result<(), Trouble> {
        let deadline = Instant::now() + LATE_EFFECT + self.patience;
        loop {
            let open = self.operations().await?;
            let Some(first) = open.first() else { return Ok(()) };
            if Instant::now() >= deadline {
                let what = format!("{} operations do not end, the first: {first}", open.len());
                return Err(Broken::new("P3", what).into());
            }
            tokio::time::sleep(POLL).await;
        }
    }

    async fn operations(&self) -> Result<Vec<Value>, Trouble> {
        let answer = client::call(self.at.admin, Method::GET, "/operations", None).await;
        let answer = answer.map_err(|why| Trouble::Stuck(format!("/operations: {why}")))?;
        match answer.body.get("operations") {
            Some(Value::Array(operations)) => Ok(operations.clone()),
            _ => Err(Trouble::Stuck(format!("/operations was answered {}", answer.status))),
        }
    }
}

/// Whether `operation` is a delete of the key `id` whose deregistration has failed so far.
fn waits_for(operation: &Value, id: &str) -> bool {
    let part = |name| operation.get(name).and_then(Value::as_str).unwrap_or_default();
    let ids = operation.get("resource_ids").and_then(Value::as_array);
    // Before, its request is under way.
    part("kind") == "delete"
        && part("phase") != "prepared"
        && part("last_failure").contains("unavailable")
        && ids.is_some_and(|ids| ids.iter().any(|one| one == id))
}
