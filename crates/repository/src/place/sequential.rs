//! Files that are read from front to back.
//!
//! Large ones are read past the page cache: a verify that reads the cache says nothing about the disk, and filling
//! the cache with a repository costs more than reading it and pushes Milvus's files out.

use super::buffer::{ALIGNMENT_BYTES, BufferPool};
use super::direct::is_refusal;
use bytes::Bytes;
use rustix::fs::OFlags;
use std::fs::{File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Stretches from this length on are read past the cache.
const DIRECT_FROM_BYTES: u64 = 1 << 20;

/// See the module.
pub(super) struct SequentialFile {
    file: File,
    direct: AtomicBool,
}

impl SequentialFile {
    /// Opens a file of which a stretch of this length is going to be read.
    pub(super) fn open(path: &Path, length_bytes: u64) -> io::Result<Self> {
        if DIRECT_FROM_BYTES <= length_bytes {
            let flags = OFlags::DIRECT.bits().cast_signed();
            match OpenOptions::new().read(true).custom_flags(flags).open(path) {
                Ok(file) => return Ok(Self { file, direct: AtomicBool::new(true) }),
                Err(error) if is_refusal(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Self { file: File::open(path)?, direct: AtomicBool::new(false) })
    }

    /// Reads a piece from the start of a range; empty at the end of the file.
    pub(super) fn read(&self, buffers: &Arc<BufferPool>, range: Range<u64>) -> io::Result<Bytes> {
        let mut buffer = buffers.take();
        let (from, skip, end) = if self.direct.load(Ordering::Relaxed) {
            let skip = range.start % ALIGNMENT_BYTES as u64;
            (range.start - skip, skip, range.end.next_multiple_of(ALIGNMENT_BYTES as u64))
        } else {
            (range.start, 0, range.end)
        };
        let space = buffer.unfilled();
        let length = usize::try_from(end - from).unwrap_or(usize::MAX).min(space.len());
        let read = loop {
            match self.file.read_at(&mut space[..length], from) {
                Ok(read) => break read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if self.direct.load(Ordering::Relaxed) && is_refusal(&error) => {
                    rustix::fs::fcntl_setfl(&self.file, OFlags::empty())?;
                    self.direct.store(false, Ordering::Relaxed);
                }
                Err(error) => return Err(error),
            }
        };
        buffer.advance(read);
        // What the alignment added before and after the range does not belong to it.
        let skip = usize::try_from(skip).unwrap_or(usize::MAX).min(read);
        let wanted = usize::try_from(range.end - range.start).unwrap_or(usize::MAX).min(read - skip);
        Ok(Bytes::from_owner(buffer).slice(skip..skip + wanted))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_range_comes_out_whatever_the_alignment() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        let content: Vec<u8> = (0..=250).cycle().take(3_000_001).collect();
        std::fs::write(&path, &content).unwrap();
        let pool = BufferPool::new(1, 1 << 20);
        for range in [0..3_000_001, 1..3_000_000, 4096..2_000_000, 5_000..5_010, 2_999_999..3_000_001] {
            let file = SequentialFile::open(&path, range.end - range.start).unwrap();
            let mut found = Vec::new();
            let mut start = range.start;
            while start < range.end {
                let piece = file.read(&pool, start..range.end).unwrap();
                assert!(!piece.is_empty());
                start += piece.len() as u64;
                found.extend_from_slice(&piece);
            }
            let expected = usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap();
            assert!(found == content[expected], "{range:?}");
        }
        let file = SequentialFile::open(&path, 2 << 20).unwrap();
        assert!(file.read(&pool, 3_000_001..4_000_000).unwrap().is_empty());
    }
}
