//! What the tests share.

pub mod provider;
