//! What tests make the service do wrong.

use serde_json::{Value, json};

use super::Service;
use crate::support::eventually;

/// A fault yet to be armed. Points and effects are described in `tests/service/faults.py`; the last
/// call of a method that says what to do counts.
#[must_use]
pub struct Fault<'a> {
    service: &'a Service,
    spec: Value,
}

impl<'a> Fault<'a> {
    pub(super) fn new(service: &'a Service, route: &str) -> Self {
        Self { service, spec: json!({"route": route}) }
    }

    /// Answers `status` before the handler touches anything.
    pub fn before(self, status: u16) -> Self {
        self.at("before", "status", status)
    }

    /// Answers `status` although the row is changed and committed.
    pub fn after(self, status: u16) -> Self {
        self.at("after", "status", status)
    }

    /// Waits before the handler touches anything: the effect comes late.
    pub fn delay_before(self, seconds: f64) -> Self {
        self.at("before", "delay", seconds)
    }

    /// Waits with the answer once the row is changed and committed.
    pub fn delay_after(self, seconds: f64) -> Self {
        self.at("after", "delay", seconds)
    }

    /// Waits with the commit once the answer has left.
    pub fn delay_commit(self, seconds: f64) -> Self {
        self.at("commit", "delay", seconds)
    }

    /// Waits with the commit, once the answer has left, for a [`Service::release`].
    pub fn hang_commit(self) -> Self {
        self.at("commit", "hang", Value::Null)
    }

    /// Rolls back once the answer has left.
    pub fn lose_commit(self) -> Self {
        self.at("commit", "rollback", Value::Null)
    }

    /// Waits for a [`Service::release`] before the handler touches anything.
    pub fn hang_before(self) -> Self {
        self.at("before", "hang", Value::Null)
    }

    /// Waits for a [`Service::release`] once the row is changed and committed.
    pub fn hang_after(self) -> Self {
        self.at("after", "hang", Value::Null)
    }

    /// Commits before the answer, and does nothing else: to be combined with a fault in it.
    pub fn commit_first(self) -> Self {
        self.at("after", "nothing", Value::Null)
    }

    /// Closes the connection (FIN) before the handler touches anything.
    pub fn close_before(self) -> Self {
        self.at("before", "close", Value::Null)
    }

    /// Closes the connection once the row is changed and committed.
    pub fn close_after(self) -> Self {
        self.at("after", "close", Value::Null)
    }

    /// Resets the connection (RST) once the row is changed and committed.
    pub fn abort_after(self) -> Self {
        self.at("after", "abort", Value::Null)
    }

    /// Gives the answer another status.
    pub fn answer_status(self, status: u16) -> Self {
        self.at("answer", "status", status)
    }

    /// Gives the answer another header, e.g. `location`.
    pub fn answer_header(self, name: &str, value: &str) -> Self {
        self.at("answer", "headers", json!({name.to_lowercase(): value}))
    }

    /// Gives the answer another body, e.g. none or what is no JSON.
    pub fn answer_body(self, body: &str) -> Self {
        self.at("answer", "body", body)
    }

    /// Takes a member out of the answer, e.g. `id`.
    pub fn answer_without(self, member: &str) -> Self {
        self.at("answer", "without", member)
    }

    /// Makes the answer larger than `bytes`; it stays JSON.
    pub fn answer_padded(self, bytes: usize) -> Self {
        self.at("answer", "pad", bytes)
    }

    /// Encodes the answer: `gzip` or `deflate`.
    pub fn answer_encoded(self, coding: &str) -> Self {
        self.at("answer", "encode", coding)
    }

    /// Sends the answer's body in chunks, without a Content-Length.
    pub fn chunked(self) -> Self {
        self.at("answer", "chunked", Value::Null)
    }

    /// Closes the connection in the middle of a body with a Content-Length.
    pub fn cut(self) -> Self {
        self.at("answer", "cut", Value::Null)
    }

    /// Closes the connection in the middle of a chunked body.
    pub fn cut_chunked(self) -> Self {
        self.at("answer", "cut_chunked", Value::Null)
    }

    /// Sends half of the answer's body, the rest after a [`Service::release`].
    pub fn stall(self) -> Self {
        self.at("answer", "stall", Value::Null)
    }

    /// Sends the answer's body byte by byte, with so many seconds between them.
    pub fn slow(self, seconds: f64) -> Self {
        self.at("answer", "slow", seconds)
    }

    /// Writes these bytes instead of an answer, and closes.
    pub fn raw(self, bytes: &str) -> Self {
        self.at("answer", "raw", bytes)
    }

    /// Strikes so many requests; without it all until [`Service::reset`].
    pub fn times(mut self, times: u64) -> Self {
        self.spec["times"] = times.into();
        self
    }

    /// Lets so many requests pass first.
    pub fn skip(mut self, skip: u64) -> Self {
        self.spec["skip"] = skip.into();
        self
    }

    /// Strikes with this probability.
    pub fn probability(mut self, probability: f64) -> Self {
        self.spec["probability"] = probability.into();
        self
    }

    /// Arms the fault. It stays until [`Service::reset`], whatever becomes of the result.
    pub async fn arm(self) -> Armed<'a> {
        let made = self.service.ask("POST", "/faults", Some(self.spec)).await;
        Armed { service: self.service, id: made["id"].as_u64().unwrap() }
    }

    fn at(mut self, point: &str, what: &str, value: impl Into<Value>) -> Self {
        self.spec["point"] = point.into();
        self.spec["do"] = what.into();
        self.spec["value"] = value.into();
        self
    }
}

/// A fault that is armed.
pub struct Armed<'a> {
    service: &'a Service,
    id: u64,
}

impl Armed<'_> {
    /// How often it struck.
    pub async fn hits(&self) -> u64 {
        self.service.fault_hits(self.id).await.unwrap()
    }

    /// Waits until it has struck so often.
    pub async fn struck(&self, times: u64) {
        eventually("the fault strikes", || async { (self.hits().await >= times).then_some(()) })
            .await;
    }

    /// Takes it away.
    pub async fn disarm(self) {
        self.service.ask("DELETE", &format!("/faults/{}", self.id), None).await;
    }
}
