//! What scheduled verifies and drills need of the catalog and of repositories.

use crate::checks::{
    BackupChecked, Damage, DamageKey, DrillSchedule, Leftovers, Share, Verification, VerifySchedule,
};
use crate::error::PortResult;
use crate::ids::{BackupId, ClusterId, JobId, RepositoryId};
use crate::job::{Job, VerifyLevel};
use crate::ports::{NewJob, SaveScheduleOutcome, VerifyReport};
use crate::progress::ProgressCounters;
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use std::sync::Arc;

/// Policies of verifies and drills, and what they found. Every method is one transaction.
#[async_trait]
pub trait ChecksCatalog: Send + Sync {
    /// The scheduled verifies of a repository; `None` when it has no policy.
    ///
    /// # Errors
    /// Errors of the database.
    async fn verify_schedule(&self, repository_id: RepositoryId) -> PortResult<Option<VerifySchedule>>;

    /// The schedule whose last share this job reads; `None` when there is none.
    ///
    /// # Errors
    /// Errors of the database.
    async fn verify_schedule_of_job(&self, job_id: JobId) -> PortResult<Option<VerifySchedule>>;

    /// Keeps the schedule of a repository if it is still at the revision that is given, counts the revision up, and adds
    /// the job that reads the share which it has just begun: together, so that two servers never begin one twice.
    ///
    /// # Errors
    /// `NotFound` when there is no such repository; `InvalidInput` when the job is no pending verify; errors of the
    /// database.
    async fn save_verify_schedule(
        &self,
        schedule: &VerifySchedule,
        job: Option<&Job>,
    ) -> PortResult<SaveScheduleOutcome>;

    /// Schedules whose next look has come, earliest first, at most `limit`; those whose next look lies further ahead
    /// than [`crate::schedule::LOOK_AHEAD_MAX`] are among them.
    ///
    /// # Errors
    /// Errors of the database.
    async fn due_verify_schedules(&self, now: DateTime<Utc>, limit: u32) -> PortResult<Vec<VerifySchedule>>;

    /// Keeps what a verify found, about the repository and about each backup that is available now, and goes on to the
    /// next share when the job read one. Keeping what the job of a share found again changes nothing.
    ///
    /// # Errors
    /// Errors of the database.
    async fn record_check(&self, check: &RecordedCheck) -> PortResult<()>;

    /// What is known to be damaged in a repository.
    ///
    /// # Errors
    /// Errors of the database.
    async fn damage(&self, repository_id: RepositoryId) -> PortResult<Vec<Damage>>;

    /// What is known about a backup; `None` when it was never looked at.
    ///
    /// # Errors
    /// Errors of the database.
    async fn verification(&self, backup_id: BackupId) -> PortResult<Option<Verification>>;

    /// The scheduled drills of a cluster; `None` when it has no policy.
    ///
    /// # Errors
    /// Errors of the database.
    async fn drill_schedule(&self, cluster_id: ClusterId) -> PortResult<Option<DrillSchedule>>;

    /// As [`Self::save_verify_schedule`], for a drill.
    ///
    /// # Errors
    /// `NotFound` when the cluster or the target is not in service; `Conflict` when the backup is deleted; errors of the
    /// database.
    async fn save_drill_schedule(
        &self,
        schedule: &DrillSchedule,
        job: Option<&NewJob>,
        now: DateTime<Utc>,
    ) -> PortResult<SaveScheduleOutcome>;

    /// As [`Self::due_verify_schedules`], of clusters in service.
    ///
    /// # Errors
    /// Errors of the database.
    async fn due_drill_schedules(&self, now: DateTime<Utc>, limit: u32) -> PortResult<Vec<DrillSchedule>>;

    /// The newest drill of a backup.
    ///
    /// # Errors
    /// Errors of the database.
    async fn last_drill(&self, backup_id: BackupId) -> PortResult<Option<Job>>;

    /// Remembers what a restore or drill has left behind. Those of one job are remembered once.
    ///
    /// # Errors
    /// `NotFound` when there is no such job; errors of the database.
    async fn remember_leftovers(&self, leftovers: &Leftovers) -> PortResult<()>;

    /// Leftovers whose next attempt has come, earliest first, at most `limit`.
    ///
    /// # Errors
    /// Errors of the database.
    async fn due_leftovers(&self, now: DateTime<Utc>, limit: u32) -> PortResult<Vec<Leftovers>>;

    /// Puts leftovers in place of those with one attempt less, and tells whether they were still so: of two servers that
    /// make an attempt, one gets it.
    ///
    /// # Errors
    /// Errors of the database.
    async fn claim_leftovers(&self, attempted: &Leftovers) -> PortResult<bool>;

    /// Keeps why the last attempt failed.
    ///
    /// # Errors
    /// Errors of the database.
    async fn note_leftovers_failure(&self, job_id: JobId, failure: &str) -> PortResult<()>;

    /// Forgets leftovers that are removed.
    ///
    /// # Errors
    /// Errors of the database.
    async fn forget_leftovers(&self, job_id: JobId) -> PortResult<()>;

    /// What a restore or drill has left behind; `None` when it is nothing.
    ///
    /// # Errors
    /// Errors of the database.
    async fn leftovers(&self, job_id: JobId) -> PortResult<Option<Leftovers>>;
}

/// What a verify found, to be kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedCheck {
    /// The verify.
    pub job_id: JobId,
    /// Where.
    pub repository_id: RepositoryId,
    /// How thoroughly it checked.
    pub level: VerifyLevel,
    /// What is damaged.
    pub found: Vec<Damage>,
    /// What was damaged, and is not any more or is needed by nobody.
    pub sound: Vec<DamageKey>,
    /// About each backup.
    pub backups: Vec<(BackupId, BackupChecked)>,
    /// Now.
    pub now: DateTime<Utc>,
}

/// What is to be checked of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckOrder {
    /// The backups whose files are looked at.
    pub backups: Vec<BackupId>,
    /// Which of their files.
    pub share: Share,
    /// Whether these are all backups there, so that damage to files that none of them needs can be forgotten.
    pub all_backups: bool,
    /// How thoroughly.
    pub level: VerifyLevel,
    /// What is known to be damaged there.
    pub known: Vec<Damage>,
    /// Most bytes per second that are read.
    pub max_bytes_per_second: Option<u64>,
}

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CheckReport {
    /// For people.
    pub report: VerifyReport,
    /// What is damaged, at most [`CheckReport::DAMAGE_MAX`] objects one by one, beyond that whole packs.
    pub found: Vec<Damage>,
    /// As [`RecordedCheck::sound`].
    pub sound: Vec<DamageKey>,
    /// About each backup.
    pub backups: Vec<(BackupId, BackupChecked)>,
}

impl CheckReport {
    /// Most damaged objects that are told one by one.
    pub const DAMAGE_MAX: usize = 10_000;
}

/// What a repository offers for checks of more than one backup.
#[async_trait]
pub trait RepositoryChecks: Send + Sync {
    /// Checks files of several backups; one that several share is read once. Hashes of objects that the store copied are
    /// recorded beside the manifest of every backup that has them. Dropping the future stops the work.
    ///
    /// # Errors
    /// Errors of the store that say nothing about the files.
    async fn check_files(
        &self,
        order: &CheckOrder,
        progress: Arc<ProgressCounters>,
    ) -> PortResult<CheckReport>;
}
