//! One stored file: at the source, and in a repository.

use crate::binlog::BinlogKey;
use crate::ids::ClusterId;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::LazyLock;

/// What distinguishes two writes to one key, as far as the store tells.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Fingerprint {
    /// Entity tag of an object store, without quotes. Not a content hash in general.
    ETag(Box<str>),
    /// Modification time of a local file, nanoseconds since 1970-01-01 UTC.
    ModifiedAtNanos(i64),
}

/// A file at the source, as a listing shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceObject {
    /// Its key.
    pub key: BinlogKey,
    /// Its size.
    pub size_bytes: u64,
    /// Its fingerprint.
    pub fingerprint: Fingerprint,
}

/// Identity of a source file: derived from cluster, key, size and fingerprint, hence known without reading it. Two
/// backups of one cluster that meet the same immutable binlog give it the same id.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ObjectId([u8; 16]);

/// Identity of a pack: derived from the ids of the objects in it, in order. Whoever packs the same objects writes
/// the same bytes under the same name.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PackId([u8; 16]);

/// BLAKE3 of the content as it was at the source.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ContentHash([u8; 32]);

macro_rules! hex_bytes {
    ($name:ident, $length:literal) => {
        impl $name {
            /// Wraps the bytes.
            #[must_use]
            pub const fn from_bytes(bytes: [u8; $length]) -> Self {
                Self(bytes)
            }

            /// The bytes.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; $length] {
                &self.0
            }

            /// Reads the lower-case hexadecimal form.
            #[must_use]
            pub fn from_hex(text: &str) -> Option<Self> {
                let mut bytes = [0; $length];
                hex::decode_to_slice(text, &mut bytes).ok()?;
                (hex::encode(bytes) == text).then_some(Self(bytes))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(&hex::encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, formatter)
            }
        }
    };
}
hex_bytes!(ObjectId, 16);
hex_bytes!(PackId, 16);
hex_bytes!(ContentHash, 32);

/// Deriving the key of a derivation costs as much as the derivation, so it is done once.
static OBJECT_ID_HASHER: LazyLock<blake3::Hasher> =
    LazyLock::new(|| blake3::Hasher::new_derive_key("milvault 2026 object id v1"));

impl ObjectId {
    /// Derives the id (format: docs/format.md, "Object ids").
    #[must_use]
    pub fn derive(cluster_id: ClusterId, object: &SourceObject) -> Self {
        let key = &object.key;
        let mut input = Vec::with_capacity(96);
        input.extend_from_slice(cluster_id.as_uuid().as_bytes());
        input.push(key.kind as u8);
        for number in [key.collection_id, key.partition_id, key.segment_id, key.field_id, key.log_id] {
            input.extend_from_slice(&number.to_be_bytes());
        }
        input.extend_from_slice(&object.size_bytes.to_be_bytes());
        match &object.fingerprint {
            Fingerprint::ETag(tag) => {
                input.push(b'e');
                input.extend_from_slice(tag.as_bytes());
            }
            Fingerprint::ModifiedAtNanos(nanos) => {
                input.push(b'm');
                input.extend_from_slice(&nanos.to_be_bytes());
            }
        }
        let hash = OBJECT_ID_HASHER.clone().update(&input).finalize();
        Self(hash.as_bytes().first_chunk().copied().unwrap_or_default())
    }
}

impl PackId {
    /// Derives the id of the pack that holds these objects in this order (format: docs/format.md, "Packs").
    #[must_use]
    pub fn derive(objects: impl IntoIterator<Item = ObjectId>) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("milvault 2026 pack id v1");
        for object in objects {
            hasher.update(object.as_bytes());
        }
        Self(hasher.finalize().as_bytes().first_chunk().copied().unwrap_or_default())
    }
}

/// Where an object's bytes lie in a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Location {
    /// In a pack, from this offset, `stored_bytes` long.
    Pack {
        /// The pack.
        pack_id: PackId,
        /// Offset of the first byte from the start of the pack file.
        offset_bytes: u64,
    },
    /// In a file of its own, named by the object id.
    Object,
}

/// How an object's bytes are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Encoding {
    /// As they were at the source.
    Raw,
}

/// An object of a backup: what it was at the source and where it lies now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredObject {
    /// Identity.
    pub id: ObjectId,
    /// What it was at the source.
    pub source: SourceObject,
    /// Where it lies.
    pub location: Location,
    /// How it is stored.
    pub encoding: Encoding,
    /// Length of the stored form.
    pub stored_bytes: u64,
    /// Content hash, where the bytes passed through us; `None` where the store copied them itself and no verify has
    /// read them yet.
    pub hash: Option<ContentHash>,
    /// The repository store's entity tag of a server-side copy; with the size it is the check until a verify has
    /// read the bytes.
    pub store_tag: Option<Box<str>>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::binlog::BinlogKind;
    use uuid::Uuid;

    /// The ids are part of the repository format: were they derived otherwise, no later backup would find an object.
    #[test]
    fn ids_are_derived_as_the_format_says() {
        let cluster_id = ClusterId::from_uuid(Uuid::from_u128(7));
        let key = BinlogKey {
            kind: BinlogKind::Delta,
            collection_id: 1,
            partition_id: -1,
            segment_id: 3,
            field_id: 0,
            log_id: 5,
        };
        let derive =
            |fingerprint| ObjectId::derive(cluster_id, &SourceObject { key, size_bytes: 9, fingerprint });
        let by_time = derive(Fingerprint::ModifiedAtNanos(10));
        let by_tag = derive(Fingerprint::ETag("ab-2".into()));

        let mut input = vec![0; 15];
        input.extend([7, 1]);
        for number in [1_i64, -1, 3, 0, 5, 9] {
            input.extend(number.to_be_bytes());
        }
        let expected = |fingerprint: &[u8]| {
            let input = [input.as_slice(), fingerprint].concat();
            let key = blake3::derive_key("milvault 2026 object id v1", &input);
            hex::encode(&key[..16])
        };
        assert_eq!(by_time.to_string(), expected(&[&b"m"[..], &10_i64.to_be_bytes()].concat()));
        assert_eq!(by_tag.to_string(), expected(b"eab-2"));
        let pack = blake3::derive_key(
            "milvault 2026 pack id v1",
            &[*by_time.as_bytes(), *by_tag.as_bytes()].concat(),
        );
        assert_eq!(PackId::derive([by_time, by_tag]).to_string(), hex::encode(&pack[..16]));
    }
}
