//! Progress of a job: counters that workers add to, and the snapshot that people see.

use serde::{Deserialize, Serialize};
use std::sync::atomic::{AtomicU64, Ordering};

/// How far a job is. All figures only grow while it runs; totals are 0 until the plan is made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Bytes the job has to deal with, reused ones included.
    pub bytes_total: u64,
    /// Bytes dealt with, reused ones included.
    pub bytes_done: u64,
    /// Of those, bytes that were already in the repository.
    pub bytes_reused: u64,
    /// Objects the job has to deal with, reused ones included.
    pub objects_total: u64,
    /// Objects dealt with, reused ones included.
    pub objects_done: u64,
    /// Of those, objects that were already in the repository.
    pub objects_reused: u64,
    /// Bytes that passed through this server's memory; the rest was copied by the stores themselves.
    pub bytes_through_server: u64,
}

impl Progress {
    /// Whole percent, rounded down; 100 only when everything is done. By bytes, or by objects where all are empty.
    #[must_use]
    pub fn percent(&self) -> u8 {
        let (done, total) = if self.bytes_total > 0 {
            (self.bytes_done, self.bytes_total)
        } else {
            (self.objects_done, self.objects_total)
        };
        if total == 0 {
            return 0;
        }
        let percent = u128::from(done.min(total)) * 100 / u128::from(total);
        u8::try_from(percent).unwrap_or(100)
    }
}

/// Shared counters of a running job.
#[derive(Debug, Default)]
pub struct ProgressCounters {
    bytes_total: AtomicU64,
    bytes_done: AtomicU64,
    bytes_reused: AtomicU64,
    objects_total: AtomicU64,
    objects_done: AtomicU64,
    objects_reused: AtomicU64,
    bytes_through_server: AtomicU64,
}

impl ProgressCounters {
    /// States how much there is to do, and how much of it is there already.
    pub fn start(&self, totals: Progress) {
        self.bytes_total.store(totals.bytes_total, Ordering::Relaxed);
        self.bytes_done.store(totals.bytes_done, Ordering::Relaxed);
        self.bytes_reused.store(totals.bytes_reused, Ordering::Relaxed);
        self.objects_total.store(totals.objects_total, Ordering::Relaxed);
        self.objects_done.store(totals.objects_done, Ordering::Relaxed);
        self.objects_reused.store(totals.objects_reused, Ordering::Relaxed);
        self.bytes_through_server.store(totals.bytes_through_server, Ordering::Relaxed);
    }

    /// Bytes of an object were copied (or read, in a verify). May come in pieces.
    pub fn add_bytes(&self, bytes: u64) {
        self.bytes_done.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Bytes of a failed attempt, taken back before the next attempt counts them again.
    pub fn take_back_bytes(&self, bytes: u64) {
        self.bytes_done.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// An object is complete.
    pub fn add_object(&self) {
        self.objects_done.fetch_add(1, Ordering::Relaxed);
    }

    /// An object was found in the repository; its bytes count as done and reused.
    pub fn add_reused(&self, objects: u64, bytes: u64) {
        self.objects_done.fetch_add(objects, Ordering::Relaxed);
        self.objects_reused.fetch_add(objects, Ordering::Relaxed);
        self.bytes_done.fetch_add(bytes, Ordering::Relaxed);
        self.bytes_reused.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Bytes passed through this server's memory.
    pub fn add_through_server(&self, bytes: u64) {
        self.bytes_through_server.fetch_add(bytes, Ordering::Relaxed);
    }

    /// The figures now.
    #[must_use]
    pub fn snapshot(&self) -> Progress {
        Progress {
            bytes_total: self.bytes_total.load(Ordering::Relaxed),
            bytes_done: self.bytes_done.load(Ordering::Relaxed),
            bytes_reused: self.bytes_reused.load(Ordering::Relaxed),
            objects_total: self.objects_total.load(Ordering::Relaxed),
            objects_done: self.objects_done.load(Ordering::Relaxed),
            objects_reused: self.objects_reused.load(Ordering::Relaxed),
            bytes_through_server: self.bytes_through_server.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percent_reaches_100_only_at_the_end() {
        let progress = |done, total| Progress { bytes_done: done, bytes_total: total, ..Progress::default() };
        assert_eq!(progress(0, 0).percent(), 0);
        assert_eq!(progress(999, 1000).percent(), 99);
        assert_eq!(progress(1000, 1000).percent(), 100);
        assert_eq!(progress(u64::MAX - 1, u64::MAX).percent(), 99);
    }
}
