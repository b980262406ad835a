//! What the tests share. Cargo also takes this file for a test of its own, without any test in
//! it; hence the paths.

#[path = "support/keys.rs"]
pub mod keys;
#[path = "support/provider.rs"]
pub mod provider;
