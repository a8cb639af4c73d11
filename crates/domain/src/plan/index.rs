//! What a repository already holds, by identity.

use crate::checks::Damaged;
use crate::object::{ContentHash, Encoding, Location, ObjectId, SourceObject, StoredObject};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasherDefault, Hasher};

/// Objects that the repository already holds, by identity.
///
/// Keeps only where an object lies, not what it was at the source: the id stands for that, and whoever asks has it
/// from the listing. That is what lets a million objects fit into some 150 MiB.
#[derive(Debug, Clone, Default)]
pub struct ObjectIndex {
    pub(super) positions: HashMap<ObjectId, u32, BuildHasherDefault<IdHasher>>,
    pub(super) placements: Vec<Placement>,
    pub(super) damaged: Damaged,
}

#[derive(Debug, Clone)]
pub(super) struct Placement {
    pub(super) location: Location,
    encoding: Encoding,
    stored_bytes: u64,
    hash: Option<ContentHash>,
    store_tag: Option<Box<str>>,
}

/// Ids are hashes themselves, so a part of one is as good a hash as any.
#[derive(Default)]
pub(super) struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        if let Some(bytes) = bytes.last_chunk() {
            self.0 = u64::from_le_bytes(*bytes);
        }
    }

    /// The length of an array, which is the same for all ids.
    fn write_usize(&mut self, _: usize) {}
}

impl ObjectIndex {
    /// An empty index.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an object. One that is there already stays, so what is added first wins. An index that is full (beyond
    /// four thousand million objects) takes no more: it only saves work.
    pub fn insert(&mut self, object: StoredObject) {
        let StoredObject { id, source: _, location, encoding, stored_bytes, hash, store_tag } = object;
        let Ok(position) = u32::try_from(self.placements.len()) else {
            return;
        };
        if let Entry::Vacant(slot) = self.positions.entry(id) {
            slot.insert(position);
            self.placements.push(Placement { location, encoding, stored_bytes, hash, store_tag });
        }
    }

    /// Adds the content hash that a verify found for an object copied by the store; an object that is not in the
    /// index, or whose hash is known, is left alone.
    pub fn record_hash(&mut self, id: ObjectId, hash: ContentHash) {
        let position = self.positions.get(&id).and_then(|position| usize::try_from(*position).ok());
        if let Some(placement) = position.and_then(|position| self.placements.get_mut(position)) {
            placement.hash.get_or_insert(hash);
        }
    }

    /// The stored form of a source file, if it is in the index.
    #[must_use]
    pub fn stored(&self, id: ObjectId, source: &SourceObject) -> Option<StoredObject> {
        let position = usize::try_from(*self.positions.get(&id)?).ok()?;
        let placement = self.placements.get(position)?;
        Some(StoredObject {
            id,
            source: source.clone(),
            location: placement.location,
            encoding: placement.encoding,
            stored_bytes: placement.stored_bytes,
            hash: placement.hash,
            store_tag: placement.store_tag.clone(),
        })
    }

    /// Whether an object is in the index.
    #[must_use]
    pub fn contains(&self, id: ObjectId) -> bool {
        self.positions.contains_key(&id)
    }

    /// Number of objects.
    #[must_use]
    pub fn len(&self) -> usize {
        self.positions.len()
    }

    /// Whether it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.positions.is_empty()
    }
}

impl Extend<StoredObject> for ObjectIndex {
    fn extend<I: IntoIterator<Item = StoredObject>>(&mut self, objects: I) {
        objects.into_iter().for_each(|object| self.insert(object));
    }
}

impl FromIterator<StoredObject> for ObjectIndex {
    fn from_iter<I: IntoIterator<Item = StoredObject>>(objects: I) -> Self {
        let mut index = Self::new();
        index.extend(objects);
        index
    }
}
