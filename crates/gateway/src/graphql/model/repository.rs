//! Repositories.

use super::checks::VerifyPolicy;
use super::storage::Storage;
use crate::error::GatewayError;
use crate::graphql::access::ContextExt;
use crate::graphql::loaders::VerifiesOf;
use crate::graphql::scalar::print_id;
use async_graphql::{ComplexObject, Context, ID, SimpleObject};
use chrono::{DateTime, Utc};
use milvault_domain::ids;
use milvault_domain::repository as domain;

/// A place where backups live.
#[derive(SimpleObject)]
#[graphql(complex)]
pub(crate) struct Repository {
    /// Identity, `rep_...`.
    pub(crate) id: ID,
    /// Project it belongs to.
    project_id: ID,
    /// Name, unique in the project.
    name: String,
    /// Where it lies.
    storage: Storage,
    /// What its store was found to do when it was made.
    capabilities: StoreCapabilities,
    /// When it was registered.
    created_at: DateTime<Utc>,
    #[graphql(skip)]
    key: ids::RepositoryId,
}

#[ComplexObject]
impl Repository {
    /// When shares of it are verified; null when nobody has said so.
    async fn verify_policy(&self, context: &Context<'_>) -> Result<Option<VerifyPolicy>, GatewayError> {
        let found = context.records()?.load_one(VerifiesOf(self.key)).await?;
        Ok(found.map(Into::into))
    }
}

/// What a store was found to do. Speed rests on it, correctness does not.
#[derive(SimpleObject)]
pub(crate) struct StoreCapabilities {
    /// Refuses to overwrite when asked not to.
    conditional_put: bool,
    /// Copies an object without the bytes passing through the server.
    server_side_copy: bool,
    /// Copies parts of large objects the same way.
    multipart_copy: bool,
}

impl From<domain::Repository> for Repository {
    fn from(record: domain::Repository) -> Self {
        Self {
            id: print_id(record.id),
            key: record.id,
            project_id: print_id(record.project_id),
            storage: (&record.storage).into(),
            capabilities: StoreCapabilities {
                conditional_put: record.capabilities.conditional_put,
                server_side_copy: record.capabilities.server_side_copy,
                multipart_copy: record.capabilities.multipart_copy,
            },
            name: record.name,
            created_at: record.created_at,
        }
    }
}
