//! Evidence: the one thing that the journal takes from a process that was taken over.

use tokio_postgres::{Client, Row};

use super::super::problem::Problem;
use super::super::shared::{Deposit, Receipt};
use super::super::sql::Value;
use super::lease::Identity;

/// Without a fence. One statement, and durable once it is answered.
pub(super) const DEPOSIT: &str = "INSERT INTO evidence (operation, deposit) VALUES ($1, $2)";

pub(super) const SETTLE: &str = "DELETE FROM evidence WHERE receipt = $1";

/// The values of a deposit.
pub(super) fn encode(deposit: &Deposit) -> Result<Vec<Value<'static>>, serde_json::Error> {
    Ok(vec![deposit.operation.into(), Value::Text(serde_json::to_string(deposit)?.into())])
}

/// Evidence of operations that this replica owns, or that were forgotten, which any replica may begin anew.
const WAITING: &str = "SELECT v.receipt, v.deposit \
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
    let receipt = Receipt(row.get(0));
    match serde_json::from_str(row.get(1)) {
        Ok(deposit) => Some((receipt, deposit)),
        // It stays for a release that can.
        Err(error) => {
            tracing::error!(?receipt, %error, "evidence can't be read");
            None
        }
    }
}
