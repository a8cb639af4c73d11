//! Backups of an unusual size.

/// A backup is unusual when it is more than so many times as large as the median of those before it, or less than that
/// part of it.
pub const SIZE_FACTOR: u64 = 2;
/// Backups of the same cluster and scope that must be there before one is told to be unusual.
pub const SIZE_HISTORY_MIN: usize = 5;
/// Backups of the same cluster and scope that are looked at, the latest ones.
pub const SIZE_HISTORY_MAX: usize = 10;
/// A backup whose size differs by less than this is never unusual: small ones vary much for little reason.
const DIFFERENCE_BYTES_MIN: u64 = 1 << 20;

/// How a backup's size differs from what is usual.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SizeDeviation {
    /// Its logical size, in bytes.
    pub logical_bytes: u64,
    /// Median of the logical sizes of those before it, in bytes.
    pub median_bytes: u64,
}

/// Whether a backup's logical size is unusual after those before it, of which the first [`SIZE_HISTORY_MAX`] count.
#[must_use]
pub fn size_deviation(logical_bytes: u64, latest_first: &[u64]) -> Option<SizeDeviation> {
    let mut history: Vec<u64> = latest_first.iter().copied().take(SIZE_HISTORY_MAX).collect();
    if history.len() < SIZE_HISTORY_MIN {
        return None;
    }
    history.sort_unstable();
    let upper = history[history.len() / 2];
    let lower = history[(history.len() - 1) / 2];
    let median_bytes = lower.midpoint(upper);
    let unusual = median_bytes.saturating_mul(SIZE_FACTOR) < logical_bytes
        || logical_bytes.saturating_mul(SIZE_FACTOR) < median_bytes;
    let differs = DIFFERENCE_BYTES_MIN <= logical_bytes.abs_diff(median_bytes);
    (unusual && differs).then_some(SizeDeviation { logical_bytes, median_bytes })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEBIBYTE: u64 = 1 << 20;

    #[test]
    fn sizes_beyond_the_factor_are_unusual_and_those_at_it_are_not() {
        let history = [9, 11, 10, 10, 12].map(|size| size * MEBIBYTE);
        let of = |size: u64| size_deviation(size, &history).map(|deviation| deviation.median_bytes);
        assert_eq!(of(20 * MEBIBYTE), None);
        assert_eq!(of(20 * MEBIBYTE + 1), Some(10 * MEBIBYTE));
        assert_eq!(of(5 * MEBIBYTE), None);
        assert_eq!(of(5 * MEBIBYTE - 1), Some(10 * MEBIBYTE));
        assert_eq!(of(0), Some(10 * MEBIBYTE));
        assert_eq!(of(u64::MAX), Some(10 * MEBIBYTE));
    }

    #[test]
    fn a_short_history_and_small_differences_say_nothing() {
        assert_eq!(size_deviation(u64::MAX, &[1; SIZE_HISTORY_MIN - 1]), None);
        assert_eq!(size_deviation(MEBIBYTE - 1, &[0; SIZE_HISTORY_MIN]), None);
        assert!(size_deviation(MEBIBYTE, &[0; SIZE_HISTORY_MIN]).is_some());
    }

    #[test]
    fn the_median_is_of_the_latest_and_lies_in_the_middle() {
        let mut sizes =
            vec![4 * MEBIBYTE, 8 * MEBIBYTE, 4 * MEBIBYTE, 8 * MEBIBYTE, 4 * MEBIBYTE, 8 * MEBIBYTE];
        let deviation = size_deviation(100 * MEBIBYTE, &sizes);
        assert_eq!(deviation.map(|deviation| deviation.median_bytes), Some(6 * MEBIBYTE));
        sizes = [vec![10 * MEBIBYTE; SIZE_HISTORY_MAX], vec![900 * MEBIBYTE; 100]].concat();
        assert_eq!(size_deviation(11 * MEBIBYTE, &sizes), None);
    }
}
