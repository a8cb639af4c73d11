//! Projects, users, roles and keys, as the real catalog has them.

use super::catalog::TestCatalog;
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use milvault_domain::access::{AssignedRole, CustomRole};
use milvault_domain::identity::{KeyRecord, Project, User, UserPatch};
use milvault_domain::ids::{ApiKeyId, CustomRoleId, OrganizationId, ProjectId, UserId};
use milvault_domain::ports::{IdentityCatalog, KeyFilter, Page, PageRequest, PortResult, UserFilter};
use std::sync::atomic::Ordering;

macro_rules! delegate {
    ($($name:ident($($argument:ident: $kind:ty),*) -> $answer:ty;)*) => {
        #[async_trait]
        impl IdentityCatalog for TestCatalog {
            $(async fn $name(&self, $($argument: $kind),*) -> PortResult<$answer> {
                self.counted(stringify!($name)).$name($($argument),*).await
            })*

            async fn note_key_uses(&self, uses: &[(ApiKeyId, DateTime<Utc>)]) -> PortResult<()> {
                self.key_use_batches.fetch_add(1, Ordering::Relaxed);
                self.counted("note_key_uses").note_key_uses(uses).await
            }
        }
    };
}

delegate! {
    insert_project(project: &Project) -> ();
    rename_project(project_id: ProjectId, name: &str) -> Project;
    projects(organization_id: OrganizationId) -> Vec<Project>;
    insert_user(user: &User) -> ();
    update_user(user_id: UserId, patch: &UserPatch, now: DateTime<Utc>) -> User;
    set_user_roles(user_id: UserId, project_id: Option<ProjectId>, roles: &[AssignedRole], now: DateTime<Utc>)
        -> User;
    user(user_id: UserId) -> Option<User>;
    user_by_email(organization_id: OrganizationId, email: &str) -> Option<User>;
    users(filter: &UserFilter, page: PageRequest) -> Page<User>;
    insert_custom_role(role: &CustomRole) -> ();
    delete_custom_role(custom_role_id: CustomRoleId) -> ();
    custom_roles(organization_id: OrganizationId) -> Vec<CustomRole>;
    insert_key(key: &KeyRecord, secret_hash: &[u8; 32]) -> ();
    revoke_key(api_key_id: ApiKeyId, now: DateTime<Utc>) -> KeyRecord;
    key(api_key_id: ApiKeyId) -> Option<KeyRecord>;
    keys(filter: &KeyFilter, page: PageRequest) -> Page<KeyRecord>;
}
