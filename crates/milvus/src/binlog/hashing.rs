//! Hashes of keys and values. They tell apart what differs by accident; somebody who may write both sides can make
//! them agree.

use super::column_types::{KeyType, ValueType};
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Takes the place of the type for values that are null.
const NULL: u64 = u64::MAX;

/// Hash of a primary key: of its type and its stored bytes.
pub(super) fn key_hash(key_type: KeyType, value: &[u8]) -> u64 {
    xxh3_64_with_seed(value, key_type.value_type().tag)
}

/// Hashes the values of one field, each together with the key of its row.
pub(super) struct FieldHasher {
    value_seed: u64,
    null_seed: u64,
}

impl FieldHasher {
    pub(super) fn new(field_id: i64, value_type: ValueType) -> Self {
        let seed = |tag| xxh3_64_with_seed(&field_id.to_ne_bytes(), tag);
        Self { value_seed: seed(value_type.tag), null_seed: seed(NULL) }
    }

    pub(super) fn hash(&self, key: u64, value: Option<&[u8]>) -> u64 {
        let key = key.to_ne_bytes();
        match value {
            Some(value) => xxh3_64_with_seed(value, xxh3_64_with_seed(&key, self.value_seed)),
            None => xxh3_64_with_seed(&key, self.null_seed),
        }
    }
}
