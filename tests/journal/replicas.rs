//! What replicas that share a journal promise each other: leases, take-over, evidence. On PostgreSQL
//! and on the simulation's model of it, else simulations of several replicas would show nothing.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use authz_sidecar::journal::{Append, Arrival, Deposit, Error, Journal, Owner, Shared};
use authz_sidecar::model::{Late, OperationId};

use crate::fixture::{
    Calls, arrivals, at, closed, committed, done, finished, id, model, names, next, opened,
    opening, prepared, resource,
};
use crate::postgres;
use crate::support::database::Database;

/// Where replicas meet.
enum Place {
    Postgres(Database),
    Model(Arc<model::Database>),
}

/// One replica's journal.
#[derive(Clone)]
enum Replica {
    Postgres(Arc<authz_sidecar::journal::SqlJournal>),
    Model(model::Way),
}

impl Deref for Replica {
    type Target = dyn Journal;

    fn deref(&self) -> &Self::Target {
        match self {
            Self::Postgres(journal) => &**journal,
            Self::Model(way) => way,
        }
    }
}

impl Replica {
    fn shares(&self) -> &dyn Shared {
        self.shared().unwrap()
    }
}

impl Place {
    async fn open(&self) -> Replica {
        match self {
            Self::Postgres(database) => Replica::Postgres(Arc::new(database.open().await)),
            Self::Model(database) => Replica::Model(model::way(database, Duration::from_secs(2))),
        }
    }

    /// A replica that is never renewed again, as one is that stands still.
    async fn frozen(&self) -> Replica {
        match self {
            Self::Postgres(database) => {
                Replica::Postgres(Arc::new(postgres::frozen(database).await))
            }
            Self::Model(database) => Replica::Model(model::way(database, Duration::from_hours(1))),
        }
    }

    /// Ends a replica's lease as if it had run out.
    async fn expire(&self, replica: &Replica) {
        match (self, replica) {
            (Self::Postgres(database), Replica::Postgres(_)) => {
                postgres::expire(&database.meddle().await).await;
            }
            (Self::Model(database), Replica::Model(way)) => database.expire(way.epoch()),
            _ => unreachable!("a replica of another place"),
        }
    }

    async fn has_evidence(&self) -> bool {
        match self {
            Self::Postgres(database) => {
                let client = database.meddle().await;
                client.query_opt("SELECT 1 FROM evidence LIMIT 1", &[]).await.unwrap().is_some()
            }
            Self::Model(database) => database.has_evidence(),
        }
    }

    /// One whose lease has just run out, and another that took over from it, with what that got.
    async fn taken_over(
        &self,
        begin: impl AsyncFnOnce(&Replica) -> OperationId,
    ) -> (Replica, Replica, OperationId, Vec<OperationId>) {
        let old = self.frozen().await;
        old.shares().recover().await.unwrap();
        let operation = begin(&old).await;
        self.expire(&old).await;
        let new = self.open().await;
        let left = new.shares().recover().await.unwrap();
        (old, new, operation, left)
    }
}

/// Runs `test` on each kind of place.
async fn each<F: Future<Output = ()>>(test: impl Fn(Place) -> F) {
    test(Place::Postgres(Database::new().await)).await;
    test(Place::Model(Arc::default())).await;
}

#[tokio::test]
async fn p2_a_replica_whose_lease_ran_out_is_taken_over_and_decides_nothing_any_more() {
    each(|database| async move {
        let (old, new, operation, left) = database
            .taken_over(async |old| {
                done(&**old, 1, 2).await;
                opened(&**old, 3).await
            })
            .await;
        assert_eq!(left, [operation], "only what is unfinished");
        assert_eq!(old.write(operation, vec![closed(4)]).await, Err(Error::Fenced));
        assert_eq!(
            old.write(OperationId::new(), vec![prepared("api_key", 4)]).await,
            Err(Error::Fenced)
        );
        assert_eq!(
            (old.health(), old.shares().may_act()),
            (Err(Error::Fenced), Err(Error::Fenced))
        );
        assert_eq!(names(&*old, operation).await, ["prepared"], "it may read");
        new.write(operation, vec![closed(4), finished(5)]).await.unwrap();
        assert_eq!(names(&*new, operation).await, ["prepared", "closed", "finished"]);
        assert_eq!((new.health(), new.shares().may_act()), (Ok(()), Ok(())));
    })
    .await;
}

#[tokio::test]
async fn p2_what_is_under_way_at_a_take_over_comes_whole_before_it_or_not_at_all() {
    each(|database| async move {
        let old = database.frozen().await;
        old.shares().recover().await.unwrap();
        let operation = opened(&*old, 1).await;
        database.expire(&old).await;
        let new = database.open().await;
        let mut calls = tokio::task::JoinSet::new();
        for _ in 0..50 {
            let old = old.clone();
            calls.spawn(async move { old.write(operation, vec![closed(2), closed(3)]).await });
        }
        // They are called, and not answered yet.
        tokio::task::yield_now().await;
        if new.shares().recover().await.unwrap().is_empty() {
            // A write was under way, for whose end a take-over waits.
            assert_eq!(arrivals(&*new).await, [Arrival::Adopted(operation)]);
        }
        let seen = names(&*new, operation).await.len();
        let answers = calls.join_all().await;
        assert!(answers.iter().all(|answer| matches!(answer, Ok(()) | Err(Error::Fenced))));
        let kept = answers.iter().filter(|answer| answer.is_ok()).count();
        assert_eq!(seen, 1 + 2 * kept, "{answers:?}");
        // Nothing follows once another has read it.
        assert_eq!(old.write(operation, vec![closed(4)]).await, Err(Error::Fenced));
        assert_eq!(names(&*new, operation).await.len(), seen);
    })
    .await;
}

#[tokio::test]
async fn p4_ids_are_unique_over_replicas() {
    each(|database| async move {
        let (one, other) = (database.open().await, database.open().await);
        let (first, second) = (opened(&*one, 1).await, opened(&*other, 2).await);
        one.write(first, vec![committed(3, "k")]).await.unwrap();
        let taken = Err(Error::Taken { resource: resource("api_key", "k"), holder: first });
        assert_eq!(other.write(second, vec![committed(4, "k")]).await, taken);
        let holder = other.holder(&resource("api_key", "k")).await.unwrap();
        assert_eq!(holder.map(|stored| stored.id), Some(first));
        assert_eq!(other.write(first, vec![closed(5)]).await, Err(Error::NotOwned(first)));
    })
    .await;
}

#[tokio::test]
async fn p4_of_replicas_that_claim_the_same_ids_at_once_each_id_goes_to_one() {
    each(|database| async move {
        let replicas = [database.open().await, database.open().await];
        let mut claims = tokio::task::JoinSet::new();
        for (which, replica) in replicas.iter().enumerate() {
            let mut operations = Vec::new();
            for n in 0..40 {
                operations.push(opened(&**replica, n).await);
            }
            for n in 0..40 {
                // In opposite orders, as a deadlock needs them.
                let operation = operations[if which == 0 { n } else { 39 - n }];
                let replica = replica.clone();
                claims.spawn(async move {
                    (n, replica.write(operation, vec![committed(60, &format!("k{n}"))]).await)
                });
            }
        }
        let claims = claims.join_all().await;
        for n in 0..40 {
            let of: Vec<_> =
                claims.iter().filter(|(of, _)| *of == n).map(|(_, claim)| claim).collect();
            assert_eq!(of.iter().filter(|claim| claim.is_ok()).count(), 1, "{of:?}");
            assert!(of.iter().any(|claim| matches!(claim, Err(Error::Taken { .. }))), "{of:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn p3_evidence_is_accepted_after_a_take_over_and_reaches_the_owner_until_it_is_settled() {
    each(|database| async move {
        let (old, new, operation, _) =
            database.taken_over(async |old| opened(&**old, 1).await).await;
        let late = Late::Row { id: id("k") };
        let deposit = Deposit { operation, opening: opening("api_key", 1), late };
        old.shares().deposit(deposit.clone()).await.unwrap();
        for _ in 0..2 {
            let arrivals = arrivals(&*new).await;
            let [Arrival::Evidence { receipt, deposit: told }] = &arrivals[..] else {
                panic!("{arrivals:?}")
            };
            assert_eq!(*told, deposit);
            if !names(&*new, operation).await.contains(&"committed") {
                new.write(operation, vec![committed(9, "k")]).await.unwrap();
                continue;
            }
            new.shares().settle(*receipt).await.unwrap();
        }
        assert!(!database.has_evidence().await);
    })
    .await;
}

/// Whoever is first begins it anew.
#[tokio::test]
async fn p3_evidence_of_a_forgotten_operation_reaches_every_replica_until_one_begins_it_anew() {
    each(|database| async move {
        let (old, new, operation, _) =
            database.taken_over(async |old| opened(&**old, 1).await).await;
        let other = database.open().await;
        assert!(other.shares().recover().await.unwrap().is_empty());
        new.write(operation, vec![finished(2)]).await.unwrap();
        assert_eq!(new.prune(at(1000), at(900)).await, Ok(1));
        let (opening, late) = (opening("api_key", 1), Late::Row { id: id("k") });
        let deposit = Deposit { operation, opening, late };
        old.shares().deposit(deposit.clone()).await.unwrap();
        for replica in [&new, &other] {
            let arrivals = arrivals(&**replica).await;
            let [Arrival::Evidence { deposit: told, .. }] = &arrivals[..] else {
                panic!("{arrivals:?}")
            };
            assert_eq!(*told, deposit);
        }
        let begins = Append { begins: true, ..next(operation, vec![prepared("api_key", 1)]) };
        new.append(begins.clone()).await.unwrap();
        assert_eq!(other.append(begins).await, Err(Error::NotOwned(operation)));
        new.write(operation, vec![closed(1001), finished(1002)]).await.unwrap();
        assert_eq!(new.prune(at(9000), at(8000)).await, Ok(0), "what evidence waits for is kept");
    })
    .await;
}

#[tokio::test]
async fn p3_evidence_of_a_finished_operation_of_a_dead_replica_is_adopted_with_it() {
    each(|database| async move {
        let (old, new, _, left) = database.taken_over(async |old| opened(&**old, 1).await).await;
        assert_eq!(left.len(), 1);
        let operation = left[0];
        new.write(operation, vec![finished(2)]).await.unwrap();
        new.shares().release().await;
        old.shares()
            .deposit(Deposit { operation, opening: opening("api_key", 1), late: Late::Sent })
            .await
            .unwrap();
        let third = database.open().await;
        assert!(third.shares().recover().await.unwrap().is_empty(), "it is finished");
        let arrivals = arrivals(&*third).await;
        assert!(
            matches!(&arrivals[..], [Arrival::Evidence { deposit, .. }] if deposit.operation == operation)
        );
        third.write(operation, vec![closed(9)]).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_running_replica_adopts_what_another_left_within_a_lease_and_each_once() {
    each(|database| async move {
        let replicas = [database.open().await, database.open().await];
        for replica in &replicas {
            assert!(replica.shares().recover().await.unwrap().is_empty());
        }
        let old = database.frozen().await;
        let mut left = std::collections::BTreeSet::new();
        for intent in 0..150 {
            left.insert(opened(&*old, intent).await);
        }
        database.expire(&old).await;
        let expired = tokio::time::Instant::now();
        let mut adopted = Vec::new();
        while adopted.len() < left.len() {
            let arrivals = tokio::select! {
                arrivals = arrivals(&*replicas[0]) => arrivals,
                arrivals = arrivals(&*replicas[1]) => arrivals,
            };
            for arrival in arrivals {
                let Arrival::Adopted(operation) = arrival else { panic!("{arrival:?}") };
                adopted.push(operation);
            }
        }
        assert!(expired.elapsed() < Duration::from_secs(2), "a lease: {:?}", expired.elapsed());
        assert_eq!(adopted.iter().copied().collect::<std::collections::BTreeSet<_>>(), left);
        assert_eq!(adopted.len(), left.len());
    })
    .await;
}

#[tokio::test]
async fn a_replica_that_gives_up_its_lease_is_not_waited_for() {
    each(|database| async move {
        let old = database.frozen().await;
        let operation = opened(&*old, 1).await;
        old.write(operation, vec![closed(2)]).await.unwrap();
        old.shares().release().await;
        assert_eq!(old.shares().may_act(), Err(Error::Fenced), "at once");
        assert_eq!(old.write(operation, vec![finished(3)]).await, Err(Error::Fenced));
        let new = database.open().await;
        assert_eq!(new.shares().recover().await.unwrap(), [operation]);
        assert_eq!(names(&*new, operation).await, ["prepared", "closed"]);
    })
    .await;
}

/// As an operator does who discards it while no sidecar runs.
#[tokio::test]
async fn p9_what_no_living_replica_carries_on_is_whose_who_claims_it_and_nobody_else_s() {
    each(|database| async move {
        let old = database.frozen().await;
        let operation = opened(&*old, 1).await;
        let claims = async |replica: &Replica| replica.shares().claim(operation).await.unwrap();
        let new = database.open().await;
        assert!(matches!(claims(&new).await, Some(Owner::Other(_))), "its owner lives");
        let refused = new.write(operation, vec![closed(2)]).await;
        assert_eq!(refused, Err(Error::NotOwned(operation)));
        let other = database.frozen().await;
        let others = opened(&*other, 1).await;
        database.expire(&old).await;
        database.expire(&other).await;
        assert_eq!(claims(&new).await, Some(Owner::This));
        other.write(others, vec![closed(2)]).await.expect("nobody asked for what it owns");
        assert_eq!(old.write(operation, vec![closed(2)]).await, Err(Error::Fenced));
        new.write(operation, vec![closed(2)]).await.unwrap();
        let third = database.open().await;
        assert_eq!(third.shares().recover().await.unwrap(), [others]);
        assert!(matches!(claims(&third).await, Some(Owner::Other(_))));
        assert_eq!(third.shares().claim(OperationId::new()).await, Ok(None));
    })
    .await;
}
