//! The sagas over real sockets: a client, the sidecar, a keys service and a provider, and at each
//! branch the fault that leads there. Tests are named after the promise (README) they prove.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "clippy.toml allows these in test functions; here the helpers are tests too"
)]

mod support;

#[path = "saga/adoption.rs"]
mod adoption;
#[path = "saga/also.rs"]
mod also;
#[path = "saga/answers.rs"]
mod answers;
#[path = "saga/client.rs"]
mod client;
#[path = "saga/clients.rs"]
mod clients;
#[path = "saga/crash.rs"]
mod crash;
#[path = "saga/delete.rs"]
mod delete;
#[path = "saga/delete_by_name.rs"]
mod delete_by_name;
#[path = "saga/journal.rs"]
mod journal;
#[path = "saga/lease.rs"]
mod lease;
#[path = "saga/lists.rs"]
mod lists;
#[path = "saga/named.rs"]
mod named;
#[path = "saga/newness.rs"]
mod newness;
#[path = "saga/observe.rs"]
mod observe;
#[path = "saga/principal.rs"]
mod principal;
#[path = "saga/races.rs"]
mod races;
#[path = "saga/register.rs"]
mod register;
#[path = "saga/secrets.rs"]
mod secrets;
#[path = "saga/service.rs"]
mod service;
#[path = "saga/shared.rs"]
mod shared;
#[path = "saga/undo.rs"]
mod undo;
#[path = "saga/webhook.rs"]
mod webhook;
#[path = "saga/world.rs"]
mod world;
