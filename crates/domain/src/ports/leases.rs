//! The catalog's part about servers that share it.

use crate::cluster::Cluster;
use crate::error::PortResult;
use crate::ids::{ClusterId, ServerId};
use crate::job::Job;
use crate::lease::{Claim, Fence, HeldLease, NewServer, Server};
use crate::ports::Catalog;
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use std::sync::Arc;
use std::time::Duration;

/// Servers, and their leases on clusters. Every method is one transaction; all times are the database's, so that clocks
/// of servers need not agree.
#[async_trait]
pub trait LeaseCatalog: Send + Sync {
    /// Whether other servers may use the catalog at the same time. Where not, a server that comes is the only one.
    fn is_shared(&self) -> bool;

    /// Adds a server that has just started. Servers that were silent for a day are forgotten. In a catalog that is not
    /// shared all others are, and their leases are given back.
    ///
    /// # Errors
    /// Errors of the database.
    async fn register_server(&self, server: &NewServer, length: Duration) -> PortResult<()>;

    /// Records that a server lives, and prolongs those of the leases that have not ended. Returns them.
    ///
    /// # Errors
    /// Errors of the database.
    async fn renew_leases(
        &self,
        server: &NewServer,
        fences: &[Fence],
        length: Duration,
    ) -> PortResult<Vec<Fence>>;

    /// Grants the lease on a cluster unless another server holds it.
    ///
    /// # Errors
    /// `NotFound` when there is no such cluster; errors of the database.
    async fn claim_lease(
        &self,
        cluster_id: ClusterId,
        server_id: ServerId,
        length: Duration,
    ) -> PortResult<Claim>;

    /// Ends leases before their time. Those that have passed to others stay as they are.
    ///
    /// # Errors
    /// Errors of the database.
    async fn give_back_leases(&self, fences: &[Fence]) -> PortResult<()>;

    /// Forgets a server that ends. Its leases are not touched.
    ///
    /// # Errors
    /// Errors of the database.
    async fn remove_server(&self, server_id: ServerId) -> PortResult<()>;

    /// Forgets a server that is known to be dead, and gives its leases back.
    ///
    /// # Errors
    /// Errors of the database.
    async fn bury_server(&self, server_id: ServerId) -> PortResult<()>;

    /// All servers, in the order in which they came.
    ///
    /// # Errors
    /// Errors of the database.
    async fn servers(&self) -> PortResult<Vec<Server>>;

    /// All leases that are held now, by cluster.
    ///
    /// # Errors
    /// Errors of the database.
    async fn held_leases(&self) -> PortResult<Vec<HeldLease>>;

    /// The lease on a cluster, if somebody holds it now.
    ///
    /// # Errors
    /// Errors of the database.
    async fn held_lease(&self, cluster_id: ClusterId) -> PortResult<Option<HeldLease>>;

    /// Jobs that ended at or after a time, latest first, at most `limit`: what a server tells its subscribers about
    /// that happened at others.
    ///
    /// # Errors
    /// Errors of the database.
    async fn jobs_ended_since(&self, since: DateTime<Utc>, limit: u32) -> PortResult<Vec<Job>>;

    /// Replaces what a person may change of a cluster, unless it was changed after `former` was read; false then.
    ///
    /// # Errors
    /// As [`Catalog::update_cluster`].
    async fn replace_cluster(&self, former: &Cluster, changed: &Cluster) -> PortResult<bool>;

    /// Adds a sweep that nobody asked for, unless one of the cluster is open or was added after `not_since` and up to
    /// the time of this one; false then.
    ///
    /// # Errors
    /// `InvalidInput` when the job is no sweep; errors of the database.
    async fn insert_due_sweep(&self, job: &Job, not_since: DateTime<Utc>) -> PortResult<bool>;

    /// The same catalog as it is for the work on a cluster's jobs: whatever is written through it is refused as
    /// `Canceled`, in the same transaction, when the fence is not that of the current lease.
    fn fenced(&self, fence: Fence) -> Arc<dyn Catalog>;
}
