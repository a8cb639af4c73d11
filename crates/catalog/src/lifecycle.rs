//! What happens to backups after they are made.

mod ending;
mod holds;
mod sweeps;

pub(crate) use ending::{
    guard_reader, make_deleted, select_expired, select_expired_early, select_overdue_clusters,
    select_retained,
};
pub(crate) use holds::{
    LISTED_MAX as HOLDS_LISTED_MAX, insert_found as insert_found_hold, read as read_hold, select_binding_in,
    take_off,
};
pub(crate) use sweeps::insert as insert_sweep;
#[cfg(test)]
pub(crate) use {
    ending::{select_deletion, select_open_need},
    holds::{select as select_hold, select_binding, select_of as select_holds},
    sweeps::{
        select_due as select_due_sweeps, select_open as select_open_sweep,
        select_repositories as select_swept_repositories, select_standings as select_sweep_standings,
    },
};

use crate::audit;
use crate::backups;
use crate::catalog::SqlCatalog;
use crate::clusters;
use crate::database::{Dialect, Statement, Transaction};
use crate::model::{bounded, folded, optional_microseconds};
use crate::names;
use crate::recovery;
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use milvault_domain::backup::{Backup, BackupStatus};
use milvault_domain::error::DESCRIPTION_CHARS_MAX;
use milvault_domain::ids::{BackupId, ClusterId, HoldId, ProjectId, RepositoryId};
use milvault_domain::job::Job;
use milvault_domain::lifecycle::{BackupChange, BackupHold, Release, Standing};
use milvault_domain::ports::{
    DeleteOutcome, LifecycleCatalog, PortError, PortErrorKind, PortResult, Retained,
};

#[async_trait]
impl LifecycleCatalog for SqlCatalog {
    async fn update_backup(&self, backup_id: BackupId, change: &BackupChange) -> PortResult<Backup> {
        let mut transaction = self.begin().await?;
        let backup = update(&mut *transaction, self.database.dialect(), backup_id, change).await?;
        transaction.commit().await?;
        Ok(backup)
    }

    async fn insert_hold(&self, hold: &BackupHold) -> PortResult<()> {
        let mut transaction = self.begin().await?;
        holds::insert(&mut *transaction, self.database.dialect(), hold).await?;
        transaction.commit().await
    }

    async fn release_hold(&self, hold_id: HoldId, release: &Release) -> PortResult<BackupHold> {
        let mut transaction = self.begin().await?;
        let hold = holds::release(&mut *transaction, hold_id, release).await?;
        transaction.commit().await?;
        Ok(hold)
    }

    async fn hold(&self, hold_id: HoldId) -> PortResult<Option<BackupHold>> {
        self.find(holds::select(hold_id), holds::read).await
    }

    async fn holds(&self, backup_id: BackupId) -> PortResult<Vec<BackupHold>> {
        self.database.read(holds::select_of(backup_id)).await?.iter_mut().map(holds::read).collect()
    }

    async fn delete_backup(&self, job: &Job, now: DateTime<Utc>) -> PortResult<DeleteOutcome> {
        let mut transaction = self.begin().await?;
        let outcome = ending::delete(&mut *transaction, self.database.dialect(), job, now).await?;
        transaction.commit().await?;
        Ok(outcome)
    }

    async fn expire_chosen(&self, backup_ids: &[BackupId], now: DateTime<Utc>) -> PortResult<Vec<BackupId>> {
        let mut transaction = self.begin().await?;
        let mut expired = Vec::new();
        for backup_id in backup_ids {
            ending::load_locked(&mut *transaction, self.database.dialect(), *backup_id).await?;
            if transaction.execute(make_deleted(*backup_id, now)).await? == 1 {
                expired.push(*backup_id);
            }
        }
        audit::append_expiries(&mut *transaction, self.database.dialect(), &expired, now).await?;
        transaction.commit().await?;
        Ok(expired)
    }

    async fn early_expiries(
        &self,
        now: DateTime<Utc>,
        ended_after: DateTime<Utc>,
        limit: u32,
    ) -> PortResult<Vec<(BackupId, RepositoryId)>> {
        let mut rows = self.database.read(select_expired_early(now, ended_after, limit)).await?;
        rows.iter_mut().map(ending::read_expired_early).collect()
    }

    async fn judge_early_expiry(
        &self,
        backup_id: BackupId,
        is_whole: bool,
        now: DateTime<Utc>,
        ended_after: DateTime<Utc>,
    ) -> PortResult<bool> {
        let (mut transaction, dialect) = (self.begin().await?, self.database.dialect());
        let judged = ending::EarlyExpiry { backup_id, now, ended_after };
        let is_available = judged.judge(&mut *transaction, dialect, is_whole).await?;
        transaction.commit().await?;
        Ok(is_available)
    }

    async fn take_deletions(&self, backup_ids: &[BackupId], now: DateTime<Utc>) -> PortResult<()> {
        let mut transaction = self.begin().await?;
        let mut deleted = Vec::new();
        for backup_id in backup_ids {
            if transaction.execute(ending::take_deletion(*backup_id, now)).await? == 1 {
                deleted.push(*backup_id);
            }
        }
        audit::append_expiries(&mut *transaction, self.database.dialect(), &deleted, now).await?;
        transaction.commit().await
    }

    async fn retained(&self, cluster_id: ClusterId, now: DateTime<Utc>) -> PortResult<Retained> {
        let mut backups = self.database.read(select_retained(cluster_id)).await?;
        let mut binding = self.database.read(select_binding_in(cluster_id, now)).await?;
        Ok(Retained {
            backups: backups.iter_mut().map(ending::read_retained).collect::<PortResult<_>>()?,
            holds: binding.iter_mut().map(holds::read).collect::<PortResult<_>>()?,
        })
    }

    async fn overdue_clusters(&self, now: DateTime<Utc>) -> PortResult<Vec<ClusterId>> {
        let mut rows = self.database.read(select_overdue_clusters(now)).await?;
        rows.iter_mut().map(sweeps::read_cluster_id).collect()
    }

    async fn standings(&self, repository_id: RepositoryId) -> PortResult<Vec<Standing>> {
        let mut rows = self.database.read(sweeps::select_standings(repository_id)).await?;
        rows.iter_mut().map(sweeps::read_standing).collect()
    }

    async fn repositories_of(&self, cluster_id: ClusterId) -> PortResult<Vec<RepositoryId>> {
        let mut rows = self.database.read(sweeps::select_repositories(cluster_id)).await?;
        rows.iter_mut().map(sweeps::read_repository_id).collect()
    }

    async fn insert_sweep(&self, job: &Job) -> PortResult<Option<Job>> {
        let mut transaction = self.begin().await?;
        let open = sweeps::insert(&mut *transaction, self.database.dialect(), job).await?;
        transaction.commit().await?;
        Ok(open)
    }

    async fn due_sweeps(
        &self,
        ended_before: DateTime<Utc>,
        not_since: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> PortResult<Vec<(ClusterId, ProjectId)>> {
        let mut rows = self.database.read(sweeps::select_due(ended_before, not_since, now)).await?;
        rows.iter_mut().map(sweeps::read_due).collect()
    }

    async fn mark_swept(&self, backup_ids: &[BackupId], now: DateTime<Utc>) -> PortResult<()> {
        let mut transaction = self.begin().await?;
        for backup_id in backup_ids {
            transaction.execute(sweeps::mark(*backup_id, now)).await?;
        }
        transaction.commit().await
    }
}

/// Changes a backup. The lock on the cluster's row keeps a name from being given twice.
async fn update(
    transaction: &mut dyn Transaction,
    dialect: Dialect,
    backup_id: BackupId,
    change: &BackupChange,
) -> PortResult<Backup> {
    let cluster_id = backups::load(transaction, backup_id).await?.cluster_id;
    clusters::lock_known(transaction, dialect, cluster_id).await?;
    let mut backup = ending::load_locked(transaction, dialect, backup_id).await?;
    if backup.status == BackupStatus::Deleted {
        return Err(conflict(format!("backup {backup_id} is deleted and cannot be changed")));
    }
    if let Some(name) = change.name.as_ref().filter(|name| **name != backup.name) {
        let other = names::living(transaction, cluster_id, name).await?;
        if let Some(other) = other.filter(|_| backup.status != BackupStatus::Failed) {
            let message = format!("backup {other} of the cluster is named `{name}`; choose another name");
            return Err(conflict(message));
        }
        backup.name.clone_from(name);
    }
    if let Some(description) = &change.description {
        backup.description = bounded(description, DESCRIPTION_CHARS_MAX);
    }
    if let Some(expires_at) = change.expires_at {
        backup.expires_at = expires_at;
    }
    let columns = [
        ("name", backup.name.as_str().into()),
        ("name_folded", folded(&backup.name).into()),
        ("description", backup.description.as_str().into()),
        ("expires_at_us", optional_microseconds(backup.expires_at).into()),
    ];
    let statement = Statement::update("backups", columns).push("id = ").bind(backup_id.to_string());
    transaction.execute(statement).await?;
    transaction.execute(recovery::changed(backup_id)).await?;
    backups::load(transaction, backup_id).await
}

fn conflict(message: String) -> PortError {
    PortError::new(PortErrorKind::Conflict, message)
}
