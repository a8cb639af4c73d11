//! What applications do to the cluster while it is backed up: one writes, one searches, neither knows of backups.

use super::data::{DIMENSION, DemoCollection};
use crate::milvus_client::{MilvusClient, SearchSpec};
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Numbers of the rows that the writer makes begin here, far above those of the demo's own data.
const WRITER_FIRST_NUMBER: u64 = 1_000_000_000;
/// Rows per write.
const ROWS_PER_WRITE: u64 = 20;
/// Pause between two writes.
const WRITE_PAUSE: Duration = Duration::from_millis(20);
/// Pause between two searches.
const SEARCH_PAUSE: Duration = Duration::from_millis(5);
/// Operations that make latencies worth telling.
const OPERATIONS_MIN: u64 = 100;
/// Errors that are kept in words.
const ERRORS_TOLD_MAX: usize = 5;

/// A writer and a searcher at work.
pub(super) struct Traffic {
    stop: CancellationToken,
    writer: AtWork,
    searcher: AtWork,
}

/// One of them, with the number of operations that it has tried.
struct AtWork {
    task: JoinHandle<Lane>,
    tried: watch::Receiver<u64>,
}

/// What the two did.
#[derive(Debug, Default)]
pub struct TrafficReport {
    /// The writer.
    pub writer: Lane,
    /// The searcher.
    pub searcher: Lane,
}

/// What one of them did.
#[derive(Debug, Default)]
pub struct Lane {
    /// How long each operation took that went well.
    latencies: Vec<Duration>,
    /// How many went wrong.
    pub error_count: u64,
    /// The first errors, in words.
    pub errors: Vec<String>,
}

impl Traffic {
    /// Starts both.
    #[must_use]
    pub(super) fn start(milvus: &MilvusClient) -> Self {
        let stop = CancellationToken::new();
        let (count, tried) = watch::channel(0);
        let writer = AtWork { task: tokio::spawn(write(milvus.clone(), stop.clone(), count)), tried };
        let (count, tried) = watch::channel(0);
        let searcher = AtWork { task: tokio::spawn(search(milvus.clone(), stop.clone(), count)), tried };
        Self { stop, writer, searcher }
    }

    /// Waits until both have tried so many more operations. One that has died is not waited for.
    pub(super) async fn both_try(&mut self, operations: u64) {
        for lane in [&mut self.writer, &mut self.searcher] {
            let goal = *lane.tried.borrow() + operations;
            lane.has_tried(goal).await;
        }
    }

    /// Stops both once they have done enough for their latencies to mean something.
    ///
    /// # Errors
    /// One of them panicked.
    pub(super) async fn finish(mut self) -> anyhow::Result<TrafficReport> {
        for lane in [&mut self.writer, &mut self.searcher] {
            lane.has_tried(OPERATIONS_MIN).await;
        }
        self.stop.cancel();
        Ok(TrafficReport { writer: self.writer.task.await?, searcher: self.searcher.task.await? })
    }
}

impl AtWork {
    async fn has_tried(&mut self, operations: u64) {
        // An error means that the lane has ended; its report will tell.
        let _ = self.tried.wait_for(|tried| operations <= *tried).await;
    }
}

impl Lane {
    /// Operations that were tried.
    #[must_use]
    pub fn operation_count(&self) -> u64 {
        self.latencies.len() as u64 + self.error_count
    }

    /// The latency that this percentage of the operations did not exceed; zero when none went well.
    #[must_use]
    pub fn percentile(&self, percent: usize) -> Duration {
        let mut sorted = self.latencies.clone();
        sorted.sort_unstable();
        let rank = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
        sorted.get(rank).copied().unwrap_or_default()
    }

    /// Adds what it did in another period.
    pub fn merge(&mut self, other: Self) {
        self.latencies.extend(other.latencies);
        self.error_count += other.error_count;
        self.errors.extend(other.errors);
        self.errors.truncate(ERRORS_TOLD_MAX);
    }

    fn record(&mut self, began: Instant, outcome: anyhow::Result<()>) {
        match outcome {
            Ok(()) => self.latencies.push(began.elapsed()),
            Err(error) => {
                self.error_count += 1;
                if self.errors.len() < ERRORS_TOLD_MAX {
                    self.errors.push(format!("{error:#}"));
                }
            }
        }
    }
}

async fn write(milvus: MilvusClient, stop: CancellationToken, tried: watch::Sender<u64>) -> Lane {
    let mut lane = Lane::default();
    // Each run gets numbers of its own, so that two periods of one demo do not write the same keys.
    let mut random = SmallRng::from_os_rng();
    let mut number = WRITER_FIRST_NUMBER + u64::from(random.random::<u32>()) * 10_000;
    for round in 0_u64.. {
        let collection = if round % 2 == 0 { DemoCollection::Products } else { DemoCollection::Reviews };
        let began = Instant::now();
        let outcome = write_once(&milvus, collection, round, number, &mut random).await;
        lane.record(began, outcome);
        number += ROWS_PER_WRITE;
        tried.send_replace(round + 1);
        if pause(&stop, WRITE_PAUSE).await.is_break() {
            break;
        }
    }
    lane
}

/// One step: mostly an insert; every tenth deletes rows written before, every tenth replaces some.
async fn write_once(
    milvus: &MilvusClient,
    collection: DemoCollection,
    round: u64,
    number: u64,
    random: &mut SmallRng,
) -> anyhow::Result<()> {
    let database = milvus.in_database(collection.database());
    // Two rounds back: the same collection's last insert, because the collections take turns.
    let earlier = number.saturating_sub(2 * ROWS_PER_WRITE);
    match round % 10 {
        4 | 5 => {
            let Some(expression) = collection.select(earlier..earlier + ROWS_PER_WRITE) else {
                return Ok(());
            };
            database.delete(collection.name(), &expression).await
        }
        8 | 9 => database.upsert(collection.name(), &collection.rows(earlier, ROWS_PER_WRITE, random)).await,
        _ => {
            let rows = collection.rows(number, ROWS_PER_WRITE, random);
            database.insert(collection.name(), "", &rows).await.map(|_keys| ())
        }
    }
}

async fn search(milvus: MilvusClient, stop: CancellationToken, tried: watch::Sender<u64>) -> Lane {
    let mut lane = Lane::default();
    let mut random = SmallRng::from_os_rng();
    for (round, collection) in DemoCollection::ALL.into_iter().cycle().enumerate() {
        let vector: Vec<f32> = (0..DIMENSION).map(|_| random.random::<f32>() - 0.5).collect();
        let search = SearchSpec {
            collection: collection.name(),
            field: "embedding",
            metric: collection.metric(),
            vector: &vector,
            limit: 10,
        };
        let began = Instant::now();
        let found = milvus.in_database(collection.database()).search(&search).await;
        let outcome = found.and_then(|count| {
            anyhow::ensure!(count > 0, "a search in {} found nothing", collection.name());
            Ok(())
        });
        lane.record(began, outcome);
        tried.send_replace(round as u64 + 1);
        if pause(&stop, SEARCH_PAUSE).await.is_break() {
            break;
        }
    }
    lane
}

async fn pause(stop: &CancellationToken, length: Duration) -> std::ops::ControlFlow<()> {
    match tokio::time::timeout(length, stop.cancelled()).await {
        Ok(()) => std::ops::ControlFlow::Break(()),
        Err(_elapsed) => std::ops::ControlFlow::Continue(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_latencies_that_occurred() {
        let lane =
            Lane { latencies: (1..=200).rev().map(Duration::from_millis).collect(), ..Lane::default() };
        assert_eq!(lane.percentile(50), Duration::from_millis(100));
        assert_eq!(lane.percentile(99), Duration::from_millis(198));
        assert_eq!(lane.percentile(100), Duration::from_millis(200));
        assert_eq!(Lane::default().percentile(99), Duration::ZERO);
    }
}
