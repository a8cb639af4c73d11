//! What a restore may be told to do, and how far it is.

use async_graphql::Enum;
use milvault_domain::restore as domain;

/// What to do when a collection of the target's name exists.
#[derive(Enum, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "domain::ConflictPolicy")]
pub(crate) enum ConflictPolicy {
    /// Refuse the whole restore before anything is touched.
    Fail,
    /// Leave the existing collection alone and do not restore that one.
    Skip,
    /// Restore under another free name.
    Rename,
    /// Restore beside it, compare, then take its place. The old collection is dropped when the whole restore has
    /// succeeded.
    Replace,
}

/// Which collections are loaded after a restore.
#[derive(Enum, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "domain::LoadChoice")]
pub(crate) enum LoadChoice {
    /// Those that were loaded at the cut, with as many replicas.
    AsInBackup,
    /// All, with one replica where they were not loaded.
    All,
    /// None.
    None,
}

/// What becomes of the indexes of a backup.
#[derive(Enum, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "domain::IndexChoice")]
pub(crate) enum IndexChoice {
    /// Defined, and built before the restore ends.
    Build,
    /// Not defined; the collection then cannot be loaded either.
    Leave,
}

/// How thoroughly rows are compared. Each depth includes those before it.
#[derive(Enum, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "domain::CompareDepth")]
pub(crate) enum CompareDepth {
    /// Number of rows of every partition.
    Counts,
    /// Besides, a checksum over all primary keys.
    Keys,
    /// Besides, every field of a sample of rows.
    Sample,
    /// Besides, every field of every row.
    Rows,
}

/// What a restore does about a collection.
#[derive(Enum, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "domain::RestoreAction")]
pub(crate) enum RestoreAction {
    /// Its name is free.
    Create,
    /// It takes the place of the collection of that name.
    Replace,
    /// It is not restored, because its name is taken.
    Skip,
}

/// How far a collection's restore is.
#[derive(Enum, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "domain::RestoreStep")]
pub(crate) enum RestoreStep {
    /// Nothing was done.
    Waiting,
    /// It exists under its working name; rows may be missing.
    Created,
    /// Its rows were compared with the backup; it still has its working name.
    Compared,
    /// It is there under its own name, with indexes, aliases and load state.
    Done,
    /// It was not to be restored.
    Skipped,
    /// It could not be restored; nothing of it is left.
    Failed,
    /// It was removed again on request.
    Undone,
}
