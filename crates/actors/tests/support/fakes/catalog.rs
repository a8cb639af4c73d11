//! A catalog in memory that keeps the contract of the port.

use super::gates::Gates;
use super::tables::{Tables, error};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use milvault_domain::access::ApiKey;
use milvault_domain::backup::{Backup, BackupFacts, BackupStatus, CreationMethod};
use milvault_domain::cluster::Cluster;
use milvault_domain::ids::{BackupId, ClusterId, JobId, RepositoryId};
use milvault_domain::job::{Job, JobEvent, JobPhase, JobState};
use milvault_domain::job_request::JobRequest;
use milvault_domain::lease::Fence;
use milvault_domain::milvus::Cut;
use milvault_domain::ports::{
    BackupFilter, Catalog, ClusterFilter, ClusterRemoval, FoundBackup, InsertJobOutcome, InsertOutcome,
    JobFilter, NewBackup, NewJob, Page, PageRequest, PortErrorKind, PortResult, RepositoryFilter, Tenancy,
    VerifyReport,
};
use milvault_domain::progress::Progress;
use milvault_domain::repository::Repository;
use milvault_domain::restore::{CompareReport, Restore, RestorePlan, RestoredCollection};
use std::sync::{Arc, Mutex, MutexGuard};

pub struct MemoryCatalog {
    pub gates: Arc<Gates>,
    tables: Arc<Mutex<Tables>>,
    /// What is checked before work on a job writes, in the view that such work has.
    pub(super) fence: Option<Fence>,
}

impl MemoryCatalog {
    pub fn new(gates: Arc<Gates>) -> Self {
        Self { gates, tables: Arc::default(), fence: None }
    }

    pub(super) fn with_fence(&self, fence: Fence) -> Self {
        Self { gates: Arc::clone(&self.gates), tables: Arc::clone(&self.tables), fence: Some(fence) }
    }

    pub(super) fn tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap()
    }

    /// All jobs, oldest first.
    pub fn all_jobs(&self) -> Vec<Job> {
        self.tables().jobs.values().cloned().collect()
    }

    /// A job that must be there, past the gates.
    pub fn find_job(&self, job_id: JobId) -> Job {
        self.tables().jobs[&job_id].clone()
    }

    pub fn edit_backup(&self, backup_id: BackupId, edit: impl FnOnce(&mut Backup)) {
        edit(self.tables().backups.get_mut(&backup_id).unwrap());
    }

    /// A restore that must be there, past the gates.
    pub fn find_restore(&self, job_id: JobId) -> Restore {
        self.tables().restore(job_id).unwrap()
    }

    /// What a job could not do besides.
    pub fn restore_warnings(&self, job_id: JobId) -> Vec<String> {
        self.tables().restore_warnings.get(&job_id).cloned().unwrap_or_default()
    }

    /// Changes a row behind everybody's back.
    pub fn edit_job(&self, job_id: JobId, edit: impl FnOnce(&mut Job)) {
        edit(self.tables().jobs.get_mut(&job_id).unwrap());
    }
}

fn page<T: Clone>(mut newest_first: Vec<T>, request: PageRequest, after: impl Fn(&T) -> bool) -> Page<T> {
    newest_first.retain(after);
    let limit = request.limit as usize;
    let has_more = newest_first.len() > limit;
    newest_first.truncate(limit);
    Page { items: newest_first, has_more, stopped_at: None }
}

#[async_trait]
impl Catalog for MemoryCatalog {
    async fn ping(&self) -> PortResult<()> {
        self.gates.pass("ping").await
    }

    async fn ensure_tenancy(&self, tenancy: &Tenancy, _: &ApiKey) -> PortResult<(Tenancy, bool)> {
        Ok((tenancy.clone(), true))
    }

    async fn find_api_key(&self, _: &[u8; 32]) -> PortResult<Option<ApiKey>> {
        Ok(None)
    }

    async fn insert_api_key(&self, _: &ApiKey) -> PortResult<()> {
        Ok(())
    }

    async fn insert_cluster(&self, cluster: &Cluster) -> PortResult<()> {
        let mut tables = self.tables();
        if tables.clusters.values().any(|(other, removed)| !removed && other.name == cluster.name) {
            return Err(error(PortErrorKind::Conflict, "the name is taken"));
        }
        tables.clusters.insert(cluster.id, (cluster.clone(), false));
        Ok(())
    }

    async fn update_cluster(&self, cluster: &Cluster) -> PortResult<()> {
        self.gates.pass("update_cluster").await?;
        let mut tables = self.tables();
        match tables.clusters.get_mut(&cluster.id) {
            Some((row, false)) => row.clone_from(cluster),
            _ => return Err(error(PortErrorKind::NotFound, "no such cluster")),
        }
        Ok(())
    }

    async fn remove_cluster(&self, cluster_id: ClusterId, _: DateTime<Utc>) -> PortResult<ClusterRemoval> {
        self.gates.pass("remove_cluster").await?;
        let mut tables = self.tables();
        let open: Vec<JobId> = tables
            .jobs
            .values()
            .filter(|job| job.cluster_id == cluster_id && !job.state.is_final())
            .map(|job| job.id)
            .collect();
        if !open.is_empty() {
            return Ok(ClusterRemoval::HasOpenJobs(open));
        }
        match tables.clusters.get_mut(&cluster_id) {
            Some((_, removed @ false)) => *removed = true,
            _ => return Err(error(PortErrorKind::NotFound, "no such cluster")),
        }
        Ok(ClusterRemoval::Removed)
    }

    async fn cluster(&self, cluster_id: ClusterId) -> PortResult<Option<Cluster>> {
        let row = self.tables().clusters.get(&cluster_id).cloned();
        Ok(row.filter(|(_, removed)| !removed).map(|(cluster, _)| cluster))
    }

    async fn clusters(&self, _: &ClusterFilter, request: PageRequest) -> PortResult<Page<Cluster>> {
        let all = self.tables().clusters.values().rev().map(|(cluster, _)| cluster.clone()).collect();
        Ok(page(all, request, |_| true))
    }

    async fn insert_repository(&self, repository: &Repository) -> PortResult<()> {
        let mut tables = self.tables();
        if tables.repositories.values().any(|other| other.name == repository.name) {
            return Err(error(PortErrorKind::Conflict, "the name is taken"));
        }
        tables.repositories.insert(repository.id, repository.clone());
        Ok(())
    }

    async fn repository(&self, repository_id: RepositoryId) -> PortResult<Option<Repository>> {
        Ok(self.tables().repositories.get(&repository_id).cloned())
    }

    async fn repositories(&self, _: &RepositoryFilter, request: PageRequest) -> PortResult<Page<Repository>> {
        let all = self.tables().repositories.values().rev().cloned().collect();
        Ok(page(all, request, |row| request.after.is_none_or(|after| row.id.as_uuid() < after.id)))
    }

    async fn insert_backup(&self, new: &NewBackup) -> PortResult<InsertOutcome> {
        self.gates.pass("insert_backup").await?;
        let outcome = self.tables().insert_backup(new)?;
        self.gates.pass("inserted_backup").await?;
        Ok(outcome)
    }

    async fn insert_job(&self, job: &Job) -> PortResult<()> {
        let mut tables = self.tables();
        tables.admit(job.cluster_id)?;
        tables.jobs.insert(job.id, job.clone());
        Ok(())
    }

    async fn insert_requested_job(&self, new: &NewJob) -> PortResult<InsertJobOutcome> {
        self.gates.pass("insert_requested_job").await?;
        let outcome = self.tables().insert_requested_job(new)?;
        self.gates.pass("inserted_requested_job").await?;
        Ok(outcome)
    }

    async fn job_request(&self, job_id: JobId) -> PortResult<Option<JobRequest>> {
        self.gates.pass("job_request").await?;
        Ok(self.tables().requests.get(&job_id).cloned())
    }

    async fn save_restore_plan(
        &self,
        job_id: JobId,
        plan: &RestorePlan,
        collections: &[RestoredCollection],
    ) -> PortResult<()> {
        self.gates.pass("save_restore_plan").await?;
        self.fenced_tables()?.save_restore_plan(job_id, plan, collections)?;
        self.gates.pass("saved_restore_plan").await
    }

    async fn save_made_databases(&self, job_id: JobId, names: &[String]) -> PortResult<()> {
        self.gates.pass("save_made_databases").await?;
        {
            let mut tables = self.fenced_tables()?;
            let plan = tables.plans.get_mut(&job_id).map(|(plan, _)| plan);
            let plan = plan.ok_or_else(|| error(PortErrorKind::NotFound, "no such plan"))?;
            for database in &mut plan.databases {
                database.made = names.contains(&database.name);
            }
        }
        self.gates.pass("saved_made_databases").await
    }

    async fn save_restored_collection(
        &self,
        job_id: JobId,
        position: u32,
        collection: &RestoredCollection,
    ) -> PortResult<()> {
        self.gates.pass("save_restored_collection").await?;
        {
            let mut tables = self.fenced_tables()?;
            let collections = tables.plans.get_mut(&job_id).map(|(_, collections)| collections);
            let row = collections.and_then(|collections| collections.get_mut(position as usize));
            let row = row.ok_or_else(|| error(PortErrorKind::NotFound, "no such position"))?;
            row.clone_from(collection);
        }
        self.gates.pass("saved_restored_collection").await
    }

    async fn restore(&self, job_id: JobId) -> PortResult<Option<Restore>> {
        self.gates.pass("restore").await?;
        Ok(self.tables().restore(job_id))
    }

    async fn complete_restore(
        &self,
        job_id: JobId,
        warnings: &[String],
        progress: Progress,
        now: DateTime<Utc>,
    ) -> PortResult<Job> {
        self.gates.pass("complete_restore").await?;
        let job = self.fenced_tables()?.complete_restore(job_id, warnings, progress, now)?;
        self.gates.pass("completed_restore").await?;
        Ok(job)
    }

    async fn save_compare_report(&self, job_id: JobId, report: &CompareReport) -> PortResult<()> {
        self.gates.pass("save_compare_report").await?;
        self.fenced_tables()?.compare_reports.insert(job_id, report.clone());
        self.gates.pass("saved_compare_report").await
    }

    async fn complete_compare(
        &self,
        job_id: JobId,
        progress: Progress,
        now: DateTime<Utc>,
    ) -> PortResult<Job> {
        self.gates.pass("complete_compare").await?;
        self.fenced_tables()?.complete_compare(job_id, progress, now)
    }

    async fn compare_report(&self, job_id: JobId) -> PortResult<Option<CompareReport>> {
        Ok(self.tables().compare_reports.get(&job_id).cloned())
    }

    async fn insert_found_backups(&self, found: &[FoundBackup]) -> PortResult<u32> {
        self.gates.pass("insert_found_backups").await?;
        Ok(self.tables().insert_found_backups(found))
    }

    async fn backup(&self, backup_id: BackupId) -> PortResult<Option<Backup>> {
        Ok(self.tables().backups.get(&backup_id).cloned())
    }

    async fn backup_contents(&self, backup_id: BackupId) -> PortResult<Option<Cut>> {
        Ok(self.tables().contents.get(&backup_id).cloned())
    }

    async fn backups(&self, _: &BackupFilter, request: PageRequest) -> PortResult<Page<Backup>> {
        let all = self.tables().backups.values().rev().cloned().collect();
        Ok(page(all, request, |_| true))
    }

    async fn newest_backups(
        &self,
        cluster_id: ClusterId,
        repository_id: RepositoryId,
        status: BackupStatus,
        limit: u32,
    ) -> PortResult<Vec<BackupId>> {
        let tables = self.tables();
        let wanted = |backup: &&Backup| {
            backup.cluster_id == cluster_id
                && backup.repository_id == repository_id
                && backup.status == status
        };
        let newest = tables.backups.values().rev().filter(wanted).take(limit as usize);
        Ok(newest.map(|backup| backup.id).collect())
    }

    async fn job(&self, job_id: JobId) -> PortResult<Option<Job>> {
        Ok(self.tables().jobs.get(&job_id).cloned())
    }

    async fn job_events(&self, job_id: JobId) -> PortResult<Vec<JobEvent>> {
        let tables = self.tables();
        Ok(tables.events.iter().filter(|(id, _)| *id == job_id).map(|(_, event)| event.clone()).collect())
    }

    async fn jobs(&self, _: &JobFilter, request: PageRequest) -> PortResult<Page<Job>> {
        let all = self.tables().jobs.values().rev().cloned().collect();
        Ok(page(all, request, |_| true))
    }

    async fn open_jobs(&self) -> PortResult<Vec<Job>> {
        self.gates.pass("open_jobs").await?;
        Ok(self.tables().jobs.values().filter(|job| !job.state.is_final()).cloned().collect())
    }

    async fn transition_job(
        &self,
        job_id: JobId,
        to: JobState,
        reason: Option<&str>,
        now: DateTime<Utc>,
    ) -> PortResult<Job> {
        self.gates.pass("transition_job").await?;
        self.fenced_tables()?.transition(job_id, to, reason, now)
    }

    async fn park_job(&self, job_id: JobId, reason: &str, now: DateTime<Utc>) -> PortResult<Job> {
        self.gates.pass("park_job").await?;
        self.fenced_tables()?.park(job_id, reason, now)
    }

    async fn save_progress(
        &self,
        job_id: JobId,
        phase: JobPhase,
        progress: Progress,
        now: DateTime<Utc>,
    ) -> PortResult<()> {
        self.gates.pass("save_progress").await?;
        let mut tables = self.fenced_tables()?;
        let job =
            tables.jobs.get_mut(&job_id).ok_or_else(|| error(PortErrorKind::NotFound, "no such job"))?;
        job.progress = progress;
        let state = job.state;
        if job.phase.replace(phase) != Some(phase) {
            tables.events.push((job_id, JobEvent { at: now, state, phase: Some(phase), reason: None }));
        }
        Ok(())
    }

    async fn complete_backup(
        &self,
        job_id: JobId,
        backup_id: BackupId,
        facts: &BackupFacts,
        contents: &Cut,
        progress: Progress,
        now: DateTime<Utc>,
    ) -> PortResult<(Backup, Job)> {
        self.gates.pass("complete_backup").await?;
        let pair = {
            let mut tables = self.fenced_tables()?;
            if tables.jobs[&job_id].state != JobState::Successful {
                tables.transition(job_id, JobState::Successful, None, now)?;
                tables.jobs.get_mut(&job_id).unwrap().progress = progress;
                let backup = tables.backups.get_mut(&backup_id).unwrap();
                backup.status = BackupStatus::Available;
                backup.completed_at = Some(now);
                backup.facts = Some(facts.clone());
                tables.contents.insert(backup_id, contents.clone());
                tables.record_due_copy(job_id, now);
            }
            tables.pair(job_id)
        };
        self.gates.pass("completed_backup").await?;
        Ok((pair.backup, pair.job))
    }

    async fn complete_verify(
        &self,
        job_id: JobId,
        report: &VerifyReport,
        progress: Progress,
        now: DateTime<Utc>,
    ) -> PortResult<Job> {
        let mut tables = self.fenced_tables()?;
        let failures = report.failure_count;
        let (to, reason) = if failures == 0 {
            (JobState::Successful, None)
        } else {
            (JobState::Failed, Some(format!("{failures} failures")))
        };
        tables.reports.insert(job_id, report.clone());
        tables.jobs.get_mut(&job_id).unwrap().progress = progress;
        tables.transition(job_id, to, reason.as_deref(), now)
    }

    async fn verify_report(&self, job_id: JobId) -> PortResult<Option<VerifyReport>> {
        Ok(self.tables().reports.get(&job_id).cloned())
    }

    async fn expire_backups(&self, now: DateTime<Utc>, limit: u32) -> PortResult<Vec<BackupId>> {
        self.gates.pass("expire_backups").await?;
        let mut tables = self.tables();
        let ruled = |backup: &Backup| {
            let in_service = matches!(tables.clusters.get(&backup.cluster_id), Some((_, false)));
            let scheduled = in_service && tables.schedules.schedules.contains_key(&backup.cluster_id);
            scheduled && backup.creation_method == CreationMethod::Auto && backup.copied_from.is_none()
        };
        let over = tables.backups.values().filter(|backup| {
            backup.status == BackupStatus::Available
                && backup.expires_at.is_some_and(|end| end <= now)
                && !ruled(backup)
                && tables.unbound(backup.id, now)
        });
        let over: Vec<BackupId> = over.take(limit as usize).map(|backup| backup.id).collect();
        for id in &over {
            tables.end_backup(*id, BackupStatus::Deleted, now);
        }
        Ok(over)
    }
}
