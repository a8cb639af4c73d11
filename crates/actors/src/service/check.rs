//! Checking a cluster: can it be backed up, and if not, why.

use super::Service;
use super::clusters::check_registered;
use crate::error::ServiceError;
use milvault_domain::cluster::Cluster;
use milvault_domain::ids::ClusterId;
use milvault_domain::ports::{CheckFinding, PortResult};
use milvault_domain::storage::SourceLayout;
use std::future::Future;

impl Service {
    /// Connects to Milvus, to its storage and to the repository, and says in words what is wrong. Every part is
    /// looked at, whatever the others say, for a bounded time.
    ///
    /// # Errors
    /// `NotFound` for the cluster; errors of the catalog. What is wrong with the cluster is a finding, not an error.
    pub async fn check_cluster(&self, cluster_id: ClusterId) -> Result<Vec<CheckFinding>, ServiceError> {
        let cluster = self.cluster(cluster_id).await?;
        if let Err(error) = check_registered(&cluster) {
            return Ok(vec![finding("cluster", Err(error.to_string()))]);
        }
        let (milvus, storage, repository) = futures::join!(
            self.in_time("milvus", self.check_milvus(&cluster)),
            self.in_time("storage", self.check_storage(&cluster)),
            self.in_time("repository", self.check_repository_of(&cluster)),
        );
        Ok([milvus, storage, repository].into_iter().flatten().collect())
    }

    async fn in_time(
        &self,
        subject: &'static str,
        check: impl Future<Output = PortResult<Vec<CheckFinding>>>,
    ) -> Vec<CheckFinding> {
        let limit = self.core().settings.check_timeout;
        match tokio::time::timeout(limit, check).await {
            Ok(Ok(findings)) => findings,
            Ok(Err(error)) => vec![finding(subject, Err(error.to_string()))],
            Err(_) => {
                let message = format!("no answer within {} s; check address and network", limit.as_secs());
                vec![finding(subject, Err(message))]
            }
        }
    }

    async fn check_milvus(&self, cluster: &Cluster) -> PortResult<Vec<CheckFinding>> {
        let connection = self.deps().milvus.connect(&cluster.endpoint).await?;
        let server = connection.server();
        let verified = if server.capabilities.verified {
            ""
        } else {
            "; this version was not run in Milvault's own tests, so verify the first backup"
        };
        let message = format!(
            "Milvus {} at {} accepts the credentials{verified}",
            server.version, cluster.endpoint.uri
        );
        Ok(vec![finding("milvus", Ok(message))])
    }

    async fn check_storage(&self, cluster: &Cluster) -> PortResult<Vec<CheckFinding>> {
        let source = self.deps().stores.open_source(&cluster.storage, &SourceLayout::Milvus).await?;
        Ok(source.check().await)
    }

    async fn check_repository_of(&self, cluster: &Cluster) -> PortResult<Vec<CheckFinding>> {
        let Some(repository) = self.deps().catalog.repository(cluster.repository_id).await? else {
            let message = format!("repository {} is not registered", cluster.repository_id);
            return Ok(vec![finding("repository", Err(message))]);
        };
        let stores = &self.deps().stores;
        let opened =
            stores.open_repository(repository.id, &repository.storage, repository.capabilities).await?;
        Ok(opened.check().await)
    }
}

fn finding(subject: &str, found: Result<String, String>) -> CheckFinding {
    let ok = found.is_ok();
    let (Ok(message) | Err(message)) = found;
    CheckFinding { subject: subject.to_owned(), ok, message }
}
