//! .
/// .
pub struct SqliteJournal {}
