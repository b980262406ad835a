//! The words of the domain: ids, times, principals, resolved plans and journal records.
//!
//! Nothing here performs I/O or reads the clock. Everything that must survive a crash is a type
//! of this module, so that what the journal may hold can be read in one place (promise P7).

mod backoff;
mod call;
mod id;
mod late;
mod order;
mod path;
mod plan;
mod pointer;
mod principal;
mod quantity;
mod record;
mod time;

pub use backoff::Backoff;
pub use call::{As, Call, IdCall, encode, encode_segment};
pub use id::{OperationId, Resource, ResourceId, ResourceType};
pub use late::Late;
pub use order::{Order, Words};
pub use path::{DecodedPath, PathError};
pub use plan::{
    Commits, Condition, Confirm, CreatePlan, DeletePlan, Ids, Kind, Mode, Newness, Page,
    ParentPlan, ParentSource, Plan, Probe, Row, Sees, Undo,
};
pub use pointer::{Pointer, PointerError};
pub use principal::{Principal, StoredPrincipal};
pub use quantity::{ByteSize, Span};
pub use record::{
    Effect, Entry, Evidence, Opening, PassReason, Record, Resolution, Stored, Targets, UndoReason,
};
pub use time::{Bounds, Clock, SystemClock, Timestamp};
