//! What an interrupted job needs to continue.

use super::framed::{FramedReader, FramedWriter};
use crate::layout;
use crate::place::{Overwrite, Place};
use milvault_domain::backup::ManifestHeader;
use milvault_domain::error::PortResult;
use milvault_domain::ids::BackupId;
use milvault_domain::manifest::{FRAME_OBJECTS_MAX, FileKind, Item};
use milvault_domain::plan::CopyPlan;
use milvault_domain::ports::UnfinishedBackup;

/// Saves header and plan. This is the one file that may replace another: it is a working note, not part of a backup.
pub(crate) async fn save(place: &dyn Place, header: &ManifestHeader, plan: &CopyPlan) -> PortResult<()> {
    let path = layout::unfinished(header.backup_id);
    let mut writer = FramedWriter::create(place, &path, FileKind::Plan, Overwrite::Replace).await?;
    writer.encode(|encoder| encoder.header(header)).await?;
    for objects in plan.reused.chunks(FRAME_OBJECTS_MAX) {
        writer.encode(|encoder| encoder.objects(objects)).await?;
    }
    for unit in &plan.units {
        writer.encode(|encoder| encoder.unit(unit)).await?;
    }
    writer.finish().await.map(drop)
}

/// Loads header and plan, if they were saved.
pub(crate) async fn load(place: &dyn Place, backup_id: BackupId) -> PortResult<Option<UnfinishedBackup>> {
    let path = layout::unfinished(backup_id);
    let Some(mut reader) = FramedReader::open(place, &path, FileKind::Plan).await? else {
        return Ok(None);
    };
    let header = reader.header(backup_id).await?;
    let mut plan = CopyPlan::default();
    while let Some(item) = reader.next().await? {
        match item {
            Item::Objects(objects) => plan.reused.extend(objects),
            Item::Unit(unit) => plan.units.push(unit),
            Item::End(_) => {}
            other => return Err(reader.refuse(&other)),
        }
    }
    Ok(Some(UnfinishedBackup { header, plan }))
}

/// Removes what was saved.
pub(crate) async fn remove(place: &dyn Place, backup_id: BackupId) -> PortResult<()> {
    place.delete(&layout::unfinished(backup_id)).await
}
