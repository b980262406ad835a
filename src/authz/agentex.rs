//! .
/// .
pub struct Agentex {}
