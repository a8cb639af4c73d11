//! What a backup shows of its cluster: databases, users, roles. Entries point into the one loaded description, so
//! that a page costs what it shows and not what the backup holds.

use super::collection::BackupCollection;
use crate::error::GatewayError;
use crate::graphql::page::{self, NameConnection};
use async_graphql::{Object, SimpleObject};
use milvault_domain::milvus::{self as domain, Cut};
use std::sync::Arc;

/// A name with a value, as Milvus keeps properties and parameters.
#[derive(SimpleObject)]
pub(crate) struct Property {
    /// Key.
    key: String,
    /// Value.
    value: String,
}

impl From<&domain::Property> for Property {
    fn from(property: &domain::Property) -> Self {
        Self { key: property.key.clone(), value: property.value.clone() }
    }
}

/// A database in a backup.
pub(crate) struct BackupDatabase {
    cut: Arc<Cut>,
    index: usize,
}

impl BackupDatabase {
    pub(crate) const fn new(cut: Arc<Cut>, index: usize) -> Self {
        Self { cut, index }
    }

    fn database(&self) -> &domain::DatabaseCut {
        &self.cut.databases[self.index]
    }
}

/// A database in a backup.
#[Object]
#[allow(clippy::unused_async, reason = "the macro asks for async resolvers")]
impl BackupDatabase {
    /// Name; `default` always exists.
    async fn name(&self) -> &str {
        &self.database().name
    }

    /// Properties, where the server told them.
    async fn properties(&self) -> Vec<Property> {
        self.database().properties.iter().map(Into::into).collect()
    }

    /// Number of its collections in the backup.
    async fn collection_count(&self) -> usize {
        self.database().collections.len()
    }

    /// Its collections, by name.
    #[graphql(complexity = "page::complexity(first, child_complexity)")]
    async fn collections(
        &self,
        #[graphql(desc = "Collections wanted, 1 to 200; 50 by default.")] first: Option<i32>,
        #[graphql(desc = "The `endCursor` of the page before.")] after: Option<String>,
    ) -> Result<NameConnection<BackupCollection>, GatewayError> {
        let view = |collection| BackupCollection::new(Arc::clone(&self.cut), self.index, collection);
        let collections = &self.database().collections;
        page::name_connection(collections, |collection| &collection.name, first, after.as_deref(), view)
    }
}

/// Users, roles and grants. Passwords cannot be read from Milvus.
#[derive(SimpleObject)]
pub(crate) struct AccessControl {
    /// User names.
    users: Vec<String>,
    /// Roles with their members.
    roles: Vec<MilvusRole>,
    /// What roles may do.
    grants: Vec<MilvusGrant>,
}

/// A role of Milvus.
#[derive(SimpleObject)]
pub(crate) struct MilvusRole {
    /// Name.
    name: String,
    /// Users that have it.
    users: Vec<String>,
}

/// One privilege of one role on one object.
#[derive(SimpleObject)]
pub(crate) struct MilvusGrant {
    /// Role.
    role: String,
    /// Kind of object, such as `Collection`.
    object_type: String,
    /// Name of the object, `*` for all.
    object_name: String,
    /// Database.
    database: String,
    /// Privilege, such as `Insert`.
    privilege: String,
    /// Who granted it.
    grantor: String,
}

impl From<&domain::AccessControl> for AccessControl {
    fn from(access: &domain::AccessControl) -> Self {
        let roles = access.roles.iter();
        let grants = access.grants.iter();
        Self {
            users: access.users.clone(),
            roles: roles
                .map(|role| MilvusRole { name: role.name.clone(), users: role.users.clone() })
                .collect(),
            grants: grants.map(Into::into).collect(),
        }
    }
}

impl From<&domain::Grant> for MilvusGrant {
    fn from(grant: &domain::Grant) -> Self {
        Self {
            role: grant.role.clone(),
            object_type: grant.object_type.clone(),
            object_name: grant.object_name.clone(),
            database: grant.database.clone(),
            privilege: grant.privilege.clone(),
            grantor: grant.grantor.clone(),
        }
    }
}
