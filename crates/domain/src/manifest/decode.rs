//! Reading framed files.

use super::frame::{Frame, FrameKind, HEAD_BYTES, decode_head, decode_payload, split_frame};
use super::v1::{CollectionV1, EndV1, HashesV1, HeaderV1, PackSizeV1, UnitV1, decode_objects, object_count};
use super::{Closing, FORMAT_VERSION, FRAME_OBJECTS_MAX, FileKind, FormatError, PackSize};
use crate::backup::ManifestHeader;
use crate::ids::BackupId;
use crate::object::{ContentHash, ObjectId, PackId, StoredObject};
use crate::plan::CopyUnit;
use uuid::Uuid;

/// A piece of a framed file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// The header with all its collections.
    Header(Box<ManifestHeader>),
    /// Sizes of packs.
    Packs(Vec<PackSize>),
    /// Objects, never more than [`FRAME_OBJECTS_MAX`].
    Objects(Vec<StoredObject>),
    /// A unit of a plan.
    Unit(CopyUnit),
    /// Content hashes of objects of this backup.
    Hashes(BackupId, Vec<(ObjectId, ContentHash)>),
    /// The end: every checksum and count was right.
    End(Closing),
}

enum Piece<T> {
    Item(Item),
    Objects(T),
}

/// A list of objects as it lies in a file; its checksum was right. Lists do not depend on one another, so several can be
/// decoded at once.
pub struct FramedObjects {
    payload: Vec<u8>,
    count: usize,
}

impl FramedObjects {
    fn new(payload: &[u8]) -> Result<Self, FormatError> {
        Ok(Self { payload: payload.to_vec(), count: object_count(payload)? })
    }

    /// The objects.
    ///
    /// # Errors
    /// The bytes do not decode.
    pub fn decode(self) -> Result<Vec<StoredObject>, FormatError> {
        decode_objects(&self.payload)
    }
}

/// Reads a framed file as its bytes arrive. Never panics and never holds more than one frame besides what it gives
/// out, whatever the bytes are.
pub struct Decoder {
    kind: FileKind,
    buffer: Vec<u8>,
    consumed: usize,
    hasher: blake3::Hasher,
    frames: u64,
    objects: u64,
    stage: Stage,
}

enum Stage {
    Head,
    Header,
    Collections { header: Box<HeaderV1>, collections: Vec<CollectionV1> },
    Body,
    Ended,
}

impl Decoder {
    /// Expects a file of this kind from its first byte.
    #[must_use]
    pub fn new(kind: FileKind) -> Self {
        Self {
            kind,
            buffer: Vec::new(),
            consumed: 0,
            hasher: blake3::Hasher::new(),
            frames: 0,
            objects: 0,
            stage: Stage::Head,
        }
    }

    /// Adds bytes. Call [`Decoder::next_item`] until it gives `None` before adding more, which bounds the memory.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.consumed);
        self.consumed = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// The next piece; `None` when more bytes are needed.
    ///
    /// # Errors
    /// The bytes are damaged, or a newer program wrote them. The decoder is of no use after that.
    pub fn next_item(&mut self) -> Result<Option<Item>, FormatError> {
        match self.next_piece(FramedObjects::decode)? {
            Some(Piece::Item(item)) => Ok(Some(item)),
            Some(Piece::Objects(objects)) => Ok(Some(Item::Objects(objects?))),
            None => Ok(None),
        }
    }

    /// As [`Decoder::next_item`], but lists of objects come as they lie in the file, to be decoded wherever there is time
    /// for it.
    ///
    /// # Errors
    /// As for [`Decoder::next_item`].
    pub fn next_framed(&mut self) -> Result<Option<Result<Item, FramedObjects>>, FormatError> {
        Ok(self.next_piece(|objects| objects)?.map(|piece| match piece {
            Piece::Item(item) => Ok(item),
            Piece::Objects(objects) => Err(objects),
        }))
    }

    fn next_piece<T>(
        &mut self,
        take: impl FnOnce(FramedObjects) -> T,
    ) -> Result<Option<Piece<T>>, FormatError> {
        if matches!(self.stage, Stage::Head) && !self.read_head()? {
            return Ok(None);
        }
        loop {
            let unread = &self.buffer[self.consumed..];
            if matches!(self.stage, Stage::Ended) {
                return if unread.is_empty() {
                    Ok(None)
                } else {
                    Err(FormatError::Corrupt("something follows the closing frame"))
                };
            }
            let Some(Frame { kind, payload, total_bytes }) = split_frame(unread)? else {
                return Ok(None);
            };
            if kind == FrameKind::End {
                if !matches!(self.stage, Stage::Body) {
                    return Err(FormatError::Corrupt("the closing frame comes too early"));
                }
                let closing = Closing { objects: self.objects, hash: *self.hasher.finalize().as_bytes() };
                check_closing(&decode_payload(payload)?, self.frames, closing)?;
                self.stage = Stage::Ended;
                self.consumed += total_bytes;
                return Ok(Some(Piece::Item(Item::End(closing))));
            }
            if kind == FrameKind::Objects
                && matches!(self.stage, Stage::Body)
                && self.kind != FileKind::Hashes
            {
                let objects = FramedObjects::new(payload)?;
                self.hasher.update(&unread[..total_bytes]);
                self.consumed += total_bytes;
                self.frames += 1;
                self.objects += objects.count as u64;
                return Ok(Some(Piece::Objects(take(objects))));
            }
            let piece = read_frame(self.kind, &mut self.stage, kind, payload)?;
            self.hasher.update(&unread[..total_bytes]);
            self.consumed += total_bytes;
            self.frames += 1;
            if let Some(item) = piece {
                self.objects += counted(&item);
                return Ok(Some(Piece::Item(item)));
            }
        }
    }

    /// States that there are no more bytes.
    ///
    /// # Errors
    /// The file ended before its closing frame.
    pub fn finish(self) -> Result<(), FormatError> {
        match self.stage {
            Stage::Ended if self.consumed == self.buffer.len() => Ok(()),
            _ => Err(FormatError::Corrupt("the file is truncated: its closing frame is missing")),
        }
    }

    fn read_head(&mut self) -> Result<bool, FormatError> {
        let Some(head) = self.buffer.first_chunk::<HEAD_BYTES>() else {
            return Ok(false);
        };
        let version = decode_head(self.kind, head)?;
        if version == 0 {
            return Err(FormatError::Corrupt("format version 0 does not exist"));
        }
        if FORMAT_VERSION < version {
            return Err(FormatError::Newer(version));
        }
        self.hasher.update(head);
        self.consumed = HEAD_BYTES;
        self.stage = if self.kind == FileKind::Hashes { Stage::Body } else { Stage::Header };
        Ok(true)
    }
}

fn check_closing(end: &EndV1, frames: u64, found: Closing) -> Result<(), FormatError> {
    if end.frames != frames || end.objects != found.objects {
        return Err(FormatError::Corrupt("the closing frame counts other frames or objects"));
    }
    if end.hash != found.hash {
        return Err(FormatError::Corrupt("the closing frame has another hash of the file"));
    }
    Ok(())
}

fn counted(item: &Item) -> u64 {
    let count = match item {
        Item::Objects(objects) => objects.len(),
        Item::Unit(unit) => unit.objects().len(),
        Item::Hashes(_, hashes) => hashes.len(),
        Item::Header(_) | Item::Packs(_) | Item::End(_) => 0,
    };
    count as u64
}

fn read_frame(
    file: FileKind,
    stage: &mut Stage,
    kind: FrameKind,
    payload: &[u8],
) -> Result<Option<Item>, FormatError> {
    match (stage, kind) {
        (stage @ Stage::Header, FrameKind::Header) => {
            let header = Box::new(decode_payload(payload)?);
            *stage = Stage::Collections { header, collections: Vec::new() };
            complete_header(stage)
        }
        (stage @ Stage::Collections { .. }, FrameKind::Collection) => {
            if let Stage::Collections { collections, .. } = stage {
                collections.push(decode_payload(payload)?);
            }
            complete_header(stage)
        }
        (Stage::Body, kind) => read_body_frame(file, kind, payload).map(Some),
        _ => Err(FormatError::Corrupt("a frame is not where its kind may be")),
    }
}

fn complete_header(stage: &mut Stage) -> Result<Option<Item>, FormatError> {
    match std::mem::replace(stage, Stage::Body) {
        Stage::Collections { header, collections }
            if collections.len() < usize::try_from(header.collection_count).unwrap_or(usize::MAX) =>
        {
            *stage = Stage::Collections { header, collections };
            Ok(None)
        }
        Stage::Collections { header, collections } => {
            header.into_domain(collections).map(|header| Some(Item::Header(Box::new(header))))
        }
        other => {
            *stage = other;
            Ok(None)
        }
    }
}

fn read_body_frame(file: FileKind, kind: FrameKind, payload: &[u8]) -> Result<Item, FormatError> {
    match (file, kind) {
        (FileKind::Manifest, FrameKind::Packs) => {
            let packs: Vec<PackSizeV1> = decode_list(payload)?;
            let packs = packs.iter().map(|pack| PackSize {
                pack_id: PackId::from_bytes(pack.pack_id),
                size_bytes: pack.size_bytes,
            });
            Ok(Item::Packs(packs.collect()))
        }
        (FileKind::Plan, FrameKind::Unit) => {
            let unit: UnitV1 = decode_payload(payload)?;
            let unit = CopyUnit::try_from(unit)?;
            check_count(unit.objects().len())?;
            Ok(Item::Unit(unit))
        }
        (FileKind::Hashes, FrameKind::Hashes) => {
            let HashesV1 { backup_id, hashes } = decode_payload(payload)?;
            check_count(hashes.len())?;
            let hashes = hashes
                .into_iter()
                .map(|(id, hash)| (ObjectId::from_bytes(id), ContentHash::from_bytes(hash)))
                .collect();
            Ok(Item::Hashes(BackupId::from_uuid(Uuid::from_bytes(backup_id)), hashes))
        }
        _ => Err(FormatError::Corrupt("a frame is not where its kind may be")),
    }
}

fn decode_list<T: serde::de::DeserializeOwned>(payload: &[u8]) -> Result<Vec<T>, FormatError> {
    let list: Vec<T> = decode_payload(payload)?;
    check_count(list.len())?;
    Ok(list)
}

fn check_count(count: usize) -> Result<(), FormatError> {
    if FRAME_OBJECTS_MAX < count {
        return Err(FormatError::Corrupt("a frame lists more than frames may"));
    }
    Ok(())
}
