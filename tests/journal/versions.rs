//! Journals of other releases are refused, and nothing in them is touched.

use crate::fixture::{Place, opened};
use crate::support::database::Database;

/// Asserts that the refusal says what was found and what to do.
fn tells(message: &str, number: u32, way_out: &str) {
    for part in
        [&format!("another release wrote it (format {number};"), "run that release until", way_out]
    {
        assert!(message.contains(part), "{message}");
    }
}

/// Earlier releases kept no number, and several tables had other columns.
const AS_BEFORE: &str = "DROP TABLE format; CREATE TABLE versions (what TEXT, version INTEGER);";

const LATER: &str = "UPDATE format SET number = 99";

#[tokio::test]
async fn what_another_release_wrote_is_refused_with_the_way_out_each_time() {
    for (meddle, number) in [(AS_BEFORE, 0), (LATER, 99)] {
        let place = Place::new();
        opened(&place.open(), 1).await;
        place.meddle(meddle);
        for _ in 0..2 {
            tells(&place.refusal(), number, "move it and the files named after it away");
        }
    }
}

#[tokio::test]
async fn what_another_release_wrote_into_postgresql_is_refused_with_the_way_out_each_time() {
    for (meddle, number) in [(AS_BEFORE, 0), (LATER, 99)] {
        let database = Database::new().await;
        opened(&database.open().await, 1).await;
        database.meddle().await.batch_execute(meddle).await.unwrap();
        for _ in 0..2 {
            let error = database.try_open(database.config()).await.unwrap_err();
            tells(&error.to_string(), number, "drop the schema authz_sidecar");
        }
    }
}
