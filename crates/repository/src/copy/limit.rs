//! The limit of bytes per second that are copied, through this server or by a store.

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use std::num::NonZeroU32;
use std::time::Duration;

/// Bytes that one cell of the limiter stands for. Its counters have 32 bits, so bytes themselves would end at 4 GB/s.
const CELL_BYTES: u64 = 1024;
/// What is waited for at once is at most this part of a second's worth, so that a stop is noticed soon.
const SLICES_PER_SECOND: u32 = 10;

/// Shared by all copies of a copier, whichever way each goes.
pub(crate) struct ByteLimit {
    limiter: DefaultDirectRateLimiter,
    slice_cells: NonZeroU32,
    clock: DefaultClock,
}

impl ByteLimit {
    /// A limit; less than 10 KiB per second are taken as 10 KiB.
    pub(crate) fn new(bytes_per_second: u64) -> Self {
        let cells = (bytes_per_second / CELL_BYTES).max(u64::from(SLICES_PER_SECOND));
        let cells = u32::try_from(cells).unwrap_or(u32::MAX);
        let cells_per_second = NonZeroU32::new(cells).unwrap_or(NonZeroU32::MAX);
        let slice_cells = NonZeroU32::new(cells / SLICES_PER_SECOND).unwrap_or(NonZeroU32::MIN);
        let quota = Quota::per_second(cells_per_second).allow_burst(slice_cells);
        Self { limiter: RateLimiter::direct(quota), slice_cells, clock: DefaultClock::default() }
    }

    /// Waits until so many bytes may pass.
    pub(crate) async fn wait(&self, bytes: u64) {
        for slice in self.slices(bytes) {
            // The slices are never larger than the burst, which is the one thing that could fail.
            let _ = self.limiter.until_n_ready(slice).await;
        }
    }

    /// As [`ByteLimit::wait`], for blocking threads; ends early when `stopped` says so.
    pub(crate) fn wait_blocking(&self, bytes: u64, stopped: impl Fn() -> bool) {
        for slice in self.slices(bytes) {
            while let Ok(Err(not_until)) = self.limiter.check_n(slice) {
                if stopped() {
                    return;
                }
                let pause = not_until.wait_time_from(self.clock.now());
                std::thread::sleep(pause.min(Duration::from_millis(100)));
            }
        }
    }

    fn slices(&self, bytes: u64) -> impl Iterator<Item = NonZeroU32> + use<> {
        let slice = self.slice_cells;
        let mut left = bytes.div_ceil(CELL_BYTES);
        std::iter::from_fn(move || {
            let cells = left.min(u64::from(slice.get()));
            left -= cells;
            u32::try_from(cells).ok().and_then(NonZeroU32::new)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_add_up_and_stay_below_the_burst() {
        let limit = ByteLimit::new(1 << 20);
        let slices: Vec<u32> = limit.slices(1_000_000).map(NonZeroU32::get).collect();
        assert_eq!(slices.iter().sum::<u32>(), 977);
        assert!(slices.iter().all(|slice| *slice <= 102), "{slices:?}");
        assert_eq!(limit.slices(0).count(), 0);
        assert!(0 < ByteLimit::new(0).slices(1).count());
    }
}
