//! The container: a magic number, a descriptor, and events that each end with a Parquet file. All numbers are little
//! endian.
//!
//! ```text
//! magic      i32 = 0xfffabc
//! event      header: timestamp u64, kind i8, length of the whole event i32, position of the next event i32
//! descriptor (kind 0) collection, partition, segment and field ids i64, first and last timestamp u64,
//!            data type i32, length of the fixed part of each kind of event [u8; 8], length of extras i32, JSON
//! data       (kind 1 insert, 2 delete) first and last timestamp u64, Parquet file
//! ```

use super::column_types::ValueType;
use super::{corrupt, unsupported};
use milvault_domain::error::{PortError, PortResult};
use serde::Deserialize;

const MAGIC: i32 = 0x00ff_fabc;
const HEADER_BYTES: usize = 17;
const KIND_DESCRIPTOR: i8 = 0;
const KIND_INSERT: i8 = 1;
const KIND_DELETE: i8 = 2;
/// Collection, partition and segment id, which come before the field id.
const OWNER_BYTES: usize = 24;
const TIMESTAMP_RANGE_BYTES: usize = 16;
/// Milvus has had eight kinds of events since 2.0.
const EVENT_KINDS: usize = 8;

/// The Parquet files of a field's binlog, in order.
pub(super) fn insert_events(file: &[u8], field_id: i64, value_type: ValueType) -> PortResult<Vec<&[u8]>> {
    let (descriptor, payloads) = read(file, KIND_INSERT)?;
    if descriptor.field_id != field_id {
        return Err(corrupt(format!("the file is of field {}", descriptor.field_id)));
    }
    if !value_type.is_stored_as(descriptor.data_type) {
        return Err(corrupt(format!("the file says it holds values of type {}", descriptor.data_type)));
    }
    Ok(payloads)
}

/// The Parquet files of a delta log, in order.
pub(super) fn delete_events(file: &[u8]) -> PortResult<Vec<&[u8]>> {
    read(file, KIND_DELETE).map(|(_, payloads)| payloads)
}

fn read(file: &[u8], kind: i8) -> PortResult<(Descriptor, Vec<&[u8]>)> {
    let mut rest = Bytes(file);
    if rest.i32()? != MAGIC {
        return Err(corrupt("not a binlog: it does not begin with Milvus's magic number"));
    }
    let descriptor = Descriptor::read(&mut rest)?;
    let mut payloads = Vec::new();
    while !rest.0.is_empty() {
        let (found, mut event) = rest.event()?;
        if found != kind {
            return Err(corrupt(format!("an event of kind {found} among those of kind {kind}")));
        }
        event.take(TIMESTAMP_RANGE_BYTES)?;
        payloads.push(event.0);
    }
    Ok((descriptor, payloads))
}

struct Descriptor {
    field_id: i64,
    data_type: i32,
}

impl Descriptor {
    fn read(rest: &mut Bytes<'_>) -> PortResult<Self> {
        let (kind, mut event) = rest.event()?;
        if kind != KIND_DESCRIPTOR {
            return Err(corrupt("the first event is not a descriptor"));
        }
        event.take(OWNER_BYTES)?;
        let field_id = i64::from_le_bytes(event.array()?);
        event.take(TIMESTAMP_RANGE_BYTES)?;
        let data_type = event.i32()?;
        event.take(EVENT_KINDS)?;
        let extras = event.i32()?;
        if usize::try_from(extras) != Ok(event.0.len()) {
            return Err(corrupt("the descriptor's length is not that of its parts"));
        }
        let extras: Extras =
            serde_json::from_slice(event.0).map_err(|_| corrupt("the descriptor's extras are not JSON"))?;
        if extras.edek.is_some() {
            return Err(unsupported("the binlog is encrypted; the key is Milvus's alone"));
        }
        Ok(Self { field_id, data_type })
    }
}

/// What concerns a reader of the additions to the descriptor.
#[derive(Deserialize)]
struct Extras {
    /// Wrapped key of an encrypted file (2.6 and later).
    edek: Option<String>,
}

/// Bytes not read yet.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    /// The next event: its kind, and what follows its header.
    fn event(&mut self) -> PortResult<(i8, Bytes<'a>)> {
        let mut header = Bytes(self.0);
        let _timestamp: [u8; 8] = header.array()?;
        let kind = i8::from_le_bytes(header.array()?);
        let length = usize::try_from(header.i32()?).map_err(|_| corrupt("an event has a negative length"))?;
        let _next: i32 = header.i32()?;
        let mut event = Bytes(self.take(length)?);
        event.take(HEADER_BYTES)?;
        Ok((kind, event))
    }

    fn i32(&mut self) -> PortResult<i32> {
        self.array().map(i32::from_le_bytes)
    }

    fn array<const LENGTH: usize>(&mut self) -> PortResult<[u8; LENGTH]> {
        let (taken, rest) = self.0.split_first_chunk().ok_or_else(truncated)?;
        self.0 = rest;
        Ok(*taken)
    }

    fn take(&mut self, length: usize) -> PortResult<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or_else(truncated)?;
        self.0 = rest;
        Ok(taken)
    }
}

fn truncated() -> PortError {
    corrupt("the file ends in the middle of an event")
}
