//! Reading backups out of a repository, for a catalog that does not know them.

use crate::retry::Retry;
use chrono::{DateTime, Utc};
use milvault_domain::backup::{Backup, BackupFacts, BackupStatus, ManifestHeader};
use milvault_domain::ids::{BackupId, ProjectId, RepositoryId};
use milvault_domain::milvus::Cut;
use milvault_domain::ports::{BackupRepository, FoundBackup, PortError, PortErrorKind, PortResult};
use milvault_domain::recovery::BackupRecord;

/// Manifests whose heads are read at once.
pub(crate) const HEADERS_AT_ONCE: usize = 4;
/// Unreadable backups that are named one by one.
const NAMED_MAX: usize = 100;

/// What a repository says of a backup before its objects are looked at.
pub(crate) struct Head {
    pub(crate) header: ManifestHeader,
    pub(crate) record: Option<BackupRecord>,
    /// Why the record that lies there cannot be used.
    pub(crate) record_failure: Option<String>,
}

impl Head {
    /// The project that it says the backup belongs to.
    pub(crate) fn project_id(&self) -> ProjectId {
        self.record.as_ref().map_or(self.header.project_id, |record| record.project.id)
    }
}

/// Reads the head of a manifest, and the record beside it.
pub(crate) async fn read_head(
    opened: &dyn BackupRepository,
    retry: Retry,
    backup_id: BackupId,
) -> PortResult<Head> {
    let header = retry.run("read a manifest", || opened.read_header(backup_id)).await?;
    if header.backup_id != backup_id {
        let message = format!("its manifest is that of {}", header.backup_id);
        return Err(PortError::new(PortErrorKind::Corrupt, message));
    }
    let mut record_failure = None;
    let record = match retry.run("read a record", || opened.read_record(backup_id)).await {
        // The manifest alone is a backup: what was changed since is lost, the backup is not.
        Err(error) if matches!(error.kind(), PortErrorKind::Corrupt | PortErrorKind::Unsupported) => {
            tracing::warn!(%backup_id, %error, "the record of a backup cannot be read; its manifest is taken as it is");
            record_failure = Some(error.to_string());
            None
        }
        record => record?,
    };
    let record = record.filter(|record| record.cluster_id == header.cluster_id);
    Ok(Head { header, record, record_failure })
}

/// The row of a backup, from its manifest and its record.
pub(crate) async fn read_backup(
    opened: &dyn BackupRepository,
    retry: Retry,
    head: Head,
    project_id: ProjectId,
    repository_id: RepositoryId,
) -> PortResult<FoundBackup> {
    let Head { header, record, .. } = head;
    let backup_id = header.backup_id;
    let objects = retry.run("read a list of objects", || opened.read_objects(backup_id, None)).await?;
    let object_count = objects.len() as u64;
    let logical_bytes = objects.iter().map(|object| object.source.size_bytes).sum();
    drop(objects);
    let created_at = time(header.created_at_ms)?;
    let mut contents = header.cut;
    let facts = BackupFacts {
        cut_at: time(contents.cut_at_ms)?,
        milvus_version: contents.server.version.clone(),
        logical_bytes,
        // Nothing was stored on this occasion: all of it was there.
        newly_stored_bytes: 0,
        object_count,
        reused_object_count: object_count,
        row_count: contents.row_count(),
        collection_count: u32::try_from(contents.collections().count()).unwrap_or(u32::MAX),
    };
    forget_schemas(&mut contents);
    let mut backup = Backup {
        id: backup_id,
        project_id,
        cluster_id: header.cluster_id,
        cluster_name: header.cluster_name,
        repository_id,
        name: header.name,
        description: header.description,
        scope: header.scope,
        creation_method: header.creation_method,
        status: BackupStatus::Available,
        created_by: header.created_by,
        created_at,
        // The manifest does not say when it was complete.
        completed_at: Some(created_at),
        expires_at: header.expires_at_ms.map(time).transpose()?,
        facts: Some(facts),
        copied_from: header.copied_from,
    };
    let (mut holds, mut record_revision) = (Vec::new(), 0);
    if let Some(record) = record {
        record.apply_to(&mut backup);
        record_revision = record.revision;
        holds = record.holds;
    }
    Ok(FoundBackup { backup, contents, holds, record_revision })
}

/// The catalog answers queries from the descriptions; the schemas for a restore stay in the manifest.
fn forget_schemas(contents: &mut Cut) {
    for collection in contents.databases.iter_mut().flat_map(|database| &mut database.collections) {
        collection.schema_proto = Vec::new();
    }
}

fn time(milliseconds: i64) -> PortResult<DateTime<Utc>> {
    DateTime::from_timestamp_millis(milliseconds).ok_or_else(|| {
        let message = format!("the time {milliseconds} ms in its manifest is outside the calendar");
        PortError::new(PortErrorKind::Corrupt, message)
    })
}

/// The first of what cannot be read, and how much more there is.
pub(crate) fn bounded(mut unreadable: Vec<String>) -> Vec<String> {
    if unreadable.len() > NAMED_MAX {
        let more = unreadable.len() - NAMED_MAX;
        unreadable.truncate(NAMED_MAX);
        unreadable.push(format!("and {more} more"));
    }
    unreadable
}
