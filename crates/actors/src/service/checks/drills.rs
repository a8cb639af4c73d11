//! Scheduled drills: their policies, and those that are due.

use super::super::backups::PendingJob;
use super::super::restores::{at, drill_request};
use super::super::{Service, not_found};
use super::{BATCH_MAX, CHANGE_ATTEMPTS_MAX, FAILED_LOOK_DELAY, SCHEDULE, TURNS_MAX};
use super::{changed_by_others, look_after};
use crate::checks::{DrillPolicyChange, DrillPolicyInForce};
use crate::error::ServiceError;
use crate::request::DrillRequest;
use crate::sweep::open;
use chrono::{DateTime, Utc};
use milvault_domain::backup::{Backup, BackupStatus, CollectionName};
use milvault_domain::checks::{DrillSchedule, SkippedDrill};
use milvault_domain::error::InvalidInput;
use milvault_domain::job::{Job, JobType};
use milvault_domain::job_request::JobRequest;
use milvault_domain::milvus::Cut;
use milvault_domain::ports::{NewJob, PortErrorKind, PortResult, SaveScheduleOutcome};
use milvault_domain::restore::{ChosenItem, RestoreSelection};
use milvault_domain::schedule::{Due, next_look};
use std::collections::HashMap;

/// What is to be done at a start.
enum Start {
    Drill(Box<NewJob>, Option<CollectionName>),
    Skip(String),
}

impl Service {
    /// Changes the scheduled drills of a cluster's backups, or gives it some. Switching them on begins a drill at once.
    ///
    /// # Errors
    /// `InvalidInput`, `NotFound` for the cluster or the target, `Busy` when it is changed by others all the time,
    /// `Unavailable`.
    pub async fn set_drill_policy(
        &self,
        change: DrillPolicyChange,
    ) -> Result<DrillPolicyInForce, ServiceError> {
        self.admit()?;
        let service = self.clone();
        self.to_the_end(async move { service.accept_drill_policy(change).await }).await
    }

    async fn accept_drill_policy(
        &self,
        change: DrillPolicyChange,
    ) -> Result<DrillPolicyInForce, ServiceError> {
        let catalog = &self.deps().catalog;
        let cluster_id = change.cluster_id;
        let cluster = self.cluster(cluster_id).await?;
        for _ in 0..CHANGE_ATTEMPTS_MAX {
            let former = catalog.drill_schedule(cluster_id).await?;
            let policy = change.applied_to(former.as_ref().map(|former| &former.policy))?;
            if policy.enabled || change.target_cluster_id.is_some() {
                let target = self.cluster(policy.target_cluster_id).await?;
                if target.project_id != cluster.project_id {
                    let rule = "must name a cluster of the same project";
                    return Err(InvalidInput::new("targetClusterId", rule).into());
                }
            }
            let now = self.deps().clock.now();
            let mut schedule = DrillSchedule::changed(former, cluster_id, policy, now)?;
            schedule.next_look = schedule.next_look.and_then(|now| now.checked_add_signed(FAILED_LOOK_DELAY));
            if self.save_drill(&schedule, None).await? == SaveScheduleOutcome::ScheduleChanged {
                continue;
            }
            schedule.revision += 1;
            let job = self.look_at_drill(schedule, now).await.unwrap_or_else(|error| {
                tracing::warn!(%cluster_id, %error, "a drill is begun later");
                None
            });
            let schedule = catalog.drill_schedule(cluster_id).await?;
            let schedule = schedule.ok_or_else(|| not_found("cluster", &cluster_id))?;
            return Ok(DrillPolicyInForce { schedule, job });
        }
        Err(changed_by_others())
    }

    pub(super) async fn run_due_drills(&self, now: DateTime<Utc>) -> PortResult<()> {
        for schedule in self.deps().catalog.due_drill_schedules(now, BATCH_MAX).await? {
            let cluster_id = schedule.cluster_id;
            if let Err(error) = self.look_at_drill(schedule.clone(), now).await {
                tracing::warn!(%cluster_id, %error, "cannot look at a drill policy; tried again later");
                let next_look = now.checked_add_signed(FAILED_LOOK_DELAY);
                let put_off = DrillSchedule { next_look, ..schedule };
                if let Err(error) = self.save_drill(&put_off, None).await {
                    tracing::warn!(%cluster_id, %error, "cannot put off a look at a drill policy");
                }
            }
        }
        Ok(())
    }

    /// Does what a schedule asks for now. Returns the job that it began.
    async fn look_at_drill(
        &self,
        mut schedule: DrillSchedule,
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
                    if self.save_drill(&schedule, None).await? == SaveScheduleOutcome::ScheduleChanged {
                        return Ok(None);
                    }
                    schedule.revision += 1;
                    continue;
                }
                Due::RunNow { scheduled_for } => {
                    schedule.last_run = Some(scheduled_for);
                    schedule.next_look = look_after(&rules, scheduled_for, now);
                    return self.begin_drill(schedule, scheduled_for).await;
                }
            }
            self.save_drill(&schedule, None).await?;
            return Ok(None);
        }
        Ok(None)
    }

    async fn begin_drill(
        &self,
        mut schedule: DrillSchedule,
        scheduled_for: DateTime<Utc>,
    ) -> Result<Option<Job>, ServiceError> {
        let cluster_id = schedule.cluster_id;
        let (new, last_collection) = match self.next_drill(&schedule).await? {
            Start::Drill(new, last_collection) => (new, last_collection),
            Start::Skip(reason) => {
                tracing::warn!(%cluster_id, %scheduled_for, reason, "a drill is skipped");
                schedule.last_skipped = Some(SkippedDrill { scheduled_for, reason });
                self.save_drill(&schedule, None).await?;
                return Ok(None);
            }
        };
        schedule.last_collection = last_collection;
        schedule.last_job_id = Some(new.job.id);
        if self.save_drill(&schedule, Some(&new)).await? == SaveScheduleOutcome::ScheduleChanged {
            return Ok(None);
        }
        tracing::info!(%cluster_id, job_id = %new.job.id, "a drill is due");
        self.offer(&new.job).await;
        Ok(Some(new.job))
    }

    async fn next_drill(&self, schedule: &DrillSchedule) -> Result<Start, ServiceError> {
        let catalog = &self.deps().catalog;
        if let Some(job_id) = self.open_job(schedule.last_job_id).await? {
            return Ok(Start::Skip(format!("the drill before it, job {job_id}, had not ended")));
        }
        let cluster = self.cluster(schedule.cluster_id).await?;
        let Some(target) = catalog.cluster(schedule.policy.target_cluster_id).await? else {
            return Ok(Start::Skip(String::from("the target cluster is not registered any more")));
        };
        if target.project_id != cluster.project_id {
            return Ok(Start::Skip(String::from("the target cluster belongs to another project")));
        }
        let newest =
            catalog.newest_backups(cluster.id, cluster.repository_id, BackupStatus::Available, 1).await?;
        let backup = match newest.first() {
            Some(backup_id) => catalog.backup(*backup_id).await?,
            None => None,
        };
        let Some(backup) = backup else {
            return Ok(Start::Skip(String::from("the cluster has no available backup in its repository")));
        };
        let Some(contents) = catalog.backup_contents(backup.id).await? else {
            return Ok(Start::Skip(format!("the catalog does not know what backup {} holds", backup.id)));
        };
        let chosen = schedule.choose(self.collections(schedule, &backup, &contents).await?);
        let Some(last) = chosen.last().cloned() else {
            return Ok(Start::Skip(format!("backup {} has no collection that fits the policy", backup.id)));
        };
        let description =
            format!("Scheduled drill of backup \"{}\" in cluster \"{}\"", backup.name, target.name);
        let pending = PendingJob {
            created_by: SCHEDULE.to_owned(),
            ..PendingJob::about(&backup, JobType::Drill, description)
        };
        let job = self.pending_job(at(&target, pending));
        let items = chosen.into_iter().map(|name| ChosenItem {
            database: name.database,
            collection: Some(name.collection),
            partitions: None,
        });
        let wanted = DrillRequest {
            backup_id: backup.id,
            target_cluster_id: target.id,
            selection: RestoreSelection::Chosen(items.collect()),
            depth: schedule.policy.depth,
            created_by: SCHEDULE.to_owned(),
        };
        let request = drill_request(job.id, &wanted, &contents);
        request.validate()?;
        let new = NewJob { job, request: JobRequest::Drill(request), idempotency: None };
        Ok(Start::Drill(Box::new(new), Some(last)))
    }

    /// The collections of a backup, with their sizes where the policy limits them.
    async fn collections(
        &self,
        schedule: &DrillSchedule,
        backup: &Backup,
        contents: &Cut,
    ) -> Result<Vec<(CollectionName, u64)>, ServiceError> {
        let mut sizes: HashMap<i64, u64> = HashMap::new();
        if schedule.policy.max_bytes.is_some() {
            let repository = open(self.core(), backup.repository_id).await?;
            for object in repository.read_objects(backup.id, None).await? {
                *sizes.entry(object.source.key.collection_id).or_default() += object.source.size_bytes;
            }
        }
        let named = contents.collections().map(|(database, collection)| {
            let name = CollectionName { database: database.to_owned(), collection: collection.name.clone() };
            (name, sizes.get(&collection.collection_id).copied().unwrap_or(0))
        });
        Ok(named.collect())
    }

    async fn save_drill(
        &self,
        schedule: &DrillSchedule,
        job: Option<&NewJob>,
    ) -> Result<SaveScheduleOutcome, ServiceError> {
        let now = self.deps().clock.now();
        self.deps().catalog.save_drill_schedule(schedule, job, now).await.map_err(|error| {
            if error.kind() == PortErrorKind::NotFound {
                not_found("cluster", &schedule.cluster_id)
            } else {
                error.into()
            }
        })
    }
}
