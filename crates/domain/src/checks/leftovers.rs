//! What a restore or drill could not remove at its target when it ended.

use crate::ids::{ClusterId, JobId};
use chrono::{DateTime, TimeDelta, Utc};

/// Attempts to remove it after the job has ended: over some four days.
pub const CLEANUP_ATTEMPTS_MAX: u32 = 24;
/// Time before the first attempt; doubled for each further one.
const DELAY_MIN: TimeDelta = TimeDelta::minutes(1);
/// Longest time between two attempts.
const DELAY_MAX: TimeDelta = TimeDelta::hours(6);

/// Collections under working names or staged files that wait to be removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leftovers {
    /// The restore or drill.
    pub job_id: JobId,
    /// Where they are.
    pub cluster_id: ClusterId,
    /// Attempts so far.
    pub attempts: u32,
    /// When the next one comes; `None` when it was given up.
    pub next_attempt_at: Option<DateTime<Utc>>,
    /// Why they could not be removed.
    pub last_failure: String,
}

impl Leftovers {
    /// Those of a job that has just ended.
    #[must_use]
    pub fn new(job_id: JobId, cluster_id: ClusterId, failure: String, now: DateTime<Utc>) -> Self {
        let next_attempt_at = now.checked_add_signed(DELAY_MIN);
        Self { job_id, cluster_id, attempts: 0, next_attempt_at, last_failure: failure }
    }

    /// With one more attempt begun at this time: what is kept should it never come to its end.
    #[must_use]
    pub fn attempted(&self, now: DateTime<Utc>) -> Self {
        let attempts = self.attempts.saturating_add(1);
        let delay = DELAY_MIN
            .checked_mul(1_i32.checked_shl(attempts.min(16)).unwrap_or(i32::MAX))
            .map_or(DELAY_MAX, |delay| delay.min(DELAY_MAX));
        let next_attempt_at =
            if attempts >= CLEANUP_ATTEMPTS_MAX { None } else { now.checked_add_signed(delay) };
        Self { attempts, next_attempt_at, ..self.clone() }
    }
}
