//! What a restore was asked for, without its secrets. These lists are as long as a request's body allows.

use crate::graphql::model::backup::CollectionName;
use async_graphql::SimpleObject;
use milvault_domain::restore as domain;

/// A part of a backup.
#[derive(SimpleObject)]
pub(crate) struct RestoreItem {
    /// Database.
    database: String,
    /// Collection; null for the whole database.
    collection: Option<String>,
    /// Partitions whose rows are restored; null for all.
    partitions: Option<Vec<String>>,
}

/// A database that is called otherwise at the target.
#[derive(SimpleObject)]
pub(crate) struct DatabaseRename {
    /// Name in the backup.
    from: String,
    /// Name at the target.
    to: String,
}

/// A collection that is called otherwise at the target.
#[derive(SimpleObject)]
pub(crate) struct CollectionRename {
    /// Name in the backup.
    from: CollectionName,
    /// Name at the target.
    to: CollectionName,
}

/// How users, roles and grants are restored. What exists at the target stays as it is.
#[derive(SimpleObject)]
pub(crate) struct AccessRestore {
    /// Users that a password was given for. Others of the backup are not made.
    users: Vec<String>,
}

impl From<&domain::ChosenItem> for RestoreItem {
    fn from(item: &domain::ChosenItem) -> Self {
        Self {
            database: item.database.clone(),
            collection: item.collection.clone(),
            partitions: item.partitions.clone(),
        }
    }
}

impl From<&domain::DatabaseRename> for DatabaseRename {
    fn from(rename: &domain::DatabaseRename) -> Self {
        Self { from: rename.from.clone(), to: rename.to.clone() }
    }
}

impl From<&domain::CollectionRename> for CollectionRename {
    fn from(rename: &domain::CollectionRename) -> Self {
        Self { from: (&rename.from).into(), to: (&rename.to).into() }
    }
}

impl From<&domain::AccessRestore> for AccessRestore {
    fn from(access: &domain::AccessRestore) -> Self {
        Self { users: access.passwords.iter().map(|password| password.user.clone()).collect() }
    }
}
