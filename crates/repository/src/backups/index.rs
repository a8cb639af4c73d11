//! What of a cluster a repository already holds.

use super::framed::FramedReader;
use super::packs::{PackSizes, PackState, inspect};
use super::survey::Survey;
use super::{hashes, open_manifest, unfinished};
use crate::place::Place;
use futures::stream::{self, StreamExt, TryStreamExt};
use milvault_domain::backup::ManifestHeader;
use milvault_domain::error::{PortErrorKind, PortResult};
use milvault_domain::ids::{BackupId, ClusterId};
use milvault_domain::manifest::PackSize;
use milvault_domain::object::{Encoding, Location, StoredObject};
use milvault_domain::plan::{CopyUnit, Holdings, PlannedObject};
use std::collections::HashSet;

/// Manifests that are read of backups that show all that the one being made is to show. Binlogs live on or are compacted
/// away, so what the newest of these do not have, older ones rarely have. Those of another scope do not count.
const COVERING_MAX: usize = 3;

/// Packs of an unfinished backup that are looked at at once.
const LOOKS_AT_ONCE: usize = 16;

/// Builds the index from manifests of complete backups and from what is complete of unfinished ones. The segments that
/// settle the backup that is being made are taken whole. Given that backup, older manifests are left when enough were
/// read of backups that cover it; those of a database made every hour must not hide the daily one of the cluster.
///
/// # Errors
/// Errors of the store. Damaged files are passed over: the index only saves work.
pub(crate) async fn load(
    place: &dyn Place,
    cluster_id: ClusterId,
    complete: &[BackupId],
    unfinished: &[BackupId],
    current: Option<&ManifestHeader>,
    sizes: &PackSizes,
) -> PortResult<Holdings> {
    let mut holdings = Holdings::default();
    let mut covering = 0;
    for backup_id in complete {
        let added = add_complete(place, cluster_id, *backup_id, current, sizes, &mut holdings).await;
        covering += usize::from(pass_over_damage(*backup_id, added)?);
        let is_enough = |current| COVERING_MAX <= covering || holdings.settles_all(current);
        if current.is_some_and(is_enough) {
            break;
        }
    }
    for backup_id in unfinished {
        let added = add_unfinished(place, cluster_id, *backup_id, &mut holdings).await;
        pass_over_damage(*backup_id, added)?;
    }
    Ok(holdings)
}

fn pass_over_damage<T: Default>(backup_id: BackupId, added: PortResult<T>) -> PortResult<T> {
    match added {
        Err(error)
            if matches!(
                error.kind(),
                PortErrorKind::NotFound | PortErrorKind::Corrupt | PortErrorKind::Unsupported
            ) =>
        {
            tracing::warn!(%backup_id, %error, "objects of this backup cannot be reused");
            Ok(T::default())
        }
        other => other,
    }
}

/// Returns whether the backup shows all that the one being made is to show.
async fn add_complete(
    place: &dyn Place,
    cluster_id: ClusterId,
    backup_id: BackupId,
    current: Option<&ManifestHeader>,
    sizes: &PackSizes,
    holdings: &mut Holdings,
) -> PortResult<bool> {
    let (header, reader) = open_manifest(place, backup_id).await?;
    if header.cluster_id != cluster_id {
        tracing::warn!(%backup_id, %cluster_id, "the backup is of another cluster; its objects are not reused");
        return Ok(false);
    }
    let covers = current.is_some_and(|current| header.scope.covers(&current.scope));
    let settled = current.map(|current| holdings.settle(current, &header)).unwrap_or_default();
    let taken = take_objects(reader, &settled, holdings).await;
    if taken.is_err() {
        holdings.unsettle(&settled);
    }
    sizes.add(taken?);
    holdings.record_hashes(&hashes::load(place, backup_id).await?);
    Ok(covers)
}

async fn take_objects(
    mut reader: FramedReader,
    settled: &HashSet<i64>,
    holdings: &mut Holdings,
) -> PortResult<Vec<PackSize>> {
    if !settled.is_empty() {
        holdings.settled.reserve(reader.objects_estimate());
    }
    reader.for_each_object(|object| holdings.take(object, settled)).await?;
    let packs = reader.into_packs();
    holdings.pack_sizes.extend(packs.iter().map(|pack| (pack.pack_id, pack.size_bytes)));
    Ok(packs)
}

/// Objects that the unfinished backup reused are left out: nothing kept their files since it ended.
async fn add_unfinished(
    place: &dyn Place,
    cluster_id: ClusterId,
    backup_id: BackupId,
    holdings: &mut Holdings,
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
            holdings.note_pack(&objects);
            holdings.index.extend(objects);
        }
    }
    let survey = Survey::of_objects(place, server_side.iter().map(|object| object.id)).await?;
    holdings.index.extend(server_side.into_iter().filter_map(|object| existing(object, &survey)));
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
