//! Records as the journal keeps them, one JSON a line: each is read as it was written or not at all,
//! and a history of them is an operation or refused, whatever it says.

#![no_main]

use std::sync::Arc;

use authz_sidecar::dualwrite::index::{begin, go_on};
use authz_sidecar::dualwrite::operation::Operation;
use authz_sidecar::dualwrite::{Config, Ledger};
use authz_sidecar::journal::Journal;
use authz_sidecar::model::{Entry, OperationId, Order, Record, Stored, Timestamp};
use libfuzzer_sys::fuzz_target;

#[path = "../../tests/support/memory.rs"]
#[allow(dead_code, reason = "tests use the rest")]
mod memory;
use memory::MemoryJournal;

fuzz_target!(|input: &str| {
    let mut entries = Vec::new();
    for (n, line) in input.lines().take(64).enumerate() {
        let Ok(record) = serde_json::from_str::<Record>(line) else { continue };
        let text = serde_json::to_string(&record).expect("a record can be written");
        assert_eq!(record, serde_json::from_str(&text).expect("and read"), "{text}");
        let at = Timestamp::from_micros(1_000_000 * i64::try_from(n).expect("few"));
        entries.push(Entry { at, record });
    }
    let journal = Arc::new(MemoryJournal::new());
    let id = OperationId::new();
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(async {
        // A history that can't be is refused, and no panic.
        drop(Operation::replay(&Stored { id, entries: entries.clone() }));
        // One by one, so that what comes after a refused one is looked at too.
        let mut operation = None;
        for entry in entries {
            let next = match &operation {
                None => begin(id, vec![entry]),
                Some(operation) => go_on(operation, vec![entry]),
            };
            if let Ok((after, append)) = next
                && journal.append(append).await.is_ok()
            {
                operation = Some(after);
            }
        }
        let bounds = Config::default().bounds();
        let ledger = Ledger::new(journal, bounds);
        // What is kept is told, and takes an order.
        if let Ok(Some(account)) = ledger.show(id).await {
            serde_json::to_string(&account).expect("an account can be written");
            let by = || "fuzz".parse().expect("a word");
            drop(ledger.order(id, Order::Discard { by: by(), reason: by() }).await);
        }
    });
});
