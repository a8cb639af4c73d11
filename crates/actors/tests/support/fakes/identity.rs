//! Nobody comes in here: who may do what is tested on the real catalog.

use super::catalog::MemoryCatalog;
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use milvault_domain::access::{AssignedRole, CustomRole};
use milvault_domain::identity::{KeyRecord, Project, User, UserPatch};
use milvault_domain::ids::{ApiKeyId, CustomRoleId, OrganizationId, ProjectId, UserId};
use milvault_domain::ports::{IdentityCatalog, KeyFilter, Page, PageRequest, PortResult, UserFilter};

macro_rules! without_people {
    ($($name:ident($($kind:ty),*) -> $answer:ty;)*) => {
        #[async_trait]
        impl IdentityCatalog for MemoryCatalog {
            $(async fn $name(&self, $(_: $kind),*) -> PortResult<$answer> {
                unreachable!("there are no people in this catalog")
            })*
        }
    };
}

without_people! {
    insert_project(&Project) -> ();
    rename_project(ProjectId, &str) -> Project;
    projects(OrganizationId) -> Vec<Project>;
    insert_user(&User) -> ();
    update_user(UserId, &UserPatch, DateTime<Utc>) -> User;
    set_user_roles(UserId, Option<ProjectId>, &[AssignedRole], DateTime<Utc>) -> User;
    user(UserId) -> Option<User>;
    user_by_email(OrganizationId, &str) -> Option<User>;
    users(&UserFilter, PageRequest) -> Page<User>;
    insert_custom_role(&CustomRole) -> ();
    delete_custom_role(CustomRoleId) -> ();
    custom_roles(OrganizationId) -> Vec<CustomRole>;
    insert_key(&KeyRecord, &[u8; 32]) -> ();
    revoke_key(ApiKeyId, DateTime<Utc>) -> KeyRecord;
    key(ApiKeyId) -> Option<KeyRecord>;
    keys(&KeyFilter, PageRequest) -> Page<KeyRecord>;
    note_key_uses(&[(ApiKeyId, DateTime<Utc>)]) -> ();
}
