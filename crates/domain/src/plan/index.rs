//! What a repository already holds, by identity.

use crate::object::{ContentHash, Encoding, Location, ObjectId, SourceObject, StoredObject};
use std::collections::HashMap;

/// Objects that the repository already holds, by identity.
///
/// Keeps only where an object lies, not what it was at the source: the id stands for that, and whoever asks has it
/// from the listing. That is what lets a million objects fit into some 170 MiB.
#[derive(Debug, Clone, Default)]
pub struct ObjectIndex {
    placements: HashMap<ObjectId, Box<Placement>>,
}

#[derive(Debug, Clone)]
struct Placement {
    location: Location,
    encoding: Encoding,
    stored_bytes: u64,
    hash: Option<ContentHash>,
    store_tag: Option<Box<str>>,
}

impl ObjectIndex {
    /// An empty index.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an object. One that is there already stays, so what is added first wins.
    pub fn insert(&mut self, object: StoredObject) {
        let StoredObject { id, source: _, location, encoding, stored_bytes, hash, store_tag } = object;
        self.placements
            .entry(id)
            .or_insert_with(|| Box::new(Placement { location, encoding, stored_bytes, hash, store_tag }));
    }

    /// Adds the content hash that a verify found for an object copied by the store; an object that is not in the
    /// index, or whose hash is known, is left alone.
    pub fn record_hash(&mut self, id: ObjectId, hash: ContentHash) {
        if let Some(placement) = self.placements.get_mut(&id) {
            placement.hash.get_or_insert(hash);
        }
    }

    /// The stored form of a source file, if it is in the index.
    #[must_use]
    pub fn stored(&self, id: ObjectId, source: &SourceObject) -> Option<StoredObject> {
        let placement = self.placements.get(&id)?;
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
        self.placements.contains_key(&id)
    }

    /// Number of objects.
    #[must_use]
    pub fn len(&self) -> usize {
        self.placements.len()
    }

    /// Whether it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.placements.is_empty()
    }

    /// Makes room for so many more objects at once, which spares growing step by step.
    pub fn reserve(&mut self, additional: usize) {
        self.placements.reserve(additional);
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
