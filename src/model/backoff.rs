//! stub
use std::time::Duration;
/// stub
pub struct Backoff(Duration, Duration);
impl Backoff {
    /// stub
    pub fn new(a: Duration, b: Duration) -> Self {
        Self(a, b)
    }
    /// stub
    pub fn delay(&self, n: u32, _r: u64) -> Duration {
        (self.0 * 2u32.saturating_pow(n.min(16))).min(self.1)
    }
}
