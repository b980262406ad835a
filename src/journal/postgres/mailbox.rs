//! Evidence: the one thing that the journal takes from a process that was taken over.

use tokio_postgres::{Client, Row};
use uuid::Uuid;

use super::super::problem::Problem;
use super::super::shared::{Deposit, Receipt};
use super::super::sql::Value;
use super::lease::Identity;
use crate::model::OperationId;

/// Without a fence. One statement, and durable once it is answered.
pub(super) const DEPOSIT: &str =
    "INSERT INTO evidence (operation, opening, late) VALUES ($1, $2, $3)";

pub(super) const SETTLE: &str = "DELETE FROM evidence WHERE receipt = $1";

/// The values of a deposit.
pub(super) fn encode(deposit: &Deposit) -> Result<Vec<Value<'static>>, serde_json::Error> {
    let opening = serde_json::to_string(&deposit.opening)?;
    let late = serde_json::to_string(&deposit.late)?;
    Ok(vec![deposit.operation.into(), Value::Text(opening.into()), Value::Text(late.into())])
}

/// Evidence of operations that this replica owns, or that were forgotten, which any replica may begin anew.
const WAITING: &str = "SELECT v.receipt, v.operation, v.opening, v.late \
     FROM evidence v LEFT JOIN operations o ON o.id = v.operation \
     WHERE o.owner = $1 OR o.id IS NULL ORDER BY v.receipt LIMIT 256";

/// The evidence that waits for this replica.
pub(super) async fn waiting(
    client: &Client,
    identity: Identity,
) -> Result<Vec<(Receipt, Deposit)>, Problem> {
    let rows = client.query(WAITING, &[&identity.epoch]).await?;
    Ok(rows.iter().filter_map(decode).collect())
}

fn decode(row: &Row) -> Option<(Receipt, Deposit)> {
    let operation = OperationId::from(row.get::<_, Uuid>(1));
    let opening = serde_json::from_str(row.get(2));
    match opening.and_then(|opening| Ok((opening, serde_json::from_str(row.get(3))?))) {
        Ok((opening, late)) => Some((Receipt(row.get(0)), Deposit { operation, opening, late })),
        // It stays for a release that can.
        Err(error) => {
            tracing::error!(%operation, %error, "evidence can't be read");
            None
        }
    }
}
