//! Servers and leases, as the real catalog has them.

use super::catalog::TestCatalog;
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use milvault_domain::cluster::Cluster;
use milvault_domain::ids::{ClusterId, ServerId};
use milvault_domain::job::Job;
use milvault_domain::lease::{Claim, Fence, HeldLease, NewServer, Server};
use milvault_domain::ports::{Catalog, LeaseCatalog, PortResult};
use std::sync::Arc;
use std::time::Duration;

#[async_trait]
impl LeaseCatalog for TestCatalog {
    fn is_shared(&self) -> bool {
        self.inner.is_shared()
    }

    async fn register_server(&self, server: &NewServer, length: Duration) -> PortResult<()> {
        self.counted("register_server").register_server(server, length).await
    }

    async fn renew_leases(
        &self,
        server: &NewServer,
        fences: &[Fence],
        length: Duration,
    ) -> PortResult<Vec<Fence>> {
        self.counted("renew_leases").renew_leases(server, fences, length).await
    }

    async fn claim_lease(
        &self,
        cluster_id: ClusterId,
        server_id: ServerId,
        length: Duration,
    ) -> PortResult<Claim> {
        self.counted("claim_lease").claim_lease(cluster_id, server_id, length).await
    }

    async fn give_back_leases(&self, fences: &[Fence]) -> PortResult<()> {
        self.counted("give_back_leases").give_back_leases(fences).await
    }

    async fn remove_server(&self, server_id: ServerId) -> PortResult<()> {
        self.counted("remove_server").remove_server(server_id).await
    }

    async fn bury_server(&self, server_id: ServerId) -> PortResult<()> {
        self.counted("bury_server").bury_server(server_id).await
    }

    async fn servers(&self) -> PortResult<Vec<Server>> {
        self.counted("servers").servers().await
    }

    async fn held_leases(&self) -> PortResult<Vec<HeldLease>> {
        self.counted("held_leases").held_leases().await
    }

    async fn held_lease(&self, cluster_id: ClusterId) -> PortResult<Option<HeldLease>> {
        self.counted("held_lease").held_lease(cluster_id).await
    }

    async fn jobs_ended_since(&self, since: DateTime<Utc>, limit: u32) -> PortResult<Vec<Job>> {
        self.counted("jobs_ended_since").jobs_ended_since(since, limit).await
    }

    async fn replace_cluster(&self, former: &Cluster, changed: &Cluster) -> PortResult<bool> {
        self.counted("replace_cluster").replace_cluster(former, changed).await
    }

    async fn insert_due_sweep(&self, job: &Job, not_since: DateTime<Utc>) -> PortResult<bool> {
        self.counted("insert_due_sweep").insert_due_sweep(job, not_since).await
    }

    fn fenced(&self, fence: Fence) -> Arc<dyn Catalog> {
        self.inner.fenced(fence)
    }
}
