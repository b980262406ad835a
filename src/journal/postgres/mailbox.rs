//! Evidence: the one thing that the journal takes from a process that was taken over.

use tokio_postgres::Client;
use uuid::Uuid;

use super::super::shared::{Deposit, Receipt};
use super::super::summary::Summary;
use super::connect::{Problem, failed};
use super::lease::Identity;
use super::schema::{NEVER, RECORD_VERSION, code};
use super::write::uuid;
use crate::model::{Clock, Entry, Late, OperationId, SystemClock, Timestamp};

/// Without a fence. One statement, and durable once it is answered.
pub(super) const DEPOSIT: &str =
    "INSERT INTO evidence (operation, opening, late) VALUES ($1, $2, $3)";

pub(super) const SETTLE: &str = "DELETE FROM evidence WHERE receipt = $1";

/// What of a deposit is kept as text.
pub(super) fn encode(deposit: &Deposit) -> Result<(Uuid, String, String), serde_json::Error> {
    let opening = serde_json::to_string(&deposit.opening)?;
    Ok((uuid(deposit.operation), opening, serde_json::to_string(&deposit.late)?))
}

/// Evidence that waits for this replica.
pub(super) struct Letter {
    pub(super) receipt: Receipt,
    pub(super) operation: OperationId,
    pub(super) late: Late,
}

/// The evidence on operations of this replica.
pub(super) async fn waiting(client: &Client, identity: Identity) -> Result<Vec<Letter>, Problem> {
    let query = "SELECT v.receipt, v.operation, v.late FROM evidence v \
                 JOIN operations o ON o.id = v.operation WHERE o.owner = $1 \
                 ORDER BY v.receipt LIMIT 256";
    let rows = client.query(query, &[&identity.epoch]).await.map_err(failed)?;
    let mut letters = Vec::with_capacity(rows.len());
    for row in rows {
        let operation: Uuid = row.get(1);
        let operation = OperationId::from_bytes(*operation.as_bytes());
        match serde_json::from_str(row.get(2)) {
            Ok(late) => letters.push(Letter { receipt: Receipt(row.get(0)), operation, late }),
            // It stays for a release that can.
            Err(error) => tracing::error!(%operation, %error, "evidence can't be read"),
        }
    }
    Ok(letters)
}

/// Begins forgotten operations anew that evidence tells of, with the records that it brought. They
/// have the time at which they are recorded now: what was forgotten until then is not known for them.
pub(super) async fn revive(client: &Client, identity: Identity) -> Result<(), Problem> {
    let forgotten = "SELECT DISTINCT ON (v.operation) v.operation, v.opening FROM evidence v \
                     WHERE NOT EXISTS (SELECT 1 FROM operations o WHERE o.id = v.operation) \
                     ORDER BY v.operation, v.receipt LIMIT 64";
    for row in client.query(forgotten, &[]).await.map_err(failed)? {
        let operation: Uuid = row.get(0);
        let id = OperationId::from_bytes(*operation.as_bytes());
        let opening = serde_json::from_str::<Vec<Entry>>(row.get(1)).ok();
        let summary = opening.as_ref().and_then(|opening| Summary::fold(id, None, opening).ok());
        let (Some(opening), Some(summary)) = (opening, summary) else {
            tracing::error!(operation = %id, "evidence of a forgotten operation can't be read");
            continue;
        };
        begin(client, identity, operation, &summary, &opening, SystemClock.now()).await?;
    }
    Ok(())
}

/// All in one statement, under the fence of the writer. Of several replicas one begins it.
async fn begin(
    client: &Client,
    identity: Identity,
    operation: Uuid,
    summary: &Summary,
    opening: &[Entry],
    at: Timestamp,
) -> Result<(), Problem> {
    let begin = "WITH me AS MATERIALIZED ( \
             SELECT epoch FROM replicas WHERE epoch = $1 AND token = $2 AND NOT dead FOR KEY SHARE), \
         begun AS ( \
             INSERT INTO operations (id, owner, begun, resource_type, kind, opened_at, settled_at, \
                 state) SELECT $3, me.epoch, 0, $4, $5, $6, $7, $8 FROM me \
             ON CONFLICT DO NOTHING RETURNING id) \
         INSERT INTO entries (operation, at, version, record) \
         SELECT begun.id, $10, $9, u.record \
         FROM begun, unnest($11::text[]) WITH ORDINALITY AS u (record, n) \
         ORDER BY u.n";
    let at = at.as_micros();
    let records = opening.iter().map(|entry| serde_json::to_string(&entry.record));
    let records: Vec<String> = records.filter_map(Result::ok).collect();
    let (state, _) = summary.phase.columns();
    let settled = summary.settled_at.map_or(NEVER, Timestamp::as_micros);
    let kind = code(summary.of);
    let opened = summary.opened_at.as_micros();
    client
        .execute(
            begin,
            &[
                &identity.epoch,
                &identity.token,
                &operation,
                &summary.resource_type.as_str(),
                &kind,
                &opened,
                &settled,
                &state,
                &RECORD_VERSION,
                &at,
                &records,
            ],
        )
        .await
        .map_err(failed)
        .map(drop)
}
