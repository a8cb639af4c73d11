//! Copies of backups in other repositories.

use super::backup::Backup;
use super::repository::Repository;
use crate::error::GatewayError;
use crate::graphql::access::ContextExt;
use crate::graphql::scalar::{parse_id, print_id};
use async_graphql::{ComplexObject, Context, ID, InputObject, SimpleObject};
use milvault_actors::CopyChange;
use milvault_domain::backup::CopyOrigin;
use milvault_domain::ids;
use milvault_domain::schedule::CopyPolicy;

/// What a copy was copied from.
#[derive(SimpleObject)]
#[graphql(complex)]
pub(crate) struct BackupOrigin {
    /// The backup.
    backup_id: ID,
    /// The repository that it lay in.
    repository_id: ID,
    #[graphql(skip)]
    key: ids::BackupId,
}

#[ComplexObject]
impl BackupOrigin {
    /// The backup, deleted ones included; null when this server does not know it.
    async fn backup(&self, context: &Context<'_>) -> Result<Option<Backup>, GatewayError> {
        let found = context.records()?.load_one(self.key).await?;
        Ok(context.caller()?.visible(found).map(Into::into))
    }
}

impl From<CopyOrigin> for BackupOrigin {
    fn from(origin: CopyOrigin) -> Self {
        Self {
            backup_id: print_id(origin.backup_id),
            repository_id: print_id(origin.repository_id),
            key: origin.backup_id,
        }
    }
}

/// Where automatic backups are copied to.
#[derive(SimpleObject)]
#[graphql(complex)]
pub(crate) struct BackupCopyPolicy {
    /// The repository.
    repository_id: ID,
    /// Days until a copy expires, 1 to 30.
    retention_days: u32,
    #[graphql(skip)]
    key: ids::RepositoryId,
}

#[ComplexObject]
impl BackupCopyPolicy {
    /// The repository.
    async fn repository(&self, context: &Context<'_>) -> Result<Option<Repository>, GatewayError> {
        let found = context.records()?.load_one(self.key).await?;
        Ok(context.caller()?.visible(found).map(Into::into))
    }
}

impl From<CopyPolicy> for BackupCopyPolicy {
    fn from(policy: CopyPolicy) -> Self {
        Self {
            repository_id: print_id(policy.repository_id),
            retention_days: policy.retention_days,
            key: policy.repository_id,
        }
    }
}

/// Where automatic backups are to be copied to.
#[derive(InputObject)]
pub(crate) struct BackupCopyPolicyInput {
    /// Another repository of the same project than the one that the cluster's backups go to.
    repository_id: ID,
    /// Days until a copy expires, 1 to 30; absent for as many as the backup has.
    retention_days: Option<i32>,
}

impl BackupCopyPolicyInput {
    /// Reads where automatic backups are to be copied to.
    ///
    /// # Errors
    /// A field that cannot be read.
    pub(crate) fn check(self) -> Result<CopyChange, GatewayError> {
        let days = |days: i32| {
            u32::try_from(days).map_err(|_| {
                GatewayError::bad_field("copy", format!("retentionDays must not be negative, got {days}"))
            })
        };
        Ok(CopyChange {
            repository_id: parse_id("repositoryId", &self.repository_id)?,
            retention_days: self.retention_days.map(days).transpose()?,
        })
    }
}
