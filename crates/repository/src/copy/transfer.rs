//! From one repository into another: whole packs and single objects inside a store where both share one, everything
//! else through this server, hashed as it passes.

use super::ahead::in_order;
use super::limit::ByteLimit;
use super::server_side::{CopiedFile, CopyRequests};
use super::{Attempt, backoff, is_refusal, update_hash};
use crate::backups::objects::{check_hash, confirm_unhashed, corrupt, extent};
use crate::backups::packs::{PackState, inspect, stored_objects};
use crate::error::from_format;
use crate::layout;
use crate::place::{ObjectPlace, Overwrite, Place, PlaceWriter};
use crate::stage::lost;
use async_trait::async_trait;
use backon::Retryable;
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use milvault_domain::error::{PortError, PortErrorKind, PortResult};
use milvault_domain::manifest::{PackEntry, encode_pack_tail};
use milvault_domain::object::{ContentHash, Encoding, Location, PackId, StoredObject};
use milvault_domain::plan::{CopyRoute, CopyUnit, ObjectIndex, PlannedObject};
use milvault_domain::ports::Copier;
use milvault_domain::progress::ProgressCounters;
use std::ops::Range;
use std::sync::Arc;

/// Stretches up to this size are fetched whole, several at once: their requests take longer than their bytes.
const SMALL_BYTES: u64 = 1 << 20;
/// Small stretches of a unit that are on the way at once.
const SMALL_AT_ONCE: usize = 8;
/// Objects of a unit that the store copies at once.
const COPIES_AT_ONCE: usize = 16;

/// See the module.
pub(crate) struct TransferCopier {
    from: Arc<dyn Place>,
    to: Arc<dyn Place>,
    /// Where the objects lie in the first repository.
    objects: ObjectIndex,
    in_store: Option<InStore>,
    limit: Option<Arc<ByteLimit>>,
}

/// Copies inside one store, signed for the second repository.
pub(crate) struct InStore {
    pub(crate) requests: CopyRequests,
    pub(crate) from: ObjectPlace,
    pub(crate) to: ObjectPlace,
}

/// Neighbours in one file.
struct Stretch<'a> {
    path: String,
    bytes: Range<u64>,
    objects: &'a [StoredObject],
}

/// The bytes of a stretch.
enum Fetched {
    Whole(Bytes),
    /// Too large to be fetched ahead.
    Later,
}

impl TransferCopier {
    /// Copies these objects. Nothing is contacted.
    pub(crate) fn new(
        from: Arc<dyn Place>,
        to: Arc<dyn Place>,
        objects: &[StoredObject],
        in_store: Option<InStore>,
        limit: Option<Arc<ByteLimit>>,
    ) -> Self {
        Self { from, to, objects: objects.iter().cloned().collect(), in_store, limit }
    }

    async fn pack(
        &self,
        pack_id: PackId,
        objects: &[PlannedObject],
        progress: &ProgressCounters,
    ) -> PortResult<Vec<StoredObject>> {
        let located = self.located(objects)?;
        let overwrite = match inspect(self.to.as_ref(), pack_id, objects).await? {
            PackState::Complete(stored) if same_content(&stored, &located) => {
                let bytes = objects.iter().map(|object| object.source.size_bytes).sum();
                progress.add_reused(objects.len() as u64, bytes);
                return Ok(stored);
            }
            PackState::Missing => Overwrite::Never,
            PackState::Complete(_) | PackState::Damaged(_) => {
                // The name stands for the content, so what is written now is what should have been there.
                tracing::warn!(file = %self.to.display(&layout::pack(pack_id)), "a damaged pack is written again");
                Overwrite::Replace
            }
        };
        let is_whole = |object: &StoredObject| matches!(object.location, Location::Pack { pack_id: id, .. } if id == pack_id);
        if let Some(in_store) = self.in_store.as_ref().filter(|_| located.iter().all(is_whole))
            && let Some(stored) = self.pack_in_store(in_store, pack_id, objects, &located, progress).await?
        {
            return Ok(stored);
        }
        let mut attempt = Attempt::new(progress);
        let written = self.write_pack(pack_id, objects, &located, overwrite, &mut attempt).await;
        attempt.settle(written, Vec::len)
    }

    /// Has the store copy a pack, and looks at its index. `None` when the store refuses.
    async fn pack_in_store(
        &self,
        in_store: &InStore,
        pack_id: PackId,
        objects: &[PlannedObject],
        located: &[StoredObject],
        progress: &ProgressCounters,
    ) -> PortResult<Option<Vec<StoredObject>>> {
        let Some(first) = located.first() else { return Ok(None) };
        let path = layout::pack(pack_id);
        let Some(facts) = self.from.facts(&path).await? else {
            return Err(corrupt(self.from.as_ref(), first, "the file does not exist"));
        };
        let mut attempt = Attempt::new(progress);
        let copied = in_store.copy(&path, facts.tag.as_deref(), facts.size_bytes).await;
        let copied = match copied {
            Ok(_) => match inspect(self.to.as_ref(), pack_id, objects).await? {
                PackState::Complete(stored) if same_content(&stored, located) => {
                    attempt.add_bytes(objects.iter().map(|object| object.source.size_bytes).sum());
                    Ok(stored)
                }
                PackState::Complete(_) => Err(corrupt(
                    self.from.as_ref(),
                    first,
                    "the pack's index and the manifest state other hashes",
                )),
                PackState::Damaged(reason) => Err(corrupt(self.from.as_ref(), first, &reason)),
                PackState::Missing => Err(corrupt(self.from.as_ref(), first, "its copy cannot be found")),
            },
            Err(error) if is_refusal(&error) => return Ok(None),
            Err(error) => Err(lost(self.from.as_ref(), first, error)),
        };
        attempt.settle(copied, Vec::len).map(Some)
    }

    async fn write_pack(
        &self,
        pack_id: PackId,
        objects: &[PlannedObject],
        located: &[StoredObject],
        overwrite: Overwrite,
        attempt: &mut Attempt<'_>,
    ) -> PortResult<Vec<StoredObject>> {
        let path = layout::pack(pack_id);
        let mut writer = self.to.writer(&path, overwrite).await?;
        let mut entries = Vec::with_capacity(located.len());
        let mut offset_bytes = 0;
        let stretches = stretches(self.from.as_ref(), located)?;
        let ahead: Vec<_> = stretches.iter().map(|stretch| self.fetch(stretch)).collect();
        let mut fetched = in_order(ahead, SMALL_AT_ONCE);
        let mut left = stretches.iter();
        while let (Some(fetched), Some(stretch)) = (fetched.try_next().await?, left.next()) {
            let mut bytes = StretchBytes { pieces: self.pieces(stretch, fetched).await?, read: Bytes::new() };
            for object in stretch.objects {
                let hash = self.append(writer.as_mut(), object, &mut bytes, attempt).await?;
                let stored_bytes = object.stored_bytes;
                entries.push(PackEntry { id: object.id, offset_bytes, stored_bytes, hash });
                offset_bytes += stored_bytes;
            }
        }
        let tail = encode_pack_tail(&entries).map_err(|error| from_format(&self.to.display(&path), error))?;
        writer.write(Bytes::from(tail)).await?;
        writer.finish().await?;
        Ok(stored_objects(pack_id, objects, &entries))
    }

    /// Copies objects to files of their own.
    async fn objects(
        &self,
        objects: &[PlannedObject],
        progress: &ProgressCounters,
    ) -> PortResult<Vec<StoredObject>> {
        let located = self.located(objects)?;
        let copies = stream::iter(0..located.len()).map(|position| self.object(&located[position], progress));
        copies.buffered(COPIES_AT_ONCE).try_collect().await
    }

    async fn object(&self, object: &StoredObject, progress: &ProgressCounters) -> PortResult<StoredObject> {
        let path = layout::object(object.id);
        let there = self.to.facts(&path).await?.filter(|facts| facts.size_bytes == object.stored_bytes);
        if let Some(facts) = there {
            progress.add_reused(1, object.stored_bytes);
            return Ok(single(object, object.hash, facts.tag));
        }
        if let Some(in_store) = self.in_store.as_ref().filter(|_| object.location == Location::Object) {
            match in_store.copy(&path, object.store_tag.as_deref(), object.stored_bytes).await {
                Ok(tag) => {
                    progress.add_bytes(object.stored_bytes);
                    progress.add_object();
                    return Ok(single(object, object.hash, Some(tag)));
                }
                Err(error) if is_refusal(&error) => {}
                Err(error) => return Err(lost(self.from.as_ref(), object, error)),
            }
        }
        let mut attempt = Attempt::new(progress);
        let written = self.write_object(object, &path, &mut attempt).await;
        attempt.settle(written, |_| 1)
    }

    async fn write_object(
        &self,
        object: &StoredObject,
        path: &str,
        attempt: &mut Attempt<'_>,
    ) -> PortResult<StoredObject> {
        let bytes = extent(self.from.as_ref(), object)?;
        let stretch = Stretch { path: layout::file_of(object), bytes, objects: std::slice::from_ref(object) };
        let pieces = self.pieces(&stretch, Fetched::Later).await?;
        let mut writer = self.to.writer(path, Overwrite::Never).await?;
        let mut bytes = StretchBytes { pieces, read: Bytes::new() };
        let hash = self.append(writer.as_mut(), object, &mut bytes, attempt).await?;
        writer.finish().await?;
        Ok(single(object, Some(hash), None))
    }

    /// Appends one object, and compares it with what was backed up.
    async fn append(
        &self,
        writer: &mut dyn PlaceWriter,
        object: &StoredObject,
        bytes: &mut StretchBytes,
        attempt: &mut Attempt<'_>,
    ) -> PortResult<ContentHash> {
        let place = self.from.as_ref();
        confirm_unhashed(place, object).await.map_err(|error| lost(place, object, error))?;
        let mut hasher = blake3::Hasher::new();
        let mut left_bytes = object.stored_bytes;
        while 0 < left_bytes {
            let part = bytes.next(left_bytes).await.map_err(|error| lost(place, object, error))?;
            let Some(part) = part else {
                return Err(corrupt(place, object, "the file ends before the object does"));
            };
            let length_bytes = part.len() as u64;
            left_bytes -= length_bytes;
            if let Some(limit) = &self.limit {
                limit.wait(length_bytes).await;
            }
            hasher = update_hash(hasher, part.clone()).await?;
            writer.write(part).await?;
            attempt.add_bytes(length_bytes);
            attempt.add_through_server(length_bytes);
        }
        let hash = ContentHash::from_bytes(*hasher.finalize().as_bytes());
        // Before the file gets its name: a damaged object never reaches the other repository.
        check_hash(place, object, hash)?;
        Ok(hash)
    }

    fn fetch(&self, stretch: &Stretch<'_>) -> impl Future<Output = PortResult<Fetched>> + use<> {
        let (from, path, bytes) = (Arc::clone(&self.from), stretch.path.clone(), stretch.bytes.clone());
        let first = stretch.objects.first().cloned();
        async move {
            if SMALL_BYTES < bytes.end - bytes.start {
                return Ok(Fetched::Later);
            }
            let read = from.read(&path, bytes).await;
            read.map(Fetched::Whole).map_err(|error| lost_stretch(from.as_ref(), first.as_ref(), error))
        }
    }

    async fn pieces(
        &self,
        stretch: &Stretch<'_>,
        fetched: Fetched,
    ) -> PortResult<BoxStream<'static, PortResult<Bytes>>> {
        match fetched {
            Fetched::Whole(bytes) => Ok(stream::iter([Ok(bytes)]).boxed()),
            Fetched::Later => {
                let pieces = self.from.stream(&stretch.path, stretch.bytes.clone()).await;
                pieces.map_err(|error| lost_stretch(self.from.as_ref(), stretch.objects.first(), error))
            }
        }
    }

    fn located(&self, objects: &[PlannedObject]) -> PortResult<Vec<StoredObject>> {
        let locate = |object: &PlannedObject| {
            self.objects.stored(object.id, &object.source).ok_or_else(|| {
                PortError::new(
                    PortErrorKind::Corrupt,
                    format!(
                        "the copy of `{}` is not in the manifest of the backup any more",
                        object.source.key
                    ),
                )
            })
        };
        objects.iter().map(locate).collect()
    }

    async fn attempt(&self, unit: &CopyUnit, progress: &ProgressCounters) -> PortResult<Vec<StoredObject>> {
        match unit {
            CopyUnit::Pack { pack_id, objects } => self.pack(*pack_id, objects, progress).await,
            CopyUnit::ServerSide { objects } => self.objects(objects, progress).await,
        }
    }
}

#[async_trait]
impl Copier for TransferCopier {
    fn route(&self) -> CopyRoute {
        if self.in_store.is_some() { CopyRoute::ServerSide } else { CopyRoute::Packs }
    }

    async fn copy(&self, unit: &CopyUnit, progress: &ProgressCounters) -> PortResult<Vec<StoredObject>> {
        (|| self.attempt(unit, progress))
            .retry(backoff())
            .when(|error: &PortError| error.kind() == PortErrorKind::Unavailable)
            .notify(|error, pause| tracing::warn!(%error, ?pause, "a unit is copied again"))
            .await
    }
}

fn lost_stretch(place: &dyn Place, first: Option<&StoredObject>, error: PortError) -> PortError {
    match first {
        Some(object) => lost(place, object, error),
        None => error,
    }
}

impl InStore {
    /// Copies a file to the same path in the other repository; gives the copy's entity tag.
    async fn copy(&self, path: &str, tag: Option<&str>, size_bytes: u64) -> PortResult<Box<str>> {
        let (from, to) = (self.from.key(path)?, self.to.key(path)?);
        let file = CopiedFile { from: &from, tag, size_bytes };
        self.requests.copy(file, &to).await.map_err(|refusal| match refusal.kind() {
            PortErrorKind::Changed => PortError::new(
                PortErrorKind::Corrupt,
                "the store's tag is not what it was when the backup was made",
            ),
            kind => PortError::new(
                kind,
                format!("the store did not copy `{}`: {}", self.from.display(path), refusal.reason()),
            ),
        })
    }
}

/// The unread rest of a stretch.
struct StretchBytes {
    pieces: BoxStream<'static, PortResult<Bytes>>,
    read: Bytes,
}

impl StretchBytes {
    /// The next bytes, at most so many and at least one; `None` at the end.
    async fn next(&mut self, bytes_max: u64) -> PortResult<Option<Bytes>> {
        while self.read.is_empty() {
            match self.pieces.try_next().await? {
                Some(more) => self.read = more,
                None => return Ok(None),
            }
        }
        let length = usize::try_from(bytes_max).unwrap_or(usize::MAX).min(self.read.len());
        Ok(Some(self.read.split_to(length)))
    }
}

/// The stretches that hold these objects, in their order.
fn stretches<'a>(place: &dyn Place, objects: &'a [StoredObject]) -> PortResult<Vec<Stretch<'a>>> {
    let mut found: Vec<(Range<u64>, Range<usize>)> = Vec::new();
    for (position, object) in objects.iter().enumerate() {
        let bytes = extent(place, object)?;
        let in_same_pack = |first: &StoredObject| match (first.location, object.location) {
            (Location::Pack { pack_id: one, .. }, Location::Pack { pack_id: other, .. }) => one == other,
            _ => false,
        };
        match found.last_mut() {
            Some((last, members)) if last.end == bytes.start && in_same_pack(&objects[members.start]) => {
                last.end = bytes.end;
                members.end = position + 1;
            }
            _ => found.push((bytes, position..position + 1)),
        }
    }
    let stretch = |(bytes, members): (Range<u64>, Range<usize>)| {
        let objects = &objects[members];
        objects.first().map(|first| Stretch { path: layout::file_of(first), bytes, objects })
    };
    Ok(found.into_iter().filter_map(stretch).collect())
}

/// Whether what lies in the other repository has the hashes that the manifest states, where it states one.
fn same_content(stored: &[StoredObject], located: &[StoredObject]) -> bool {
    stored.len() == located.len()
        && stored.iter().zip(located).all(|(copy, original)| match (copy.hash, original.hash) {
            (Some(copy), Some(original)) => copy == original,
            _ => true,
        })
}

/// An object in a file of its own.
fn single(object: &StoredObject, hash: Option<ContentHash>, store_tag: Option<Box<str>>) -> StoredObject {
    StoredObject {
        id: object.id,
        source: object.source.clone(),
        location: Location::Object,
        encoding: Encoding::Raw,
        stored_bytes: object.stored_bytes,
        hash,
        store_tag,
    }
}
