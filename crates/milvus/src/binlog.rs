//! Reading rows out of Milvus's binlogs: which rows a segment has at an instant, and digests of their values.
//!
//! A binlog is a small container (see [`container`]) around Parquet files of one column. Run against the files of
//! Milvus 2.3.5. What only newer servers write (nullable columns, delta logs of two columns, the types from
//! `Float16Vector` on) follows public sources and is not verified against a live server.
//!
//! Everything that is read counts as hostile: lengths are checked before use, and memory is bounded by a fixed amount
//! plus a multiple of the input, except for what the caller keeps (16 bytes for a row).

mod column_types;
mod compact_thrift;
mod container;
mod deletes;
mod footer;
mod hashing;
mod pages;
mod payload;
#[cfg(test)]
mod tests;

use column_types::{KeyType, TIMESTAMP_FIELD_ID, TIMESTAMPS, ValueType};
use container::insert_events;
use deletes::Deletes;
use hashing::{FieldHasher, key_hash};
use milvault_domain::error::{PortError, PortErrorKind, PortResult};
use milvault_domain::milvus::{CollectionCut, FieldDescription};
use milvault_domain::ports::{BinlogReader, FieldDigest, KeyFiles, RowChoice, SegmentKeys};
use payload::read_column;

/// Rows of a segment that are accepted whatever the size of its files.
const SEGMENT_ROWS_MIN: usize = 4 << 20;
/// Rows per byte of its files that are accepted beyond that: Milvus packs sequential keys into about one byte, and
/// keys that repeat into less.
const SEGMENT_ROWS_PER_BYTE: usize = 256;

/// Reads binlog files. Has no state: hashes are the same for every reader of a version of Milvault.
#[derive(Debug, Clone, Copy, Default)]
pub struct MilvusBinlogReader;

impl BinlogReader for MilvusBinlogReader {
    fn segment_keys(
        &self,
        collection: &CollectionCut,
        files: &KeyFiles,
        cut_at_ms: i64,
    ) -> PortResult<SegmentKeys> {
        if files.timestamps.len() != files.keys.len() {
            return Err(corrupt(format!(
                "the segment has {} files of timestamps, but {} of primary keys",
                files.timestamps.len(),
                files.keys.len()
            )));
        }
        let key_field = key_field(collection)?;
        let mut reader = KeyReader {
            key_type: KeyType::of(key_field)?,
            key_field_id: key_field.field_id,
            cut_at_ms,
            rows_max: rows_max(files),
            deletes: Deletes::default(),
            timestamps: Vec::new(),
            rows: Vec::new(),
        };
        for (index, file) in files.deletes.iter().enumerate() {
            reader
                .deletes
                .read(file, reader.key_type, cut_at_ms, reader.rows_max)
                .map_err(|error| error.context(format_args!("delta log {}", index + 1)))?;
        }
        for (index, (timestamps, keys)) in files.timestamps.iter().zip(&files.keys).enumerate() {
            let number = index + 1;
            reader
                .read_timestamps(timestamps)
                .map_err(|error| error.context(format_args!("timestamps, file {number}")))?;
            reader
                .read_keys(keys)
                .map_err(|error| error.context(format_args!("primary keys, file {number}")))?;
        }
        Ok(SegmentKeys { rows: reader.rows })
    }

    fn field_values(
        &self,
        keys: &SegmentKeys,
        field: &FieldDescription,
        first_row: usize,
        file: &[u8],
        wanted: RowChoice,
    ) -> PortResult<FieldDigest> {
        field_digest(keys, field, first_row, file, wanted)
            .map_err(|error| error.context(format_args!("field {}", field.name)))
    }
}

/// Bytes do not decode.
fn corrupt(message: impl Into<String>) -> PortError {
    PortError::new(PortErrorKind::Corrupt, message)
}

/// Bytes are of a format that is not known here.
fn unsupported(message: impl Into<String>) -> PortError {
    PortError::new(PortErrorKind::Unsupported, message)
}

/// Whether a hybrid timestamp (milliseconds shifted left by 18 bits, logical counter below) is at or before an
/// instant.
fn is_at_or_before(timestamp: u64, instant_ms: i64) -> bool {
    u64::try_from(instant_ms).is_ok_and(|instant_ms| timestamp >> 18 <= instant_ms)
}

fn key_field(collection: &CollectionCut) -> PortResult<&FieldDescription> {
    collection
        .fields
        .iter()
        .find(|field| field.flags.primary_key)
        .ok_or_else(|| corrupt(format!("collection {} has no primary key in its schema", collection.name)))
}

fn rows_max(files: &KeyFiles) -> usize {
    let bytes: usize = files.timestamps.iter().chain(&files.keys).chain(&files.deletes).map(Vec::len).sum();
    bytes.saturating_mul(SEGMENT_ROWS_PER_BYTE).saturating_add(SEGMENT_ROWS_MIN)
}

/// Collects the rows of a segment file by file.
struct KeyReader {
    key_type: KeyType,
    key_field_id: i64,
    cut_at_ms: i64,
    rows_max: usize,
    deletes: Deletes,
    /// Of the file whose keys come next.
    timestamps: Vec<u64>,
    rows: Vec<Option<u64>>,
}

impl KeyReader {
    fn read_timestamps(&mut self, file: &[u8]) -> PortResult<()> {
        self.timestamps.clear();
        let room = self.rows_max.saturating_sub(self.rows.len());
        for event in insert_events(file, TIMESTAMP_FIELD_ID, TIMESTAMPS)? {
            read_column(event, TIMESTAMPS.physical, &mut |value| {
                if self.timestamps.len() == room {
                    return Err(corrupt("more rows than files of this size can hold"));
                }
                self.timestamps.push(value.and_then(as_u64).ok_or_else(|| corrupt("a timestamp is null"))?);
                Ok(())
            })?;
        }
        Ok(())
    }

    fn read_keys(&mut self, file: &[u8]) -> PortResult<()> {
        let value_type = self.key_type.value_type();
        let mut timestamps = self.timestamps.iter();
        for event in insert_events(file, self.key_field_id, value_type)? {
            read_column(event, value_type.physical, &mut |value| {
                let key = value.ok_or_else(|| corrupt("a primary key is null"))?;
                let timestamp =
                    timestamps.next().ok_or_else(|| corrupt("there are more keys than timestamps"))?;
                let hash = key_hash(self.key_type, key);
                let is_there =
                    is_at_or_before(*timestamp, self.cut_at_ms) && !self.deletes.is_after(hash, *timestamp);
                self.rows.push(is_there.then_some(hash));
                Ok(())
            })?;
        }
        match timestamps.len() {
            0 => Ok(()),
            missing => Err(corrupt(format!("there are {missing} fewer keys than timestamps"))),
        }
    }
}

fn as_u64(bytes: &[u8]) -> Option<u64> {
    bytes.try_into().ok().map(u64::from_ne_bytes)
}

fn field_digest(
    keys: &SegmentKeys,
    field: &FieldDescription,
    first_row: usize,
    file: &[u8],
    wanted: RowChoice,
) -> PortResult<FieldDigest> {
    if wanted == RowChoice::OneIn(0) {
        return Err(PortError::new(PortErrorKind::InvalidInput, "one row in none cannot be chosen"));
    }
    let value_type = ValueType::of(field)?;
    let hasher = FieldHasher::new(field.field_id, value_type);
    let mut rows = keys.rows.get(first_row..).unwrap_or_default().iter();
    let mut digest = FieldDigest::default();
    for event in insert_events(file, field.field_id, value_type)? {
        read_column(event, value_type.physical, &mut |value| {
            let row = rows.next().ok_or_else(|| corrupt("there are more values than rows in the segment"))?;
            digest.rows_in_file += 1;
            if let Some(key) = row.filter(|key| is_chosen(*key, wanted)) {
                digest.values.rows += 1;
                digest.values.sum = digest.values.sum.wrapping_add(u128::from(hasher.hash(key, value)));
            }
            Ok(())
        })?;
    }
    Ok(digest)
}

fn is_chosen(key: u64, wanted: RowChoice) -> bool {
    match wanted {
        RowChoice::All => true,
        RowChoice::OneIn(count) => key.is_multiple_of(count),
    }
}
