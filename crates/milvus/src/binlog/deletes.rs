//! Delta logs: which keys were deleted when.

use super::column_types::{DELETE_RECORDS, KeyType, TIMESTAMPS};
use super::container::delete_events;
use super::hashing::key_hash;
use super::payload::{column_count, read_column, read_column_at};
use super::{as_u64, corrupt, is_at_or_before, unsupported};
use milvault_domain::error::PortResult;
use serde::Deserialize;
use std::borrow::Cow;
use std::collections::HashMap;

/// For each key the last delete that counts. Which delete came before is of no interest: a row is gone when any delete
/// is later than it.
#[derive(Default)]
pub(super) struct Deletes {
    last: HashMap<u64, u64>,
}

impl Deletes {
    /// Whether a delete of the key is later than this. An upsert gives its delete and its row one timestamp, so the
    /// row stays.
    pub(super) fn is_after(&self, key_hash: u64, timestamp: u64) -> bool {
        self.last.get(&key_hash).is_some_and(|deleted| *deleted > timestamp)
    }

    /// Adds the deletes of a file that are at or before the cut.
    pub(super) fn read(
        &mut self,
        file: &[u8],
        key_type: KeyType,
        cut_at_ms: i64,
        rows_max: usize,
    ) -> PortResult<()> {
        for event in delete_events(file)? {
            match column_count(event)? {
                1 => read_column(event, DELETE_RECORDS, &mut |record| {
                    let record = record.ok_or_else(|| corrupt("a delete is null"))?;
                    let (hash, timestamp) = parse(record, key_type)?;
                    self.add(hash, timestamp, cut_at_ms);
                    Ok(())
                })?,
                2 => self.read_pair(event, key_type, cut_at_ms, rows_max)?,
                other => return Err(unsupported(format!("delta log of {other} columns"))),
            }
        }
        Ok(())
    }

    /// Keys in one column, timestamps in the other (2.4 and later). Not verified against a live server.
    fn read_pair(
        &mut self,
        event: &[u8],
        key_type: KeyType,
        cut_at_ms: i64,
        rows_max: usize,
    ) -> PortResult<()> {
        let mut hashes = Vec::new();
        read_column_at(event, 0, key_type.value_type().physical, &mut |key| {
            if hashes.len() == rows_max {
                return Err(corrupt("more deletes than files of this size can hold"));
            }
            hashes.push(key_hash(key_type, key.ok_or_else(|| corrupt("a deleted key is null"))?));
            Ok(())
        })?;
        let mut hashes = hashes.into_iter();
        read_column_at(event, 1, TIMESTAMPS.physical, &mut |timestamp| {
            let timestamp =
                timestamp.and_then(as_u64).ok_or_else(|| corrupt("a delete's timestamp is null"))?;
            let hash = hashes.next().ok_or_else(|| corrupt("there are more deletes than keys"))?;
            self.add(hash, timestamp, cut_at_ms);
            Ok(())
        })?;
        match hashes.len() {
            0 => Ok(()),
            missing => Err(corrupt(format!("{missing} deletes have no timestamp"))),
        }
    }

    fn add(&mut self, hash: u64, timestamp: u64, cut_at_ms: i64) {
        if is_at_or_before(timestamp, cut_at_ms) {
            let last = self.last.entry(hash).or_default();
            *last = timestamp.max(*last);
        }
    }
}

/// A delete as Milvus 2.1 to 2.5 write it.
#[derive(Deserialize)]
struct Record<'a> {
    #[serde(borrow)]
    pk: Key<'a>,
    ts: u64,
    #[serde(rename = "pkType")]
    key_type: i32,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Key<'a> {
    Number(i64),
    #[serde(borrow)]
    Text(Cow<'a, str>),
}

/// Hash of the key, and the timestamp.
fn parse(record: &[u8], key_type: KeyType) -> PortResult<(u64, u64)> {
    if let Some(pair) = parse_pair(record) {
        return match key_type {
            KeyType::Int64 => Ok((key_hash(key_type, &pair.0.to_ne_bytes()), pair.1)),
            KeyType::VarChar => Err(corrupt("a delete has a number for a key, the collection has text")),
        };
    }
    let record: Record<'_> =
        serde_json::from_slice(record).map_err(|_| corrupt("a delete is neither JSON nor key,timestamp"))?;
    if record.key_type != key_type.code() {
        return Err(corrupt("a delete's key is not of the type of the collection's keys"));
    }
    let hash = match (&record.pk, key_type) {
        (Key::Number(number), KeyType::Int64) => key_hash(key_type, &number.to_ne_bytes()),
        (Key::Text(text), KeyType::VarChar) => key_hash(key_type, text.as_bytes()),
        _ => return Err(corrupt("a delete's key is not of the type that it says")),
    };
    Ok((hash, record.ts))
}

/// `key,timestamp`, as Milvus 2.0 wrote it when all keys were numbers.
fn parse_pair(record: &[u8]) -> Option<(i64, u64)> {
    let (key, timestamp) = std::str::from_utf8(record).ok()?.split_once(',')?;
    Some((key.parse().ok()?, timestamp.parse().ok()?))
}
