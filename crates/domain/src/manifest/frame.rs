//! Heads and frames.
//!
//! Head: magic (8) | version (4, little endian) | first 4 bytes of BLAKE3 of those 12.
//! Frame: kind (1) | payload length (4, little endian) | payload | first 16 bytes of BLAKE3 of all of it.

use super::{FRAME_BYTES_MAX, FileKind, FormatError};
use serde::Serialize;
use serde::de::DeserializeOwned;

pub(super) const HEAD_BYTES: usize = 16;
const FRAME_HEAD_BYTES: usize = 5;
const CHECKSUM_BYTES: usize = 16;

/// What a frame holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum FrameKind {
    Header = 1,
    Collection = 2,
    Packs = 3,
    Objects = 4,
    Unit = 5,
    Hashes = 6,
    End = 255,
}

impl FrameKind {
    fn from_byte(byte: u8) -> Option<Self> {
        [Self::Header, Self::Collection, Self::Packs, Self::Objects, Self::Unit, Self::Hashes, Self::End]
            .into_iter()
            .find(|kind| *kind as u8 == byte)
    }
}

/// The head of a file.
pub(super) fn encode_head(kind: FileKind, version: u32) -> [u8; HEAD_BYTES] {
    let mut head = [0; HEAD_BYTES];
    head[..8].copy_from_slice(&kind.magic());
    head[8..12].copy_from_slice(&version.to_le_bytes());
    let checksum = blake3::hash(&head[..12]);
    head[12..].copy_from_slice(&checksum.as_bytes()[..4]);
    head
}

/// Reads the version from a head.
pub(super) fn decode_head(kind: FileKind, head: &[u8; HEAD_BYTES]) -> Result<u32, FormatError> {
    if head[..8] != kind.magic() {
        return Err(FormatError::Corrupt("the file does not begin as files of its kind do"));
    }
    // Checked on its own, so that a flipped bit in the version is not taken for a newer program's file.
    if head[12..] != blake3::hash(&head[..12]).as_bytes()[..4] {
        return Err(FormatError::Corrupt("the checksum of the file's head does not match"));
    }
    Ok(u32::from_le_bytes([head[8], head[9], head[10], head[11]]))
}

/// A frame around a payload.
pub(super) fn encode_frame<T: Serialize>(
    kind: FrameKind,
    payload: &T,
    what: &'static str,
) -> Result<Vec<u8>, FormatError> {
    let frame = postcard::to_extend(payload, begin_frame(kind)).map_err(|_| FormatError::TooLarge(what))?;
    close_frame(frame, what)
}

/// A frame to which its payload is still to be appended.
pub(super) fn begin_frame(kind: FrameKind) -> Vec<u8> {
    let mut frame = vec![0; FRAME_HEAD_BYTES];
    frame[0] = kind as u8;
    frame
}

/// Completes a frame whose payload was appended.
pub(super) fn close_frame(mut frame: Vec<u8>, what: &'static str) -> Result<Vec<u8>, FormatError> {
    let length = frame.len() - FRAME_HEAD_BYTES;
    if FRAME_BYTES_MAX < length {
        return Err(FormatError::TooLarge(what));
    }
    let length = u32::try_from(length).map_err(|_| FormatError::TooLarge(what))?;
    frame[1..FRAME_HEAD_BYTES].copy_from_slice(&length.to_le_bytes());
    let checksum = blake3::hash(&frame);
    frame.extend_from_slice(&checksum.as_bytes()[..CHECKSUM_BYTES]);
    Ok(frame)
}

/// A complete frame at the beginning of `bytes`.
pub(super) struct Frame<'a> {
    pub(super) kind: FrameKind,
    pub(super) payload: &'a [u8],
    pub(super) total_bytes: usize,
}

/// Finds the frame at the beginning of `bytes`; `None` while it is not there in full.
pub(super) fn split_frame(bytes: &[u8]) -> Result<Option<Frame<'_>>, FormatError> {
    let Some(head) = bytes.first_chunk::<FRAME_HEAD_BYTES>() else {
        return Ok(None);
    };
    let length = usize::try_from(u32::from_le_bytes([head[1], head[2], head[3], head[4]]))
        .map_err(|_| FormatError::Corrupt("a frame is longer than frames may be"))?;
    if FRAME_BYTES_MAX < length {
        return Err(FormatError::Corrupt("a frame is longer than frames may be"));
    }
    let kind = FrameKind::from_byte(head[0]).ok_or(FormatError::Corrupt("a frame is of an unknown kind"))?;
    let checked = FRAME_HEAD_BYTES + length;
    let total_bytes = checked + CHECKSUM_BYTES;
    let Some(frame) = bytes.get(..total_bytes) else {
        return Ok(None);
    };
    if frame[checked..] != blake3::hash(&frame[..checked]).as_bytes()[..CHECKSUM_BYTES] {
        return Err(FormatError::Corrupt("the checksum of a frame does not match"));
    }
    Ok(Some(Frame { kind, payload: &frame[FRAME_HEAD_BYTES..checked], total_bytes }))
}

/// Decodes a payload that must be used up by it.
pub(super) fn decode_payload<T: DeserializeOwned>(payload: &[u8]) -> Result<T, FormatError> {
    match postcard::take_from_bytes(payload) {
        Ok((value, [])) => Ok(value),
        Ok(_) => Err(FormatError::Corrupt("a frame holds more than its kind does")),
        Err(_) => Err(FormatError::Corrupt("a frame does not decode")),
    }
}
