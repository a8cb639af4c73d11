//! Names of the metrics of this crate, and how they are spelled.

use milvault_domain::job::{JobState, JobType};

/// Counter by `type` and `state`: jobs that ended.
pub(crate) const JOBS: &str = "milvault_jobs_total";
/// Gauge: jobs at work.
pub(crate) const JOBS_RUNNING: &str = "milvault_jobs_running";
/// Counter: bytes of units that were copied, or found complete when a job continued.
pub(crate) const COPIED_BYTES: &str = "milvault_copied_bytes_total";
/// Counter: bytes that were in the repository already.
pub(crate) const REUSED_BYTES: &str = "milvault_reused_bytes_total";
/// Counter: bytes that were staged and imported into a target.
pub(crate) const RESTORED_BYTES: &str = "milvault_restored_bytes_total";
/// Histogram: seconds that a cut took.
pub(crate) const CUT_SECONDS: &str = "milvault_cut_seconds";
/// Counter by `outcome` (`STARTED`, `SKIPPED`, `MADE_BEFORE`): starts of schedules that were recorded, or found recorded
/// by a clock that has gone back since.
pub(crate) const SCHEDULED_STARTS: &str = "milvault_scheduled_starts_total";
/// Counter by `outcome` (`DELIVERED`, `RETRIED`, `FAILED`): attempts to tell webhooks.
pub(crate) const WEBHOOK_ATTEMPTS: &str = "milvault_webhook_attempts_total";
/// Counter: actors that died and were replaced.
pub(crate) const ACTOR_RESTARTS: &str = "milvault_actor_restarts_total";

/// Gauge: clusters that this server works on.
pub(crate) const LEASES_HELD: &str = "milvault_leases_held";
/// Counter: leases that were granted to this server.
pub(crate) const LEASES_CLAIMED: &str = "milvault_leases_claimed_total";
/// Counter: leases that were over before their work was.
pub(crate) const LEASES_LOST: &str = "milvault_leases_lost_total";
/// Counter: renewals of leases that the catalog did not answer in time.
pub(crate) const LEASE_RENEWAL_FAILURES: &str = "milvault_lease_renewal_failures_total";

/// States that end a job, as labels; `None` for the others.
pub(crate) const fn final_state_label(state: JobState) -> Option<&'static str> {
    match state {
        JobState::Successful => Some("SUCCESSFUL"),
        JobState::Failed => Some("FAILED"),
        JobState::Canceled => Some("CANCELED"),
        JobState::Pending | JobState::InProgress | JobState::Canceling => None,
    }
}

/// Job types as labels.
pub(crate) const fn type_label(job_type: JobType) -> &'static str {
    match job_type {
        JobType::Backup => "BACKUP",
        JobType::Verify => "VERIFY",
        JobType::Restore => "RESTORE",
        JobType::Drill => "DRILL",
        JobType::Undo => "UNDO",
        JobType::Compare => "COMPARE",
        JobType::Adopt => "ADOPT",
        JobType::Copy => "COPY",
        JobType::Delete => "DELETE",
        JobType::Sweep => "SWEEP",
    }
}
