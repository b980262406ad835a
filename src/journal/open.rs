//! From a configuration to a journal that accepts entries.

use super::database::SqlJournal;
use super::problem::OpenError;
use super::{Config, Location, Metrics, postgres, sqlite};

/// Opens the journal that `config` names, making it where there is none.
///
/// Blocks while a file is checked and recovered: a start does nothing without it.
///
/// # Errors
/// When the journal can't be used; the error says what to do.
pub async fn open(config: &Config, metrics: Metrics) -> Result<SqlJournal, OpenError> {
    let (place, opened) = match &config.url {
        Location::Sqlite(path) => (path.display().to_string(), sqlite::open(path, config, metrics)),
        Location::Postgres(url) => (url.to_string(), postgres::open(url, config, metrics).await),
    };
    opened.map_err(|problem| OpenError { place, problem })
}
