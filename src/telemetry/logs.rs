//! JSON logs.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::TryInitError;
use tracing_subscriber::{layer::SubscriberExt, util::SubscriberInitExt};

/// The environment variable that holds the filter.
const VARIABLE: &str = "AUTHZ_SIDECAR_LOG";

/// Sends this process's events to standard error, one JSON object a line; standard output
/// belongs to what a command prints.
///
/// `AUTHZ_SIDECAR_LOG` says which: a level (`error`, `warn`, `info`, `debug`, `trace`) or
/// directives such as `info,authz_sidecar::dualwrite=debug`. Default: `info`.
///
/// # Errors
/// When the variable can't be read as a filter, or the process has a subscriber already.
pub fn init_logs() -> Result<(), LogError> {
    let filter = filter(std::env::var_os(VARIABLE))?;
    let lines = tracing_subscriber::fmt::layer()
        .json()
        .flatten_event(true)
        .with_current_span(true)
        .with_span_list(false)
        .with_writer(std::io::stderr);
    tracing_subscriber::registry().with(filter).with(lines).try_init()?;
    Ok(())
}

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The filter is not one.
    #[error("AUTHZ_SIDECAR_LOG is not a filter ({0}): write a level, such as info or debug")]
    Filter(String),
    /// The process has a subscriber already.
    #[error("logging is set up twice: {0}")]
    Twice(#[from] TryInitError),
}

fn filter(written: Option<std::ffi::OsString>) -> Result<EnvFilter, LogError> {
    let Some(written) = written.filter(|text| !text.is_empty()) else {
        return Ok(EnvFilter::new("info"));
    };
    let text = written.into_string().map_err(|_| LogError::Filter("not UTF-8".into()))?;
    EnvFilter::try_new(text).map_err(|error| LogError::Filter(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filter_is_info_unless_told_and_nonsense_is_refused() {
        let shown = |text: Option<&str>| filter(text.map(Into::into)).map(|f| f.to_string());
        assert_eq!(shown(None).unwrap(), "info");
        assert_eq!(shown(Some("")).unwrap(), "info");
        assert_eq!(shown(Some("warn")).unwrap(), "warn");
        let error = shown(Some("info,authz_sidecar=loud")).unwrap_err();
        assert!(error.to_string().contains("AUTHZ_SIDECAR_LOG"), "{error}");
    }
}
