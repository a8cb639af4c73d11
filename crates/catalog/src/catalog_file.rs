//! The file of a backup of the catalog: lines of text in pieces, each compressed and then encrypted with a key that is
//! derived for this file from the key that seals secrets (docs/format.md).

use crate::export::Lines;
use crate::seal::{FileKey, KEY_ID_BYTES, SALT_BYTES, Sealer};
use async_trait::async_trait;
use milvault_domain::ports::{ByteSink, ByteSource, PortError, PortErrorKind, PortResult};

const MAGIC: &[u8; 8] = b"MILVCATL";
const VERSION: u32 = 1;
/// Magic, version, key, salt, checksum.
const HEAD_BYTES: usize = 8 + 4 + KEY_ID_BYTES + SALT_BYTES + 4;
/// Text of a piece: it ends with the line that reaches this.
const PIECE_CHARS: usize = 512 << 10;
/// Most text of a piece that is read: one line may be long.
const PIECE_BYTES_MAX: usize = 256 << 20;

/// Writes lines as such a file.
pub(crate) struct FileWriter<'a> {
    sink: &'a mut dyn ByteSink,
    key: FileKey,
    text: String,
    piece: u64,
    written: u64,
}

impl<'a> FileWriter<'a> {
    pub(crate) async fn begin(sink: &'a mut dyn ByteSink, sealer: &Sealer) -> PortResult<Self> {
        let (key, key_id, salt) = sealer.new_file_key()?;
        let mut head = Vec::with_capacity(HEAD_BYTES);
        head.extend(MAGIC);
        head.extend(VERSION.to_le_bytes());
        head.extend(key_id);
        head.extend(salt);
        let checksum = blake3::hash(&head);
        head.extend(&checksum.as_bytes()[..4]);
        let written = head.len() as u64;
        sink.write(head).await?;
        Ok(Self { sink, key, text: String::new(), piece: 0, written })
    }

    /// Writes what is left. Returns the size of the file.
    pub(crate) async fn end(mut self) -> PortResult<u64> {
        self.flush(true).await?;
        Ok(self.written)
    }

    async fn flush(&mut self, last: bool) -> PortResult<()> {
        let text = std::mem::take(&mut self.text);
        let packed = zstd::bulk::compress(text.as_bytes(), 3).map_err(|error| {
            PortError::with_source(
                PortErrorKind::Internal,
                "a backup of the catalog cannot be compressed",
                error,
            )
        })?;
        let sealed = self.key.seal(self.piece, last, &packed)?;
        let length = u32::try_from(sealed.len()).map_err(|_| damaged())?;
        let mut piece = Vec::with_capacity(sealed.len() + 4);
        piece.extend(length.to_le_bytes());
        piece.extend(sealed);
        self.piece += 1;
        self.written += piece.len() as u64;
        self.sink.write(piece).await
    }
}

#[async_trait]
impl Lines for FileWriter<'_> {
    async fn line(&mut self, line: String) -> PortResult<()> {
        self.text.push_str(&line);
        self.text.push('\n');
        if PIECE_CHARS <= self.text.len() { self.flush(false).await } else { Ok(()) }
    }
}

/// Reads such a file.
pub(crate) struct FileReader<'a> {
    source: &'a mut dyn ByteSource,
    buffer: Vec<u8>,
    key: FileKey,
    piece: u64,
    ended: bool,
}

impl<'a> FileReader<'a> {
    pub(crate) async fn begin(source: &'a mut dyn ByteSource, sealer: &Sealer) -> PortResult<Self> {
        let mut buffer = Vec::new();
        let head = take(source, &mut buffer, HEAD_BYTES).await?;
        let (body, checksum) = head.split_at(HEAD_BYTES - 4);
        if !body.starts_with(MAGIC) || blake3::hash(body).as_bytes()[..4] != *checksum {
            return Err(PortError::new(PortErrorKind::Corrupt, "this is no backup of a catalog"));
        }
        if body[8..12] != VERSION.to_le_bytes() {
            let message = "the backup of the catalog has a newer format; use a newer Milvault";
            return Err(PortError::new(PortErrorKind::Unsupported, message));
        }
        let (key_id, salt) = body[12..].split_at(KEY_ID_BYTES);
        let key = sealer.file_key(key_id, salt)?;
        Ok(Self { source, buffer, key, piece: 0, ended: false })
    }

    /// The next piece of text; `None` behind the last one.
    pub(crate) async fn next(&mut self) -> PortResult<Option<String>> {
        if self.ended {
            return if self.buffer.is_empty() && self.source.read().await?.is_none() {
                Ok(None)
            } else {
                Err(damaged())
            };
        }
        let length = take(self.source, &mut self.buffer, 4).await?;
        let length = u32::from_le_bytes(length.try_into().map_err(|_| damaged())?) as usize;
        if PIECE_BYTES_MAX < length {
            return Err(damaged());
        }
        let sealed = take(self.source, &mut self.buffer, length).await?;
        // Which one is the last shows by what it was sealed as.
        let packed = if let Ok(packed) = self.key.unseal(self.piece, false, &sealed) {
            packed
        } else {
            self.ended = true;
            self.key.unseal(self.piece, true, &sealed)?
        };
        self.piece += 1;
        let text = zstd::bulk::decompress(&packed, PIECE_BYTES_MAX).map_err(|_| damaged())?;
        String::from_utf8(text).map(Some).map_err(|_| damaged())
    }
}

async fn take(source: &mut dyn ByteSource, buffer: &mut Vec<u8>, length: usize) -> PortResult<Vec<u8>> {
    while buffer.len() < length {
        buffer.extend(source.read().await?.ok_or_else(damaged)?);
    }
    let rest = buffer.split_off(length);
    Ok(std::mem::replace(buffer, rest))
}

fn damaged() -> PortError {
    PortError::new(PortErrorKind::Corrupt, "the backup of the catalog is damaged or cut off")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[derive(Default)]
    struct Memory(Vec<u8>);

    #[async_trait]
    impl ByteSink for Memory {
        async fn write(&mut self, bytes: Vec<u8>) -> PortResult<()> {
            self.0.extend(bytes);
            Ok(())
        }
    }

    /// Hands the bytes out in small parts.
    struct Parts(Vec<Vec<u8>>);

    #[async_trait]
    impl ByteSource for Parts {
        async fn read(&mut self) -> PortResult<Option<Vec<u8>>> {
            Ok(self.0.pop())
        }
    }

    fn parts(bytes: &[u8]) -> Parts {
        Parts(bytes.chunks(1_000).rev().map(<[u8]>::to_vec).collect())
    }

    async fn read_all(bytes: &[u8], sealer: &Sealer) -> PortResult<String> {
        let mut source = parts(bytes);
        let mut reader = FileReader::begin(&mut source, sealer).await?;
        let mut text = String::new();
        while let Some(piece) = reader.next().await? {
            text.push_str(&piece);
        }
        Ok(text)
    }

    #[tokio::test]
    async fn what_was_written_is_read_and_every_change_is_found() {
        let sealer = Sealer::from_key_bytes([7; 32]);
        let mut memory = Memory::default();
        let mut writer = FileWriter::begin(&mut memory, &sealer).await.unwrap();
        let mut expected = String::new();
        for number in 0..30_000 {
            let line = format!("line {number} of a catalog with canary");
            expected.push_str(&line);
            expected.push('\n');
            writer.line(line).await.unwrap();
        }
        assert!(1 < writer.piece, "several pieces");
        let size = writer.end().await.unwrap();
        let file = memory.0;
        assert_eq!(size, file.len() as u64);
        assert!(!file.windows(6).any(|window| window == b"canary"));
        assert_eq!(read_all(&file, &sealer).await.unwrap(), expected);
        let both = Sealer::from_keys([8; 32], &[[7; 32]]);
        assert_eq!(read_all(&file, &both).await.unwrap(), expected, "an older key reads it");
        let other = read_all(&file, &Sealer::from_key_bytes([8; 32])).await.unwrap_err();
        assert_eq!(other.kind(), PortErrorKind::PermissionDenied);

        for position in [0, 9, 13, 30, HEAD_BYTES, HEAD_BYTES + 50, file.len() - 1] {
            let mut changed = file.clone();
            changed[position] ^= 1;
            assert!(read_all(&changed, &sealer).await.is_err(), "{position}");
        }
        let first = u32::from_le_bytes(file[HEAD_BYTES..HEAD_BYTES + 4].try_into().unwrap()) as usize;
        for end in [0, 10, HEAD_BYTES, HEAD_BYTES + 4 + first, file.len() - 1] {
            assert!(read_all(&file[..end], &sealer).await.is_err(), "cut off at {end}");
        }
        assert!(read_all(&[file.as_slice(), b"x"].concat(), &sealer).await.is_err());
    }
}
