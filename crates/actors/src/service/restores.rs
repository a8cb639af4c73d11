//! Requests for restores: to plan, begin, continue and undo them, and for drills.

use super::backups::PendingJob;
use super::clusters::check_registered;
use super::idempotency::idempotency;
use super::keyed::key_reused;
use super::{Service, not_found, unavailable};
use crate::error::ServiceError;
use crate::request::DrillRequest;
use crate::run::restore::{BackupAtHand, Target, plan, selected_collections, unusable};
use milvault_domain::backup::Backup;
use milvault_domain::cluster::Cluster;
use milvault_domain::error::InvalidInput;
use milvault_domain::ids::{BackupId, ClusterId, JobId};
use milvault_domain::job::{Job, JobState, JobType};
use milvault_domain::job_request::JobRequest;
use milvault_domain::milvus::Cut;
use milvault_domain::ports::{Idempotency, InsertJobOutcome, NewJob, PortError, PortErrorKind};
use milvault_domain::restore::{
    ConflictPolicy, DatabaseRename, IndexChoice, LoadChoice, Restore, RestorePlan, RestoreRequest,
    RestoreSelection, RestoreStep, TargetNames,
};
use milvault_domain::secret::Secret;
use std::time::Duration;
use tokio_util::task::TaskTracker;

/// Longest time for a dry run: it reads the manifest and looks at the target. Less than a request may take, so that
/// the caller hears what did not answer.
const PLAN_TIME_MAX: Duration = Duration::from_secs(25);

impl Service {
    /// What a restore would do, conflicts included. Nothing is changed.
    ///
    /// # Errors
    /// `InvalidInput`, also for names that the backup does not have; `NotFound` for backup or cluster; `Conflict` when
    /// the backup is not available; `Unavailable` when repository or target cannot be reached in time.
    pub async fn plan_restore(&self, request: RestoreRequest) -> Result<RestorePlan, ServiceError> {
        self.admit()?;
        request.validate()?;
        let backup = self.restorable(request.backup_id).await?;
        let cluster = self.target_for(&backup, request.target_cluster_id).await?;
        tokio::time::timeout(PLAN_TIME_MAX, self.dry_run(&request, &cluster)).await.unwrap_or_else(|_| {
            let limit = PLAN_TIME_MAX.as_secs();
            Err(unavailable(&format!("the repository and the target did not answer within {limit} s")))
        })
    }

    /// Accepts a restore. The row is written when this returns; what is in its way is found when its turn comes. A
    /// repeated request (same idempotency key) gets the job of the first.
    ///
    /// # Errors
    /// `InvalidInput`; `NotFound` for backup or cluster; `Conflict` when the backup is not available or the key was
    /// used for another request; `Busy`, `Unavailable`.
    pub async fn request_restore(
        &self,
        request: RestoreRequest,
        idempotency_key: Option<String>,
        created_by: String,
    ) -> Result<Job, ServiceError> {
        self.admit()?;
        request.validate()?;
        let idempotency = idempotency(idempotency_key, &without_secrets(&request))?;
        let service = self.clone();
        self.to_the_end(async move { service.accept_restore(request, idempotency, created_by).await }).await
    }

    /// Accepts a drill: the backup is restored into scratch databases, compared, and dropped again.
    ///
    /// # Errors
    /// As for a restore; `InvalidInput` when the target has no databases.
    pub async fn request_drill(&self, request: DrillRequest) -> Result<Job, ServiceError> {
        self.admit()?;
        let service = self.clone();
        self.to_the_end(async move { service.accept_drill(request).await }).await
    }

    /// Accepts a restore of what an earlier one that failed or was canceled has left out. What that one has finished
    /// stays and belongs to the new job too.
    ///
    /// # Errors
    /// `NotFound` for the job; `Conflict` when it is no restore, has not ended, or has succeeded; else as for a restore.
    pub async fn resume_restore(&self, job_id: JobId, created_by: String) -> Result<Job, ServiceError> {
        self.admit()?;
        let service = self.clone();
        self.to_the_end(async move { service.accept_resume(job_id, created_by).await }).await
    }

    /// Accepts the undoing of a restore: what it made is removed, what it replaced and that still exists gets its name
    /// back.
    ///
    /// # Errors
    /// `NotFound` for the job; `Conflict` when it is no restore, has not ended, or nothing of it is there; `Busy`,
    /// `Unavailable`.
    pub async fn undo_restore(&self, job_id: JobId, created_by: String) -> Result<Job, ServiceError> {
        self.admit()?;
        let service = self.clone();
        self.to_the_end(async move { service.accept_undo(job_id, created_by).await }).await
    }

    async fn dry_run(
        &self,
        request: &RestoreRequest,
        cluster: &Cluster,
    ) -> Result<RestorePlan, ServiceError> {
        let core = self.core();
        let at_hand = BackupAtHand::open(core, request.backup_id).await?;
        let wanted = selected_collections(&request.selection, &at_hand.cut);
        let objects = at_hand.objects(core, &wanted).await?;
        let target = Target::connect(core, cluster, &TaskTracker::new()).await?;
        let inventory = target.repeat("look at the target", || target.milvus.inventory()).await?;
        // Working names derive from a job; this one never is.
        let job_id = JobId::from_uuid(self.deps().ids.new_uuid());
        let server = target.milvus.server();
        let (plan, _) = plan(job_id, request, &at_hand.cut, &objects, &inventory, server, None)?;
        Ok(plan)
    }

    async fn accept_restore(
        &self,
        request: RestoreRequest,
        idempotency: Option<Idempotency>,
        created_by: String,
    ) -> Result<Job, ServiceError> {
        let target = request.target_cluster_id;
        if let Some(job) = self.repeated(target, JobType::Restore, idempotency.as_ref()).await? {
            return Ok(job);
        }
        let backup = self.restorable(request.backup_id).await?;
        let cluster = self.target_for(&backup, request.target_cluster_id).await?;
        let description = format!("Restore of backup \"{}\" into cluster \"{}\"", backup.name, cluster.name);
        let pending = PendingJob { created_by, ..PendingJob::about(&backup, JobType::Restore, description) };
        let job = self.pending_job(at(&cluster, pending));
        self.accept(NewJob { job, request: JobRequest::Restore(request), idempotency }).await
    }

    async fn accept_drill(&self, wanted: DrillRequest) -> Result<Job, ServiceError> {
        let target = wanted.target_cluster_id;
        let idempotency =
            self.key_of(&("drillBackup", wanted.backup_id, target, &wanted.selection, wanted.depth))?;
        if let Some(job) = self.repeated(target, JobType::Drill, idempotency.as_ref()).await? {
            return Ok(job);
        }
        let backup = self.restorable(wanted.backup_id).await?;
        let cluster = self.target_for(&backup, wanted.target_cluster_id).await?;
        self.check_databases(&cluster).await?;
        let contents = self.deps().catalog.backup_contents(backup.id).await?;
        let contents = contents.ok_or_else(|| {
            let message = format!("the catalog does not know what backup {} consists of", backup.id);
            ServiceError::Internal(PortError::new(PortErrorKind::Internal, message))
        })?;
        let description = format!("Drill of backup \"{}\" in cluster \"{}\"", backup.name, cluster.name);
        let created_by = wanted.created_by.clone();
        let pending = PendingJob { created_by, ..PendingJob::about(&backup, JobType::Drill, description) };
        let job = self.pending_job(at(&cluster, pending));
        let request = drill_request(job.id, &wanted, &contents);
        request.validate()?;
        self.accept(NewJob { job, request: JobRequest::Drill(request), idempotency }).await
    }

    async fn check_databases(&self, cluster: &Cluster) -> Result<(), ServiceError> {
        let connect = self.deps().milvus.connect_target(&cluster.endpoint);
        let limit = self.core().settings.check_timeout;
        let target = tokio::time::timeout(limit, connect).await.unwrap_or_else(|_| {
            let message = format!("the Milvus of cluster \"{}\" does not answer", cluster.name);
            Err(PortError::new(PortErrorKind::Unavailable, message))
        })?;
        if target.server().capabilities.databases {
            return Ok(());
        }
        let rule = format!(
            "must be a cluster that has databases, for a drill works in scratch databases; Milvus {} has none",
            target.server().version
        );
        Err(InvalidInput::new("targetClusterId", rule).into())
    }

    async fn accept_resume(&self, former_id: JobId, created_by: String) -> Result<Job, ServiceError> {
        let (former, restore) = self.ended_restore(former_id).await?;
        let idempotency = self.key_of(&("resumeRestore", former_id))?;
        if let Some(job) = self.repeated(former.cluster_id, JobType::Restore, idempotency.as_ref()).await? {
            return Ok(job);
        }
        if former.state == JobState::Successful {
            let message = format!("restore {former_id} has succeeded; there is nothing to resume");
            return Err(ServiceError::Conflict { message, job_id: Some(former_id) });
        }
        let request = RestoreRequest { continues: Some(former_id), ..restore.request };
        self.accept_restore(request, idempotency, created_by).await
    }

    async fn accept_undo(&self, restore_job_id: JobId, created_by: String) -> Result<Job, ServiceError> {
        let (former, restore) = self.ended_restore(restore_job_id).await?;
        let idempotency = self.key_of(&("undoRestore", restore_job_id))?;
        if let Some(job) = self.repeated(former.cluster_id, JobType::Undo, idempotency.as_ref()).await? {
            return Ok(job);
        }
        if !has_something(&former, &restore) {
            let message = format!("nothing of restore {restore_job_id} is there; there is nothing to undo");
            return Err(ServiceError::Conflict { message, job_id: Some(restore_job_id) });
        }
        let cluster = self.cluster(restore.request.target_cluster_id).await?;
        let job = self.pending_job(PendingJob {
            project_id: cluster.project_id,
            cluster_id: cluster.id,
            job_type: JobType::Undo,
            // The backup itself is not needed, and may be gone.
            backup_id: restore.request.backup_id,
            verify_level: None,
            description: format!("Undo of a restore into cluster \"{}\"", cluster.name),
            created_by,
        });
        self.accept(NewJob { job, request: JobRequest::Undo { restore_job_id }, idempotency }).await
    }

    /// A restore that has ended, with what has become of it.
    async fn ended_restore(&self, job_id: JobId) -> Result<(Job, Restore), ServiceError> {
        let job = self.deps().catalog.job(job_id).await?.ok_or_else(|| not_found("job", &job_id))?;
        let conflict = |message: String| ServiceError::Conflict { message, job_id: Some(job_id) };
        if job.job_type != JobType::Restore {
            return Err(conflict(format!("job {job_id} is not a restore")));
        }
        if !job.state.is_final() {
            return Err(conflict(format!("restore {job_id} has not ended; wait for its end or cancel it")));
        }
        let restore = self.deps().catalog.restore(job_id).await?;
        let restore = restore.ok_or_else(|| conflict(format!("job {job_id} is not a restore")))?;
        Ok((job, restore))
    }

    async fn restorable(&self, backup_id: BackupId) -> Result<Backup, ServiceError> {
        let backup = self.deps().catalog.backup(backup_id).await?;
        let backup = backup.ok_or_else(|| not_found("backup", &backup_id))?;
        match unusable(&backup) {
            None => Ok(backup),
            Some(message) => Err(ServiceError::Conflict { message, job_id: None }),
        }
    }

    async fn target_for(&self, backup: &Backup, cluster_id: ClusterId) -> Result<Cluster, ServiceError> {
        let cluster = self.cluster(cluster_id).await?;
        if cluster.project_id == backup.project_id {
            check_registered(&cluster)?;
            return Ok(cluster);
        }
        let rule =
            "must name a cluster of the backup's own project; restores across projects are not possible";
        Err(InvalidInput::new("targetClusterId", rule).into())
    }

    async fn accept(&self, new: NewJob) -> Result<Job, ServiceError> {
        match self.deps().catalog.insert_requested_job(&new).await? {
            InsertJobOutcome::Created => self.hand_over(new.job).await,
            InsertJobOutcome::Duplicate(job) => Ok(*job),
            InsertJobOutcome::KeyReused(job_id) => Err(key_reused(job_id)),
        }
    }
}

/// A job whose turn is decided by the target, not by the backup's own cluster.
pub(super) fn at(target: &Cluster, pending: PendingJob) -> PendingJob {
    PendingJob { project_id: target.project_id, cluster_id: target.id, ..pending }
}

/// A restore of every database into a scratch database of its own, with nothing but rows.
pub(super) fn drill_request(job_id: JobId, wanted: &DrillRequest, contents: &Cut) -> RestoreRequest {
    let selection = match &wanted.selection {
        // The scratch databases are empty, whatever else the cluster holds.
        RestoreSelection::NewCluster | RestoreSelection::Everything => RestoreSelection::Everything,
        RestoreSelection::Chosen(items) => RestoreSelection::Chosen(items.clone()),
    };
    let is_selected = |name: &str| match &selection {
        RestoreSelection::NewCluster | RestoreSelection::Everything => true,
        RestoreSelection::Chosen(items) => items.iter().any(|item| item.database == name),
    };
    let digits = job_id.as_uuid().simple().to_string();
    // The head of an id is its time, so the tails of two jobs differ and their heads may not.
    let tail = &digits[digits.len() - 8..];
    let selected = contents.databases.iter().filter(|database| is_selected(&database.name));
    let databases = selected
        .enumerate()
        .map(|(number, database)| DatabaseRename {
            from: database.name.clone(),
            to: format!("milvault_drill_{tail}_{number}"),
        })
        .collect();
    RestoreRequest {
        backup_id: wanted.backup_id,
        target_cluster_id: wanted.target_cluster_id,
        selection,
        names: TargetNames { databases, ..TargetNames::default() },
        conflict: ConflictPolicy::Fail,
        shard_count: None,
        load: LoadChoice::None,
        indexes: IndexChoice::Leave,
        access_control: None,
        compare: wanted.depth,
        continues: None,
    }
}

/// Whether a restore left anything that could be undone. Of one that did not succeed nobody knows whether its staged
/// files are gone.
fn has_something(former: &Job, restore: &Restore) -> bool {
    let Some(plan) = &restore.plan else { return false };
    let is_there = |step| matches!(step, RestoreStep::Created | RestoreStep::Compared | RestoreStep::Done);
    let undone = restore.collections.iter().any(|state| state.step == RestoreStep::Undone);
    restore.collections.iter().any(|state| is_there(state.step))
        || (!undone
            && plan.conflicts.is_empty()
            && (former.state != JobState::Successful || plan.databases.iter().any(|database| database.made)))
}

/// The request as it is recognized by: passwords are not part of it, not even as a hash.
fn without_secrets(request: &RestoreRequest) -> RestoreRequest {
    let mut request = request.clone();
    for password in request.access_control.iter_mut().flat_map(|access| &mut access.passwords) {
        password.password = Secret::Environment(String::new());
    }
    request
}
