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
        self.inner.register_server(server, length).await
    }

    async fn renew_leases(
        &self,
        server: &NewServer,
        fences: &[Fence],
        length: Duration,
    ) -> PortResult<Vec<Fence>> {
        self.inner.renew_leases(server, fences, length).await
    }

    async fn claim_lease(
        &self,
        cluster_id: ClusterId,
        server_id: ServerId,
        length: Duration,
    ) -> PortResult<Claim> {
        self.inner.claim_lease(cluster_id, server_id, length).await
    }

    async fn give_back_leases(&self, fences: &[Fence]) -> PortResult<()> {
        self.inner.give_back_leases(fences).await
    }

    async fn remove_server(&self, server_id: ServerId) -> PortResult<()> {
        self.inner.remove_server(server_id).await
    }

    async fn bury_server(&self, server_id: ServerId) -> PortResult<()> {
        self.inner.bury_server(server_id).await
    }

    async fn servers(&self) -> PortResult<Vec<Server>> {
        self.inner.servers().await
    }

    async fn held_leases(&self) -> PortResult<Vec<HeldLease>> {
        self.inner.held_leases().await
    }

    async fn held_lease(&self, cluster_id: ClusterId) -> PortResult<Option<HeldLease>> {
        self.inner.held_lease(cluster_id).await
    }

    async fn jobs_ended_since(&self, since: DateTime<Utc>, limit: u32) -> PortResult<Vec<Job>> {
        self.inner.jobs_ended_since(since, limit).await
    }

    async fn replace_cluster(&self, former: &Cluster, changed: &Cluster) -> PortResult<bool> {
        self.inner.replace_cluster(former, changed).await
    }

    async fn insert_due_sweep(&self, job: &Job, not_since: DateTime<Utc>) -> PortResult<bool> {
        self.inner.insert_due_sweep(job, not_since).await
    }

    fn fenced(&self, fence: Fence) -> Arc<dyn Catalog> {
        self.inner.fenced(fence)
    }
}
