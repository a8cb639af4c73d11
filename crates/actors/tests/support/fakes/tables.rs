//! The rows of the fake catalog, and the rules about them.

use super::checks::CheckTables;
use super::leases::LeaseTables;
use super::lifecycle::LifecycleTables;
use super::schedules::ScheduleTables;
use chrono::{DateTime, Utc};
use milvault_domain::backup::{Backup, BackupStatus, CreationMethod};
use milvault_domain::cluster::Cluster;
use milvault_domain::ids::{BackupId, ClusterId, JobId, RepositoryId};
use milvault_domain::job::{Job, JobEvent, JobState, JobType};
use milvault_domain::job_request::JobRequest;
use milvault_domain::milvus::Cut;
use milvault_domain::names::default_backup_name;
use milvault_domain::ports::{
    BackupWithJob, DueCopy, FoundBackup, Idempotency, InsertJobOutcome, InsertOutcome, NewBackup, NewJob,
    PortError, PortErrorKind, PortResult, VerifyReport,
};
use milvault_domain::progress::Progress;
use milvault_domain::queue::ClusterQueue;
use milvault_domain::repository::Repository;
use milvault_domain::restore::{CompareReport, Restore, RestorePlan, RestoreStep, RestoredCollection};
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap};

#[derive(Default)]
pub struct Tables {
    pub checks: CheckTables,
    pub leases: LeaseTables,
    pub lifecycle: LifecycleTables,
    pub clusters: BTreeMap<ClusterId, (Cluster, bool)>,
    pub repositories: BTreeMap<RepositoryId, Repository>,
    pub backups: BTreeMap<BackupId, Backup>,
    pub contents: HashMap<BackupId, Cut>,
    pub jobs: BTreeMap<JobId, Job>,
    pub events: Vec<(JobId, JobEvent)>,
    pub keys: HashMap<(ClusterId, String), ([u8; 32], JobId)>,
    pub reports: HashMap<JobId, VerifyReport>,
    pub requests: HashMap<JobId, JobRequest>,
    pub plans: HashMap<JobId, (RestorePlan, Vec<RestoredCollection>)>,
    pub restore_warnings: HashMap<JobId, Vec<String>>,
    pub compare_reports: HashMap<JobId, CompareReport>,
    pub schedules: ScheduleTables,
    pub due_copies: BTreeMap<BackupId, DueCopy>,
}

pub fn error(kind: PortErrorKind, message: &str) -> PortError {
    PortError::new(kind, message)
}

impl Tables {
    pub fn transition(
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
            let makes_backup = job.job_type.makes_backup() && to != JobState::Successful;
            if let Some(backup_id) = job.backup_id.filter(|_| makes_backup) {
                self.backups.get_mut(&backup_id).unwrap().status = BackupStatus::Failed;
                self.lifecycle.ended.insert(backup_id, now);
            }
        }
        let event = JobEvent { at: now, state: to, phase: job.phase, reason: reason.map(str::to_owned) };
        let job = job.clone();
        self.events.push((job_id, event));
        Ok(job)
    }

    pub fn park(&mut self, job_id: JobId, reason: &str, now: DateTime<Utc>) -> PortResult<Job> {
        let before = self.jobs.get(&job_id).map(|job| job.state);
        self.transition(job_id, JobState::Pending, Some(reason), now)?;
        let job = self.jobs.get_mut(&job_id).unwrap();
        job.parks += u32::from(before != Some(JobState::Pending));
        Ok(job.clone())
    }

    /// Whether one more job that a person asks for may wait.
    pub fn admit(&self, cluster_id: ClusterId) -> PortResult<()> {
        let waits = |job: &&Job| job.cluster_id == cluster_id && job.state == JobState::Pending;
        if self.jobs.values().filter(waits).count() < ClusterQueue::WAITING_MAX {
            return Ok(());
        }
        Err(error(PortErrorKind::Busy, "the cluster already has 64 waiting jobs"))
    }

    pub fn insert_backup(&mut self, new: &NewBackup) -> PortResult<InsertOutcome> {
        let cluster_id = new.backup.cluster_id;
        if !matches!(self.clusters.get(&cluster_id), Some((_, false))) {
            return Err(error(PortErrorKind::NotFound, "no such cluster"));
        }
        match self.known(cluster_id, new.idempotency.as_ref()) {
            Some((true, job_id)) => return Ok(InsertOutcome::Duplicate(Box::new(self.pair(job_id)))),
            Some((false, job_id)) => return Ok(InsertOutcome::KeyReused(job_id)),
            None => {}
        }
        let manual_open = |job: &&Job| {
            job.cluster_id == cluster_id
                && job.job_type == JobType::Backup
                && !job.state.is_final()
                && self.backups[&job.backup_id.unwrap()].creation_method == CreationMethod::Manual
        };
        // Takeovers of foreign backups neither wait for this rule nor hold anybody up.
        let manual = new.backup.creation_method == CreationMethod::Manual;
        let refusable = manual || new.asked_again;
        if new.job.job_type == JobType::Backup
            && refusable
            && let Some(running) = self.jobs.values().find(manual_open)
        {
            return Ok(InsertOutcome::Busy(running.id));
        }
        let in_the_way = |job: &Job| !manual || job.state != JobState::Pending;
        if new.job.job_type == JobType::Backup
            && refusable
            && let Some(running) = self.open_automatic(cluster_id, in_the_way)
        {
            return Ok(InsertOutcome::Busy(running));
        }
        let mut backup = new.backup.clone();
        if backup.name.is_empty() {
            let number = self.backups.values().filter(|known| known.cluster_id == cluster_id).count() + 1;
            backup.name = default_backup_name(&backup.cluster_name, number as u64);
        }
        let has_name = |known: &&Backup| {
            known.cluster_id == cluster_id
                && known.name == backup.name
                && !matches!(known.status, BackupStatus::Deleted | BackupStatus::Failed)
        };
        if let Some(other) = self.backups.values().find(has_name) {
            return Ok(InsertOutcome::NameTaken(other.id));
        }
        if new.job.job_type != JobType::Backup || refusable {
            self.admit(cluster_id)?;
        }
        self.keep_key(&new.job, new.idempotency.as_ref());
        self.requests.extend(new.request.clone().map(|request| (new.job.id, request)));
        self.backups.insert(backup.id, backup);
        self.jobs.insert(new.job.id, new.job.clone());
        Ok(InsertOutcome::Created)
    }

    pub fn pair(&self, job_id: JobId) -> BackupWithJob {
        let job = self.jobs[&job_id].clone();
        BackupWithJob { backup: self.backups[&job.backup_id.unwrap()].clone(), job }
    }

    /// The job of an earlier request with this key, and whether that asked for the same.
    pub fn known(&self, cluster_id: ClusterId, idempotency: Option<&Idempotency>) -> Option<(bool, JobId)> {
        let idempotency = idempotency?;
        let (hash, job_id) = self.keys.get(&(cluster_id, idempotency.key.clone()))?;
        Some((*hash == idempotency.request_hash, *job_id))
    }

    pub fn keep_key(&mut self, job: &Job, idempotency: Option<&Idempotency>) {
        if let Some(idempotency) = idempotency {
            let entry = (idempotency.request_hash, job.id);
            self.keys.insert((job.cluster_id, idempotency.key.clone()), entry);
        }
    }

    pub fn insert_requested_job(&mut self, new: &NewJob) -> PortResult<InsertJobOutcome> {
        if !matches!(self.clusters.get(&new.job.cluster_id), Some((_, false))) {
            return Err(error(PortErrorKind::NotFound, "no such cluster"));
        }
        match self.known(new.job.cluster_id, new.idempotency.as_ref()) {
            Some((true, job_id)) => {
                return Ok(InsertJobOutcome::Duplicate(Box::new(self.jobs[&job_id].clone())));
            }
            Some((false, job_id)) => return Ok(InsertJobOutcome::KeyReused(job_id)),
            None => {}
        }
        self.admit(new.job.cluster_id)?;
        self.keep_key(&new.job, new.idempotency.as_ref());
        self.requests.insert(new.job.id, new.request.clone());
        self.jobs.insert(new.job.id, new.job.clone());
        Ok(InsertJobOutcome::Created)
    }

    pub fn save_restore_plan(
        &mut self,
        job_id: JobId,
        plan: &RestorePlan,
        collections: &[RestoredCollection],
    ) -> PortResult<()> {
        if plan.collections.len() != collections.len() {
            return Err(error(PortErrorKind::InvalidInput, "the numbers differ"));
        }
        if self.restore(job_id).is_none() {
            return Err(error(PortErrorKind::NotFound, "no such restore"));
        }
        self.plans.entry(job_id).or_insert_with(|| (plan.clone(), collections.to_vec()));
        Ok(())
    }

    pub fn restore(&self, job_id: JobId) -> Option<Restore> {
        let (JobRequest::Restore(request) | JobRequest::Drill(request)) = self.requests.get(&job_id)? else {
            return None;
        };
        let (plan, collections) = self.plans.get(&job_id).cloned().unzip();
        Some(Restore {
            request: request.clone(),
            plan,
            collections: collections.unwrap_or_default(),
            warnings: self.restore_warnings.get(&job_id).cloned().unwrap_or_default(),
        })
    }

    pub fn complete_restore(
        &mut self,
        job_id: JobId,
        warnings: &[String],
        progress: Progress,
        now: DateTime<Utc>,
    ) -> PortResult<Job> {
        let failed: Vec<String> = self.plans.get(&job_id).map_or_else(Vec::new, |(plan, collections)| {
            let pairs = plan.collections.iter().zip(collections);
            let failed = pairs.filter(|(_, collection)| collection.step == RestoreStep::Failed);
            failed.map(|(planned, _)| planned.source.collection.clone()).collect()
        });
        let reason =
            failed.first().map(|first| format!("{} collections failed; first: {first}", failed.len()));
        let job = self.end(job_id, reason.as_deref(), progress, now)?;
        self.restore_warnings.entry(job_id).or_insert_with(|| warnings.to_vec());
        Ok(job)
    }

    pub fn complete_compare(
        &mut self,
        job_id: JobId,
        progress: Progress,
        now: DateTime<Utc>,
    ) -> PortResult<Job> {
        let report = self.compare_reports.get(&job_id);
        let report = report.ok_or_else(|| error(PortErrorKind::NotFound, "there is no report"))?;
        let first = report.collections.iter().find(|collection| !collection.differences.is_empty());
        let reason = first.map(|first| {
            format!("{} collections differ; first: {}", report.differing(), first.target.collection)
        });
        self.end(job_id, reason.as_deref(), progress, now)
    }

    /// Ends a job well, or badly for a reason. Once ended so, it stays as it is.
    pub fn end(
        &mut self,
        job_id: JobId,
        reason: Option<&str>,
        progress: Progress,
        now: DateTime<Utc>,
    ) -> PortResult<Job> {
        let to = if reason.is_some() { JobState::Failed } else { JobState::Successful };
        let job = self.jobs.get_mut(&job_id).ok_or_else(|| error(PortErrorKind::NotFound, "no such job"))?;
        if job.state != to {
            job.progress = progress;
        }
        self.transition(job_id, to, reason, now)
    }

    pub fn insert_found_backups(&mut self, found: &[FoundBackup]) -> u32 {
        let mut added = 0;
        for FoundBackup { backup, contents, holds, .. } in found {
            assert_eq!(backup.status, BackupStatus::Available);
            if let Entry::Vacant(row) = self.backups.entry(backup.id) {
                row.insert(backup.clone());
                self.contents.insert(backup.id, contents.clone());
                self.lifecycle.holds.extend(holds.iter().map(|hold| (hold.id, hold.clone())));
                added += 1;
            }
        }
        added
    }
}
