//! Servers and leases in the fake catalog, whose clock goes by itself and can be put forward.

use super::catalog::MemoryCatalog;
use super::tables::{Tables, error};
use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use milvault_domain::cluster::Cluster;
use milvault_domain::ids::{ClusterId, ServerId};
use milvault_domain::job::{Job, JobType};
use milvault_domain::lease::{Claim, Fence, HeldLease, Lease, NewServer, Server};
use milvault_domain::ports::{Catalog, LeaseCatalog, LifecycleCatalog, PortErrorKind, PortResult};
use std::collections::BTreeMap;
use std::sync::{Arc, MutexGuard};
use std::time::Duration;
use tokio::time::Instant;

pub struct LeaseTables {
    /// Whether several servers may use the catalog.
    shared: bool,
    origin: Instant,
    ahead: Duration,
    servers: BTreeMap<ServerId, Server>,
    leases: BTreeMap<ClusterId, Lease>,
}

impl Default for LeaseTables {
    fn default() -> Self {
        Self {
            shared: false,
            origin: Instant::now(),
            ahead: Duration::ZERO,
            servers: BTreeMap::new(),
            leases: BTreeMap::new(),
        }
    }
}

impl LeaseTables {
    fn now(&self) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::from_std(self.origin.elapsed() + self.ahead).unwrap()
    }

    fn hear(&mut self, server: &NewServer) {
        let now = self.now();
        let NewServer { id, name, version } = server.clone();
        let row = Server { id, name, version, started_at: now, heartbeat_at: now, alive: true };
        self.servers.entry(id).or_insert(row).heartbeat_at = now;
    }

    fn held(&self) -> Vec<HeldLease> {
        let now = self.now();
        self.leases.iter().filter_map(|(cluster_id, lease)| lease.held(*cluster_id, now)).collect()
    }
}

impl MemoryCatalog {
    /// Lets several servers use the catalog.
    pub fn share(&self) {
        self.tables().leases.shared = true;
    }

    /// Puts the catalog's own clock forward.
    pub fn put_forward(&self, by: Duration) {
        self.tables().leases.ahead += by;
    }

    /// The tables, for a write that work on a job makes.
    pub(super) fn fenced_tables(&self) -> PortResult<MutexGuard<'_, Tables>> {
        let tables = self.tables();
        if let Some(fence) = self.fence
            && !tables.leases.leases.get(&fence.cluster_id).is_some_and(|lease| lease.admits(fence))
        {
            return Err(error(PortErrorKind::Canceled, "another server works on its jobs"));
        }
        Ok(tables)
    }
}

#[async_trait]
impl LeaseCatalog for MemoryCatalog {
    fn is_shared(&self) -> bool {
        self.tables().leases.shared
    }

    async fn register_server(&self, server: &NewServer, _: Duration) -> PortResult<()> {
        self.gates.pass("register_server").await?;
        let leases = &mut self.tables().leases;
        if !leases.shared {
            leases.servers.clear();
            for held in leases.held() {
                leases.leases.get_mut(&held.fence.cluster_id).unwrap().give_back(held.fence);
            }
        }
        leases.hear(server);
        Ok(())
    }

    async fn renew_leases(
        &self,
        server: &NewServer,
        fences: &[Fence],
        length: Duration,
    ) -> PortResult<Vec<Fence>> {
        self.gates.pass("renew_leases").await?;
        let leases = &mut self.tables().leases;
        leases.hear(server);
        let now = leases.now();
        let renewed = fences.iter().filter(|fence| {
            leases.leases.get_mut(&fence.cluster_id).is_some_and(|lease| lease.renew(**fence, now, length))
        });
        Ok(renewed.copied().collect())
    }

    async fn claim_lease(
        &self,
        cluster_id: ClusterId,
        server_id: ServerId,
        length: Duration,
    ) -> PortResult<Claim> {
        self.gates.pass("claim_lease").await?;
        let leases = &mut self.tables().leases;
        let now = leases.now();
        Ok(leases.leases.entry(cluster_id).or_default().claim(cluster_id, server_id, now, length))
    }

    async fn give_back_leases(&self, fences: &[Fence]) -> PortResult<()> {
        self.gates.pass("give_back_leases").await?;
        let leases = &mut self.tables().leases;
        for fence in fences {
            if let Some(lease) = leases.leases.get_mut(&fence.cluster_id) {
                lease.give_back(*fence);
            }
        }
        Ok(())
    }

    async fn remove_server(&self, server_id: ServerId) -> PortResult<()> {
        self.tables().leases.servers.remove(&server_id);
        Ok(())
    }

    async fn bury_server(&self, server_id: ServerId) -> PortResult<()> {
        let leases = &mut self.tables().leases;
        leases.servers.remove(&server_id);
        for held in leases.held().into_iter().filter(|held| held.fence.server_id == server_id) {
            leases.leases.get_mut(&held.fence.cluster_id).unwrap().give_back(held.fence);
        }
        Ok(())
    }

    async fn servers(&self) -> PortResult<Vec<Server>> {
        Ok(self.tables().leases.servers.values().cloned().collect())
    }

    async fn held_leases(&self) -> PortResult<Vec<HeldLease>> {
        self.gates.pass("held_leases").await?;
        Ok(self.tables().leases.held())
    }

    async fn held_lease(&self, cluster_id: ClusterId) -> PortResult<Option<HeldLease>> {
        Ok(self.tables().leases.held().into_iter().find(|held| held.fence.cluster_id == cluster_id))
    }

    async fn jobs_ended_since(&self, since: DateTime<Utc>, limit: u32) -> PortResult<Vec<Job>> {
        let tables = self.tables();
        let ended = tables.jobs.values().rev().filter(|job| job.ended_at.is_some_and(|end| since <= end));
        Ok(ended.take(limit as usize).cloned().collect())
    }

    async fn replace_cluster(&self, former: &Cluster, changed: &Cluster) -> PortResult<bool> {
        self.gates.pass("update_cluster").await?;
        match self.tables().clusters.get_mut(&changed.id) {
            Some((row, false)) if row == former => row.clone_from(changed),
            Some((_, false)) => return Ok(false),
            _ => return Err(error(PortErrorKind::NotFound, "no such cluster")),
        }
        Ok(true)
    }

    async fn insert_due_sweep(&self, job: &Job, not_since: DateTime<Utc>) -> PortResult<bool> {
        let of_cluster = |other: &Job| other.cluster_id == job.cluster_id && other.job_type == JobType::Sweep;
        let lately = |other: &Job| not_since < other.created_at && other.created_at <= job.created_at;
        if self.tables().jobs.values().any(|other| of_cluster(other) && lately(other)) {
            return Ok(false);
        }
        Ok(self.insert_sweep(job).await?.is_none())
    }

    fn fenced(&self, fence: Fence) -> Arc<dyn Catalog> {
        Arc::new(self.with_fence(fence))
    }
}
