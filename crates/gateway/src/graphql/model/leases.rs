//! Servers that share the catalog, and which of them works on which cluster.

use crate::error::GatewayError;
use crate::graphql::access::ContextExt;
use crate::graphql::loaders::RecordLoader;
use crate::graphql::scalar::{Int64, print_id};
use async_graphql::dataloader::Loader;
use async_graphql::{ComplexObject, Context, ID, SimpleObject};
use chrono::{DateTime, Utc};
use milvault_domain::ids::{ClusterId, ServerId};
use milvault_domain::lease::{self as domain, HeldLease};
use std::collections::{HashMap, HashSet};

/// A running `milvault serve`. Several of them may share one PostgreSQL catalog.
#[derive(SimpleObject)]
#[graphql(complex)]
pub(crate) struct Server {
    /// Identity, `srv_...`; a new one at every start.
    id: ID,
    /// Name by its configuration, else that of its machine.
    name: String,
    /// Version of Milvault.
    version: String,
    /// When it started, by the database's clock.
    started_at: DateTime<Utc>,
    /// When it was heard of last, by the database's clock.
    heartbeat_at: DateTime<Utc>,
    /// Whether that is recent enough to take it for alive.
    alive: bool,
    /// Whether it answers this request.
    answering: bool,
    #[graphql(skip)]
    key: ServerId,
}

impl Server {
    /// A server, seen by the one that answers.
    pub(crate) fn new(record: domain::Server, answering: ServerId) -> Self {
        Self {
            id: print_id(record.id),
            answering: record.id == answering,
            name: record.name,
            version: record.version,
            started_at: record.started_at,
            heartbeat_at: record.heartbeat_at,
            alive: record.alive,
            key: record.id,
        }
    }
}

#[ComplexObject]
impl Server {
    /// The clusters whose jobs it works on, as far as the caller sees them.
    async fn leases(&self, context: &Context<'_>) -> Result<Vec<ClusterLease>, GatewayError> {
        let (caller, records) = (context.caller()?, context.records()?);
        let held = records.load_one(LeasesOf(self.key)).await?.unwrap_or_default();
        let mut clusters = records.load_many(held.iter().map(|held| held.fence.cluster_id)).await?;
        let seen = held
            .into_iter()
            .filter(|held| caller.visible(clusters.remove(&held.fence.cluster_id)).is_some())
            .map(|held| ClusterLease::new(held, Some(self.name.clone())));
        Ok(seen.collect())
    }
}

/// The right of one server to work on a cluster's jobs. It ends unless it is renewed.
#[derive(SimpleObject, Clone)]
pub(crate) struct ClusterLease {
    /// Whose jobs.
    cluster_id: ID,
    /// Who works on them.
    server_id: ID,
    /// Its name; null when it is not known any more.
    server_name: Option<String>,
    /// Counts the leases on this cluster. What is done under a former one is refused.
    generation: Int64,
    /// When it ends unless it is renewed, by the database's clock.
    expires_at: DateTime<Utc>,
}

impl ClusterLease {
    fn new(held: HeldLease, server_name: Option<String>) -> Self {
        Self {
            cluster_id: print_id(held.fence.cluster_id),
            server_id: print_id(held.fence.server_id),
            server_name,
            generation: Int64(held.fence.generation),
            expires_at: held.expires_at,
        }
    }
}

/// The lease on a cluster, as a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct LeaseOn(pub(crate) ClusterId);

/// The leases of a server, as a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct LeasesOf(ServerId);

impl Loader<LeasesOf> for RecordLoader {
    type Value = Vec<HeldLease>;
    type Error = GatewayError;

    async fn load(&self, keys: &[LeasesOf]) -> Result<HashMap<LeasesOf, Vec<HeldLease>>, GatewayError> {
        let mut leases: HashMap<_, Vec<_>> = keys.iter().map(|key| (*key, Vec::new())).collect();
        for held in self.backend.catalog.held_leases().await? {
            if let Some(leases) = leases.get_mut(&LeasesOf(held.fence.server_id)) {
                leases.push(held);
            }
        }
        Ok(leases)
    }
}

impl Loader<LeaseOn> for RecordLoader {
    type Value = ClusterLease;
    type Error = GatewayError;

    async fn load(&self, keys: &[LeaseOn]) -> Result<HashMap<LeaseOn, ClusterLease>, GatewayError> {
        let wanted: HashSet<ClusterId> = keys.iter().map(|LeaseOn(cluster_id)| *cluster_id).collect();
        let mut held = self.backend.catalog.held_leases().await?;
        held.retain(|held| wanted.contains(&held.fence.cluster_id));
        if held.is_empty() {
            return Ok(HashMap::new());
        }
        let servers = self.backend.catalog.servers().await?;
        let mut names: HashMap<ServerId, String> = HashMap::new();
        names.extend(servers.into_iter().map(|server| (server.id, server.name)));
        let leases = held.into_iter().map(|held| {
            let name = names.get(&held.fence.server_id).cloned();
            (LeaseOn(held.fence.cluster_id), ClusterLease::new(held, name))
        });
        Ok(leases.collect())
    }
}
