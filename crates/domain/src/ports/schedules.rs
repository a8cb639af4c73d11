//! The catalog's part about schedules.

use crate::error::PortResult;
use crate::ids::{ClusterId, JobId};
use crate::keep::RetentionPolicy;
use crate::ports::NewBackup;
use crate::schedule::{ClusterSchedule, MADE_EARLY_MAX};
use async_trait::async_trait;
use chrono::{DateTime, Utc};

/// Policies of clusters, and the starts that were recorded for them. Every method is one transaction.
#[async_trait]
pub trait ScheduleCatalog: Send + Sync {
    /// The schedule of a cluster; `None` when it has none.
    ///
    /// # Errors
    /// Errors of the database.
    async fn schedule(&self, cluster_id: ClusterId) -> PortResult<Option<ClusterSchedule>>;

    /// Keeps a cluster's schedule if it is still at the revision that is given, and counts the revision up.
    ///
    /// # Errors
    /// `NotFound` when the cluster is not in service; errors of the database.
    async fn save_schedule(&self, schedule: &ClusterSchedule) -> PortResult<SaveScheduleOutcome>;

    /// The same for a clock that went back to `now`. The starts of the cluster that are recorded for more than
    /// [`crate::schedule::MADE_EARLY_MAX`] after it are forgotten: [`Self::record_start`] makes them again at their time.
    /// A start that was made again is not forgotten a second time.
    ///
    /// # Errors
    /// As for [`Self::save_schedule`].
    async fn turn_schedule_back(
        &self,
        schedule: &ClusterSchedule,
        now: DateTime<Utc>,
    ) -> PortResult<SaveScheduleOutcome>;

    /// Schedules whose next look has come, earliest first, at most `limit`. Those whose next look lies further ahead
    /// than [`crate::schedule::LOOK_AHEAD_MAX`] are among them: only a clock that was wrong can have put it there.
    ///
    /// # Errors
    /// Errors of the database.
    async fn due_schedules(&self, now: DateTime<Utc>, limit: u32) -> PortResult<Vec<ClusterSchedule>>;

    /// Records a start and makes the backup for it, together: nothing can come between them. While an automatic
    /// backup of the cluster is open, the start is recorded as skipped instead. Every start of a cluster is recorded
    /// once; one that was recorded before is shown as skipped too, unless it was forgotten and [has come by
    /// itself](ScheduledStart::has_come_by_itself). Starts that are recorded for times far ahead are forgotten as by
    /// [`Self::turn_schedule_back`]: the clock may have gone back while the policy was switched off.
    ///
    /// # Errors
    /// `InvalidInput` when the backup is none that a schedule makes; `NotFound` when the cluster is not in service;
    /// errors of the database.
    async fn record_start(&self, start: &ScheduledStart) -> PortResult<StartOutcome>;

    /// How long the policy of a cluster keeps automatic backups beyond their age, whether it is switched on or not;
    /// `None` when the cluster has no policy.
    ///
    /// # Errors
    /// Errors of the database.
    async fn keep_rules(&self, cluster_id: ClusterId) -> PortResult<Option<RetentionPolicy>>;
}

/// A start that is due, with the backup to be made for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScheduledStart {
    /// The revision of the schedule that gave it.
    pub revision: u64,
    /// The start.
    pub scheduled_for: DateTime<Utc>,
    /// When to look at the schedule again.
    pub next_look: Option<DateTime<Utc>>,
    /// Now.
    pub now: DateTime<Utc>,
    /// The backup, an automatic one, with its job.
    pub backup: NewBackup,
}

impl ScheduledStart {
    /// Whether its time has come by the passing of time, as far as the next look at the schedule that was noted before
    /// tells. Otherwise the clock has come forward to it, and a start that was forgotten when it went back was made in
    /// time.
    #[must_use]
    pub fn has_come_by_itself(&self, noted_look: Option<DateTime<Utc>>) -> bool {
        noted_look.is_none_or(|look| self.now - look <= MADE_EARLY_MAX)
    }
}

/// What became of a start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartOutcome {
    /// Backup and job are written.
    Started,
    /// It is recorded as skipped, because this job has not ended.
    Skipped(JobId),
    /// It was recorded before the clock went back; the schedule has gone on to its next look.
    RecordedBefore,
    /// The schedule is not at that revision any more; nothing is changed.
    ScheduleChanged,
}

/// What became of a change of a schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SaveScheduleOutcome {
    /// It is kept.
    Saved,
    /// The schedule is not at that revision any more; nothing is changed.
    ScheduleChanged,
}
