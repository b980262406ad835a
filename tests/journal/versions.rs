//! Journals of other releases: an earlier one's is read, a later one's refused.

use authz_sidecar::journal::{Journal, Of, OpenError, OpenOptions};
use authz_sidecar::model::{OperationId, ResourceType};

use crate::fixture::{Place, at, finished, ids, names, opened, resource};

/// Every kind of record that version 1 knew.
const VERSION_1: &str = include_str!("version1.sql");

#[tokio::test]
async fn what_version_1_wrote_is_read_and_carried_on() {
    let place = Place::new();
    place.meddle(VERSION_1);
    let journal = place.open();
    let create = OperationId::parse("01a20f08-94f1-71c4-8639-908ecbfd1001").unwrap();
    let delete = OperationId::parse("01a20f08-94f1-71c4-8639-908ecbfd1002").unwrap();
    let of_create = [
        "prepared",
        "closed",
        "committed",
        "registered",
        "passed",
        "undoing",
        "undoing",
        "deleted",
        "sweep",
        "reported",
        "finished",
    ];
    assert_eq!(names(&journal, create).await, of_create);
    let of_delete = ["prepared", "targets", "closed", "deleted", "sweep"];
    assert_eq!(names(&journal, delete).await, of_delete);
    assert_eq!(ids(&journal.unfinished().await.unwrap()), [delete]);
    let key = resource("api_key", "01a20f08-94f1-71c4-8639-908ecbfd1075");
    assert_eq!(journal.holder(&key).await.unwrap().map(|stored| stored.id), Some(create));
    let kind = ResourceType::new("api_key");
    let (from, to) = (at(1_795_548_550), at(1_795_548_551));
    let found = journal.overlapping(&kind, Of::Creates, from, to).await.unwrap();
    assert_eq!(ids(&found), [create]);

    journal.append(delete, vec![finished(1_795_548_600)]).await.unwrap();
    opened(&journal, 1_795_548_601).await;
    assert_eq!(journal.prune(at(1_795_548_700), at(1_795_548_699)).await, Ok(1));
    drop(journal);
    place.open();
}

#[tokio::test]
async fn what_a_later_release_wrote_is_refused_with_the_mend_each_time() {
    for what in ["schema", "records"] {
        let place = Place::new();
        drop(place.open());
        place.meddle(&format!("UPDATE versions SET version = 99 WHERE what = '{what}'"));
        let error = place.try_open(OpenOptions::default()).unwrap_err();
        assert!(matches!(error, OpenError::Newer { found: 99, .. }), "{error}");
        let message = error.to_string();
        assert!(message.contains(&format!("{what} 99")), "{message}");
        assert!(message.contains("run that release"), "{message}");
        assert_eq!(place.try_open(OpenOptions::default()).unwrap_err().to_string(), message);
    }
}
