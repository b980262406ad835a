//! Each column of the summary rises for a wrong that is planted in the doubles, and no other does.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::crash::plant::Plant;
use crate::support::service::{Options, Service};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_planted_raises_its_own_column_and_no_other() {
    let service = Arc::new(Service::start(Options::default()).await);
    let plants = [Plant::Orphan, Plant::Lost, Plant::Stuck, Plant::Taken];
    let rounds = plants.map(|plant| (plant, tokio::spawn(plant.raise(Arc::clone(&service)))));
    for (plant, raised) in rounds {
        let (kinds, tally) = raised.await.unwrap();
        println!("{plant:?}: {tally}");
        assert_eq!(kinds, BTreeSet::from([plant.kind()]), "{plant:?}");
        assert!(!tally.is_clean());
    }
}
