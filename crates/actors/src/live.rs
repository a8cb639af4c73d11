//! Jobs at work in this process: their phase, progress and rate, and the news about them.

use crate::core::lock;
use milvault_domain::ids::{ClusterId, JobId, ProjectId};
use milvault_domain::job::{Job, JobPhase};
use milvault_domain::progress::{Progress, ProgressCounters};
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::broadcast;
use tokio::time::Instant;

/// How a running job is doing right now; fresher than the catalog.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LiveJob {
    /// What it is doing.
    pub phase: JobPhase,
    /// How far it is.
    pub progress: Progress,
    /// Bytes per second over the last seconds, reused bytes left out; `None` until there is something to measure.
    pub bytes_per_second: Option<u64>,
    /// How long the remaining bytes take at that rate; `None` when the rate is not known or nothing moves.
    pub remaining: Option<Duration>,
}

/// Something about a job has changed: state, phase or progress. Says only which; the catalog and
/// [`crate::Service::live`] say what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JobChange {
    /// The job.
    pub job_id: JobId,
    /// Its cluster.
    pub cluster_id: ClusterId,
    /// Its project.
    pub project_id: ProjectId,
}

/// Changes that a slow subscriber may lag behind before it misses some. A subscriber that missed some looks at the
/// current state, so nothing is lost but intermediate figures.
const CHANGES_MAX: usize = 1024;

/// All jobs at work, and the channel of their news. Clones are the same.
#[derive(Clone)]
pub(crate) struct LiveJobs {
    entries: Arc<Mutex<HashMap<JobId, Arc<LiveEntry>>>>,
    changes: broadcast::Sender<JobChange>,
}

impl LiveJobs {
    pub(crate) fn new() -> Self {
        Self { entries: Arc::default(), changes: broadcast::Sender::new(CHANGES_MAX) }
    }

    pub(crate) fn find(&self, job_id: JobId) -> Option<LiveJob> {
        let entry = lock(&self.entries).get(&job_id).map(Arc::clone)?;
        Some(entry.snapshot())
    }

    pub(crate) fn subscribe(&self) -> broadcast::Receiver<JobChange> {
        self.changes.subscribe()
    }

    /// Tells subscribers. Called after the catalog shows the change.
    pub(crate) fn publish(&self, job: &Job) {
        let change = JobChange { job_id: job.id, cluster_id: job.cluster_id, project_id: job.project_id };
        // An error only means that nobody listens.
        let _ = self.changes.send(change);
    }

    pub(crate) fn insert(&self, job_id: JobId, phase: JobPhase) -> Arc<LiveEntry> {
        let entry = Arc::new(LiveEntry {
            phase: Mutex::new(phase),
            counters: Arc::default(),
            meter: Mutex::default(),
        });
        lock(&self.entries).insert(job_id, Arc::clone(&entry));
        entry
    }

    pub(crate) fn remove(&self, job_id: JobId) {
        lock(&self.entries).remove(&job_id);
    }
}

/// One job at work.
pub(crate) struct LiveEntry {
    phase: Mutex<JobPhase>,
    pub(crate) counters: Arc<ProgressCounters>,
    meter: Mutex<RateMeter>,
}

impl LiveEntry {
    pub(crate) fn phase(&self) -> JobPhase {
        *lock(&self.phase)
    }

    pub(crate) fn set_phase(&self, phase: JobPhase) {
        *lock(&self.phase) = phase;
        // The rate of one phase says nothing about the next.
        *lock(&self.meter) = RateMeter::default();
    }

    /// Takes a sample for the rate.
    pub(crate) fn measure(&self) {
        let progress = self.counters.snapshot();
        let moved_bytes = progress.bytes_done.saturating_sub(progress.bytes_reused);
        lock(&self.meter).sample(Instant::now(), moved_bytes);
    }

    fn snapshot(&self) -> LiveJob {
        let progress = self.counters.snapshot();
        let bytes_per_second = lock(&self.meter).bytes_per_second();
        let left_bytes = progress.bytes_total.saturating_sub(progress.bytes_done);
        let remaining = bytes_per_second
            .filter(|rate| *rate > 0 && progress.bytes_total > 0)
            .map(|rate| Duration::from_secs(left_bytes.div_ceil(rate)));
        LiveJob { phase: self.phase(), progress, bytes_per_second, remaining }
    }
}

/// Rate over a moving window: short enough to follow, long enough not to flicker.
#[derive(Debug, Default)]
struct RateMeter {
    samples: VecDeque<(Instant, u64)>,
}

impl RateMeter {
    const WINDOW: Duration = Duration::from_secs(8);
    const SPAN_MIN: Duration = Duration::from_millis(200);
    const SAMPLES_MAX: usize = 128;

    fn sample(&mut self, now: Instant, moved_bytes: u64) {
        self.samples.push_back((now, moved_bytes));
        while self.samples.len() > Self::SAMPLES_MAX || self.oldest_is_out(now) {
            self.samples.pop_front();
        }
    }

    /// The oldest sample goes when the second oldest covers the window too.
    fn oldest_is_out(&self, now: Instant) -> bool {
        self.samples.get(1).is_some_and(|(at, _)| now.duration_since(*at) >= Self::WINDOW)
    }

    fn bytes_per_second(&self) -> Option<u64> {
        let (first_at, first_bytes) = self.samples.front()?;
        let (last_at, last_bytes) = self.samples.back()?;
        let span = last_at.duration_since(*first_at);
        if span < Self::SPAN_MIN {
            return None;
        }
        let moved_bytes = u128::from(last_bytes.saturating_sub(*first_bytes));
        u64::try_from(moved_bytes * 1_000_000 / span.as_micros()).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_that_of_the_window() {
        let start = Instant::now();
        let mut meter = RateMeter::default();
        assert_eq!(meter.bytes_per_second(), None);
        meter.sample(start, 0);
        assert_eq!(meter.bytes_per_second(), None);
        for second in 1..=20_u64 {
            // Slow for ten seconds, ten times as fast afterwards.
            let moved_bytes = if second <= 10 { second * 100 } else { 1000 + (second - 10) * 1000 };
            meter.sample(start + Duration::from_secs(second), moved_bytes);
        }
        assert_eq!(meter.bytes_per_second(), Some(1000));
        assert!(meter.samples.len() <= 10, "{}", meter.samples.len());
    }

    #[test]
    fn bytes_that_are_taken_back_make_no_negative_rate() {
        let start = Instant::now();
        let mut meter = RateMeter::default();
        meter.sample(start, 500);
        meter.sample(start + Duration::from_secs(1), 100);
        assert_eq!(meter.bytes_per_second(), Some(0));
    }

    #[test]
    fn remaining_time_follows_the_rate() {
        let jobs = LiveJobs::new();
        let job_id = JobId::from_uuid(uuid::Uuid::from_u128(1));
        let entry = jobs.insert(job_id, JobPhase::Copy);
        entry.counters.start(Progress { bytes_total: 1000, objects_total: 1, ..Progress::default() });
        let start = Instant::now();
        lock(&entry.meter).sample(start, 0);
        lock(&entry.meter).sample(start + Duration::from_secs(1), 100);
        entry.counters.add_bytes(100);
        let live = jobs.find(job_id);
        assert_eq!(live.and_then(|live| live.bytes_per_second), Some(100));
        assert_eq!(live.and_then(|live| live.remaining), Some(Duration::from_secs(9)));
        jobs.remove(job_id);
        assert_eq!(jobs.find(job_id), None);
    }
}
