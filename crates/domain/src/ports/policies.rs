//! What the catalog and a repository have to offer so that policies of automatic backups outlive the catalog.

use crate::error::PortResult;
use crate::ids::{ClusterId, RepositoryId};
use crate::recovery::PolicyRecord;
use crate::schedule::SchedulePolicy;
use async_trait::async_trait;
use chrono::{DateTime, Utc};

/// A policy that its repository may not have yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DuePolicy {
    /// Where backups of the cluster go.
    pub repository_id: RepositoryId,
    /// What is to be written there.
    pub record: PolicyRecord,
}

/// A record of a policy that lies in a repository.
#[derive(Debug)]
pub struct FoundPolicy {
    /// Whose policy.
    pub cluster_id: ClusterId,
    /// The revision that the record's name tells.
    pub revision: u64,
    /// The record. `Corrupt` when it cannot be understood, `Unsupported` when a later version wrote it.
    pub record: PortResult<PolicyRecord>,
}

/// A policy that a catalog is to have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProposedPolicy {
    /// Whose policy.
    pub cluster_id: ClusterId,
    /// The revision of its record.
    pub revision: u64,
    /// The policy.
    pub policy: SchedulePolicy,
}

/// What became of a proposed policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PolicyOutcome {
    /// The catalog does not know the cluster.
    NoCluster,
    /// The catalog has this one, or a later one.
    Kept,
    /// It is the cluster's policy now.
    Taken {
        /// Whether it was switched off, because the cluster waits for its address or is out of service.
        switched_off: bool,
        /// Whether its second repository was left out, because the catalog has none of that id in the project, or it is
        /// where the backups go anyway.
        copy_left_out: bool,
    },
}

/// The part of the catalog that keeps repositories able to tell the policies. The rules of [`super::Catalog`] hold here
/// too. A change of a policy, and of the repository of its cluster, counts its revision in the same transaction.
#[async_trait]
pub trait PolicyRecordCatalog: Send + Sync {
    /// Policies that changed since their record was written, by cluster, from the one behind `after` on.
    ///
    /// # Errors
    /// Errors of the database.
    async fn due_policies(&self, after: Option<ClusterId>, limit: u32) -> PortResult<Vec<DuePolicy>>;

    /// The policy of one cluster, when it changed since its record was written.
    ///
    /// # Errors
    /// Errors of the database.
    async fn due_policy(&self, cluster_id: ClusterId) -> PortResult<Option<DuePolicy>>;

    /// Says that a revision is in the repository. A later one stays due.
    ///
    /// # Errors
    /// Errors of the database.
    async fn note_policy(&self, cluster_id: ClusterId, revision: u64) -> PortResult<()>;

    /// Gives a cluster the policy of its record, unless the catalog counts as many changes. It is not due then. One that
    /// is on stays on only where backups can be made.
    ///
    /// # Errors
    /// `InvalidInput` when the policy breaks a rule; errors of the database.
    async fn take_policy(&self, proposed: &ProposedPolicy, now: DateTime<Utc>) -> PortResult<PolicyOutcome>;
}

/// The part of a repository that knows the policies of its clusters.
#[async_trait]
pub trait RepositoryPolicies: Send + Sync {
    /// Writes the record of a policy, and removes the ones that it replaces. One of the same revision stays as it is.
    /// Durable when it returns.
    ///
    /// # Errors
    /// Errors of the store.
    async fn write_policy(&self, record: &PolicyRecord) -> PortResult<()>;

    /// Of every cluster the record with the highest revision.
    ///
    /// # Errors
    /// Errors of the store. Records that cannot be understood are no error.
    async fn read_policies(&self) -> PortResult<Vec<FoundPolicy>>;
}
