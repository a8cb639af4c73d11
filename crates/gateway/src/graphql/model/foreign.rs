//! Backups that another program made.

use crate::graphql::scalar::Bytes;
use async_graphql::SimpleObject;
use chrono::{DateTime, Utc};
use milvault_domain::ports::ForeignBackup as DomainBackup;

/// A directory that milvus-backup wrote. `adoptBackup` takes it over.
#[derive(SimpleObject)]
pub(crate) struct ForeignBackup {
    /// Name of the directory, which is the backup's name.
    directory: String,
    /// When it was made; null where it does not say.
    created_at: Option<DateTime<Utc>>,
    /// Version of the Milvus it was taken from; null where it does not say.
    milvus_version: Option<String>,
    /// Collections in it.
    collection_count: u32,
    /// Bytes in it as it says itself.
    bytes: Bytes,
    /// Why it cannot be taken over; null when it can.
    problem: Option<String>,
}

impl From<DomainBackup> for ForeignBackup {
    fn from(backup: DomainBackup) -> Self {
        Self {
            directory: backup.directory,
            created_at: backup.created_at_ms.and_then(DateTime::from_timestamp_millis),
            milvus_version: Some(backup.milvus_version).filter(|version| !version.is_empty()),
            collection_count: backup.collection_count,
            bytes: Bytes(backup.size_bytes),
            problem: backup.problem,
        }
    }
}
