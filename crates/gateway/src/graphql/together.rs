//! Runs an operation and its look-ups in turn, in one task: resolvers go on until all of them wait, and only then is
//! read what they wait for. So a read holds all that is wanted at the moment, however long the resolvers take to say so;
//! and when the operation is given up, its reads are too.

use futures::future::BoxFuture;
use futures::stream::{self, FuturesUnordered};
use futures::task::{ArcWake, AtomicWaker, Context, Poll, waker};
use futures::{Stream, StreamExt};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// How often in a row resolvers may let others have a turn before reads begin all the same. More than resolvers do
/// that wait for nothing but reads.
const TURNS_MAX: u32 = 10_000;

/// Reads that resolvers want and that have not begun: of each kind of record one, and what is more than a batch.
#[derive(Clone, Default)]
pub(super) struct Wanted(Arc<Mutex<Vec<BoxFuture<'static, ()>>>>);

impl Wanted {
    /// Adds a read. It begins when the operation next waits.
    pub(super) fn add(&self, read: BoxFuture<'static, ()>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(read);
    }

    fn take(&self) -> Vec<BoxFuture<'static, ()>> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Tells resolvers that wait from those that only let others have a turn: the latter wake their task at once.
#[derive(Default)]
struct Turn {
    woken: AtomicBool,
    task: AtomicWaker,
}

impl ArcWake for Turn {
    fn wake_by_ref(turn: &Arc<Self>) {
        turn.woken.store(true, Ordering::SeqCst);
        turn.task.wake();
    }
}

/// The answers of an operation, with the reads that it wants.
pub(super) fn together<S: Stream + Unpin>(mut answers: S, wanted: Wanted) -> impl Stream<Item = S::Item> {
    let mut reads = FuturesUnordered::new();
    let turn: Arc<Turn> = Arc::default();
    let turn_waker = waker(Arc::clone(&turn));
    let mut turns = 0;
    stream::poll_fn(move |context| {
        loop {
            turn.task.register(context.waker());
            turn.woken.store(false, Ordering::SeqCst);
            if let Poll::Ready(answer) = answers.poll_next_unpin(&mut Context::from_waker(&turn_waker)) {
                return Poll::Ready(answer);
            }
            // Whoever was woken meanwhile is asked again first: he may want to read more.
            if turn.woken.load(Ordering::SeqCst) && turns < TURNS_MAX {
                turns += 1;
                return Poll::Pending;
            }
            turns = 0;
            reads.extend(wanted.take());
            // A read that has ended lets resolvers go on.
            match reads.poll_next_unpin(context) {
                Poll::Ready(Some(())) => {}
                Poll::Ready(None) | Poll::Pending => return Poll::Pending,
            }
        }
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use futures::channel::oneshot;
    use futures::future::{join_all, poll_fn};
    use std::sync::atomic::AtomicU32;

    async fn let_others_have_a_turn() {
        let mut had_it = false;
        poll_fn(|context| {
            if std::mem::replace(&mut had_it, true) {
                return Poll::Ready(());
            }
            context.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    }

    /// Resolvers that each let others have turns before they want something: it is wanted in one moment nevertheless.
    #[tokio::test]
    async fn reads_begin_when_all_resolvers_wait() {
        let wanted = Wanted::default();
        let (asked, moments) = (Arc::new(AtomicU32::new(0)), Arc::new(Mutex::new(Vec::new())));
        let resolver = |number: u32| {
            let (wanted, asked, moments) = (wanted.clone(), Arc::clone(&asked), Arc::clone(&moments));
            async move {
                for level in 1..=3 {
                    for _ in 0..number {
                        let_others_have_a_turn().await;
                    }
                    let (sender, receiver) = oneshot::channel();
                    asked.fetch_add(1, Ordering::SeqCst);
                    let (asked, moments) = (Arc::clone(&asked), Arc::clone(&moments));
                    wanted.add(Box::pin(async move {
                        moments.lock().unwrap().push((level, asked.load(Ordering::SeqCst)));
                        sender.send(()).unwrap();
                    }));
                    receiver.await.unwrap();
                }
            }
        };
        let operation = join_all((0..7).map(resolver));
        let answers = stream::once(operation).boxed();
        assert_eq!(together(answers, wanted.clone()).collect::<Vec<_>>().await.len(), 1);
        let moments = moments.lock().unwrap();
        assert_eq!(moments.len(), 21);
        // When the first read of a level begins, everybody has asked for his.
        let first = |level: u32| moments.iter().find(|(of, _)| *of == level).map(|(_, asked)| *asked);
        assert_eq!(first(1), Some(7), "{moments:?}");
    }
}
