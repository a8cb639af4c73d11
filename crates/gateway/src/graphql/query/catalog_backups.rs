//! Backups of the catalog itself.

use crate::error::GatewayError;
use crate::graphql::access::ContextExt;
use crate::graphql::model::catalog_backups::CatalogBackup;
use async_graphql::{Context, Object};

/// Backups that are listed unless a number is given.
const LISTED: i32 = 20;
/// Most backups that are listed.
const LISTED_MAX: i32 = 200;

/// Queries about backups of the catalog.
#[derive(Default)]
pub(crate) struct CatalogBackupQuery;

#[Object]
impl CatalogBackupQuery {
    /// The latest backups of the catalog, failed ones included, newest first. For owners of the organization.
    #[graphql(complexity = "10 + first.clamp(1, LISTED_MAX).unsigned_abs() as usize * child_complexity")]
    async fn catalog_backups(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Backups wanted, 1 to 200.", default_with = "LISTED")] first: i32,
    ) -> Result<Vec<CatalogBackup>, GatewayError> {
        context.caller()?.permit_managing_organization()?;
        let backend = context.backend()?;
        let limit = u32::try_from(first).ok().filter(|_| (1..=LISTED_MAX).contains(&first));
        let range =
            || GatewayError::bad_field("first", format!("must be between 1 and {LISTED_MAX}, got {first}"));
        let found = backend.catalog.catalog_backups(limit.ok_or_else(range)?).await?;
        let now = backend.service.now();
        Ok(found.into_iter().map(|backup| CatalogBackup::at(backup, now)).collect())
    }
}
