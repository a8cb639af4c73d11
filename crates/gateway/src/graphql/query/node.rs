//! Anything by its id.

use crate::error::GatewayError;
use crate::graphql::access::{self, ContextExt};
use crate::graphql::model::job::Job;
use crate::graphql::model::node::Node;
use crate::graphql::scalar::parse_id;
use async_graphql::{Context, ID, Object};
use milvault_domain::access::Action;
use milvault_domain::ids::{BackupId, ClusterId, JobId, RepositoryId};

/// The query for anything.
#[derive(Default)]
pub(crate) struct NodeQuery;

#[Object]
impl NodeQuery {
    /// A cluster, repository, backup or job, by its id alone.
    async fn node(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Identity of the thing.")] id: ID,
    ) -> Result<Option<Node>, GatewayError> {
        context.caller()?;
        let prefix = id.split('_').next().unwrap_or_default();
        let node = match prefix {
            ClusterId::PREFIX => {
                let record = access::cluster(context, Action::View, parse_id("id", &id)?).await?;
                Node::Cluster(record.into())
            }
            RepositoryId::PREFIX => {
                let record = access::repository(context, Action::View, parse_id("id", &id)?).await?;
                Node::Repository(record.into())
            }
            BackupId::PREFIX => {
                let record = access::backup(context, Action::View, parse_id("id", &id)?).await?;
                Node::Backup(record.into())
            }
            JobId::PREFIX => {
                let record = access::job(context, Action::View, parse_id("id", &id)?).await?;
                Node::Job(Job::now(record, context.backend()?))
            }
            _ => {
                return Err(GatewayError::bad_field(
                    "id",
                    "must be the id of a cluster, repository, backup or job, such as `clu_<32 hex digits>`",
                ));
            }
        };
        Ok(Some(node))
    }
}
