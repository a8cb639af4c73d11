//! Figures about processes and repeated runs.

use anyhow::Context as _;

/// The most memory that this process ever had resident, in MiB.
pub(super) fn peak_rss_mib() -> anyhow::Result<f64> {
    peak_rss_mib_of(std::process::id())
}

/// The same of another process that is running.
pub(super) fn peak_rss_mib_of(process_id: u32) -> anyhow::Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{process_id}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM in /proc")?;
    let kib: u32 = line.trim().trim_end_matches(" kB").parse().context("VmHWM is not a number")?;
    Ok(f64::from(kib) / 1024.0)
}

/// The value in the middle; the mean of the two in the middle of an even number of values. `NaN` for none.
pub(super) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        length if length % 2 == 1 => sorted[length / 2],
        length => f64::midpoint(sorted[length / 2 - 1], sorted[length / 2]),
    }
}

/// Rounded for people and for files: four significant decimals are more than a run repeats.
pub(super) fn rounded(value: f64) -> f64 {
    (value * 10_000.0).round() / 10_000.0
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::float_cmp)]
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median(&[]).is_nan());
    }

    #[test]
    fn this_process_has_a_peak() {
        assert!(1.0 < peak_rss_mib().unwrap());
    }
}
