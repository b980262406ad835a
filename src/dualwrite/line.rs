//! One answer for all who ask for the same at once.
//!
//! Many ask at once: after an outage every unfinished operation looks at the same rows, and at all other
//! operations. A reading that is asked for while another is under way begins after that, and answers all
//! who asked meanwhile. It begins after each of them asked, so it shows everything that was there then.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::OnceCell;
use tokio::time::Instant;

/// Those who wait hold places that others need.
const LONGEST_REST: Duration = Duration::from_secs(1);

/// Those who want the same.
pub(super) struct Line<Q, A> {
    /// The reading that has not begun.
    next: Mutex<Option<Arc<Reading<Q, A>>>>,
    /// Held by the reading that is under way, and while the line rests.
    turn: Arc<tokio::sync::Mutex<()>>,
    /// For how many times the length of a reading the line rests after it.
    rest: u32,
}

/// One reading, for all who joined it.
struct Reading<Q, A> {
    asked: Mutex<Vec<Arc<Q>>>,
    answer: OnceCell<A>,
}

impl<Q, A: Clone> Line<Q, A> {
    /// A line whose readings take at most 1 / (1 + `rest`) of the time.
    pub(super) fn resting(rest: u32) -> Self {
        Self { next: Mutex::default(), turn: Arc::default(), rest }
    }

    /// The answer of a reading that begins after this call, and is given every question that it answers.
    pub(super) async fn ask(
        &self,
        question: Arc<Q>,
        read: impl AsyncFnOnce(Vec<Arc<Q>>) -> A,
    ) -> A {
        let reading = self.join(question);
        let answer = reading.answer.get_or_init(|| async {
            let turn = Arc::clone(&self.turn).lock_owned().await;
            let began = Instant::now();
            let answer = read(self.begin(&reading)).await;
            let rest = (began.elapsed() * self.rest).min(LONGEST_REST);
            if !rest.is_zero() {
                tokio::spawn(async move {
                    tokio::time::sleep(rest).await;
                    drop(turn);
                });
            }
            answer
        });
        answer.await.clone()
    }

    /// Whether a reading is under way, or the line rests after one.
    pub(super) fn is_busy(&self) -> bool {
        self.turn.try_lock().is_err()
    }

    /// The reading that begins next, which answers this question too.
    fn join(&self, question: Arc<Q>) -> Arc<Reading<Q, A>> {
        let mut next = lock(&self.next);
        let reading = Arc::clone(next.get_or_insert_default());
        lock(&reading.asked).push(question);
        reading
    }

    /// `reading` begins: nobody joins it from here on. Gives what it has to answer. (It may begin again, if
    /// the task that read for all was dropped meanwhile.)
    fn begin(&self, reading: &Arc<Reading<Q, A>>) -> Vec<Arc<Q>> {
        let mut next = lock(&self.next);
        if next.as_ref().is_some_and(|next| Arc::ptr_eq(next, reading)) {
            *next = None;
        }
        lock(&reading.asked).clone()
    }
}

impl<Q, A> Default for Reading<Q, A> {
    fn default() -> Self {
        Self { asked: Mutex::default(), answer: OnceCell::new() }
    }
}

// A panic of another holder leaves a whole value behind: each change is one assignment.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
