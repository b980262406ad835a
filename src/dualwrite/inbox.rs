//! Letters to the operations that this process drives: what reaches one from outside its own loop,
//! from an operator or with evidence that came late.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{mpsc, oneshot};

use super::context::Halt;
use crate::journal::Receipt;
use crate::model::{Late, OperationId, Order};

/// Letters that may wait for one operation. Its driver reads them between two attempts; whoever
/// posts more waits for room.
const CAPACITY: usize = 16;

/// Something that an operation is told.
#[derive(Debug)]
pub(super) enum Letter {
    /// A person's order, and where to tell that it is durable, or why it was not taken.
    Order(Order, oneshot::Sender<Result<(), Halt>>),
    /// This was learnt too late to decide anything. If another process learnt it, there is a receipt for when it is
    /// recorded.
    Evidence(Late, Option<Receipt>),
}

/// Where to post letters.
#[derive(Clone, Default)]
pub(super) struct Inbox {
    open: Arc<Mutex<HashMap<OperationId, mpsc::Sender<Letter>>>>,
}

impl Inbox {
    /// Takes letters to `id` from now on, for as long as the result lives. Of two for one
    /// operation the later gets them.
    pub(super) fn open(&self, id: OperationId) -> Letters {
        let (sender, receiver) = mpsc::channel(CAPACITY);
        self.lock().insert(id, sender.clone());
        Letters { inbox: self.clone(), id, sender, receiver }
    }

    /// Whether somebody reads letters to `id`.
    pub(super) fn is_open(&self, id: OperationId) -> bool {
        self.lock().contains_key(&id)
    }

    /// Posts a letter, and waits for room. Gives whether it will be read; nobody reads it where
    /// this process does not drive the operation, or no more.
    pub(super) async fn post(&self, id: OperationId, letter: Letter) -> bool {
        let sender = self.lock().get(&id).cloned();
        match sender {
            Some(sender) => sender.send(letter).await.is_ok(),
            None => false,
        }
    }

    // A panic of another holder leaves a whole map behind: each change is one call.
    fn lock(&self) -> MutexGuard<'_, HashMap<OperationId, mpsc::Sender<Letter>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The letters to one operation.
pub(super) struct Letters {
    inbox: Inbox,
    id: OperationId,
    /// Told apart from a later one's.
    sender: mpsc::Sender<Letter>,
    receiver: mpsc::Receiver<Letter>,
}

impl Letters {
    /// The next letter, when it comes. Nothing is lost where the future is dropped.
    pub(super) async fn next(&mut self) -> Option<Letter> {
        self.receiver.recv().await
    }

    /// Takes no further letters: from here on `post` tells that nobody reads them. Those that came are still there.
    pub(super) fn close(&mut self) {
        self.receiver.close();
    }

    /// A letter that has come already.
    pub(super) fn waiting(&mut self) -> Option<Letter> {
        self.receiver.try_recv().ok()
    }
}

impl Drop for Letters {
    fn drop(&mut self) {
        let mut open = self.inbox.lock();
        if open.get(&self.id).is_some_and(|sender| sender.same_channel(&self.sender)) {
            open.remove(&self.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn late() -> Letter {
        Letter::Evidence(Late::Sent, None)
    }

    #[tokio::test]
    async fn letters_reach_whoever_opened_last_until_it_is_dropped() {
        let (inbox, id) = (Inbox::default(), OperationId::new());
        assert!(!inbox.post(id, late()).await, "nobody reads");
        let mut first = inbox.open(id);
        assert!(inbox.post(id, late()).await);
        assert!(matches!(first.next().await, Some(Letter::Evidence(..))));
        let mut second = inbox.open(id);
        drop(first);
        assert!(inbox.post(id, late()).await);
        assert!(matches!(second.waiting(), Some(Letter::Evidence(..))));
        assert!(second.waiting().is_none());
        drop(second);
        assert!(!inbox.post(id, late()).await, "nobody reads any more");
        assert!(inbox.lock().is_empty());
    }

    #[tokio::test]
    async fn p8_a_letter_waits_for_room_and_is_refused_once_nobody_reads() {
        let (inbox, id) = (Inbox::default(), OperationId::new());
        let letters = inbox.open(id);
        for _ in 0..CAPACITY {
            assert!(inbox.post(id, late()).await);
        }
        let one_more = inbox.post(id, late());
        let reader_leaves = async {
            tokio::task::yield_now().await;
            drop(letters);
        };
        let (posted, ()) = tokio::join!(one_more, reader_leaves);
        assert!(!posted);
    }
}
