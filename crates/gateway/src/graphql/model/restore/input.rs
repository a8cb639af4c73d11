//! What a caller may ask of a restore.

use super::choice::{CompareDepth, ConflictPolicy, IndexChoice, LoadChoice};
use crate::error::GatewayError;
use crate::graphql::model::backup::CollectionNameInput;
use crate::graphql::model::secret::SecretInput;
use crate::graphql::scalar::parse_id;
use async_graphql::{ID, InputObject};
use milvault_domain::restore as domain;

/// A restore to be made.
#[derive(InputObject)]
pub(crate) struct RestoreBackupInput {
    /// Which backup; it must be `AVAILABLE`.
    backup_id: ID,
    /// Into which cluster.
    target_cluster_id: ID,
    /// Restore everything into a cluster that must hold no collections yet; then `items` stays absent.
    #[graphql(default)]
    new_cluster: bool,
    /// What of the backup, at most 10,000 entries; absent for everything.
    items: Option<Vec<RestoreItemInput>>,
    /// Databases that are to be called otherwise at the target.
    #[graphql(default)]
    database_names: Vec<DatabaseRenameInput>,
    /// Collections that are to be called otherwise at the target. The most specific rule wins: a collection's own,
    /// then its database's, then the suffix.
    #[graphql(default)]
    collection_names: Vec<CollectionRenameInput>,
    /// Appended to the names of all collections that are not in `collectionNames`.
    suffix: Option<String>,
    /// What to do when a name is taken.
    #[graphql(default_with = "ConflictPolicy::Fail")]
    conflict_policy: ConflictPolicy,
    /// Number of shards of the restored collections; absent is as in the backup.
    shard_count: Option<i32>,
    /// Which collections are loaded afterwards.
    #[graphql(default_with = "LoadChoice::AsInBackup")]
    load: LoadChoice,
    /// What becomes of indexes.
    #[graphql(default_with = "IndexChoice::Build")]
    indexes: IndexChoice,
    /// Restore users, roles and grants too; absent leaves them alone.
    access_control: Option<AccessRestoreInput>,
    /// How thoroughly rows are compared with the backup before a collection gets its name.
    #[graphql(default_with = "CompareDepth::Keys")]
    compare: CompareDepth,
    /// Key of the caller's choice, 1 to 255 bytes, unique per cluster: repeating the request with the same key gives the
    /// same job instead of another. Without effect in `planRestore`.
    idempotency_key: Option<String>,
}

/// A part of a backup: a database, a collection, or some partitions of one.
#[derive(InputObject)]
pub(crate) struct RestoreItemInput {
    /// Database, by its name in the backup.
    database: String,
    /// Collection, by its name in the backup; absent for the whole database.
    collection: Option<String>,
    /// Partitions whose rows are wanted; absent for all. The collection is made with all its partitions, the others stay
    /// empty.
    partitions: Option<Vec<String>>,
}

/// A database that is to be called otherwise at the target.
#[derive(InputObject)]
pub(crate) struct DatabaseRenameInput {
    /// Name in the backup.
    from: String,
    /// Name at the target.
    to: String,
}

/// A collection that is to be called otherwise at the target.
#[derive(InputObject)]
pub(crate) struct CollectionRenameInput {
    /// Name in the backup.
    from: CollectionNameInput,
    /// Name at the target.
    to: CollectionNameInput,
}

/// How to restore users, roles and grants. What exists at the target stays as it is.
#[derive(InputObject)]
pub(crate) struct AccessRestoreInput {
    /// Passwords of the users to be made. Milvus does not give passwords out, so a backup has none: users without an
    /// entry here are not made, and the restore names them.
    #[graphql(default)]
    passwords: Vec<UserPasswordInput>,
}

/// The password that a restored user gets.
#[derive(InputObject)]
pub(crate) struct UserPasswordInput {
    /// User.
    user: String,
    /// Password.
    password: SecretInput,
}

/// A restore that was asked for, with the key that makes its repetition recognizable.
pub(crate) struct AskedRestore {
    pub(crate) request: domain::RestoreRequest,
    pub(crate) idempotency_key: Option<String>,
}

impl RestoreBackupInput {
    /// Checks its form. Whether it can be carried out is for the plan to say.
    ///
    /// # Errors
    /// Names the field and the rule that it breaks.
    pub(crate) fn check(self) -> Result<AskedRestore, GatewayError> {
        let selection = if self.new_cluster {
            if self.items.is_some() {
                return Err(GatewayError::bad_field(
                    "items",
                    "a new cluster gets the whole backup; leave `items` out, or `newCluster`",
                ));
            }
            domain::RestoreSelection::NewCluster
        } else {
            selection(self.items)
        };
        let names = domain::TargetNames {
            databases: self.database_names.into_iter().map(Into::into).collect(),
            collections: self.collection_names.into_iter().map(Into::into).collect(),
            suffix: self.suffix.unwrap_or_default(),
        };
        let request = domain::RestoreRequest {
            backup_id: parse_id("backupId", &self.backup_id)?,
            target_cluster_id: parse_id("targetClusterId", &self.target_cluster_id)?,
            selection,
            names,
            conflict: self.conflict_policy.into(),
            shard_count: self.shard_count,
            load: self.load.into(),
            indexes: self.indexes.into(),
            access_control: self.access_control.map(AccessRestoreInput::check).transpose()?,
            compare: self.compare.into(),
            continues: None,
        };
        request.validate()?;
        Ok(AskedRestore { request, idempotency_key: self.idempotency_key })
    }
}

/// What of a backup is wanted: everything when nothing is named.
pub(crate) fn selection(items: Option<Vec<RestoreItemInput>>) -> domain::RestoreSelection {
    items.map_or(domain::RestoreSelection::Everything, |items| {
        domain::RestoreSelection::Chosen(items.into_iter().map(Into::into).collect())
    })
}

impl AccessRestoreInput {
    fn check(self) -> Result<domain::AccessRestore, GatewayError> {
        let passwords = self.passwords.into_iter().map(|given| {
            let password = given.password.check("accessControl.passwords")?;
            Ok(domain::UserPassword { user: given.user, password })
        });
        Ok(domain::AccessRestore { passwords: passwords.collect::<Result<_, GatewayError>>()? })
    }
}

impl From<RestoreItemInput> for domain::ChosenItem {
    fn from(item: RestoreItemInput) -> Self {
        Self { database: item.database, collection: item.collection, partitions: item.partitions }
    }
}

impl From<DatabaseRenameInput> for domain::DatabaseRename {
    fn from(rename: DatabaseRenameInput) -> Self {
        Self { from: rename.from, to: rename.to }
    }
}

impl From<CollectionRenameInput> for domain::CollectionRename {
    fn from(rename: CollectionRenameInput) -> Self {
        Self { from: rename.from.into(), to: rename.to.into() }
    }
}
