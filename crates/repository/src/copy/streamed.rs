//! From any source into any repository, through this server: read, hashed, written as the bytes pass.

use super::Attempt;
use super::ahead::in_order;
use super::limit::ByteLimit;
use crate::backups::packs::stored_objects;
use crate::error::{from_format, from_join};
use crate::layout;
use crate::place::{Overwrite, Place, PlaceWriter};
use crate::source::{LocalSource, ObjectSource, SourceDirectory, changed};
use bytes::{Bytes, BytesMut};
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use milvault_domain::error::PortResult;
use milvault_domain::manifest::{PackEntry, encode_pack_tail};
use milvault_domain::object::{ContentHash, Encoding, Location, PackId, SourceObject, StoredObject};
use milvault_domain::plan::PlannedObject;
use milvault_domain::progress::ProgressCounters;
use std::fs::File;
use std::io::{self, Read};
use std::sync::Arc;

/// Objects up to this size are fetched whole, several at once: their requests take longer than their bytes.
const SMALL_BYTES: u64 = 1 << 20;
/// Small objects of a unit that are on the way at once.
const SMALL_AT_ONCE: usize = 8;
/// Piece in which local files are read.
const READ_BYTES: usize = 1 << 20;
/// Pieces from this size on are hashed on a blocking thread; smaller ones cost less than the handing over.
const HASH_ELSEWHERE_BYTES: usize = 256 << 10;

/// Where bytes come from.
#[derive(Clone)]
pub(crate) enum Source {
    /// A local directory.
    Local(LocalSource),
    /// An object store.
    Object(ObjectSource),
}

/// See the module.
pub(crate) struct StreamedCopies {
    source: Source,
    place: Arc<dyn Place>,
    limit: Option<Arc<ByteLimit>>,
}

/// An object that is about to be appended.
enum Fetched {
    Whole(Bytes),
    /// Too large to be fetched ahead.
    Later,
}

impl StreamedCopies {
    /// Copies between these two. Nothing is contacted.
    pub(crate) fn new(source: Source, place: Arc<dyn Place>, limit: Option<Arc<ByteLimit>>) -> Self {
        Self { source, place, limit }
    }

    /// Writes a pack.
    pub(super) async fn pack(
        &self,
        pack_id: PackId,
        objects: &[PlannedObject],
        overwrite: Overwrite,
        progress: &ProgressCounters,
    ) -> PortResult<Vec<StoredObject>> {
        let mut attempt = Attempt::new(progress);
        let written = self.write_pack(pack_id, objects, overwrite, &mut attempt).await;
        attempt.settle(written, Vec::len)
    }

    /// Writes each object to a file of its own.
    pub(super) async fn objects(
        &self,
        objects: &[PlannedObject],
        progress: &ProgressCounters,
    ) -> PortResult<Vec<StoredObject>> {
        let mut attempt = Attempt::new(progress);
        let mut stored = Vec::with_capacity(objects.len());
        for object in objects {
            match self.write_object(object, &mut attempt).await {
                Ok(object) => stored.push(object),
                Err(error) => return attempt.settle(Err(error), Vec::len),
            }
        }
        attempt.settle(Ok(stored), Vec::len)
    }

    async fn write_pack(
        &self,
        pack_id: PackId,
        objects: &[PlannedObject],
        overwrite: Overwrite,
        attempt: &mut Attempt<'_>,
    ) -> PortResult<Vec<StoredObject>> {
        let path = layout::pack(pack_id);
        let mut writer = self.place.writer(&path, overwrite).await?;
        let mut entries = Vec::with_capacity(objects.len());
        let mut offset_bytes = 0;
        let ahead: Vec<_> =
            objects.iter().map(|object| self.source.clone().fetch(object.source.clone())).collect();
        let mut fetched = in_order(ahead, SMALL_AT_ONCE);
        let mut left = objects.iter();
        while let (Some(fetched), Some(object)) = (fetched.try_next().await?, left.next()) {
            let pieces = match fetched {
                Fetched::Whole(bytes) => stream::iter([Ok(bytes)]).boxed(),
                Fetched::Later => self.source.read(&object.source).await?,
            };
            let hash = self.append(writer.as_mut(), &object.source, pieces, attempt).await?;
            let stored_bytes = object.source.size_bytes;
            entries.push(PackEntry { id: object.id, offset_bytes, stored_bytes, hash });
            offset_bytes += stored_bytes;
        }
        let tail =
            encode_pack_tail(&entries).map_err(|error| from_format(&self.place.display(&path), error))?;
        writer.write(Bytes::from(tail)).await?;
        writer.finish().await?;
        Ok(stored_objects(pack_id, objects, &entries))
    }

    async fn write_object(
        &self,
        object: &PlannedObject,
        attempt: &mut Attempt<'_>,
    ) -> PortResult<StoredObject> {
        let path = layout::object(object.id);
        let mut writer = self.place.writer(&path, Overwrite::Never).await?;
        let pieces = self.source.read(&object.source).await?;
        let hash = self.append(writer.as_mut(), &object.source, pieces, attempt).await?;
        writer.finish().await?;
        Ok(StoredObject {
            id: object.id,
            source: object.source.clone(),
            location: Location::Object,
            encoding: Encoding::Raw,
            stored_bytes: object.source.size_bytes,
            hash: Some(hash),
            store_tag: None,
        })
    }

    async fn append(
        &self,
        writer: &mut dyn PlaceWriter,
        source: &SourceObject,
        mut pieces: BoxStream<'_, PortResult<Bytes>>,
        attempt: &mut Attempt<'_>,
    ) -> PortResult<ContentHash> {
        let mut hasher = blake3::Hasher::new();
        let mut length_bytes = 0;
        while let Some(piece) = pieces.try_next().await? {
            let bytes = piece.len() as u64;
            length_bytes += bytes;
            if source.size_bytes < length_bytes {
                return Err(changed(source));
            }
            if let Some(limit) = &self.limit {
                limit.wait(bytes).await;
            }
            hasher = update_hash(hasher, piece.clone()).await?;
            writer.write(piece).await?;
            attempt.add_bytes(bytes);
            attempt.add_through_server(bytes);
        }
        if length_bytes != source.size_bytes {
            return Err(changed(source));
        }
        Ok(ContentHash::from_bytes(*hasher.finalize().as_bytes()))
    }
}

impl Source {
    async fn fetch(self, object: SourceObject) -> PortResult<Fetched> {
        if SMALL_BYTES < object.size_bytes {
            return Ok(Fetched::Later);
        }
        let mut pieces = self.read(&object).await?;
        let mut whole = BytesMut::new();
        while let Some(piece) = pieces.try_next().await? {
            whole.extend_from_slice(&piece);
            if object.size_bytes < whole.len() as u64 {
                return Err(changed(&object));
            }
        }
        Ok(Fetched::Whole(whole.freeze()))
    }

    async fn read(&self, object: &SourceObject) -> PortResult<BoxStream<'static, PortResult<Bytes>>> {
        match self {
            Self::Object(source) => source.read(object).await,
            Self::Local(source) => {
                let (source, object) = (source.clone(), object.clone());
                let opened = tokio::task::spawn_blocking(move || {
                    let directory = source.open()?;
                    let file = directory.open(&object)?;
                    Ok(LocalRead { directory, file, left_bytes: object.size_bytes, object })
                });
                let read = opened.await.map_err(from_join).flatten()?;
                let pieces = stream::try_unfold(read, |read| async move {
                    tokio::task::spawn_blocking(move || read.next_piece()).await.map_err(from_join)?
                });
                Ok(pieces.boxed())
            }
        }
    }
}

/// A local file being read.
struct LocalRead {
    directory: SourceDirectory,
    file: File,
    object: SourceObject,
    left_bytes: u64,
}

impl LocalRead {
    fn next_piece(mut self) -> PortResult<Option<(Bytes, Self)>> {
        if self.left_bytes == 0 {
            self.directory.confirm(&self.file, &self.object)?;
            return Ok(None);
        }
        let length = usize::try_from(self.left_bytes).unwrap_or(usize::MAX).min(READ_BYTES);
        let mut piece = vec![0; length];
        match self.file.read_exact(&mut piece) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Err(changed(&self.object)),
            Err(error) => return Err(self.directory.error(&self.object.key.to_string(), error)),
        }
        self.left_bytes -= length as u64;
        Ok(Some((Bytes::from(piece), self)))
    }
}

/// Hashes a piece, on a blocking thread where that pays.
pub(crate) async fn update_hash(mut hasher: blake3::Hasher, piece: Bytes) -> PortResult<blake3::Hasher> {
    if piece.len() < HASH_ELSEWHERE_BYTES {
        hasher.update(&piece);
        return Ok(hasher);
    }
    let hashing = tokio::task::spawn_blocking(move || {
        hasher.update(&piece);
        hasher
    });
    hashing.await.map_err(from_join)
}
