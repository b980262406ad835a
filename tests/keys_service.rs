//! The tests' keys service is the real one's double: each quirk of docs/contract/keys-service.md
//! is shown here, straight against the service, so that end-to-end tests may rest on it. The table
//! tests/contract/keys-service.tsv says which test covers which line of that page.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests fail as loudly as tests"
)]

mod support;

#[path = "keys_service/answers.rs"]
mod answers;
#[path = "keys_service/double.rs"]
mod double;
#[path = "keys_service/late.rs"]
mod late;
#[path = "keys_service/quirks.rs"]
mod quirks;
#[path = "keys_service/races.rs"]
mod races;
#[path = "keys_service/spellings.rs"]
mod spellings;
#[path = "keys_service/table.rs"]
mod table;
#[path = "keys_service/wire.rs"]
mod wire;
