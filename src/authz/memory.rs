//! .
/// .
pub struct MemoryAuthorizer {}
