//! What of a cluster a repository already holds.

use super::packs::{PackState, inspect};
use super::survey::Survey;
use super::{hashes, open_manifest, unfinished};
use crate::place::Place;
use futures::stream::{self, StreamExt, TryStreamExt};
use milvault_domain::error::{PortErrorKind, PortResult};
use milvault_domain::ids::{BackupId, ClusterId};
use milvault_domain::manifest::Item;
use milvault_domain::object::{Encoding, Location, StoredObject};
use milvault_domain::plan::{CopyUnit, ObjectIndex, PlannedObject};

/// Packs of an unfinished backup that are looked at at once.
const LOOKS_AT_ONCE: usize = 16;

/// Builds the index from manifests of complete backups and from what is complete of unfinished ones.
///
/// # Errors
/// Errors of the store. Damaged files are passed over: the index only saves work.
pub(crate) async fn load(
    place: &dyn Place,
    cluster_id: ClusterId,
    complete: &[BackupId],
    unfinished: &[BackupId],
) -> PortResult<ObjectIndex> {
    let mut index = ObjectIndex::new();
    for backup_id in complete {
        let added = add_complete(place, cluster_id, *backup_id, &mut index).await;
        pass_over_damage(*backup_id, added)?;
    }
    for backup_id in unfinished {
        let added = add_unfinished(place, cluster_id, *backup_id, &mut index).await;
        pass_over_damage(*backup_id, added)?;
    }
    Ok(index)
}

fn pass_over_damage(backup_id: BackupId, added: PortResult<()>) -> PortResult<()> {
    match added {
        Err(error)
            if matches!(
                error.kind(),
                PortErrorKind::NotFound | PortErrorKind::Corrupt | PortErrorKind::Unsupported
            ) =>
        {
            tracing::warn!(%backup_id, %error, "objects of this backup cannot be reused");
            Ok(())
        }
        other => other,
    }
}

async fn add_complete(
    place: &dyn Place,
    cluster_id: ClusterId,
    backup_id: BackupId,
    index: &mut ObjectIndex,
) -> PortResult<()> {
    let (header, mut reader) = open_manifest(place, backup_id).await?;
    if header.cluster_id != cluster_id {
        tracing::warn!(%backup_id, %cluster_id, "the backup is of another cluster; its objects are not reused");
        return Ok(());
    }
    while let Some(item) = reader.next().await? {
        if let Item::Objects(objects) = item {
            index.extend(objects);
        }
    }
    for (id, hash) in hashes::load(place, backup_id).await? {
        index.record_hash(id, hash);
    }
    Ok(())
}

/// Objects that the unfinished backup reused are left out: nothing kept their files since it ended.
async fn add_unfinished(
    place: &dyn Place,
    cluster_id: ClusterId,
    backup_id: BackupId,
    index: &mut ObjectIndex,
) -> PortResult<()> {
    let Some(saved) = unfinished::load(place, backup_id).await? else {
        return Ok(());
    };
    if saved.header.cluster_id != cluster_id {
        return Ok(());
    }
    let mut packs = Vec::new();
    let mut server_side = Vec::new();
    for unit in saved.plan.units {
        match unit {
            CopyUnit::Pack { pack_id, objects } => packs.push((pack_id, objects)),
            CopyUnit::ServerSide { objects } => server_side.extend(objects),
        }
    }
    let looks =
        stream::iter(packs).map(|(pack_id, objects)| async move { inspect(place, pack_id, &objects).await });
    let mut looks = looks.buffer_unordered(LOOKS_AT_ONCE);
    while let Some(state) = looks.try_next().await? {
        if let PackState::Complete(objects) = state {
            index.extend(objects);
        }
    }
    let survey = Survey::of_objects(place, server_side.iter().map(|object| object.id)).await?;
    index.extend(server_side.into_iter().filter_map(|object| existing(object, &survey)));
    Ok(())
}

fn existing(object: PlannedObject, survey: &Survey) -> Option<StoredObject> {
    let (size_bytes, tag) = survey.objects.get(&object.id)?;
    (*size_bytes == object.source.size_bytes).then(|| StoredObject {
        id: object.id,
        stored_bytes: object.source.size_bytes,
        source: object.source,
        location: Location::Object,
        encoding: Encoding::Raw,
        hash: None,
        store_tag: tag.clone(),
    })
}
