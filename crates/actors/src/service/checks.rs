//! Scheduled verifies: their policies, and the shares that are due.

mod drills;
mod leftovers;

use super::backups::PendingJob;
use super::{Service, not_found};
use crate::checks::{VerifyPolicyChange, VerifyPolicyInForce};
use crate::error::ServiceError;
use chrono::{DateTime, TimeDelta, Utc};
use milvault_domain::backup::BackupStatus;
use milvault_domain::checks::VerifySchedule;
use milvault_domain::error::InvalidInput;
use milvault_domain::ids::{JobId, RepositoryId};
use milvault_domain::job::{Job, JobType};
use milvault_domain::ports::{PortErrorKind, PortResult, SaveScheduleOutcome};
use milvault_domain::schedule::{Due, Schedule, next_look};

/// Schedules that are looked at in one run; what is left over has the next.
const BATCH_MAX: u32 = 200;
/// How often a change is tried against others that come at the same time.
const CHANGE_ATTEMPTS_MAX: u32 = 8;
/// Turns of one look: a clock that went back, and the start itself.
const TURNS_MAX: u32 = 3;
/// When a schedule that could not be looked at gets another look.
const FAILED_LOOK_DELAY: TimeDelta = TimeDelta::minutes(1);
/// Who asks for what is scheduled.
const SCHEDULE: &str = "schedule";

impl Service {
    /// Changes the scheduled verifies of a repository, or gives it some. Switching them on begins a share at once.
    ///
    /// # Errors
    /// `InvalidInput`, `NotFound` for the repository, `Busy` when it is changed by others all the time, `Unavailable`.
    pub async fn set_verify_policy(
        &self,
        change: VerifyPolicyChange,
    ) -> Result<VerifyPolicyInForce, ServiceError> {
        self.admit()?;
        let service = self.clone();
        self.to_the_end(async move { service.accept_verify_policy(change).await }).await
    }

    async fn accept_verify_policy(
        &self,
        change: VerifyPolicyChange,
    ) -> Result<VerifyPolicyInForce, ServiceError> {
        let catalog = &self.deps().catalog;
        let repository_id = change.repository_id;
        for _ in 0..CHANGE_ATTEMPTS_MAX {
            let former = catalog.verify_schedule(repository_id).await?;
            let policy = change.applied_to(former.as_ref().map(|former| &former.policy))?;
            let now = self.deps().clock.now();
            let mut schedule = VerifySchedule::changed(former, repository_id, policy, now)?;
            // The first look is taken here and now; the timer only makes up for one that does not come off.
            schedule.next_look = schedule.next_look.and_then(|now| now.checked_add_signed(FAILED_LOOK_DELAY));
            if self.save_verify(&schedule, None).await? == SaveScheduleOutcome::ScheduleChanged {
                continue;
            }
            schedule.revision += 1;
            let job = self.look_at_verify(schedule, now).await.unwrap_or_else(|error| {
                tracing::warn!(%repository_id, %error, "a verify is begun later");
                None
            });
            let schedule = catalog.verify_schedule(repository_id).await?;
            let schedule = schedule.ok_or_else(|| not_found("repository", &repository_id))?;
            return Ok(VerifyPolicyInForce { schedule, job });
        }
        Err(changed_by_others())
    }

    /// Begins the verifies and drills that are due. One that cannot be looked at holds up no other.
    ///
    /// # Errors
    /// The catalog does not tell what is due.
    pub(crate) async fn run_due_checks(&self) -> PortResult<()> {
        let now = self.deps().clock.now();
        for schedule in self.deps().catalog.due_verify_schedules(now, BATCH_MAX).await? {
            let repository_id = schedule.repository_id;
            if let Err(error) = self.look_at_verify(schedule.clone(), now).await {
                tracing::warn!(%repository_id, %error, "cannot look at a verify policy; tried again later");
                let next_look = now.checked_add_signed(FAILED_LOOK_DELAY);
                let put_off = VerifySchedule { next_look, ..schedule };
                if let Err(error) = self.save_verify(&put_off, None).await {
                    tracing::warn!(%repository_id, %error, "cannot put off a look at a verify policy");
                }
            }
        }
        self.run_due_drills(now).await
    }

    /// Does what a schedule asks for now. Returns the job that it began.
    async fn look_at_verify(
        &self,
        mut schedule: VerifySchedule,
        now: DateTime<Utc>,
    ) -> Result<Option<Job>, ServiceError> {
        let rules = schedule.rules().map_err(InvalidInput::from)?;
        for _ in 0..TURNS_MAX {
            match rules.due(schedule.last_run, now) {
                Due::Off => schedule.next_look = None,
                Due::NotYet { next } => schedule.next_look = Some(next_look(next, now)),
                Due::ClockWentBack { count_from } => {
                    schedule.last_run = Some(count_from);
                    schedule.next_look = Some(now);
                    if self.save_verify(&schedule, None).await? == SaveScheduleOutcome::ScheduleChanged {
                        return Ok(None);
                    }
                    schedule.revision += 1;
                    continue;
                }
                Due::RunNow { scheduled_for } => {
                    schedule.note_start(&rules, scheduled_for);
                    schedule.next_look = look_after(&rules, scheduled_for, now);
                    return self.begin_share(schedule).await;
                }
            }
            self.save_verify(&schedule, None).await?;
            return Ok(None);
        }
        Ok(None)
    }

    /// Begins the next share, unless the one before is still read or there is nothing to read: what is owed then is
    /// made up for later.
    async fn begin_share(&self, mut schedule: VerifySchedule) -> Result<Option<Job>, ServiceError> {
        let repository_id = schedule.repository_id;
        if let Some(job_id) = self.open_job(schedule.share.map(|share| share.job_id)).await? {
            tracing::warn!(%repository_id, %job_id, "a share is not begun: the one before is still read");
            self.save_verify(&schedule, None).await?;
            return Ok(None);
        }
        let Some(mut job) = self.share_job(repository_id).await? else {
            schedule.owed = 0;
            self.save_verify(&schedule, None).await?;
            return Ok(None);
        };
        let share = schedule.begin(job.id);
        job.verify_level = Some(share.level);
        if self.save_verify(&schedule, Some(&job)).await? == SaveScheduleOutcome::ScheduleChanged {
            return Ok(None);
        }
        tracing::info!(%repository_id, job_id = %job.id, shares = share.count, "a share of a repository is due");
        self.offer(&job).await;
        Ok(Some(job))
    }

    /// The job for a share of a repository; `None` when no backup lies there. It belongs to the cluster of the newest
    /// backup, for every job belongs to one; its turn comes at once, for verifies do not wait for what writes.
    async fn share_job(&self, repository_id: RepositoryId) -> Result<Option<Job>, ServiceError> {
        let catalog = &self.deps().catalog;
        let repository = catalog.repository(repository_id).await?;
        let repository = repository.ok_or_else(|| not_found("repository", &repository_id))?;
        let standings = catalog.standings(repository_id).await?;
        let available = standings.iter().filter(|standing| standing.status == BackupStatus::Available);
        let Some(newest) = available.max_by_key(|standing| standing.backup_id) else { return Ok(None) };
        let job = self.pending_job(PendingJob {
            project_id: repository.project_id,
            cluster_id: newest.cluster_id,
            job_type: JobType::Verify,
            backup_id: newest.backup_id,
            verify_level: None,
            description: format!("Scheduled verify of a share of repository \"{}\"", repository.name),
            created_by: SCHEDULE.to_owned(),
        });
        Ok(Some(Job { backup_id: None, ..job }))
    }

    /// The job, if it has not ended.
    async fn open_job(&self, job_id: Option<JobId>) -> Result<Option<JobId>, ServiceError> {
        let Some(job_id) = job_id else { return Ok(None) };
        let job = self.deps().catalog.job(job_id).await?;
        Ok(job.filter(|job| !job.state.is_final()).map(|job| job.id))
    }

    /// Tells of a job whose row is written. Whoever looks for open jobs finds one that is not taken now.
    pub(super) async fn offer(&self, job: &Job) {
        self.core().live.publish(job);
        if let Err(refusal) = self.host().submit(job).await {
            tracing::warn!(job_id = %job.id, ?refusal, "a scheduled job waits until it is offered again");
        }
    }

    async fn save_verify(
        &self,
        schedule: &VerifySchedule,
        job: Option<&Job>,
    ) -> Result<SaveScheduleOutcome, ServiceError> {
        self.deps().catalog.save_verify_schedule(schedule, job).await.map_err(|error| {
            if error.kind() == PortErrorKind::NotFound {
                not_found("repository", &schedule.repository_id)
            } else {
                error.into()
            }
        })
    }
}

/// When to look at a schedule again after a start was recorded.
fn look_after(rules: &Schedule, scheduled_for: DateTime<Utc>, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    match rules.due(Some(scheduled_for), now) {
        Due::NotYet { next } => Some(next_look(next, now)),
        Due::RunNow { .. } | Due::ClockWentBack { .. } => Some(now),
        Due::Off => None,
    }
}

fn changed_by_others() -> ServiceError {
    ServiceError::Busy {
        message: String::from("the policy is being changed by others; look at it and try again"),
    }
}
