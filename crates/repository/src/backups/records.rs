//! Records beside manifests: what people changed of a backup, and what only the end of its making showed.

use crate::layout;
use crate::place::{Creation, Overwrite, Place};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::TryStreamExt;
use milvault_domain::error::{PortError, PortErrorKind, PortResult};
use milvault_domain::ids::BackupId;
use milvault_domain::keep::Hold;
use milvault_domain::lifecycle::{BackupHold, Release};
use milvault_domain::manifest::FORMAT_VERSION;
use milvault_domain::recovery::{BackupRecord, NamedOrganization, NamedProject};
use serde::{Deserialize, Serialize};

/// A record with a hundred long holds is some hundred KiB long. What is longer is none.
const RECORD_BYTES_MAX: u64 = 1 << 20;

/// The content of `record-<revision>.json`.
#[derive(Serialize, Deserialize)]
struct RecordFile {
    /// What a person should know who finds the file.
    about: String,
    format_version: u32,
    backup_id: String,
    cluster_id: String,
    revision: u64,
    organization: NamedFile,
    project: NamedFile,
    name: String,
    description: String,
    created_at: DateTime<Utc>,
    completed_at: DateTime<Utc>,
    expires_at: Option<DateTime<Utc>>,
    newly_stored_bytes: u64,
    reused_object_count: u64,
    holds: Vec<HoldFile>,
}

/// What every version of a record has.
#[derive(Deserialize)]
pub(crate) struct VersionFile {
    pub(crate) format_version: u32,
}

#[derive(Serialize, Deserialize)]
struct NamedFile {
    id: String,
    name: String,
}

#[derive(Serialize, Deserialize)]
struct HoldFile {
    id: String,
    reason: String,
    until: Option<DateTime<Utc>>,
    created_by: String,
    created_at: DateTime<Utc>,
    released_at: Option<DateTime<Utc>>,
    released_by: Option<String>,
}

impl RecordFile {
    fn of(record: &BackupRecord) -> Self {
        Self {
            about: String::from(
                "What changed of this backup since its manifest was written. The highest number counts.",
            ),
            format_version: FORMAT_VERSION,
            backup_id: record.backup_id.to_string(),
            cluster_id: record.cluster_id.to_string(),
            revision: record.revision,
            organization: NamedFile {
                id: record.organization.id.to_string(),
                name: record.organization.name.clone(),
            },
            project: NamedFile { id: record.project.id.to_string(), name: record.project.name.clone() },
            name: record.name.clone(),
            description: record.description.clone(),
            created_at: record.created_at,
            completed_at: record.completed_at,
            expires_at: record.expires_at,
            newly_stored_bytes: record.newly_stored_bytes,
            reused_object_count: record.reused_object_count,
            holds: record.holds.iter().map(HoldFile::of).collect(),
        }
    }

    /// `None` when an id is none.
    fn into_record(self) -> Option<BackupRecord> {
        let (backup_id, cluster_id) = (self.backup_id.parse().ok()?, self.cluster_id.parse().ok()?);
        let hold = |file: HoldFile| {
            Some(BackupHold {
                id: file.id.parse().ok()?,
                backup_id,
                cluster_id,
                hold: Hold { reason: file.reason, until: file.until },
                created_by: file.created_by,
                created_at: file.created_at,
                released: file.released_at.zip(file.released_by).map(|(at, by)| Release { by, at }),
            })
        };
        Some(BackupRecord {
            backup_id,
            cluster_id,
            revision: self.revision,
            organization: NamedOrganization {
                id: self.organization.id.parse().ok()?,
                name: self.organization.name,
            },
            project: NamedProject { id: self.project.id.parse().ok()?, name: self.project.name },
            name: self.name,
            description: self.description,
            created_at: self.created_at,
            completed_at: self.completed_at,
            expires_at: self.expires_at,
            newly_stored_bytes: self.newly_stored_bytes,
            reused_object_count: self.reused_object_count,
            holds: self.holds.into_iter().map(hold).collect::<Option<_>>()?,
        })
    }
}

impl HoldFile {
    fn of(hold: &BackupHold) -> Self {
        Self {
            id: hold.id.to_string(),
            reason: hold.hold.reason.clone(),
            until: hold.hold.until,
            created_by: hold.created_by.clone(),
            created_at: hold.created_at,
            released_at: hold.released.as_ref().map(|release| release.at),
            released_by: hold.released.as_ref().map(|release| release.by.clone()),
        }
    }
}

/// Writes a record unless there is one of that revision, then removes the ones before it.
pub(crate) async fn write(place: &dyn Place, record: &BackupRecord) -> PortResult<()> {
    let json = serde_json::to_vec_pretty(&RecordFile::of(record)).map_err(|error| {
        PortError::with_source(PortErrorKind::Internal, "a record does not render", error)
    })?;
    let path = layout::record(record.backup_id, record.revision);
    let json = Bytes::from(json);
    let is_damaged =
        |read: PortResult<BackupRecord>| read.is_err_and(|error| error.kind() == PortErrorKind::Corrupt);
    if place.create(&path, json.clone(), Overwrite::Never).await? == Creation::Existed
        && is_damaged(read_one(place, record.backup_id, record.revision).await)
    {
        place.create(&path, json, Overwrite::Replace).await?;
    }
    for revision in revisions(place, record.backup_id).await? {
        if revision < record.revision {
            place.delete(&layout::record(record.backup_id, revision)).await?;
        }
    }
    Ok(())
}

/// Reads the record with the highest revision that can be understood; `None` when there is none. A catalog that was made
/// again beside a damaged one counts from 1, so what it says since has a lower number.
pub(crate) async fn read(place: &dyn Place, backup_id: BackupId) -> PortResult<Option<BackupRecord>> {
    let mut revisions = revisions(place, backup_id).await?;
    revisions.sort_unstable_by(|a, b| b.cmp(a));
    let mut first_failure = None;
    for revision in revisions {
        match read_one(place, backup_id, revision).await {
            Ok(record) => return Ok(Some(record)),
            Err(error) if matches!(error.kind(), PortErrorKind::Corrupt | PortErrorKind::Unsupported) => {
                first_failure.get_or_insert(error);
            }
            Err(error) => return Err(error),
        }
    }
    first_failure.map_or(Ok(None), Err)
}

async fn read_one(place: &dyn Place, backup_id: BackupId, revision: u64) -> PortResult<BackupRecord> {
    let path = layout::record(backup_id, revision);
    let corrupt = || {
        PortError::new(
            PortErrorKind::Corrupt,
            format!("`{}` is no record of its backup", place.display(&path)),
        )
    };
    // One that goes between the two looks was replaced by a later one; whoever asks again finds that.
    let Some(facts) = place.facts(&path).await? else {
        let message = format!("`{}` was replaced while it was read", place.display(&path));
        return Err(PortError::new(PortErrorKind::Changed, message));
    };
    if RECORD_BYTES_MAX < facts.size_bytes {
        return Err(corrupt());
    }
    let bytes = place.read(&path, 0..facts.size_bytes).await?;
    let VersionFile { format_version } = serde_json::from_slice(&bytes).map_err(|_| corrupt())?;
    if FORMAT_VERSION < format_version {
        let message = format!(
            "`{}` has format version {format_version}, and {FORMAT_VERSION} is known",
            place.display(&path)
        );
        return Err(PortError::new(PortErrorKind::Unsupported, message));
    }
    let file: RecordFile = serde_json::from_slice(&bytes).map_err(|_| corrupt())?;
    let record = file.into_record().ok_or_else(corrupt)?;
    if record.backup_id == backup_id && record.revision == revision { Ok(record) } else { Err(corrupt()) }
}

/// Revisions of the records that are there.
async fn revisions(place: &dyn Place, backup_id: BackupId) -> PortResult<Vec<u64>> {
    let directory = layout::backup_file(backup_id, "");
    let files: Vec<_> = place.list(directory.trim_end_matches('/')).try_collect().await?;
    Ok(files.iter().filter_map(|file| layout::record_revision(&file.path)).collect())
}

#[cfg(test)]
mod tests;
