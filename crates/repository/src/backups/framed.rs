//! Framed files, read and written as streams.

use super::unexpected;
use crate::error::{from_format, from_join};
use crate::place::{Creation, Overwrite, Place, PlaceWriter};
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use milvault_domain::backup::ManifestHeader;
use milvault_domain::error::{PortError, PortErrorKind, PortResult};
use milvault_domain::ids::BackupId;
use milvault_domain::manifest::{Decoder, Encoder, FileKind, FormatError, Item, PackSize};
use milvault_domain::object::StoredObject;
use std::collections::VecDeque;

/// Encoded bytes that are handed to the place at once: less than a full list of objects, which is then handed on as it
/// is, without a copy.
const WRITE_BYTES: usize = 256 << 10;

/// Lists of objects that are decoded at once, and wait for their turn.
const DECODED_AT_ONCE: usize = 3;

/// What an object takes at least in a manifest, nearly: identity, key, size, place and hash.
const OBJECT_BYTES_MIN: u64 = 100;

/// Reads a framed file piece by piece.
pub(crate) struct FramedReader {
    bytes: BoxStream<'static, PortResult<Bytes>>,
    decoder: Option<Decoder>,
    path: String,
    size_bytes: u64,
    /// What [`FramedReader::for_each_object`] passed.
    packs: Vec<PackSize>,
}

impl FramedReader {
    /// Opens a file; `None` when there is none.
    pub(crate) async fn open(place: &dyn Place, path: &str, kind: FileKind) -> PortResult<Option<Self>> {
        let Some(facts) = place.facts(path).await? else {
            return Ok(None);
        };
        let bytes = place.stream(path, 0..facts.size_bytes).await?;
        Ok(Some(Self {
            bytes,
            decoder: Some(Decoder::new(kind)),
            path: place.display(path),
            size_bytes: facts.size_bytes,
            packs: Vec::new(),
        }))
    }

    /// About as many objects as the file holds, rather too many than too few.
    pub(crate) fn objects_estimate(&self) -> usize {
        usize::try_from(self.size_bytes / OBJECT_BYTES_MIN).unwrap_or(0)
    }

    /// The next piece; `None` after the closing frame was given out.
    pub(crate) async fn next(&mut self) -> PortResult<Option<Item>> {
        self.next_with(Decoder::next_item).await
    }

    /// Gives all objects that are still to come to `take`, in their order. Decoding them takes longer than reading them,
    /// so it is done beside it, some lists at once.
    pub(crate) async fn for_each_object(&mut self, mut take: impl FnMut(StoredObject)) -> PortResult<()> {
        let mut decoding = VecDeque::new();
        loop {
            let piece = self.next_with(Decoder::next_framed).await?;
            let ended = piece.is_none();
            match piece {
                Some(Err(objects)) => decoding.push_back(tokio::task::spawn_blocking(|| objects.decode())),
                Some(Ok(Item::Packs(packs))) => self.packs.extend(packs),
                Some(Ok(_)) | None => {}
            }
            while (if ended { 1 } else { DECODED_AT_ONCE }) <= decoding.len() {
                let Some(first) = decoding.pop_front() else { break };
                let decoded = first.await.map_err(from_join)?;
                decoded.map_err(|error| from_format(&self.path, error))?.into_iter().for_each(&mut take);
            }
            if ended {
                return Ok(());
            }
        }
    }

    /// Sizes of the packs that the file states, when its objects were all given.
    pub(crate) fn into_packs(self) -> Vec<PackSize> {
        self.packs
    }

    async fn next_with<T>(
        &mut self,
        next: impl Fn(&mut Decoder) -> Result<Option<T>, FormatError>,
    ) -> PortResult<Option<T>> {
        loop {
            let Some(decoder) = self.decoder.as_mut() else {
                return Ok(None);
            };
            let item = next(decoder).map_err(|error| from_format(&self.path, error))?;
            if item.is_some() {
                return Ok(item);
            }
            if let Some(bytes) = self.bytes.next().await {
                decoder.push(&bytes?);
            } else if let Some(decoder) = self.decoder.take() {
                decoder.finish().map_err(|error| from_format(&self.path, error))?;
            }
        }
    }

    /// The header that comes first, checked to be this backup's.
    pub(crate) async fn header(&mut self, backup_id: BackupId) -> PortResult<ManifestHeader> {
        match self.next().await? {
            Some(Item::Header(header)) if header.backup_id == backup_id => Ok(*header),
            Some(Item::Header(header)) => Err(PortError::new(
                PortErrorKind::Corrupt,
                format!("`{}` belongs to backup {}, not to {backup_id}", self.path, header.backup_id),
            )),
            _ => Err(PortError::new(PortErrorKind::Corrupt, format!("`{}` has no header", self.path))),
        }
    }

    /// Refuses an item that cannot be here.
    pub(crate) fn refuse(&self, item: &Item) -> PortError {
        unexpected(&self.path, item)
    }
}

/// Writes a framed file piece by piece.
pub(crate) struct FramedWriter {
    writer: Box<dyn PlaceWriter>,
    encoder: Encoder,
    path: String,
    /// Of everything that was handed to the place.
    written_bytes: u64,
}

/// A framed file that was written.
pub(crate) struct Written {
    /// Whether it was made or one was there.
    pub(crate) creation: Creation,
    /// BLAKE3 of the whole file.
    pub(crate) hash: blake3::Hash,
    /// Its size.
    pub(crate) size_bytes: u64,
}

impl FramedWriter {
    /// Begins a file.
    pub(crate) async fn create(
        place: &dyn Place,
        path: &str,
        kind: FileKind,
        overwrite: Overwrite,
    ) -> PortResult<Self> {
        let writer = place.writer(path, overwrite).await?;
        Ok(Self { writer, encoder: Encoder::new(kind), path: place.display(path), written_bytes: 0 })
    }

    /// Encodes something and passes on what has come together.
    pub(crate) async fn encode(
        &mut self,
        encode: impl FnOnce(&mut Encoder) -> Result<(), FormatError>,
    ) -> PortResult<()> {
        encode(&mut self.encoder).map_err(|error| from_format(&self.path, error))?;
        if WRITE_BYTES <= self.encoder.pending_bytes() {
            let bytes = self.encoder.take();
            self.pass_on(bytes).await?;
        }
        Ok(())
    }

    /// Closes the file and makes it visible.
    pub(crate) async fn finish(mut self) -> PortResult<Written> {
        let encoder = std::mem::replace(&mut self.encoder, Encoder::new(FileKind::Manifest));
        let end = encoder.finish().map_err(|error| from_format(&self.path, error))?;
        self.pass_on(end.rest).await?;
        let creation = self.writer.finish().await?;
        let hash = blake3::Hash::from_bytes(end.file_hash);
        Ok(Written { creation, hash, size_bytes: self.written_bytes })
    }

    async fn pass_on(&mut self, bytes: Vec<u8>) -> PortResult<()> {
        self.written_bytes += bytes.len() as u64;
        self.writer.write(Bytes::from(bytes)).await
    }
}
