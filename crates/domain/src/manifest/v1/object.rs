//! Units and packs, version 1.

use super::super::FormatError;
use crate::binlog::{BinlogKey, BinlogKind};
use crate::object::{ContentHash, Fingerprint, ObjectId, PackId, SourceObject};
use crate::plan::{CopyUnit, PlannedObject};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct SourceV1 {
    kind: KindV1,
    collection_id: i64,
    partition_id: i64,
    segment_id: i64,
    field_id: i64,
    log_id: i64,
    size_bytes: u64,
    fingerprint: FingerprintV1,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum KindV1 {
    Insert,
    Delta,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
enum FingerprintV1 {
    ETag(Box<str>),
    ModifiedAtNanos(i64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum EncodingV1 {
    Raw,
}

/// A pack that a manifest references, with the size of its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(in super::super) struct PackSizeV1 {
    pub(in super::super) pack_id: [u8; 16],
    pub(in super::super) size_bytes: u64,
}

/// An object that is to be copied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in super::super) struct PlannedV1 {
    id: [u8; 16],
    source: SourceV1,
}

/// A unit of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in super::super) enum UnitV1 {
    Pack { pack_id: [u8; 16], objects: Vec<PlannedV1> },
    ServerSide { objects: Vec<PlannedV1> },
}

/// Content hashes found by a verify.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in super::super) struct HashesV1 {
    pub(in super::super) backup_id: [u8; 16],
    pub(in super::super) hashes: Vec<([u8; 16], [u8; 32])>,
}

/// The index at the end of a pack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in super::super) struct PackIndexV1 {
    pub(in super::super) objects: Vec<PackEntryV1>,
}

/// An object in a pack. Offsets follow from the lengths, in order, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(in super::super) struct PackEntryV1 {
    pub(in super::super) id: [u8; 16],
    pub(in super::super) offset_bytes: u64,
    pub(in super::super) stored_bytes: u64,
    encoding: EncodingV1,
    pub(in super::super) hash: [u8; 32],
}

impl PackEntryV1 {
    /// An entry for bytes stored as they are.
    pub(in super::super) const fn raw(
        id: ObjectId,
        offset_bytes: u64,
        stored_bytes: u64,
        hash: ContentHash,
    ) -> Self {
        Self {
            id: *id.as_bytes(),
            offset_bytes,
            stored_bytes,
            encoding: EncodingV1::Raw,
            hash: *hash.as_bytes(),
        }
    }
}

impl From<&SourceObject> for SourceV1 {
    fn from(source: &SourceObject) -> Self {
        let BinlogKey { kind, collection_id, partition_id, segment_id, field_id, log_id } = source.key;
        Self {
            kind: match kind {
                BinlogKind::Insert => KindV1::Insert,
                BinlogKind::Delta => KindV1::Delta,
            },
            collection_id,
            partition_id,
            segment_id,
            field_id,
            log_id,
            size_bytes: source.size_bytes,
            fingerprint: match &source.fingerprint {
                Fingerprint::ETag(tag) => FingerprintV1::ETag(tag.clone()),
                Fingerprint::ModifiedAtNanos(nanos) => FingerprintV1::ModifiedAtNanos(*nanos),
            },
        }
    }
}

impl From<SourceV1> for SourceObject {
    fn from(source: SourceV1) -> Self {
        Self {
            key: BinlogKey {
                kind: match source.kind {
                    KindV1::Insert => BinlogKind::Insert,
                    KindV1::Delta => BinlogKind::Delta,
                },
                collection_id: source.collection_id,
                partition_id: source.partition_id,
                segment_id: source.segment_id,
                field_id: source.field_id,
                log_id: source.log_id,
            },
            size_bytes: source.size_bytes,
            fingerprint: match source.fingerprint {
                FingerprintV1::ETag(tag) => Fingerprint::ETag(tag),
                FingerprintV1::ModifiedAtNanos(nanos) => Fingerprint::ModifiedAtNanos(nanos),
            },
        }
    }
}

impl From<&PlannedObject> for PlannedV1 {
    fn from(object: &PlannedObject) -> Self {
        Self { id: *object.id.as_bytes(), source: SourceV1::from(&object.source) }
    }
}

impl From<PlannedV1> for PlannedObject {
    fn from(object: PlannedV1) -> Self {
        Self { id: ObjectId::from_bytes(object.id), source: object.source.into() }
    }
}

impl From<&CopyUnit> for UnitV1 {
    fn from(unit: &CopyUnit) -> Self {
        let planned = |objects: &[PlannedObject]| objects.iter().map(PlannedV1::from).collect();
        match unit {
            CopyUnit::Pack { pack_id, objects } => {
                Self::Pack { pack_id: *pack_id.as_bytes(), objects: planned(objects) }
            }
            CopyUnit::ServerSide { objects } => Self::ServerSide { objects: planned(objects) },
        }
    }
}

impl TryFrom<UnitV1> for CopyUnit {
    type Error = FormatError;

    fn try_from(unit: UnitV1) -> Result<Self, FormatError> {
        let planned = |objects: Vec<PlannedV1>| -> Vec<PlannedObject> {
            objects.into_iter().map(PlannedObject::from).collect()
        };
        let unit = match unit {
            UnitV1::Pack { pack_id, objects } => {
                Self::Pack { pack_id: PackId::from_bytes(pack_id), objects: planned(objects) }
            }
            UnitV1::ServerSide { objects } => Self::ServerSide { objects: planned(objects) },
        };
        if unit.objects().is_empty() {
            return Err(FormatError::Corrupt("a unit of the plan is empty"));
        }
        Ok(unit)
    }
}
