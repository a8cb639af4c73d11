//! What happens to backups after they are made, in the fake catalog and the fake repository.

use super::catalog::MemoryCatalog;
use super::repository::FakeRepository;
use super::tables::{Tables, error};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use milvault_domain::backup::{Backup, BackupStatus, CreationMethod};
use milvault_domain::ids::{BackupId, ClusterId, HoldId, ProjectId, RepositoryId};
use milvault_domain::job::{Job, JobType};
use milvault_domain::keep::RetainedBackup;
use milvault_domain::lifecycle::{BackupChange, BackupHold, Release, Standing, Tombstone};
use milvault_domain::object::Location;
use milvault_domain::ports::{
    BackupRemains, DeleteOutcome, LifecycleCatalog, PortErrorKind, PortResult, RepositoryGraves, Retained,
};
use milvault_domain::sweep::{DataFile, ListedFile, References};
use std::collections::{BTreeMap, HashMap, HashSet};

#[derive(Default)]
pub struct LifecycleTables {
    pub holds: BTreeMap<HoldId, BackupHold>,
    pub ended: HashMap<BackupId, DateTime<Utc>>,
    pub swept: HashSet<BackupId>,
    /// Backups of which it was decided whether their early expiry is taken back.
    pub early_expiries_judged: HashSet<BackupId>,
}

impl Tables {
    fn needed_by(&self, backup_id: BackupId, not: &[JobType]) -> Option<&Job> {
        let needs = |job: &&Job| {
            job.backup_id == Some(backup_id) && !job.state.is_final() && !not.contains(&job.job_type)
        };
        self.jobs.values().find(needs)
    }

    fn held(&self, backup_id: BackupId, now: DateTime<Utc>) -> Option<&BackupHold> {
        self.lifecycle.holds.values().find(|hold| hold.backup_id == backup_id && hold.is_active_at(now))
    }

    /// Whether nothing keeps the backup from ending.
    pub fn unbound(&self, backup_id: BackupId, now: DateTime<Utc>) -> bool {
        self.needed_by(backup_id, &[JobType::Undo]).is_none()
            && self.open_copy(backup_id).is_none()
            && self.held(backup_id, now).is_none()
    }

    fn is_expired_early(&self, row: &Backup, now: DateTime<Utc>, ended_after: DateTime<Utc>) -> bool {
        let ended = self.lifecycle.ended.get(&row.id).copied();
        let by_age = row.expires_at.is_some_and(|end| ended.is_some_and(|ended| end <= ended) && now < end);
        let is_about_it = |job: &Job| match job.job_type {
            JobType::Sweep => job.cluster_id == row.cluster_id && !job.state.is_final(),
            JobType::Delete => job.backup_id == Some(row.id),
            _ => false,
        };
        row.status == BackupStatus::Deleted
            && by_age
            && ended.is_some_and(|ended| ended_after < ended)
            && !self.lifecycle.swept.contains(&row.id)
            && !self.lifecycle.early_expiries_judged.contains(&row.id)
            && !self.jobs.values().any(is_about_it)
            && (row.creation_method == CreationMethod::Manual
                || row.copied_from.is_some()
                || matches!(self.clusters.get(&row.cluster_id), Some((_, false))))
    }

    pub fn end_backup(&mut self, backup_id: BackupId, status: BackupStatus, now: DateTime<Utc>) {
        self.backups.get_mut(&backup_id).unwrap().status = status;
        self.lifecycle.ended.insert(backup_id, now);
    }
}

#[async_trait]
impl LifecycleCatalog for MemoryCatalog {
    async fn update_backup(&self, backup_id: BackupId, change: &BackupChange) -> PortResult<Backup> {
        let mut tables = self.tables();
        let backup =
            tables.backups.get(&backup_id).ok_or_else(|| error(PortErrorKind::NotFound, "no such backup"))?;
        let taken = |name: &String| {
            tables.backups.values().any(|other| {
                other.id != backup_id
                    && other.cluster_id == backup.cluster_id
                    && other.name == *name
                    && !matches!(other.status, BackupStatus::Deleted | BackupStatus::Failed)
            })
        };
        if backup.status == BackupStatus::Deleted || change.name.as_ref().is_some_and(taken) {
            return Err(error(PortErrorKind::Conflict, "deleted, or the name is taken"));
        }
        let backup = tables.backups.get_mut(&backup_id).unwrap();
        backup.name = change.name.clone().unwrap_or_else(|| backup.name.clone());
        backup.description = change.description.clone().unwrap_or_else(|| backup.description.clone());
        backup.expires_at = change.expires_at.unwrap_or(backup.expires_at);
        Ok(backup.clone())
    }

    async fn insert_hold(&self, hold: &BackupHold) -> PortResult<()> {
        let mut tables = self.tables();
        if matches!(tables.backups[&hold.backup_id].status, BackupStatus::Failed | BackupStatus::Deleted) {
            return Err(error(PortErrorKind::Conflict, "not available"));
        }
        tables.lifecycle.holds.insert(hold.id, hold.clone());
        Ok(())
    }

    async fn release_hold(&self, hold_id: HoldId, release: &Release) -> PortResult<BackupHold> {
        let mut tables = self.tables();
        let hold = tables
            .lifecycle
            .holds
            .get_mut(&hold_id)
            .ok_or_else(|| error(PortErrorKind::NotFound, "no such hold"))?;
        hold.released.get_or_insert_with(|| release.clone());
        Ok(hold.clone())
    }

    async fn hold(&self, hold_id: HoldId) -> PortResult<Option<BackupHold>> {
        Ok(self.tables().lifecycle.holds.get(&hold_id).cloned())
    }

    async fn holds(&self, backup_id: BackupId) -> PortResult<Vec<BackupHold>> {
        let tables = self.tables();
        Ok(tables
            .lifecycle
            .holds
            .values()
            .rev()
            .filter(|hold| hold.backup_id == backup_id)
            .cloned()
            .collect())
    }

    async fn delete_backup(&self, job: &Job, now: DateTime<Utc>) -> PortResult<DeleteOutcome> {
        self.gates.pass("delete_backup").await?;
        let mut tables = self.tables();
        let backup_id = job.backup_id.unwrap();
        if tables.backups[&backup_id].status == BackupStatus::Deleted {
            let of_it =
                |other: &&Job| other.backup_id == Some(backup_id) && other.job_type == JobType::Delete;
            let earlier = tables.jobs.values().rev().find(of_it).cloned();
            return Ok(earlier.map_or(DeleteOutcome::Gone, |job| DeleteOutcome::Repeated(Box::new(job))));
        }
        if let Some(needed_by) = tables.needed_by(backup_id, &[JobType::Undo]) {
            return Ok(DeleteOutcome::InUse(needed_by.id));
        }
        if let Some(copy) = tables.open_copy(backup_id) {
            return Ok(DeleteOutcome::InUse(copy.id));
        }
        if let Some(hold) = tables.held(backup_id, now) {
            return Ok(DeleteOutcome::Held(Box::new(hold.clone())));
        }
        tables.admit(job.cluster_id)?;
        tables.end_backup(backup_id, BackupStatus::Deleted, now);
        tables.lifecycle.swept.remove(&backup_id);
        tables.jobs.insert(job.id, job.clone());
        Ok(DeleteOutcome::Accepted)
    }

    async fn expire_chosen(&self, backup_ids: &[BackupId], now: DateTime<Utc>) -> PortResult<Vec<BackupId>> {
        self.gates.pass("expire_chosen").await?;
        let mut tables = self.tables();
        let is_over = |id: &BackupId| {
            let backup = &tables.backups[id];
            backup.status == BackupStatus::Available && backup.expires_at.is_some_and(|end| end <= now)
        };
        let over: Vec<_> =
            backup_ids.iter().copied().filter(|id| is_over(id) && tables.unbound(*id, now)).collect();
        for id in &over {
            tables.end_backup(*id, BackupStatus::Deleted, now);
        }
        Ok(over)
    }

    async fn early_expiries(
        &self,
        now: DateTime<Utc>,
        ended_after: DateTime<Utc>,
        limit: u32,
    ) -> PortResult<Vec<(BackupId, RepositoryId)>> {
        let tables = self.tables();
        let early = tables.backups.values().filter(|row| tables.is_expired_early(row, now, ended_after));
        Ok(early.take(limit as usize).map(|row| (row.id, row.repository_id)).collect())
    }

    async fn judge_early_expiry(
        &self,
        backup_id: BackupId,
        is_whole: bool,
        now: DateTime<Utc>,
        ended_after: DateTime<Utc>,
    ) -> PortResult<bool> {
        self.gates.pass("judge_early_expiry").await?;
        let is_available = {
            let mut tables = self.tables();
            let row = tables.backups[&backup_id].clone();
            let is_taken = |other: &Backup| {
                other.cluster_id == row.cluster_id
                    && other.name == row.name
                    && other.status != BackupStatus::Deleted
            };
            let is_free = !tables.backups.values().any(is_taken);
            if tables.is_expired_early(&row, now, ended_after) {
                tables.lifecycle.early_expiries_judged.insert(backup_id);
                if is_whole && is_free {
                    tables.backups.get_mut(&backup_id).unwrap().status = BackupStatus::Available;
                    tables.lifecycle.ended.remove(&backup_id);
                }
                is_whole && is_free
            } else {
                row.status == BackupStatus::Available
            }
        };
        self.gates.pass("judged_early_expiry").await?;
        Ok(is_available)
    }

    async fn take_deletions(&self, backup_ids: &[BackupId], now: DateTime<Utc>) -> PortResult<()> {
        let mut tables = self.tables();
        for id in backup_ids {
            if tables.backups[id].status == BackupStatus::Available {
                tables.end_backup(*id, BackupStatus::Deleted, now);
            }
        }
        Ok(())
    }

    async fn retained(&self, cluster_id: ClusterId, now: DateTime<Utc>) -> PortResult<Retained> {
        self.gates.pass("retained").await?;
        let tables = self.tables();
        let available = tables
            .backups
            .values()
            .filter(|row| row.cluster_id == cluster_id && row.status == BackupStatus::Available);
        let backups = available.map(|row| RetainedBackup {
            id: row.id,
            creation_method: row.creation_method,
            created_at: row.created_at,
            expires_at: row.expires_at,
            is_copy: row.copied_from.is_some(),
        });
        let holds = tables.lifecycle.holds.values();
        let holds = holds.filter(|hold| hold.cluster_id == cluster_id && hold.is_active_at(now)).cloned();
        Ok(Retained { backups: backups.collect(), holds: holds.collect() })
    }

    async fn overdue_clusters(&self, now: DateTime<Utc>) -> PortResult<Vec<ClusterId>> {
        let tables = self.tables();
        let overdue = |cluster_id: &ClusterId| {
            tables.backups.values().any(|backup| {
                backup.cluster_id == *cluster_id
                    && backup.status == BackupStatus::Available
                    && backup.creation_method == CreationMethod::Auto
                    && backup.copied_from.is_none()
                    && backup.expires_at.is_some_and(|end| end <= now)
            })
        };
        let ruled = tables.schedules.schedules.keys().copied();
        let in_service = |id: &ClusterId| matches!(tables.clusters.get(id), Some((_, false)));
        Ok(ruled.filter(in_service).filter(overdue).collect())
    }

    async fn standings(&self, repository_id: RepositoryId) -> PortResult<Vec<Standing>> {
        self.gates.pass("standings").await?;
        let tables = self.tables();
        let rows = tables.backups.values();
        let rows = rows
            .filter(|row| row.repository_id == repository_id && !tables.lifecycle.swept.contains(&row.id));
        let standing = |row: &Backup| Standing {
            backup_id: row.id,
            cluster_id: row.cluster_id,
            status: row.status,
            ended_at: tables.lifecycle.ended.get(&row.id).copied(),
            in_use: tables.needed_by(row.id, &[JobType::Undo, JobType::Delete]).is_some(),
        };
        Ok(rows.map(standing).collect())
    }

    async fn repositories_of(&self, cluster_id: ClusterId) -> PortResult<Vec<RepositoryId>> {
        let tables = self.tables();
        let rows = tables.backups.values();
        let rows =
            rows.filter(|row| row.cluster_id == cluster_id && !tables.lifecycle.swept.contains(&row.id));
        let mut ids: Vec<_> = rows.map(|row| row.repository_id).collect();
        ids.sort_unstable();
        ids.dedup();
        Ok(ids)
    }

    async fn insert_sweep(&self, job: &Job) -> PortResult<Option<Job>> {
        let mut tables = self.tables();
        let open = |other: &&Job| {
            other.cluster_id == job.cluster_id && other.job_type == JobType::Sweep && !other.state.is_final()
        };
        if let Some(open) = tables.jobs.values().find(open) {
            return Ok(Some(open.clone()));
        }
        tables.jobs.insert(job.id, job.clone());
        Ok(None)
    }

    async fn due_sweeps(
        &self,
        ended_before: DateTime<Utc>,
        not_since: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> PortResult<Vec<(ClusterId, ProjectId)>> {
        let tables = self.tables();
        let due = |row: &&Backup| {
            matches!(row.status, BackupStatus::Failed | BackupStatus::Deleted)
                && !tables.lifecycle.swept.contains(&row.id)
                && tables.lifecycle.ended.get(&row.id).is_some_and(|end| *end <= ended_before)
        };
        let lately = |cluster_id: &ClusterId| {
            tables.jobs.values().any(|job| {
                job.cluster_id == *cluster_id
                    && job.job_type == JobType::Sweep
                    && (!job.state.is_final() || (not_since < job.created_at && job.created_at <= now))
            })
        };
        let clusters: BTreeMap<ClusterId, ProjectId> =
            tables.backups.values().filter(due).map(|row| (row.cluster_id, row.project_id)).collect();
        Ok(clusters.into_iter().filter(|(id, _)| !lately(id)).collect())
    }

    async fn mark_swept(&self, backup_ids: &[BackupId], _: DateTime<Utc>) -> PortResult<()> {
        self.gates.pass("mark_swept").await?;
        self.fenced_tables()?.lifecycle.swept.extend(backup_ids);
        Ok(())
    }
}

#[async_trait]
impl RepositoryGraves for FakeRepository {
    async fn bury(&self, tombstone: &Tombstone) -> PortResult<()> {
        self.gates.pass("bury").await?;
        let mut tombstones = self.state.tombstones.lock().unwrap();
        tombstones.entry(tombstone.backup_id).or_insert_with(|| tombstone.clone());
        Ok(())
    }

    async fn exhume(&self, backup_id: BackupId) -> PortResult<()> {
        self.gates.pass("exhume").await?;
        self.state.tombstones.lock().unwrap().remove(&backup_id);
        self.gates.pass("exhumed").await
    }

    async fn tombstone(&self, backup_id: BackupId) -> PortResult<Option<Tombstone>> {
        Ok(self.state.tombstones.lock().unwrap().get(&backup_id).cloned())
    }

    async fn backup_remains(&self) -> PortResult<Vec<BackupRemains>> {
        self.gates.pass("backup_remains").await?;
        let sealed = self.state.sealed.lock().unwrap();
        let plans = self.state.unfinished.lock().unwrap();
        let tombstones = self.state.tombstones.lock().unwrap();
        let mut ids: Vec<BackupId> =
            sealed.keys().chain(plans.keys()).chain(tombstones.keys()).copied().collect();
        ids.sort_unstable();
        ids.dedup();
        let remains = |backup_id: BackupId| BackupRemains {
            backup_id,
            manifest: sealed.contains_key(&backup_id),
            plan: plans.contains_key(&backup_id),
            tombstone: tombstones.contains_key(&backup_id),
        };
        Ok(ids.into_iter().map(remains).collect())
    }

    async fn owner(&self, backup_id: BackupId) -> PortResult<Option<ClusterId>> {
        self.check_readable(backup_id)?;
        let sealed = self.state.sealed.lock().unwrap().get(&backup_id).map(|(header, _)| header.cluster_id);
        let plan = self.state.unfinished.lock().unwrap().get(&backup_id).map(|plan| plan.header.cluster_id);
        Ok(sealed.or(plan))
    }

    async fn referenced_files(&self, backup_id: BackupId) -> PortResult<References> {
        self.gates.pass("referenced_files").await?;
        self.check_readable(backup_id)?;
        let mut references = References::default();
        if let Some((_, objects)) = self.state.sealed.lock().unwrap().get(&backup_id) {
            for object in objects {
                references.add_object(object);
            }
        }
        if let Some(unfinished) = self.state.unfinished.lock().unwrap().get(&backup_id) {
            references.add_plan(&unfinished.plan);
        }
        Ok(references)
    }

    async fn existing_files(&self, files: &[DataFile]) -> PortResult<Vec<ListedFile>> {
        let stored = self.state.stored.lock().unwrap();
        let existing = files.iter().filter_map(|file| match file {
            DataFile::Object(id) => stored.get(id).map(|object| {
                assert_eq!(object.location, Location::Object);
                ListedFile { file: *file, size_bytes: object.stored_bytes }
            }),
            DataFile::Pack(_) => None,
        });
        Ok(existing.collect())
    }

    async fn remove_file(&self, file: DataFile) -> PortResult<()> {
        self.gates.pass("remove_file").await?;
        if let DataFile::Object(id) = file {
            self.state.stored.lock().unwrap().remove(&id);
            self.state.contents.lock().unwrap().remove(&id);
        }
        self.gates.pass("removed_file").await
    }

    async fn remove_backup(&self, backup_id: BackupId) -> PortResult<()> {
        self.gates.pass("remove_backup").await?;
        self.state.sealed.lock().unwrap().remove(&backup_id);
        self.state.unfinished.lock().unwrap().remove(&backup_id);
        self.gates.pass("removed_manifest").await?;
        self.state.tombstones.lock().unwrap().remove(&backup_id);
        Ok(())
    }
}
