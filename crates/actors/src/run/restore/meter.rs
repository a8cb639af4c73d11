//! Progress of a restore: a byte counts half when it is staged and half when it is imported, so that the end of the
//! staging does not look like the end of the job.

use milvault_domain::progress::{Progress, ProgressCounters};
use std::sync::Mutex;
use std::time::Duration;
use tokio::time::Instant;

use crate::core::lock;

/// Progress of one group of objects. What a repeated attempt does again is not counted again.
pub(super) struct GroupMeter<'a> {
    live: &'a ProgressCounters,
    bytes: u64,
    objects: u64,
    shown: Mutex<Shown>,
}

#[derive(Default)]
struct Shown {
    staged: u64,
    imported: u64,
    through_server: u64,
    bytes: u64,
}

impl<'a> GroupMeter<'a> {
    pub(super) fn new(live: &'a ProgressCounters, objects: u64, bytes: u64) -> Self {
        Self { live, bytes, objects, shown: Mutex::default() }
    }

    /// The staging is that far.
    pub(super) fn staged(&self, staged: Progress) {
        let mut shown = lock(&self.shown);
        shown.staged = shown.staged.max(staged.bytes_done.min(self.bytes));
        let through_server = staged.bytes_through_server.saturating_sub(shown.through_server);
        shown.through_server += through_server;
        self.live.add_through_server(through_server);
        self.show(&mut shown);
    }

    /// The import is that far.
    pub(super) fn imported(&self, percent: u8) {
        let mut shown = lock(&self.shown);
        // The last step waits for the end of the import.
        let bytes = u128::from(self.bytes) * u128::from(percent.min(99)) / 100;
        shown.imported = shown.imported.max(u64::try_from(bytes).unwrap_or(self.bytes));
        self.show(&mut shown);
    }

    /// Everything is imported.
    pub(super) fn complete(&self) {
        let mut shown = lock(&self.shown);
        (shown.staged, shown.imported) = (self.bytes, self.bytes);
        self.show(&mut shown);
        for _ in 0..self.objects {
            self.live.add_object();
        }
    }

    fn show(&self, shown: &mut Shown) {
        let bytes = shown.staged.midpoint(shown.imported);
        self.live.add_bytes(bytes - shown.bytes);
        shown.bytes = bytes;
    }
}

/// When any import of the restore last moved. A server may work on one of many imports at a time, so one that stands
/// still is given up only when all do.
pub(super) struct StallClock(Mutex<Instant>);

impl StallClock {
    pub(super) fn new() -> Self {
        Self(Mutex::new(Instant::now()))
    }

    pub(super) fn moved(&self) {
        *lock(&self.0) = Instant::now();
    }

    pub(super) fn still_for(&self) -> Duration {
        lock(&self.0).elapsed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_complete_when_it_is_imported_and_never_counted_twice() {
        let live = ProgressCounters::default();
        let meter = GroupMeter::new(&live, 3, 1001);
        let staged =
            |bytes_done| Progress { bytes_done, bytes_through_server: bytes_done, ..Progress::default() };
        meter.staged(staged(400));
        assert_eq!(live.snapshot().bytes_done, 200);
        meter.staged(staged(100));
        assert_eq!(live.snapshot().bytes_done, 200);
        meter.staged(staged(5000));
        assert_eq!((live.snapshot().bytes_done, live.snapshot().bytes_through_server), (500, 5000));
        meter.imported(100);
        assert!(live.snapshot().bytes_done < 1001);
        meter.imported(20);
        assert_eq!(live.snapshot().objects_done, 0);
        meter.complete();
        assert_eq!((live.snapshot().bytes_done, live.snapshot().objects_done), (1001, 3));
    }
}
