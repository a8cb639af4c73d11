//! Which files of a repository go.
//!
//! An object's id derives from its cluster and a pack holds objects of one cluster only, so a file is referred to by
//! backups of one cluster. Hence a sweep belongs to a cluster, and the cluster's queue runs it beside none of the jobs
//! that make its backups. What is left to guard against is a job that reads a backup: it cannot begin about a backup
//! that is deleted, and a backup that an open job refers to cannot be deleted. Both rules are the catalog's, in one
//! transaction each.
//!
//! | step of a sweep | if it is cut off there |
//! |---|---|
//! | 1. every deleted backup, and every failed one that is due, gets its tombstone | it is written again |
//! | 2. files of backups that are due, less those of all others ([`condemned`]) | nothing has happened |
//! | 3. a second look whether backups came or were taken up in between | nothing has happened |
//! | 4. those files are removed | the manifests are there still, so the next sweep condemns the same files |
//! | 5. the directories of the backups that were due are removed, the tombstone last | the tombstone says what is left |
//! | 6. the catalog forgets them | there is nothing left to remove |

use crate::object::{Location, ObjectId, PackId, StoredObject};
use crate::plan::{CopyPlan, CopyUnit};
use chrono::TimeDelta;
use std::collections::HashSet;

#[cfg(test)]
mod model_tests;

/// How long the files of a deleted backup stay: time to notice a mistake, and for a failed one time to be repeated.
pub const GRACE_DEFAULT: TimeDelta = TimeDelta::hours(24);

/// A file that holds objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DataFile {
    /// A pack.
    Pack(PackId),
    /// An object in a file of its own.
    Object(ObjectId),
}

/// A file with its size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ListedFile {
    /// Its name.
    pub file: DataFile,
    /// Its size.
    pub size_bytes: u64,
}

/// Files that something refers to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct References {
    files: HashSet<DataFile>,
}

impl References {
    /// Adds a file.
    pub fn add_file(&mut self, file: DataFile) {
        self.files.insert(file);
    }

    /// Adds the file in which an object of a manifest lies.
    pub fn add_object(&mut self, object: &StoredObject) {
        self.files.insert(match object.location {
            Location::Pack { pack_id, .. } => DataFile::Pack(pack_id),
            Location::Object => DataFile::Object(object.id),
        });
    }

    /// Adds all files of an unfinished backup: those it found and those it writes. An object may be written to a
    /// pack or, where it is large, to a file of its own; both are added.
    pub fn add_plan(&mut self, plan: &CopyPlan) {
        plan.reused.iter().for_each(|object| self.add_object(object));
        for unit in &plan.units {
            if let CopyUnit::Pack { pack_id, .. } = unit {
                self.files.insert(DataFile::Pack(*pack_id));
            }
            self.files.extend(unit.objects().iter().map(|object| DataFile::Object(object.id)));
        }
    }

    /// Adds all files of another set.
    pub fn add_all(&mut self, other: &Self) {
        self.files.extend(&other.files);
    }

    /// Whether something refers to the file.
    #[must_use]
    pub fn contains(&self, file: DataFile) -> bool {
        self.files.contains(&file)
    }

    /// The files, in no order.
    pub fn iter(&self) -> impl Iterator<Item = DataFile> + '_ {
        self.files.iter().copied()
    }
}

/// The files that go: those of backups that are due, less those that anything else refers to. Sorted.
#[must_use]
pub fn condemned(due: &References, kept: &References) -> Vec<DataFile> {
    let mut files: Vec<_> = due.iter().filter(|file| !kept.contains(*file)).collect();
    files.sort_unstable();
    files
}
