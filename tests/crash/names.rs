//! The names by which the matrix knows records, phases and orders of the sidecar. Nothing else of it
//! depends on how the sidecar works.

/// The records that let a create stand: registered, or passed on purpose.
pub const REGISTERED: &str = "registered";
pub const PASSED: &str = "passed";

/// The record with which a create is undone.
pub const UNDOING: &str = "undoing";

/// The record of an order to try again, and of one to end an operation.
pub const RETRIED: &str = "retried";
pub const DISCARDED: &str = "discarded";

/// The phase of what waits for a person.
pub const REPORTED: &str = "reported";

/// Whether a record has the id of its operation's row.
pub fn has_id(record: &str) -> bool {
    matches!(record, "committed" | REGISTERED | PASSED | UNDOING)
}

/// Whether an operation in that phase needs nothing but the passing of L, or a person.
pub fn waits(phase: &str) -> bool {
    matches!(phase, "undoing" | "unknown" | "looking" | REPORTED)
}

/// What a person knows of the rows of an operation that they discard.
pub enum Knows {
    /// Exactly which they are.
    Ids,
    /// That there is one at most.
    One,
    /// Nothing.
    Nothing,
}

/// What is known of the rows of an operation of that rule in that phase. A delete by name that still
/// looks may find other rows gone than those that it names now.
pub fn knows(phase: &str, rule: &str) -> Knows {
    match (phase, rule) {
        ("unknown", _) => Knows::One,
        ("undoing" | "registered" | "passed", _) | ("looking", "delete-key") => Knows::Ids,
        _ => Knows::Nothing,
    }
}
