//! Users, and what they may do.

use super::{MilvusClient, check};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use milvus::proto::milvus as api;

/// Every collection, or every database.
const ALL: &str = "*";

/// One thing that a role may do, everywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Privilege {
    /// Kind of the things it is about: `Global` or `Collection`.
    pub object_type: &'static str,
    /// Milvus's name, say `CreateCollection`.
    pub name: &'static str,
}

impl Privilege {
    /// About the server as a whole.
    #[must_use]
    pub const fn global(name: &'static str) -> Self {
        Self { object_type: "Global", name }
    }

    /// About collections.
    #[must_use]
    pub const fn collection(name: &'static str) -> Self {
        Self { object_type: "Collection", name }
    }
}

impl MilvusClient {
    /// Creates a user.
    ///
    /// # Errors
    /// The server refuses, or does not answer.
    pub async fn create_user(&self, user: &str, password: &str) -> anyhow::Result<()> {
        let request = api::CreateCredentialRequest {
            username: user.to_owned(),
            password: STANDARD.encode(password),
            ..Default::default()
        };
        let status = self.service.clone().create_credential(request).await?.into_inner();
        check(Some(&status), &format!("create user {user}"))
    }

    /// Creates a role and gives it to a user.
    ///
    /// # Errors
    /// The server refuses, or does not answer.
    pub async fn create_role_of(&self, user: &str, role: &str) -> anyhow::Result<()> {
        let request = api::CreateRoleRequest { entity: Some(entity(role)), ..Default::default() };
        let status = self.service.clone().create_role(request).await?.into_inner();
        check(Some(&status), &format!("create role {role}"))?;
        let request = api::OperateUserRoleRequest {
            username: user.to_owned(),
            role_name: role.to_owned(),
            r#type: api::OperateUserRoleType::AddUserToRole.into(),
            ..Default::default()
        };
        let status = self.service.clone().operate_user_role(request).await?.into_inner();
        check(Some(&status), &format!("give role {role} to {user}"))
    }

    /// Lets a role do something, in all databases.
    ///
    /// # Errors
    /// The server refuses, or does not answer.
    pub async fn grant(&self, role: &str, privilege: Privilege) -> anyhow::Result<()> {
        self.operate_privilege(role, privilege, api::OperatePrivilegeType::Grant).await
    }

    /// Takes back what was granted.
    ///
    /// # Errors
    /// The server refuses, or does not answer.
    pub async fn revoke(&self, role: &str, privilege: Privilege) -> anyhow::Result<()> {
        self.operate_privilege(role, privilege, api::OperatePrivilegeType::Revoke).await
    }

    async fn operate_privilege(
        &self,
        role: &str,
        privilege: Privilege,
        operation: api::OperatePrivilegeType,
    ) -> anyhow::Result<()> {
        let grant = api::GrantEntity {
            role: Some(entity(role)),
            object: Some(api::ObjectEntity { name: privilege.object_type.to_owned() }),
            object_name: ALL.to_owned(),
            grantor: Some(api::GrantorEntity {
                privilege: Some(api::PrivilegeEntity { name: privilege.name.to_owned() }),
                ..Default::default()
            }),
            db_name: ALL.to_owned(),
        };
        let request = api::OperatePrivilegeRequest {
            entity: Some(grant),
            r#type: operation.into(),
            ..Default::default()
        };
        let status = self.service.clone().operate_privilege(request).await?.into_inner();
        check(Some(&status), &format!("{operation:?} {} of {role}", privilege.name))
    }
}

fn entity(role: &str) -> api::RoleEntity {
    api::RoleEntity { name: role.to_owned(), ..Default::default() }
}
