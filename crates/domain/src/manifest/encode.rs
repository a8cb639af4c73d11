//! Writing framed files.

use super::frame::{FrameKind, begin_frame, close_frame, encode_frame, encode_head};
use super::v1::{CollectionV1, EndV1, HashesV1, HeaderV1, PackSizeV1, UnitV1, encode_objects};
use super::{Closing, FORMAT_VERSION, FRAME_OBJECTS_MAX, FileKind, FormatError, PackSize};
use crate::backup::ManifestHeader;
use crate::ids::BackupId;
use crate::object::{ContentHash, ObjectId, StoredObject};
use crate::plan::CopyUnit;
use serde::Serialize;

/// Objects as one frame of a file. Frames do not depend on one another, so several can be encoded at once.
pub struct EncodedObjects {
    frame: Vec<u8>,
    count: u64,
}

impl EncodedObjects {
    /// Encodes 1 to [`FRAME_OBJECTS_MAX`] objects.
    ///
    /// # Errors
    /// More objects than that.
    pub fn new(objects: &[StoredObject]) -> Result<Self, FormatError> {
        if FRAME_OBJECTS_MAX < objects.len() {
            return Err(FormatError::TooLarge("a list of objects"));
        }
        let mut frame = begin_frame(FrameKind::Objects);
        encode_objects(objects, &mut frame);
        Ok(Self { frame: close_frame(frame, "a list of objects")?, count: objects.len() as u64 })
    }
}

/// The end of a file that was encoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    /// The bytes since the last [`Encoder::take`].
    pub rest: Vec<u8>,
    /// What the closing frame states.
    pub closing: Closing,
    /// BLAKE3 of the whole file, with its closing frame.
    pub file_hash: [u8; 32],
}

/// Writes a framed file piece by piece. What was encoded so far is fetched with [`Encoder::take`], as often as the
/// caller likes to bound memory.
pub struct Encoder {
    pending: Vec<u8>,
    hasher: blake3::Hasher,
    frames: u64,
    objects: u64,
}

impl Encoder {
    /// Begins a file.
    #[must_use]
    pub fn new(kind: FileKind) -> Self {
        let head = encode_head(kind, FORMAT_VERSION);
        let mut hasher = blake3::Hasher::new();
        hasher.update(&head);
        Self { pending: head.to_vec(), hasher, frames: 0, objects: 0 }
    }

    /// Adds the header and its collections. Comes first in manifests and plans.
    ///
    /// # Errors
    /// A collection that does not fit into a frame.
    pub fn header(&mut self, header: &ManifestHeader) -> Result<(), FormatError> {
        self.frame(FrameKind::Header, &HeaderV1::from_domain(header), "the header")?;
        for (position, database) in (0..).zip(&header.cut.databases) {
            for collection in &database.collections {
                let collection = CollectionV1::from_domain(position, collection);
                self.frame(FrameKind::Collection, &collection, "the description of a collection")?;
            }
        }
        Ok(())
    }

    /// Adds the sizes of the packs that the objects lie in.
    ///
    /// # Errors
    /// None in practice: the frames are small.
    pub fn packs(&mut self, packs: &[PackSize]) -> Result<(), FormatError> {
        for packs in packs.chunks(FRAME_OBJECTS_MAX) {
            let packs: Vec<PackSizeV1> = packs
                .iter()
                .map(|pack| PackSizeV1 { pack_id: *pack.pack_id.as_bytes(), size_bytes: pack.size_bytes })
                .collect();
            self.frame(FrameKind::Packs, &packs, "the list of packs")?;
        }
        Ok(())
    }

    /// Adds objects, at most [`FRAME_OBJECTS_MAX`]: one frame. Nothing for an empty list.
    ///
    /// # Errors
    /// More objects than that.
    pub fn objects(&mut self, objects: &[StoredObject]) -> Result<(), FormatError> {
        if objects.is_empty() {
            return Ok(());
        }
        self.encoded(EncodedObjects::new(objects)?);
        Ok(())
    }

    /// Adds objects that were encoded before: one frame.
    pub fn encoded(&mut self, objects: EncodedObjects) {
        self.objects += objects.count;
        self.append(objects.frame);
    }

    /// Adds a unit of a plan.
    ///
    /// # Errors
    /// A unit with more than [`FRAME_OBJECTS_MAX`] objects.
    pub fn unit(&mut self, unit: &CopyUnit) -> Result<(), FormatError> {
        if FRAME_OBJECTS_MAX < unit.objects().len() {
            return Err(FormatError::TooLarge("a unit of the plan"));
        }
        self.objects += unit.objects().len() as u64;
        self.frame(FrameKind::Unit, &UnitV1::from(unit), "a unit of the plan")
    }

    /// Adds content hashes of a backup's objects.
    ///
    /// # Errors
    /// None in practice: the frames are small.
    pub fn hashes(
        &mut self,
        backup_id: BackupId,
        hashes: &[(ObjectId, ContentHash)],
    ) -> Result<(), FormatError> {
        for hashes in hashes.chunks(FRAME_OBJECTS_MAX) {
            self.objects += hashes.len() as u64;
            let hashes = HashesV1 {
                backup_id: backup_id.as_uuid().into_bytes(),
                hashes: hashes.iter().map(|(id, hash)| (*id.as_bytes(), *hash.as_bytes())).collect(),
            };
            self.frame(FrameKind::Hashes, &hashes, "a list of hashes")?;
        }
        Ok(())
    }

    /// Bytes waiting to be taken.
    #[must_use]
    pub fn pending_bytes(&self) -> usize {
        self.pending.len()
    }

    /// Takes what was encoded since the last call.
    #[must_use]
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.pending)
    }

    /// Adds the closing frame and gives the rest of the bytes.
    ///
    /// # Errors
    /// None in practice: the frame is small.
    pub fn finish(mut self) -> Result<Encoded, FormatError> {
        let closing = Closing { objects: self.objects, hash: *self.hasher.finalize().as_bytes() };
        let end = EndV1 { frames: self.frames, objects: closing.objects, hash: closing.hash };
        self.frame(FrameKind::End, &end, "the closing frame")?;
        Ok(Encoded { rest: self.pending, closing, file_hash: *self.hasher.finalize().as_bytes() })
    }

    fn frame<T: Serialize>(
        &mut self,
        kind: FrameKind,
        payload: &T,
        what: &'static str,
    ) -> Result<(), FormatError> {
        self.append(encode_frame(kind, payload, what)?);
        Ok(())
    }

    fn append(&mut self, frame: Vec<u8>) {
        self.hasher.update(&frame);
        if self.pending.is_empty() {
            self.pending = frame;
        } else {
            self.pending.extend_from_slice(&frame);
        }
        self.frames += 1;
    }
}
