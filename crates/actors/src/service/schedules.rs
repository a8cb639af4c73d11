//! Policies of automatic backups, and the starts that are due.

use super::clusters::check_registered;
use super::{Service, not_found};
use crate::error::ServiceError;
use crate::request::BackupRequest;
use crate::schedules::{PolicyChange, PolicyInForce};
use crate::telemetry;
use chrono::{DateTime, TimeDelta, Utc};
use milvault_domain::backup::{BackupScope, CreationMethod};
use milvault_domain::error::InvalidInput;
use milvault_domain::ids::ClusterId;
use milvault_domain::job::Job;
use milvault_domain::ports::{PortErrorKind, PortResult, SaveScheduleOutcome, ScheduledStart, StartOutcome};
use milvault_domain::schedule::{ClusterSchedule, Due, Schedule, next_look};

/// Schedules that are read by one statement.
const BATCH_MAX: u32 = 200;
/// Batches of one run. What is left over is looked at by the next.
const BATCHES_MAX: u32 = 50;
/// How often a change is tried against others that come at the same time.
const CHANGE_ATTEMPTS_MAX: u32 = 8;
/// Turns of one look: a clock that went back, and what is due by it.
const TURNS_MAX: u32 = 2;
/// When a schedule that could not be looked at gets another look.
const FAILED_LOOK_DELAY: TimeDelta = TimeDelta::minutes(1);
/// Most starts that a preview shows.
const PREVIEW_COUNT_MAX: u32 = 50;

/// What one run over all schedules has done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct DueRun {
    pub(crate) started: u64,
    pub(crate) skipped: u64,
    pub(crate) failed: u64,
}

/// What one look at a schedule has done.
enum Look {
    Nothing,
    Started(Box<Job>),
    Skipped,
}

impl Service {
    /// Changes the policy of a cluster's automatic backups, or gives it one. Switching it on makes a backup at once,
    /// which is under way when this returns; should that fail, the next look at the schedules does it.
    ///
    /// # Errors
    /// `InvalidInput`, `NotFound` for the cluster, `Busy` when it is changed by others all the time, `Unavailable`.
    pub async fn set_backup_policy(&self, change: PolicyChange) -> Result<PolicyInForce, ServiceError> {
        self.admit()?;
        let service = self.clone();
        self.to_the_end(async move { service.accept_policy(change).await }).await
    }

    /// The next starts of a cluster's schedule, at most 50: of the schedule in force, or as a change would make it.
    /// Empty when there is none or it is switched off. The backup that switching on makes is not among them.
    ///
    /// # Errors
    /// `InvalidInput`, `Unavailable`.
    pub async fn preview_backup_policy(
        &self,
        cluster_id: ClusterId,
        change: Option<PolicyChange>,
        count: u32,
    ) -> Result<Vec<DateTime<Utc>>, ServiceError> {
        if !(1..=PREVIEW_COUNT_MAX).contains(&count) {
            let rule = format!("must be between 1 and {PREVIEW_COUNT_MAX}, got {count}");
            return Err(InvalidInput::new("count", rule).into());
        }
        let kept = self.deps().catalog.schedule(cluster_id).await?.map(|schedule| schedule.policy);
        let policy = match change {
            Some(change) => {
                let policy = change.applied_to(kept.as_ref())?;
                // Refused as the change itself would be.
                if let (Some(Some(_)), Some(copy)) = (change.copy, policy.copy) {
                    self.check_copy_policy(cluster_id, copy).await?;
                }
                Some(policy)
            }
            None => kept,
        };
        let Some(policy) = policy else { return Ok(Vec::new()) };
        let rules = policy.schedule(cluster_id).map_err(InvalidInput::from)?;
        if !policy.enabled {
            return Ok(Vec::new());
        }
        Ok(rules.runs_after(self.deps().clock.now()).take(count as usize).collect())
    }

    /// The time by the clock that schedules follow.
    #[must_use]
    pub fn now(&self) -> DateTime<Utc> {
        self.deps().clock.now()
    }

    async fn accept_policy(&self, change: PolicyChange) -> Result<PolicyInForce, ServiceError> {
        let catalog = &self.deps().catalog;
        let cluster_id = change.cluster_id;
        if change.enabled {
            check_registered(&self.cluster(cluster_id).await?)?;
        }
        for _ in 0..CHANGE_ATTEMPTS_MAX {
            let former = catalog.schedule(cluster_id).await?;
            let policy = change.applied_to(former.as_ref().map(|former| &former.policy))?;
            if let (Some(Some(_)), Some(copy)) = (change.copy, policy.copy) {
                self.check_copy_policy(cluster_id, copy).await?;
            }
            let now = self.deps().clock.now();
            let mut schedule =
                ClusterSchedule::changed(former, cluster_id, policy, now).map_err(InvalidInput::from)?;
            // The first look is taken here and now; the timer only makes up for one that does not come off.
            schedule.next_look = schedule.next_look.and_then(|now| now.checked_add_signed(FAILED_LOOK_DELAY));
            if self.save(&schedule).await? == SaveScheduleOutcome::ScheduleChanged {
                continue;
            }
            schedule.revision += 1;
            let job = self.first_look(schedule).await;
            crate::records::write_policy_now(self.core(), cluster_id).await;
            let schedule = catalog.schedule(cluster_id).await?;
            let schedule = schedule.ok_or_else(|| not_found("cluster", &cluster_id))?;
            return Ok(PolicyInForce { schedule, job });
        }
        Err(ServiceError::Busy {
            message: String::from("the policy is being changed by others; look at it and try again"),
        })
    }

    /// The change itself is made; whatever happens here is made up for by the next look.
    async fn first_look(&self, schedule: ClusterSchedule) -> Option<Job> {
        let cluster_id = schedule.cluster_id;
        match self.look_at(schedule, self.deps().clock.now()).await {
            Ok(Look::Started(job)) => Some(*job),
            Ok(Look::Nothing | Look::Skipped) => None,
            Err(error) => {
                tracing::warn!(%cluster_id, %error, "cannot look at a schedule that was changed; tried again later");
                None
            }
        }
    }

    /// Makes the automatic backups that are due, in bounded batches. A schedule that cannot be looked at holds up no
    /// other one.
    ///
    /// # Errors
    /// The catalog does not tell which schedules are due.
    pub(crate) async fn run_due_schedules(&self) -> PortResult<DueRun> {
        let mut run = DueRun::default();
        for _ in 0..BATCHES_MAX {
            let now = self.deps().clock.now();
            let due = self.deps().catalog.due_schedules(now, BATCH_MAX).await?;
            let is_last = due.len() < BATCH_MAX as usize;
            for schedule in due {
                match self.look_at(schedule.clone(), now).await {
                    Ok(Look::Nothing) => {}
                    Ok(Look::Started(_)) => run.started += 1,
                    Ok(Look::Skipped) => run.skipped += 1,
                    Err(error) => {
                        run.failed += 1;
                        tracing::warn!(cluster_id = %schedule.cluster_id, %error, "cannot look at a schedule; tried again later");
                        self.put_off(schedule, now).await;
                    }
                }
            }
            if is_last {
                break;
            }
        }
        Ok(run)
    }

    /// Does what a schedule asks for now.
    async fn look_at(&self, mut schedule: ClusterSchedule, now: DateTime<Utc>) -> Result<Look, ServiceError> {
        let rules = schedule.rules().map_err(InvalidInput::from)?;
        for _ in 0..TURNS_MAX {
            match rules.due_once(schedule.last_run, now) {
                Due::Off => {
                    schedule.next_look = None;
                    self.save(&schedule).await?;
                    return Ok(Look::Nothing);
                }
                Due::NotYet { next } => {
                    schedule.next_look = Some(next_look(next, now));
                    self.save(&schedule).await?;
                    return Ok(Look::Nothing);
                }
                Due::ClockWentBack { count_from } => {
                    tracing::warn!(cluster_id = %schedule.cluster_id, last_run = ?schedule.last_run, %now,
                        "the last start lies far ahead of the clock; the schedule counts from now");
                    schedule.last_run = Some(count_from);
                    schedule.next_look = Some(now);
                    let turned = self.deps().catalog.turn_schedule_back(&schedule, now).await;
                    if saved(turned, schedule.cluster_id)? == SaveScheduleOutcome::ScheduleChanged {
                        return Ok(Look::Nothing);
                    }
                    schedule.revision += 1;
                }
                Due::RunNow { scheduled_for } => {
                    return self.record(&schedule, &rules, scheduled_for, now).await;
                }
            }
        }
        Ok(Look::Nothing)
    }

    /// Records a start that is due.
    async fn record(
        &self,
        schedule: &ClusterSchedule,
        rules: &Schedule,
        scheduled_for: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Result<Look, ServiceError> {
        let cluster_id = schedule.cluster_id;
        let cluster = self.cluster(cluster_id).await?;
        let request = BackupRequest {
            cluster_id,
            scope: BackupScope::Cluster,
            name: None,
            description: None,
            retention_days: Some(schedule.policy.retention_days),
            idempotency_key: None,
            creation_method: CreationMethod::Auto,
            created_by: String::from("schedule"),
        };
        let backup = self.new_backup(request, &cluster, None)?;
        let next_look = match rules.due_once(Some(scheduled_for), now) {
            Due::NotYet { next } => Some(next_look(next, now)),
            Due::RunNow { .. } | Due::ClockWentBack { .. } => Some(now),
            Due::Off => None,
        };
        let start = ScheduledStart { revision: schedule.revision, scheduled_for, next_look, now, backup };
        match self.deps().catalog.record_start(&start).await? {
            StartOutcome::Started => {
                count("STARTED");
                let job = start.backup.job;
                tracing::info!(%cluster_id, job_id = %job.id, %scheduled_for, "an automatic backup is due");
                self.core().live.publish(&job);
                if let Err(refusal) = self.host().submit(&job).await {
                    tracing::warn!(job_id = %job.id, ?refusal, "an automatic backup waits until it is offered again");
                }
                Ok(Look::Started(Box::new(job)))
            }
            StartOutcome::Skipped(job_id) => {
                count("SKIPPED");
                tracing::warn!(%cluster_id, %job_id, %scheduled_for,
                    "an automatic backup is skipped: the one before it has not ended");
                Ok(Look::Skipped)
            }
            StartOutcome::RecordedBefore => {
                count("MADE_BEFORE");
                tracing::warn!(%cluster_id, %scheduled_for,
                    "an automatic backup is skipped: it was made before the clock went back");
                Ok(Look::Skipped)
            }
            StartOutcome::ScheduleChanged => Ok(Look::Nothing),
        }
    }

    async fn save(&self, schedule: &ClusterSchedule) -> Result<SaveScheduleOutcome, ServiceError> {
        saved(self.deps().catalog.save_schedule(schedule).await, schedule.cluster_id)
    }

    /// Moves a schedule that cannot be looked at out of the way of the others.
    async fn put_off(&self, mut schedule: ClusterSchedule, now: DateTime<Utc>) {
        schedule.next_look = now.checked_add_signed(FAILED_LOOK_DELAY);
        let cluster_id = schedule.cluster_id;
        if let Err(error) = self.save(&schedule).await {
            tracing::warn!(%cluster_id, %error, "cannot put off a look at a schedule");
        }
    }
}

/// What became of a change of a cluster's schedule.
fn saved(
    outcome: PortResult<SaveScheduleOutcome>,
    cluster_id: ClusterId,
) -> Result<SaveScheduleOutcome, ServiceError> {
    outcome.map_err(|error| match error.kind() {
        PortErrorKind::NotFound => not_found("cluster", &cluster_id),
        _ => error.into(),
    })
}

fn count(outcome: &'static str) {
    metrics::counter!(telemetry::SCHEDULED_STARTS, "outcome" => outcome).increment(1);
}
