//! Binlogs as text: a head, then one value per line. A delta log has lines of `key@milliseconds`.

use milvault_domain::milvus::{CollectionCut, FieldDescription};
use milvault_domain::ports::{
    BinlogReader, FieldDigest, KeyFiles, PortError, PortErrorKind, PortResult, RowChoice, RowDigest,
    SegmentKeys,
};
use std::fmt::Display;
use std::sync::atomic::{AtomicUsize, Ordering};

const HEAD: &str = "binlog";

pub fn encode(values: impl IntoIterator<Item = impl Display>) -> Vec<u8> {
    let mut text = HEAD.to_owned();
    for value in values {
        text.push('\n');
        text.push_str(&value.to_string());
    }
    text.into_bytes()
}

pub fn decode(file: &[u8]) -> PortResult<Vec<String>> {
    let corrupt = || PortError::new(PortErrorKind::Corrupt, "a binlog does not decode");
    let text = std::str::from_utf8(file).map_err(|_| corrupt())?;
    let mut lines = text.split('\n');
    if lines.next() != Some(HEAD) {
        return Err(corrupt());
    }
    Ok(lines.map(str::to_owned).collect())
}

pub fn decode_all(files: &[Vec<u8>]) -> PortResult<Vec<String>> {
    let decoded: PortResult<Vec<Vec<String>>> = files.iter().map(|file| decode(file)).collect();
    Ok(decoded?.concat())
}

/// Keys with the time of their delete.
pub fn deletes(files: &[Vec<u8>]) -> PortResult<Vec<(String, i64)>> {
    let parse = |line: &String| {
        let (key, at) = line.rsplit_once('@').unwrap();
        (key.to_owned(), at.parse().unwrap())
    };
    Ok(decode_all(files)?.iter().map(parse).collect())
}

pub fn is_there(key: &str, at_ms: i64, deletes: &[(String, i64)], cut_at_ms: i64) -> bool {
    let is_deleted = deletes.iter().any(|(gone, when)| gone == key && at_ms < *when && *when <= cut_at_ms);
    at_ms <= cut_at_ms && !is_deleted
}

/// Reads that format, and counts what it was given.
#[derive(Default)]
pub struct FakeBinlogs {
    pub field_files: AtomicUsize,
    pub segments: AtomicUsize,
}

impl BinlogReader for FakeBinlogs {
    fn segment_keys(&self, _: &CollectionCut, files: &KeyFiles, cut_at_ms: i64) -> PortResult<SegmentKeys> {
        self.segments.fetch_add(1, Ordering::Relaxed);
        let (times, keys) = (decode_all(&files.timestamps)?, decode_all(&files.keys)?);
        let deletes = deletes(&files.deletes)?;
        if times.len() != keys.len() {
            return Err(PortError::new(PortErrorKind::Corrupt, "the files of the fields disagree"));
        }
        let row = |(time, key): (&String, &String)| {
            is_there(key, time.parse().unwrap(), &deletes, cut_at_ms).then(|| hash(&[key.as_bytes()]))
        };
        Ok(SegmentKeys { rows: times.iter().zip(&keys).map(row).collect() })
    }

    fn field_values(
        &self,
        keys: &SegmentKeys,
        _: &FieldDescription,
        first_row: usize,
        file: &[u8],
        wanted: RowChoice,
    ) -> PortResult<FieldDigest> {
        self.field_files.fetch_add(1, Ordering::Relaxed);
        let values = decode(file)?;
        let mut digest = RowDigest::default();
        for (position, value) in values.iter().enumerate() {
            let Some(row) = keys.rows.get(first_row + position) else {
                return Err(PortError::new(PortErrorKind::Corrupt, "a field has more rows than the keys"));
            };
            let Some(key) = row else { continue };
            if matches!(wanted, RowChoice::OneIn(n) if key % n != 0) {
                continue;
            }
            let value = hash(&[&key.to_le_bytes(), value.as_bytes()]);
            digest = digest.plus(RowDigest { rows: 1, sum: u128::from(value) });
        }
        Ok(FieldDigest { rows_in_file: values.len(), values: digest })
    }
}

fn hash(parts: &[&[u8]]) -> u64 {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(part);
    }
    u64::from_le_bytes(*hasher.finalize().as_bytes().first_chunk().unwrap())
}
