//! W3C Trace Context (<https://www.w3.org/TR/trace-context/>), handed on to back ends.

use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};

const NAMES: [HeaderName; 2] =
    [HeaderName::from_static("traceparent"), HeaderName::from_static("tracestate")];

tokio::task_local! {
    static CURRENT: TraceContext;
}

/// A request's `traceparent` and `tracestate`, as they came.
///
/// It belongs to a task, not to a call: the traits of the back ends need not know about it.
#[derive(Clone, Default)]
pub struct TraceContext {
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl TraceContext {
    /// The trace context among `headers`.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Self {
        let named = |name: HeaderName| Some((name.clone(), headers.get(name)?.clone()));
        Self { headers: NAMES.into_iter().filter_map(named).collect() }
    }

    /// Runs `future` so that the calls made in it carry this context. What it spawns does not
    /// inherit it.
    pub async fn scope<F: Future>(self, future: F) -> F::Output {
        CURRENT.scope(self, future).await
    }

    /// The context of the running task; an empty one outside of [`TraceContext::scope`].
    #[must_use]
    pub fn current() -> Self {
        CURRENT.try_with(Self::clone).unwrap_or_default()
    }

    /// Adds the context to a call's headers, without replacing what they hold.
    pub fn add_to(&self, headers: &mut HeaderMap) {
        for (name, value) in &self.headers {
            headers.entry(name).or_insert_with(|| value.clone());
        }
    }
}

impl std::fmt::Debug for TraceContext {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TraceContext(…)")
    }
}
