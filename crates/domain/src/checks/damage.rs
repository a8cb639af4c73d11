//! What is known to be damaged in a repository.

use crate::job::VerifyLevel;
use crate::object::{Location, ObjectId, StoredObject};
use crate::sweep::DataFile;
use std::collections::{HashMap, HashSet};

/// A file, or one object in a pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DamageKey {
    /// The file.
    pub file: DataFile,
    /// The object in it; `None` for the file as a whole, which no object in it is trusted for.
    pub object: Option<ObjectId>,
}

/// Something that a verify found not to be as it must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// What.
    pub key: DamageKey,
    /// Key of the object at the source, where it is about one.
    pub source_key: Option<String>,
    /// What is wrong.
    pub reason: String,
    /// How thoroughly was checked; a check that is less thorough does not show that the damage is gone.
    pub level: VerifyLevel,
}

/// Damage, to be asked about objects.
#[derive(Debug, Clone, Default)]
pub struct Damaged {
    by_key: HashMap<DamageKey, String>,
    packs: HashSet<crate::object::PackId>,
}

/// The file that an object lies in.
fn file_of(id: ObjectId, location: Location) -> DataFile {
    match location {
        Location::Pack { pack_id, .. } => DataFile::Pack(pack_id),
        Location::Object => DataFile::Object(id),
    }
}

impl StoredObject {
    /// The file that it lies in.
    #[must_use]
    pub fn file(&self) -> DataFile {
        file_of(self.id, self.location)
    }
}

impl Damaged {
    /// Whether nothing is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }

    /// Why an object is not to be trusted; `None` when nothing is known against it.
    #[must_use]
    pub fn reason(&self, id: ObjectId, location: Location) -> Option<&str> {
        if self.by_key.is_empty() {
            return None;
        }
        let file = file_of(id, location);
        let found = |object| self.by_key.get(&DamageKey { file, object }).map(String::as_str);
        found(Some(id)).or_else(|| found(None))
    }

    /// Whether a file under this name is damaged, or something in it.
    #[must_use]
    pub fn touches_pack(&self, pack_id: crate::object::PackId) -> bool {
        self.packs.contains(&pack_id)
    }

    /// Whether the file of an object that has one of its own is damaged.
    #[must_use]
    pub fn touches_object_file(&self, id: ObjectId) -> bool {
        self.reason(id, Location::Object).is_some()
    }
}

impl<'a> FromIterator<&'a Damage> for Damaged {
    fn from_iter<I: IntoIterator<Item = &'a Damage>>(damage: I) -> Self {
        let mut damaged = Self::default();
        for Damage { key, reason, .. } in damage {
            if let DataFile::Pack(pack_id) = key.file {
                damaged.packs.insert(pack_id);
            }
            damaged.by_key.insert(*key, reason.clone());
        }
        damaged
    }
}
