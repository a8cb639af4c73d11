//! The end of a backup: its tombstone, what it refers to, and the removal of its directory.

use super::framed::FramedReader;
use super::open_manifest;
use crate::layout;
use crate::place::{Overwrite, Place};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::TryStreamExt;
use milvault_domain::error::{PortError, PortErrorKind, PortResult};
use milvault_domain::ids::{BackupId, ClusterId};
use milvault_domain::lifecycle::Tombstone;
use milvault_domain::manifest::{FORMAT_VERSION, FileKind, Item};
use milvault_domain::plan::CopyPlan;
use milvault_domain::ports::BackupRemains;
use milvault_domain::sweep::References;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A tombstone is some hundred bytes long. What is longer is none.
const TOMBSTONE_BYTES_MAX: u64 = 64 << 10;

/// The content of `deleted.json`.
#[derive(Serialize, Deserialize)]
struct TombstoneFile {
    /// What a person should know who finds the file.
    about: String,
    format_version: u32,
    backup_id: String,
    cluster_id: String,
    deleted_at: DateTime<Utc>,
}

/// Writes a tombstone unless there is one.
pub(crate) async fn bury(place: &dyn Place, tombstone: &Tombstone) -> PortResult<()> {
    let file = TombstoneFile {
        about: String::from(
            "This backup is deleted. Its files stay for a time of grace and are then removed.",
        ),
        format_version: FORMAT_VERSION,
        backup_id: tombstone.backup_id.to_string(),
        cluster_id: tombstone.cluster_id.to_string(),
        deleted_at: tombstone.deleted_at,
    };
    let json = serde_json::to_vec_pretty(&file).map_err(|error| {
        PortError::with_source(PortErrorKind::Internal, "a tombstone does not render", error)
    })?;
    let path = layout::tombstone(tombstone.backup_id);
    place.create(&path, Bytes::from(json), Overwrite::Never).await.map(drop)
}

/// Reads a tombstone; `None` when there is none.
pub(crate) async fn tombstone(place: &dyn Place, backup_id: BackupId) -> PortResult<Option<Tombstone>> {
    let path = layout::tombstone(backup_id);
    let Some(facts) = place.facts(&path).await? else { return Ok(None) };
    let corrupt =
        || PortError::new(PortErrorKind::Corrupt, format!("`{}` is no tombstone", place.display(&path)));
    if TOMBSTONE_BYTES_MAX < facts.size_bytes {
        return Err(corrupt());
    }
    let bytes = place.read(&path, 0..facts.size_bytes).await?;
    let file: TombstoneFile = serde_json::from_slice(&bytes).map_err(|_| corrupt())?;
    let tombstone = Tombstone {
        backup_id: file.backup_id.parse().map_err(|_| corrupt())?,
        cluster_id: file.cluster_id.parse().map_err(|_| corrupt())?,
        deleted_at: file.deleted_at,
    };
    if tombstone.backup_id == backup_id { Ok(Some(tombstone)) } else { Err(corrupt()) }
}

/// What lies in each backup's directory, by one listing.
pub(crate) async fn remains(place: &dyn Place) -> PortResult<Vec<BackupRemains>> {
    let mut found: BTreeMap<BackupId, BackupRemains> = BTreeMap::new();
    let mut files = place.list(layout::BACKUPS);
    while let Some(file) = files.try_next().await? {
        let Some((backup_id, name)) = layout::of_backup(&file.path) else { continue };
        let none = BackupRemains { backup_id, manifest: false, plan: false, tombstone: false };
        let remains = found.entry(backup_id).or_insert(none);
        remains.manifest |= name == layout::MANIFEST;
        remains.plan |= name == layout::UNFINISHED;
        remains.tombstone |= name == layout::TOMBSTONE;
    }
    Ok(found.into_values().collect())
}

/// The cluster that a manifest or saved plan speaks of.
pub(crate) async fn owner(place: &dyn Place, backup_id: BackupId) -> PortResult<Option<ClusterId>> {
    match open_manifest(place, backup_id).await {
        Ok((header, _)) => return Ok(Some(header.cluster_id)),
        Err(error) if error.kind() == PortErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    match FramedReader::open(place, &layout::unfinished(backup_id), FileKind::Plan).await? {
        Some(mut reader) => Ok(Some(reader.header(backup_id).await?.cluster_id)),
        None => Ok(None),
    }
}

/// The packs and objects that a manifest and a saved plan refer to. Memory holds the names of files, not the objects.
pub(crate) async fn references(place: &dyn Place, backup_id: BackupId) -> PortResult<References> {
    let mut references = References::default();
    match open_manifest(place, backup_id).await {
        Ok((_, mut reader)) => {
            while let Some(item) = reader.next().await? {
                if let Item::Objects(objects) = item {
                    for object in &objects {
                        references.add_object(object);
                    }
                }
            }
        }
        Err(error) if error.kind() == PortErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let plan = FramedReader::open(place, &layout::unfinished(backup_id), FileKind::Plan).await?;
    if let Some(mut reader) = plan {
        reader.header(backup_id).await?;
        while let Some(item) = reader.next().await? {
            match item {
                Item::Objects(objects) => objects.iter().for_each(|object| references.add_object(object)),
                Item::Unit(unit) => {
                    references.add_plan(&CopyPlan { reused: Vec::new(), units: vec![unit] });
                }
                _ => {}
            }
        }
    }
    Ok(references)
}

/// Removes a backup's directory, the tombstone last.
pub(crate) async fn remove(place: &dyn Place, backup_id: BackupId) -> PortResult<()> {
    let directory = layout::backup_file(backup_id, "");
    let files: Vec<_> = place.list(directory.trim_end_matches('/')).try_collect().await?;
    let tombstone = layout::tombstone(backup_id);
    for file in files.iter().filter(|file| file.path != tombstone) {
        place.delete(&file.path).await?;
    }
    place.delete(&tombstone).await
}
