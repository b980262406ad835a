//! .
/// .
pub struct MemoryJournal {}
