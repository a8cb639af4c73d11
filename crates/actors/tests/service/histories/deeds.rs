//! What people ask of the service, and what the oracle makes of the answers.

use super::oracle::{Expiry, Held, Made, Policy};
use super::past::Past;
use super::{Meanwhile, Pick, Task};
use crate::support::request;
use chrono::TimeDelta;
use milvault_actors::{BackupPatch, BackupRequest, CopyRequest, PolicyChange, ServiceError};
use milvault_domain::backup::{Backup, BackupStatus, CreationMethod};
use milvault_domain::ids::{BackupId, ClusterId, HoldId, JobId, RepositoryId};
use milvault_domain::keep::{Hold, KeepRules};
use milvault_domain::ports::BackupWithJob;
use std::collections::BTreeSet;

pub(super) const WHO: &str = "tester";

/// Where the work of a task can be met.
pub(super) const fn points(task: Task) -> &'static [&'static str] {
    match task {
        Task::BackUp { .. } => &[
            "copy",
            "cut",
            "load_index",
            "save_unfinished",
            "saved_unfinished",
            "copied",
            "seal",
            "sealing",
            "sealed",
            "load_unfinished",
            "list",
        ],
        Task::Copy { .. } => &[
            "copy",
            "read_objects",
            "load_index",
            "save_unfinished",
            "saved_unfinished",
            "copied",
            "seal",
            "sealing",
            "sealed",
        ],
        Task::Sweep { .. } => &[
            "remove_file",
            "backup_remains",
            "referenced_files",
            "removed_file",
            "remove_backup",
            "removed_backup",
        ],
    }
}

pub(super) const fn point_of(meanwhile: Meanwhile) -> Option<Pick> {
    match meanwhile {
        Meanwhile::Nothing => None,
        Meanwhile::Kill { point, .. }
        | Meanwhile::Cancel { point }
        | Meanwhile::Also { point, .. }
        | Meanwhile::Delete { point, .. }
        | Meanwhile::Pass { point, .. } => Some(point),
    }
}

pub(super) fn picked<T: Copy>(all: &[T], pick: Pick) -> Option<T> {
    all.get(pick % all.len().max(1)).copied()
}

impl Past {
    /// Asks for a job; `None` where there is nothing to ask for, or another job is in the way.
    pub(super) async fn ask_for(&mut self, task: Task) -> Option<JobId> {
        match task {
            Task::BackUp { cluster, days } => {
                let cluster_id = picked(&self.clusters, cluster)?;
                let request = BackupRequest { retention_days: days, ..request(cluster_id) };
                let accepted = self.server().service.request_backup(request).await;
                let segments = self.segments.clone();
                self.take_in(accepted, segments)
            }
            Task::Copy { backup, days } => {
                let id = picked(&self.available(), backup)?;
                let source = self.oracle.made.iter().find(|made| made.id == id)?;
                let repository_id = *self.repositories.get(1 - source.place)?;
                let segments = source.segments.clone();
                let request = CopyRequest {
                    backup_id: id,
                    repository_id,
                    name: None,
                    description: None,
                    retention_days: days,
                    idempotency_key: None,
                    created_by: WHO.to_owned(),
                };
                let accepted = self.server().service.request_copy(request).await;
                self.take_in(accepted, segments)
            }
            Task::Sweep { cluster } => {
                let cluster_id = picked(&self.clusters, cluster)?;
                let sweep = self.server().service.request_sweep(cluster_id, WHO.to_owned()).await;
                Some(sweep.unwrap().id)
            }
        }
    }

    fn take_in(
        &mut self,
        accepted: Result<BackupWithJob, ServiceError>,
        segments: BTreeSet<i64>,
    ) -> Option<JobId> {
        let BackupWithJob { backup, job } = match accepted {
            Ok(accepted) => accepted,
            Err(ServiceError::Conflict { job_id: Some(_), .. }) => return None,
            Err(other) => panic!("{other:?}"),
        };
        self.remember(&backup, segments);
        let made = self.made(backup.id);
        (made.status, made.complete, made.job) = (BackupStatus::Creating, false, Some(job.id));
        Some(job.id)
    }

    /// Takes in a backup that is whole.
    pub(super) fn remember(&mut self, backup: &Backup, segments: BTreeSet<i64>) {
        let is_its = |id: &RepositoryId| *id == backup.repository_id;
        self.oracle.made.push(Made {
            id: backup.id,
            cluster_id: backup.cluster_id,
            place: self.repositories.iter().position(is_its).unwrap(),
            at: backup.created_at,
            automatic: backup.creation_method == CreationMethod::Auto && backup.copied_from.is_none(),
            until: backup.expires_at,
            segments,
            status: BackupStatus::Available,
            job: None,
            canceled: false,
            ended: None,
            expiry: Expiry::ToCome,
            complete: true,
        });
    }

    pub(super) async fn schedule(
        &mut self,
        cluster_id: ClusterId,
        enabled: bool,
        days: u32,
        keep: (u32, u32),
    ) {
        let (last, daily) = keep;
        let change = PolicyChange {
            cluster_id,
            enabled,
            weekdays: None,
            start_time: None,
            cron: Some("30 2 * * *".to_owned()),
            time_zone: Some("UTC".parse().unwrap()),
            retention_days: Some(days),
            keep: Some(KeepRules { last, daily, weekly: 0, monthly: 0 }),
            copy: None,
        };
        self.server().service.set_backup_policy(change).await.unwrap();
        let (last, daily) = (last as usize, daily as usize);
        self.oracle.policies.insert(cluster_id, Policy { enabled, days, last, daily });
    }

    pub(super) async fn hold(&mut self, backup_id: BackupId, days: Option<i64>) {
        let until = days.map(|days| self.now() + TimeDelta::days(days));
        let hold = Hold { reason: "audit".to_owned(), until };
        match self.server().service.hold_backup(backup_id, hold, WHO.to_owned()).await {
            Ok(hold) => self.oracle.holds.push(Held { id: hold.id, backup_id, until }),
            Err(error) => panic!("{error:?}"),
        }
    }

    pub(super) async fn release(&mut self, hold_id: HoldId) {
        self.server().service.release_hold(hold_id, WHO.to_owned()).await.unwrap();
        self.oracle.holds.retain(|hold| hold.id != hold_id);
    }

    /// Deletes a backup that is available or has failed, unless it is held or a job needs it.
    pub(super) async fn delete(&mut self, backup: Pick) {
        let there = |made: &&Made| matches!(made.status, BackupStatus::Available | BackupStatus::Failed);
        let there: Vec<_> = self.oracle.made.iter().filter(there).map(|made| made.id).collect();
        if let Some(id) = picked(&there, backup) {
            self.delete_one(id).await;
        }
    }

    pub(super) async fn delete_one(&mut self, id: BackupId) {
        let held = self.oracle.is_held(id, self.now());
        let now = self.now();
        match self.server().service.delete_backup(id, WHO.to_owned()).await {
            Ok(_) => {
                assert!(!held, "{id} is held");
                self.made(id).end(BackupStatus::Deleted, now);
            }
            Err(ServiceError::Conflict { job_id, .. }) => assert!(held || job_id.is_some()),
            Err(other) => panic!("{other:?}"),
        }
    }

    pub(super) async fn retain(&mut self, id: BackupId, days: Option<u32>) {
        let until = days.map(|days| self.made(id).at + TimeDelta::days(days.into()));
        let patch = BackupPatch { name: None, description: None, retention_days: Some(days) };
        let changed = self.server().service.update_backup(id, patch).await;
        if until.is_some_and(|until| until <= self.now()) {
            assert!(matches!(changed, Err(ServiceError::InvalidInput(_))), "{changed:?}");
        } else {
            assert_eq!(changed.unwrap().expires_at, until);
            self.made(id).until = until;
        }
    }
}
