//! Projects, users, custom roles and the records of API keys.
//!
//! Changes take turns: whoever reads how many there are, or who is left as an owner, must not be overtaken by another
//! change before the commit.

pub(crate) mod grants;
pub(crate) mod keys;
pub(crate) mod owners;
pub(crate) mod projects;
pub(crate) mod roles;
pub(crate) mod users;

#[cfg(test)]
mod plans;

use crate::catalog::SqlCatalog;
use crate::database::{Statement, Transaction};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use milvault_domain::access::{AssignedRole, CustomRole};
use milvault_domain::identity::{KeyRecord, Project, User, UserPatch};
use milvault_domain::ids::{ApiKeyId, CustomRoleId, OrganizationId, ProjectId, UserId};
use milvault_domain::ports::{
    IdentityCatalog, KeyFilter, Page, PageRequest, PortError, PortErrorKind, PortResult, UserFilter,
};
use std::fmt::Display;

impl SqlCatalog {
    /// Begins a change of who may come in. Another one waits until this one has ended.
    pub(crate) async fn begin_identity_change(&self) -> PortResult<Box<dyn Transaction>> {
        let mut transaction = self.begin().await?;
        if let Some(lock) = self.database.dialect().lock_organizations {
            transaction.execute(Statement::new(lock)).await?;
        }
        Ok(transaction)
    }
}

#[async_trait]
impl IdentityCatalog for SqlCatalog {
    async fn insert_project(&self, project: &Project) -> PortResult<()> {
        let mut transaction = self.begin_identity_change().await?;
        projects::insert(&mut *transaction, project).await?;
        transaction.commit().await
    }

    async fn rename_project(&self, project_id: ProjectId, name: &str) -> PortResult<Project> {
        let mut transaction = self.begin_identity_change().await?;
        let renamed = projects::rename(&mut *transaction, project_id, name).await?;
        transaction.commit().await?;
        Ok(renamed)
    }

    async fn projects(&self, organization_id: OrganizationId) -> PortResult<Vec<Project>> {
        self.database.read(projects::list(organization_id)).await?.iter_mut().map(projects::read).collect()
    }

    async fn insert_user(&self, user: &User) -> PortResult<()> {
        let mut transaction = self.begin_identity_change().await?;
        users::insert(&mut *transaction, user).await?;
        transaction.commit().await
    }

    async fn update_user(&self, user_id: UserId, patch: &UserPatch, now: DateTime<Utc>) -> PortResult<User> {
        let mut transaction = self.begin_identity_change().await?;
        let changed = users::update(&mut *transaction, user_id, patch, now).await?;
        transaction.commit().await?;
        Ok(changed)
    }

    async fn set_user_roles(
        &self,
        user_id: UserId,
        project_id: Option<ProjectId>,
        roles: &[AssignedRole],
        now: DateTime<Utc>,
    ) -> PortResult<User> {
        let mut transaction = self.begin_identity_change().await?;
        let changed = users::set_roles(&mut *transaction, user_id, project_id, roles, now).await?;
        transaction.commit().await?;
        Ok(changed)
    }

    async fn user(&self, user_id: UserId) -> PortResult<Option<User>> {
        Ok(users::read_all(self.database.read(users::select(user_id)).await?)?.into_iter().next())
    }

    async fn user_by_email(&self, organization_id: OrganizationId, email: &str) -> PortResult<Option<User>> {
        let rows = self.database.read(users::select_by_email(organization_id, email)).await?;
        Ok(users::read_all(rows)?.into_iter().next())
    }

    async fn users(&self, filter: &UserFilter, page: PageRequest) -> PortResult<Page<User>> {
        match users::list(filter, page)? {
            Some(statement) => Ok(cut(users::read_all(self.database.read(statement).await?)?, page)),
            None => Ok(Page::empty()),
        }
    }

    async fn insert_custom_role(&self, role: &CustomRole) -> PortResult<()> {
        let mut transaction = self.begin_identity_change().await?;
        roles::insert(&mut *transaction, role).await?;
        transaction.commit().await
    }

    async fn delete_custom_role(&self, custom_role_id: CustomRoleId) -> PortResult<()> {
        let mut transaction = self.begin_identity_change().await?;
        let rows = transaction.execute(roles::delete(custom_role_id)).await?;
        transaction.commit().await?;
        if rows == 0 { Err(not_found("custom role", custom_role_id)) } else { Ok(()) }
    }

    async fn custom_roles(&self, organization_id: OrganizationId) -> PortResult<Vec<CustomRole>> {
        self.database.read(roles::list(organization_id)).await?.iter_mut().map(roles::read).collect()
    }

    async fn insert_key(&self, key: &KeyRecord, secret_hash: &[u8; 32]) -> PortResult<()> {
        let mut transaction = self.begin_identity_change().await?;
        keys::insert(&mut *transaction, key, secret_hash).await?;
        transaction.commit().await
    }

    async fn revoke_key(&self, api_key_id: ApiKeyId, now: DateTime<Utc>) -> PortResult<KeyRecord> {
        let mut transaction = self.begin_identity_change().await?;
        let revoked = keys::revoke(&mut *transaction, api_key_id, now).await?;
        transaction.commit().await?;
        Ok(revoked)
    }

    async fn key(&self, api_key_id: ApiKeyId) -> PortResult<Option<KeyRecord>> {
        Ok(keys::read_all(self.database.read(keys::select(api_key_id)).await?)?.into_iter().next())
    }

    async fn keys(&self, filter: &KeyFilter, page: PageRequest) -> PortResult<Page<KeyRecord>> {
        match keys::list(filter, page)? {
            Some(statement) => Ok(cut(keys::read_all(self.database.read(statement).await?)?, page)),
            None => Ok(Page::empty()),
        }
    }

    async fn note_key_uses(&self, uses: &[(ApiKeyId, DateTime<Utc>)]) -> PortResult<()> {
        let mut transaction = self.begin().await?;
        // In the order of ids, so that two batches cannot wait for each other.
        let mut uses = uses.to_vec();
        uses.sort_unstable();
        for (api_key_id, used_at) in uses {
            transaction.execute(keys::note_use(api_key_id, used_at)).await?;
        }
        transaction.commit().await
    }
}

/// The statement asked for one entry more than the page has.
fn cut<T>(mut items: Vec<T>, page: PageRequest) -> Page<T> {
    let limit = page.limit as usize;
    let has_more = limit < items.len();
    items.truncate(limit);
    Page { items, has_more, stopped_at: None }
}

fn not_found(kind: &str, id: impl Display) -> PortError {
    PortError::new(PortErrorKind::NotFound, format!("there is no {kind} `{id}`"))
}

/// Says what is taken when a unique index refuses a row.
fn taken(what: &str, value: &str, error: PortError) -> PortError {
    if error.kind() != PortErrorKind::Conflict {
        return error;
    }
    let message = format!("the organization has a {what} `{value}` already; choose another");
    PortError::with_source(PortErrorKind::Conflict, message, error)
}

/// Refuses another entry where a limit is reached. The statement selects what counts.
async fn check_room(
    transaction: &mut dyn Transaction,
    statement: Statement,
    limit: usize,
    what: &str,
) -> PortResult<()> {
    let statement = statement.push(" LIMIT ").bind(i64::try_from(limit).unwrap_or(i64::MAX));
    if transaction.query(statement).await?.len() < limit {
        return Ok(());
    }
    Err(PortError::new(
        PortErrorKind::Conflict,
        format!("there are {limit} {what} already, which is the most that may be"),
    ))
}
