//! The header of a manifest, version 1.

use super::super::FormatError;
use super::collection::{CollectionV1, PropertiesV1, properties_from_v1, properties_to_v1};
use crate::backup::{BackupScope, CollectionName, CopyOrigin, CreationMethod, ManifestHeader};
use crate::ids::{BackupId, ClusterId, ProjectId, RepositoryId};
use crate::milvus::{
    AccessControl, Capabilities, Cut, DatabaseCut, Grant, RoleDescription, ServerInfo, TimestampUnit,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Everything but the collections, which follow in frames of their own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in super::super) struct HeaderV1 {
    backup_id: [u8; 16],
    cluster_id: [u8; 16],
    cluster_name: String,
    project_id: [u8; 16],
    name: String,
    description: String,
    scope: ScopeV1,
    creation_method: CreationMethodV1,
    created_by: String,
    created_at_ms: i64,
    expires_at_ms: Option<i64>,
    source_url: String,
    copied_from: Option<CopyOriginV1>,
    cut_at_ms: i64,
    server_version: String,
    capabilities: CapabilitiesV1,
    access_control: Option<AccessControlV1>,
    databases: Vec<DatabaseV1>,
    /// Collection frames that follow.
    pub(in super::super) collection_count: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct CopyOriginV1 {
    backup_id: [u8; 16],
    repository_id: [u8; 16],
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
enum ScopeV1 {
    Cluster,
    Databases(Vec<String>),
    Collections(Vec<(String, String)>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum CreationMethodV1 {
    Manual,
    Auto,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[allow(clippy::struct_excessive_bools, reason = "they are independent facts about a server version")]
struct CapabilitiesV1 {
    verified: bool,
    databases: bool,
    gc_pause: bool,
    l0_segments: bool,
    import_end_timestamp: TimestampUnitV1,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum TimestampUnitV1 {
    Milliseconds,
    Hybrid,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct AccessControlV1 {
    users: Vec<String>,
    roles: Vec<(String, Vec<String>)>,
    grants: Vec<GrantV1>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct GrantV1 {
    role: String,
    object_type: String,
    object_name: String,
    database: String,
    privilege: String,
    grantor: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct DatabaseV1 {
    name: String,
    properties: PropertiesV1,
}

impl HeaderV1 {
    /// The header in this version's form, without its collections.
    pub(in super::super) fn from_domain(header: &ManifestHeader) -> Self {
        let cut = &header.cut;
        let capabilities = &cut.server.capabilities;
        Self {
            backup_id: header.backup_id.as_uuid().into_bytes(),
            cluster_id: header.cluster_id.as_uuid().into_bytes(),
            cluster_name: header.cluster_name.clone(),
            project_id: header.project_id.as_uuid().into_bytes(),
            name: header.name.clone(),
            description: header.description.clone(),
            scope: ScopeV1::from(&header.scope),
            creation_method: match header.creation_method {
                CreationMethod::Manual => CreationMethodV1::Manual,
                CreationMethod::Auto => CreationMethodV1::Auto,
            },
            created_by: header.created_by.clone(),
            created_at_ms: header.created_at_ms,
            expires_at_ms: header.expires_at_ms,
            source_url: header.source_url.clone(),
            copied_from: header.copied_from.map(|origin| CopyOriginV1 {
                backup_id: origin.backup_id.as_uuid().into_bytes(),
                repository_id: origin.repository_id.as_uuid().into_bytes(),
            }),
            cut_at_ms: cut.cut_at_ms,
            server_version: cut.server.version.clone(),
            capabilities: CapabilitiesV1 {
                verified: capabilities.verified,
                databases: capabilities.databases,
                gc_pause: capabilities.gc_pause,
                l0_segments: capabilities.l0_segments,
                import_end_timestamp: match capabilities.import_end_timestamp {
                    TimestampUnit::Milliseconds => TimestampUnitV1::Milliseconds,
                    TimestampUnit::Hybrid => TimestampUnitV1::Hybrid,
                },
            },
            access_control: cut.access_control.as_ref().map(AccessControlV1::from),
            databases: cut
                .databases
                .iter()
                .map(|database| DatabaseV1 {
                    name: database.name.clone(),
                    properties: properties_to_v1(&database.properties),
                })
                .collect(),
            collection_count: u32::try_from(cut.collections().count()).unwrap_or(u32::MAX),
        }
    }

    /// The domain's form, with the collections that followed.
    ///
    /// # Errors
    /// A collection names a database that the header does not have.
    pub(in super::super) fn into_domain(
        self,
        collections: Vec<CollectionV1>,
    ) -> Result<ManifestHeader, FormatError> {
        let mut databases: Vec<DatabaseCut> = self
            .databases
            .into_iter()
            .map(|database| DatabaseCut {
                name: database.name,
                properties: properties_from_v1(database.properties),
                collections: Vec::new(),
            })
            .collect();
        for collection in collections {
            let position = usize::try_from(collection.database).unwrap_or(usize::MAX);
            let database = databases.get_mut(position).ok_or(FormatError::Corrupt(
                "a collection belongs to a database that is not in the header",
            ))?;
            database.collections.push(collection.into());
        }
        Ok(ManifestHeader {
            backup_id: BackupId::from_uuid(Uuid::from_bytes(self.backup_id)),
            cluster_id: ClusterId::from_uuid(Uuid::from_bytes(self.cluster_id)),
            cluster_name: self.cluster_name,
            project_id: ProjectId::from_uuid(Uuid::from_bytes(self.project_id)),
            name: self.name,
            description: self.description,
            scope: self.scope.into(),
            creation_method: match self.creation_method {
                CreationMethodV1::Manual => CreationMethod::Manual,
                CreationMethodV1::Auto => CreationMethod::Auto,
            },
            created_by: self.created_by,
            created_at_ms: self.created_at_ms,
            expires_at_ms: self.expires_at_ms,
            source_url: self.source_url,
            copied_from: self.copied_from.map(|origin| CopyOrigin {
                backup_id: BackupId::from_uuid(Uuid::from_bytes(origin.backup_id)),
                repository_id: RepositoryId::from_uuid(Uuid::from_bytes(origin.repository_id)),
            }),
            cut: Cut {
                cut_at_ms: self.cut_at_ms,
                server: ServerInfo { version: self.server_version, capabilities: self.capabilities.into() },
                databases,
                access_control: self.access_control.map(AccessControl::from),
            },
        })
    }
}

impl From<&BackupScope> for ScopeV1 {
    fn from(scope: &BackupScope) -> Self {
        match scope {
            BackupScope::Cluster => Self::Cluster,
            BackupScope::Databases(names) => Self::Databases(names.clone()),
            BackupScope::Collections(names) => Self::Collections(
                names.iter().map(|name| (name.database.clone(), name.collection.clone())).collect(),
            ),
        }
    }
}

impl From<ScopeV1> for BackupScope {
    fn from(scope: ScopeV1) -> Self {
        match scope {
            ScopeV1::Cluster => Self::Cluster,
            ScopeV1::Databases(names) => Self::Databases(names),
            ScopeV1::Collections(names) => Self::Collections(
                names
                    .into_iter()
                    .map(|(database, collection)| CollectionName { database, collection })
                    .collect(),
            ),
        }
    }
}

impl From<CapabilitiesV1> for Capabilities {
    fn from(capabilities: CapabilitiesV1) -> Self {
        Self {
            verified: capabilities.verified,
            databases: capabilities.databases,
            gc_pause: capabilities.gc_pause,
            l0_segments: capabilities.l0_segments,
            import_end_timestamp: match capabilities.import_end_timestamp {
                TimestampUnitV1::Milliseconds => TimestampUnit::Milliseconds,
                TimestampUnitV1::Hybrid => TimestampUnit::Hybrid,
            },
        }
    }
}

impl From<&AccessControl> for AccessControlV1 {
    fn from(access: &AccessControl) -> Self {
        Self {
            users: access.users.clone(),
            roles: access.roles.iter().map(|role| (role.name.clone(), role.users.clone())).collect(),
            grants: access
                .grants
                .iter()
                .map(|grant| GrantV1 {
                    role: grant.role.clone(),
                    object_type: grant.object_type.clone(),
                    object_name: grant.object_name.clone(),
                    database: grant.database.clone(),
                    privilege: grant.privilege.clone(),
                    grantor: grant.grantor.clone(),
                })
                .collect(),
        }
    }
}

impl From<AccessControlV1> for AccessControl {
    fn from(access: AccessControlV1) -> Self {
        Self {
            users: access.users,
            roles: access.roles.into_iter().map(|(name, users)| RoleDescription { name, users }).collect(),
            grants: access
                .grants
                .into_iter()
                .map(|grant| Grant {
                    role: grant.role,
                    object_type: grant.object_type,
                    object_name: grant.object_name,
                    database: grant.database,
                    privilege: grant.privilege,
                    grantor: grant.grantor,
                })
                .collect(),
        }
    }
}
