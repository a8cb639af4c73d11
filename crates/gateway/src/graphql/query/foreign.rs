//! Backups that another program made.

use crate::error::GatewayError;
use crate::graphql::access::ContextExt;
use crate::graphql::model::foreign::ForeignBackup;
use crate::graphql::model::storage::StorageInput;
use crate::graphql::page;
use crate::graphql::scalar::parse_id;
use async_graphql::{Context, ID, Object};
use milvault_domain::access::Action;
use milvault_domain::ports::WantedDirectories;

/// Queries about backups that another program made.
#[derive(Default)]
pub(crate) struct ForeignBackupQuery;

#[Object]
impl ForeignBackupQuery {
    /// Directories that milvus-backup wrote into a place, by name; `adoptBackup` takes one over. Reads the place and
    /// changes nothing. Needs the right to manage clusters, because it makes the server read the place that is named.
    #[graphql(complexity = "2_000 + page::complexity(first, child_complexity)")]
    async fn foreign_backups(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "The place that holds milvus-backup's directories.")] storage: StorageInput,
        #[graphql(
            desc = "Project on whose behalf it is read; absent for the only one in which the key may manage \
                          clusters."
        )]
        project_id: Option<ID>,
        #[graphql(desc = "Directories wanted, 1 to 200; 50 by default.")] first: Option<i32>,
        #[graphql(desc = "How many to leave out at the beginning.")] skip: Option<i32>,
    ) -> Result<Vec<ForeignBackup>, GatewayError> {
        let (caller, backend) = (context.caller()?, context.backend()?);
        let wanted = project_id.map(|id| parse_id("projectId", &id)).transpose()?;
        caller.project_for(Action::ManageClusters, wanted)?;
        // How many there are shows when they are listed.
        let wanted = WantedDirectories::At(page::slice(usize::MAX, first, skip)?);
        let storage = storage.check()?;
        context.permit_place(&storage)?;
        let found = backend.service.list_foreign_backups(&storage, &wanted).await?;
        Ok(found.into_iter().map(Into::into).collect())
    }
}
