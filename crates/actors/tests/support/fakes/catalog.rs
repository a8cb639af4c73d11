//! A catalog in memory that keeps the contract of the port.

use super::gates::Gates;
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use milvault_domain::access::ApiKey;
use milvault_domain::backup::{Backup, BackupFacts, BackupStatus, CreationMethod};
use milvault_domain::cluster::Cluster;
use milvault_domain::ids::{BackupId, ClusterId, JobId, RepositoryId};
use milvault_domain::job::{Job, JobEvent, JobPhase, JobState, JobType};
use milvault_domain::milvus::Cut;
use milvault_domain::ports::{
    BackupFilter, BackupWithJob, Catalog, ClusterFilter, ClusterRemoval, InsertOutcome, JobFilter, NewBackup,
    Page, PageRequest, PortError, PortErrorKind, PortResult, RepositoryFilter, Tenancy, VerifyReport,
};
use milvault_domain::progress::Progress;
use milvault_domain::repository::Repository;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};

pub struct MemoryCatalog {
    pub gates: Arc<Gates>,
    tables: Mutex<Tables>,
}

#[derive(Default)]
struct Tables {
    clusters: BTreeMap<ClusterId, (Cluster, bool)>,
    repositories: BTreeMap<RepositoryId, Repository>,
    backups: BTreeMap<BackupId, Backup>,
    contents: HashMap<BackupId, Cut>,
    jobs: BTreeMap<JobId, Job>,
    events: Vec<(JobId, JobEvent)>,
    keys: HashMap<(ClusterId, String), ([u8; 32], JobId)>,
    reports: HashMap<JobId, VerifyReport>,
}

fn error(kind: PortErrorKind, message: &str) -> PortError {
    PortError::new(kind, message)
}

impl MemoryCatalog {
    pub fn new(gates: Arc<Gates>) -> Self {
        Self { gates, tables: Mutex::default() }
    }

    fn tables(&self) -> MutexGuard<'_, Tables> {
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

    /// Changes a row behind everybody's back.
    pub fn edit_job(&self, job_id: JobId, edit: impl FnOnce(&mut Job)) {
        edit(self.tables().jobs.get_mut(&job_id).unwrap());
    }
}

impl Tables {
    fn transition(
        &mut self,
        job_id: JobId,
        to: JobState,
        reason: Option<&str>,
        now: DateTime<Utc>,
    ) -> PortResult<Job> {
        let job = self.jobs.get_mut(&job_id).ok_or_else(|| error(PortErrorKind::NotFound, "no such job"))?;
        if job.state == to {
            return Ok(job.clone());
        }
        let illegal =
            |illegal| PortError::with_source(PortErrorKind::Conflict, "illegal transition", illegal);
        job.state = job.state.transition(to).map_err(illegal)?;
        if to == JobState::InProgress {
            job.started_at.get_or_insert(now);
            job.attempt += 1;
        }
        if to == JobState::Failed {
            job.failure = reason.map(str::to_owned);
        }
        if to.is_final() {
            job.ended_at = Some(now);
            let makes_backup = job.job_type == JobType::Backup && to != JobState::Successful;
            if let Some(backup_id) = job.backup_id.filter(|_| makes_backup) {
                self.backups.get_mut(&backup_id).unwrap().status = BackupStatus::Failed;
            }
        }
        let event = JobEvent { at: now, state: to, phase: job.phase, reason: reason.map(str::to_owned) };
        let job = job.clone();
        self.events.push((job_id, event));
        Ok(job)
    }

    fn insert_backup(&mut self, new: &NewBackup) -> PortResult<InsertOutcome> {
        let cluster_id = new.backup.cluster_id;
        if !matches!(self.clusters.get(&cluster_id), Some((_, false))) {
            return Err(error(PortErrorKind::NotFound, "no such cluster"));
        }
        if let Some(idempotency) = &new.idempotency
            && let Some((hash, job_id)) = self.keys.get(&(cluster_id, idempotency.key.clone()))
        {
            return Ok(if *hash == idempotency.request_hash {
                InsertOutcome::Duplicate(Box::new(self.pair(*job_id)))
            } else {
                InsertOutcome::KeyReused(*job_id)
            });
        }
        let manual_open = |job: &&Job| {
            job.cluster_id == cluster_id
                && job.job_type == JobType::Backup
                && !job.state.is_final()
                && self.backups[&job.backup_id.unwrap()].creation_method == CreationMethod::Manual
        };
        if new.backup.creation_method == CreationMethod::Manual
            && let Some(running) = self.jobs.values().find(manual_open)
        {
            return Ok(InsertOutcome::Busy(running.id));
        }
        if let Some(idempotency) = &new.idempotency {
            let entry = (idempotency.request_hash, new.job.id);
            self.keys.insert((cluster_id, idempotency.key.clone()), entry);
        }
        self.backups.insert(new.backup.id, new.backup.clone());
        self.jobs.insert(new.job.id, new.job.clone());
        Ok(InsertOutcome::Created)
    }

    fn pair(&self, job_id: JobId) -> BackupWithJob {
        let job = self.jobs[&job_id].clone();
        BackupWithJob { backup: self.backups[&job.backup_id.unwrap()].clone(), job }
    }
}

fn page<T: Clone>(mut newest_first: Vec<T>, request: PageRequest, after: impl Fn(&T) -> bool) -> Page<T> {
    newest_first.retain(after);
    let limit = request.limit as usize;
    let has_more = newest_first.len() > limit;
    newest_first.truncate(limit);
    Page { items: newest_first, has_more }
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
        self.tables().jobs.insert(job.id, job.clone());
        Ok(())
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
        self.tables().transition(job_id, to, reason, now)
    }

    async fn save_progress(
        &self,
        job_id: JobId,
        phase: JobPhase,
        progress: Progress,
        now: DateTime<Utc>,
    ) -> PortResult<()> {
        self.gates.pass("save_progress").await?;
        let mut tables = self.tables();
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
            let mut tables = self.tables();
            if tables.jobs[&job_id].state != JobState::Successful {
                tables.transition(job_id, JobState::Successful, None, now)?;
                tables.jobs.get_mut(&job_id).unwrap().progress = progress;
                let backup = tables.backups.get_mut(&backup_id).unwrap();
                backup.status = BackupStatus::Available;
                backup.completed_at = Some(now);
                backup.facts = Some(facts.clone());
                tables.contents.insert(backup_id, contents.clone());
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
        let mut tables = self.tables();
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
        let over = tables.backups.values_mut().filter(|backup| {
            backup.status == BackupStatus::Available && backup.expires_at.is_some_and(|end| end <= now)
        });
        let expired = over.take(limit as usize).map(|backup| {
            backup.status = BackupStatus::Deleted;
            backup.id
        });
        Ok(expired.collect())
    }
}
