//! Backups of the catalog on demand.

use crate::error::GatewayError;
use crate::graphql::access::{self, ContextExt};
use crate::graphql::model::catalog_backups::CatalogBackup;
use crate::graphql::scalar::parse_id;
use async_graphql::{Context, ID, InputObject, Object, SimpleObject};
use milvault_domain::access::Action;
use milvault_domain::ids::RepositoryId;

/// Mutations about backups of the catalog.
#[derive(Default)]
pub(crate) struct CatalogBackupMutation;

/// A backup of the catalog to be made.
#[derive(InputObject)]
pub(crate) struct CreateCatalogBackupInput {
    /// Where it is to lie; absent for the repository that the daily ones go to.
    repository_id: Option<ID>,
}

/// A backup of the catalog that was begun.
#[derive(SimpleObject)]
pub(crate) struct CreateCatalogBackupPayload {
    /// The backup. `catalogBackups` shows how it goes on.
    catalog_backup: CatalogBackup,
}

#[Object]
impl CatalogBackupMutation {
    /// Begins a backup of the catalog; while one is being made, gives that one. For owners of the organization.
    async fn create_catalog_backup(
        &self,
        context: &Context<'_>,
        input: CreateCatalogBackupInput,
    ) -> Result<CreateCatalogBackupPayload, GatewayError> {
        context.caller()?.permit_managing_organization()?;
        let backend = context.backend()?;
        let repository_id: Option<RepositoryId> =
            input.repository_id.map(|id| parse_id("repositoryId", &id)).transpose()?;
        if let Some(repository_id) = repository_id {
            access::repository(context, Action::ManageClusters, repository_id).await?;
        }
        let begun = backend.service.create_catalog_backup(repository_id).await?;
        Ok(CreateCatalogBackupPayload { catalog_backup: CatalogBackup::at(begun, backend.service.now()) })
    }
}
