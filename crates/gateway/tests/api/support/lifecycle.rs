//! What happens to backups after they are made, in the catalog of the tests: the real thing.

use super::catalog::TestCatalog;
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use milvault_domain::backup::Backup;
use milvault_domain::ids::{BackupId, ClusterId, HoldId, ProjectId, RepositoryId};
use milvault_domain::job::Job;
use milvault_domain::lifecycle::{BackupChange, BackupHold, Release, Standing};
use milvault_domain::ports::{DeleteOutcome, LifecycleCatalog, PortResult, Retained};

macro_rules! delegate {
    ($($name:ident($($argument:ident: $kind:ty),*) -> $answer:ty;)*) => {
        #[async_trait]
        impl LifecycleCatalog for TestCatalog {
            $(async fn $name(&self, $($argument: $kind),*) -> $answer {
                self.counted(stringify!($name)).$name($($argument),*).await
            })*
        }
    };
}

delegate! {
    update_backup(backup_id: BackupId, change: &BackupChange) -> PortResult<Backup>;
    insert_hold(hold: &BackupHold) -> PortResult<()>;
    release_hold(hold_id: HoldId, release: &Release) -> PortResult<BackupHold>;
    hold(hold_id: HoldId) -> PortResult<Option<BackupHold>>;
    holds(backup_id: BackupId) -> PortResult<Vec<BackupHold>>;
    delete_backup(job: &Job, now: DateTime<Utc>) -> PortResult<DeleteOutcome>;
    expire_chosen(backup_ids: &[BackupId], now: DateTime<Utc>) -> PortResult<Vec<BackupId>>;
    early_expiries(now: DateTime<Utc>, ended_after: DateTime<Utc>, limit: u32) -> PortResult<Vec<(BackupId, RepositoryId)>>;
    judge_early_expiry(backup_id: BackupId, is_whole: bool, now: DateTime<Utc>, ended_after: DateTime<Utc>) -> PortResult<bool>;
    take_deletions(backup_ids: &[BackupId], now: DateTime<Utc>) -> PortResult<()>;
    retained(cluster_id: ClusterId, now: DateTime<Utc>) -> PortResult<Retained>;
    overdue_clusters(now: DateTime<Utc>) -> PortResult<Vec<ClusterId>>;
    standings(repository_id: RepositoryId) -> PortResult<Vec<Standing>>;
    repositories_of(cluster_id: ClusterId) -> PortResult<Vec<RepositoryId>>;
    insert_sweep(job: &Job) -> PortResult<Option<Job>>;
    due_sweeps(ended_before: DateTime<Utc>, not_since: DateTime<Utc>, now: DateTime<Utc>) -> PortResult<Vec<(ClusterId, ProjectId)>>;
    mark_swept(backup_ids: &[BackupId], now: DateTime<Utc>) -> PortResult<()>;
}
