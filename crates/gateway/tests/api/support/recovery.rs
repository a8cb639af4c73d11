//! What makes a lost catalog replaceable, in the catalog of the tests: the real thing.

use super::catalog::TestCatalog;
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use milvault_domain::cluster::Cluster;
use milvault_domain::ids::BackupId;
use milvault_domain::ports::{
    ByteSink, ByteSource, CatalogBackup, CatalogBackupClaim, DueRecord, PortResult, RecoveryCatalog,
};
use milvault_domain::recovery::{BackupRecord, NamedOrganization};

macro_rules! delegate {
    ($($name:ident($($argument:ident: $kind:ty),*) -> $answer:ty;)*) => {
        #[async_trait]
        impl RecoveryCatalog for TestCatalog {
            $(async fn $name(&self, $($argument: $kind),*) -> $answer {
                self.counted(stringify!($name)).$name($($argument),*).await
            })*
        }
    };
}

delegate! {
    due_records(after: Option<BackupId>, limit: u32) -> PortResult<Vec<DueRecord>>;
    due_record(backup_id: BackupId) -> PortResult<Option<DueRecord>>;
    note_record(backup_id: BackupId, revision: u64) -> PortResult<()>;
    organization() -> PortResult<Option<NamedOrganization>>;
    insert_unregistered_cluster(cluster: &Cluster) -> PortResult<bool>;
    take_record(record: &BackupRecord) -> PortResult<bool>;
    claim_catalog_backup(claim: &CatalogBackupClaim) -> PortResult<bool>;
    end_catalog_backup(name: &str, outcome: Result<u64, String>, now: DateTime<Utc>) -> PortResult<()>;
    catalog_backups(limit: u32) -> PortResult<Vec<CatalogBackup>>;
    catalog_backed_up_at() -> PortResult<Option<DateTime<Utc>>>;
    export(taken_at: DateTime<Utc>, sink: &mut dyn ByteSink) -> PortResult<u64>;
    import(source: &mut dyn ByteSource, now: DateTime<Utc>) -> PortResult<u64>;
}
