//! Sealing: the step that makes a backup exist.

use super::framed::{FramedWriter, Written};
use super::packs::PackSizes;
use super::survey::{PackSizesInOrder, Survey};
use super::{summary, unfinished};
use crate::error::{from_format, from_join};
use crate::layout;
use crate::place::{Creation, Overwrite, Place};
use bytes::Bytes;
use futures::stream::{self, StreamExt, TryStreamExt};
use milvault_domain::backup::ManifestHeader;
use milvault_domain::error::{PortError, PortErrorKind, PortResult};
use milvault_domain::manifest::{EncodedObjects, FRAME_OBJECTS_MAX, FileKind, PACK_TRAILER_BYTES, PackSize};
use milvault_domain::object::{Location, PackId, StoredObject};
use milvault_domain::ports::{GoAhead, SealReceipt};
use std::sync::Arc;

/// Lists of objects that are encoded at once, and wait for their turn.
const ENCODED_AT_ONCE: usize = 3;

/// Checks that every file is there, writes the manifest, reads it back, and drops the saved plan. Nothing gets a name before
/// `go_ahead` came out well.
///
/// # Errors
/// `Corrupt` when a referenced file is missing or not as long as it must be, or the manifest did not come back as it was written;
/// `Conflict` when the backup was sealed before with other objects; errors of the store.
pub(crate) async fn seal(
    place: &dyn Place,
    go_ahead: GoAhead<'_>,
    header: &ManifestHeader,
    mut objects: Vec<StoredObject>,
    sizes: &PackSizes,
) -> PortResult<SealReceipt> {
    // In the order of their keys, so that sealing again gives the same bytes whatever order the copies ended in.
    objects.sort_unstable_by_key(|object| object.source.key);
    // The summary counts for nothing without the manifest, which gets its name when both are written.
    let summary = Bytes::from(summary::render(header, &objects));
    let path = layout::manifest(header.backup_id);
    let write_summary = async {
        go_ahead.await?;
        // An attempt that was cut off in here may have left one of another cut. Beside a manifest it is that manifest's.
        let is_sealed = place.facts(&path).await?.is_some();
        let overwrite = if is_sealed { Overwrite::Never } else { Overwrite::Replace };
        place.create(&layout::summary(header.backup_id), summary, overwrite).await
    };
    let write_manifest = async {
        let survey = Survey::of(place, &objects).await?;
        let mut packs = PackSizesInOrder::of(&survey);
        let problem = objects.iter().find_map(|object| problem(place, object, &survey, &mut packs));
        if let Some(problem) = problem.or_else(|| changed_pack(place, &objects, &survey, sizes)) {
            return Err(PortError::new(PortErrorKind::Corrupt, problem));
        }
        write_manifest(place, &path, header, objects, &survey).await
    };
    let (manifest, _) = futures::try_join!(write_manifest, write_summary)?;
    let written = manifest.finish().await?;
    read_back(place, &path, &written).await?;
    unfinished::remove(place, header.backup_id).await?;
    Ok(SealReceipt { manifest_bytes: written.size_bytes })
}

/// What is wrong with a pack as a whole: it is not what an earlier backup that lies in it states.
fn changed_pack(
    place: &dyn Place,
    objects: &[StoredObject],
    survey: &Survey,
    sizes: &PackSizes,
) -> Option<String> {
    let differs = |(pack_id, size): (&PackId, &u64)| {
        let expected = sizes.of(*pack_id).filter(|expected| expected != size)?;
        Some((*pack_id, *size, expected))
    };
    let (pack_id, size, expected) = survey.packs.iter().find_map(differs)?;
    let lies_in_it = |object: &&StoredObject| matches!(object.location, Location::Pack { pack_id: id, .. } if id == pack_id);
    let object = objects.iter().find(lies_in_it)?;
    let file = place.display(&layout::file_of(object));
    Some(format!(
        "`{file}`, where the copy of `{}` lies, has {size} bytes instead of the {expected} that an earlier backup states; \
         verify that backup, so that what is damaged is not used again",
        object.source.key
    ))
}

fn problem(
    place: &dyn Place,
    object: &StoredObject,
    survey: &Survey,
    packs: &mut PackSizesInOrder<'_>,
) -> Option<String> {
    let reason = match object.location {
        Location::Pack { pack_id, offset_bytes } => match packs.size(pack_id) {
            None => String::from("is missing from the repository"),
            Some(size) if size < offset_bytes + object.stored_bytes + PACK_TRAILER_BYTES as u64 => {
                String::from("is too short to hold it")
            }
            Some(_) => return None,
        },
        Location::Object => match survey.objects.get(&object.id) {
            None => String::from("is missing from the repository"),
            Some((size, _)) if *size != object.stored_bytes => {
                format!("has {size} bytes instead of {}", object.stored_bytes)
            }
            Some(_) => return None,
        },
    };
    let file = place.display(&layout::file_of(object));
    Some(format!(
        "`{file}`, where the copy of `{}` lies, {reason}; verify the backups that use it, so that what is damaged is not \
         used again",
        object.source.key
    ))
}

/// Writes everything but the closing frame.
async fn write_manifest(
    place: &dyn Place,
    path: &str,
    header: &ManifestHeader,
    objects: Vec<StoredObject>,
    survey: &Survey,
) -> PortResult<FramedWriter> {
    let mut packs: Vec<PackSize> = survey
        .packs
        .iter()
        .map(|(pack_id, size_bytes)| PackSize { pack_id: *pack_id, size_bytes: *size_bytes })
        .collect();
    packs.sort_unstable_by_key(|pack| pack.pack_id);
    let mut writer = FramedWriter::create(place, path, FileKind::Manifest, Overwrite::Never).await?;
    writer.encode(|encoder| encoder.header(header)).await?;
    writer.encode(|encoder| encoder.packs(&packs)).await?;
    // Encoding takes longer than writing, so some lists are encoded at once and beside it.
    let objects = Arc::new(objects);
    let encode = |start: usize| {
        let objects = Arc::clone(&objects);
        tokio::task::spawn_blocking(move || {
            EncodedObjects::new(&objects[start..objects.len().min(start + FRAME_OBJECTS_MAX)])
        })
    };
    let starts = (0..objects.len()).step_by(FRAME_OBJECTS_MAX);
    let mut encoded = stream::iter(starts).map(encode).buffered(ENCODED_AT_ONCE);
    while let Some(frame) = encoded.next().await {
        let frame = frame.map_err(from_join)?.map_err(|error| from_format(path, error))?;
        writer
            .encode(|encoder| {
                encoder.encoded(frame);
                Ok(())
            })
            .await?;
    }
    Ok(writer)
}

async fn read_back(place: &dyn Place, path: &str, written: &Written) -> PortResult<()> {
    let mut hasher = blake3::Hasher::new();
    let facts = place.facts(path).await?;
    if facts.is_some_and(|facts| facts.size_bytes == written.size_bytes) {
        let mut bytes = place.stream(path, 0..written.size_bytes).await?;
        while let Some(bytes) = bytes.try_next().await? {
            hasher.update(&bytes);
        }
    }
    if hasher.finalize() == written.hash {
        return Ok(());
    }
    let shown = place.display(path);
    Err(match written.creation {
        Creation::Created => PortError::new(
            PortErrorKind::Corrupt,
            format!("`{shown}` did not come back from the store as it was written"),
        ),
        Creation::Existed => PortError::new(
            PortErrorKind::Conflict,
            format!("`{shown}` exists with other content: the backup was sealed before"),
        ),
    })
}
