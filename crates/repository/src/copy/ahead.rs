//! Fetching ahead.

use crate::error::from_join;
use futures::stream::{self, Stream, StreamExt};
use milvault_domain::error::PortResult;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::task::JoinHandle;
use tracing::Instrument;

/// Gives what the fetches give, in their order, with so many of them on the way. They go on while nobody asks for the
/// next one: a request that is not polled while its predecessor is written runs into the client's read timeout. What is
/// fetched waits in memory, at most `at_once` of them. Dropping the stream stops them.
pub(super) fn in_order<T: Send + 'static>(
    fetches: Vec<impl Future<Output = PortResult<T>> + Send + 'static>,
    at_once: usize,
) -> impl Stream<Item = PortResult<T>> + Unpin {
    stream::iter(fetches).map(|fetch| Task(tokio::spawn(fetch.in_current_span()))).buffered(at_once)
}

/// A task that ends with whoever waits for it.
struct Task<T>(JoinHandle<PortResult<T>>);

impl<T> Future for Task<T> {
    type Output = PortResult<T>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context).map(|joined| joined.map_err(from_join).flatten())
    }
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use futures::TryStreamExt;
    use std::sync::Arc;
    use tokio::sync::Semaphore;

    #[tokio::test]
    async fn fetches_go_on_while_nobody_asks() {
        let done = Arc::new(Semaphore::new(0));
        let fetch = |number: u32| {
            let done = Arc::clone(&done);
            async move {
                // As a request does: it needs more than one poll.
                tokio::task::yield_now().await;
                done.add_permits(1);
                Ok(number)
            }
        };
        let mut fetched = std::pin::pin!(in_order((0..10).map(fetch).collect(), 4));
        assert_eq!(fetched.try_next().await.unwrap(), Some(0));
        // The stream is not polled here, as while an object is written.
        let _ = done.acquire_many(4).await.unwrap();
        assert!(done.available_permits() <= 5, "no more than four wait");
        let rest: Vec<u32> = fetched.try_collect().await.unwrap();
        assert_eq!(rest, (1..10).collect::<Vec<u32>>());
    }

    #[tokio::test]
    async fn what_nobody_wants_any_more_is_stopped() {
        let (held, mut freed) = tokio::sync::mpsc::channel::<()>(1);
        let fetch = |number: u32| {
            let held = held.clone();
            async move {
                if 0 < number {
                    std::future::pending::<()>().await;
                }
                drop(held);
                Ok(number)
            }
        };
        {
            let mut fetched = std::pin::pin!(in_order((0..3).map(fetch).collect(), 3));
            assert_eq!(fetched.try_next().await.unwrap(), Some(0));
        }
        drop(held);
        assert_eq!(freed.recv().await, None);
    }
}
