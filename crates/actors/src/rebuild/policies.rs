//! Policies of automatic backups that come back from repositories.

use super::RebuiltCluster;
use crate::core::Deps;
use crate::retry::Retry;
use milvault_domain::ids::ClusterId;
use milvault_domain::keep::KeepRules;
use milvault_domain::ports::{
    BackupRepository, FoundPolicy, PolicyOutcome, PortError, PortResult, ProposedPolicy,
};
use milvault_domain::recovery::cautious_policy;
use milvault_domain::schedule::SchedulePolicy;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

/// A policy that was found in a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RebuiltPolicy {
    /// Whether it made backups.
    pub was_enabled: bool,
    /// What became of it.
    pub outcome: PolicyReturn,
    /// Why it cannot be read. As much as a policy can keep is kept then.
    pub unreadable: Option<String>,
}

/// What became of a policy that was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PolicyReturn {
    /// Nothing was to be written.
    Shown,
    /// The catalog has it, or a later one.
    Kept,
    /// It came back.
    Returned {
        /// Whether it was switched off, because its cluster waits for its address.
        switched_off: bool,
        /// Whether its second repository was left out: the catalog does not have it.
        copy_left_out: bool,
    },
}

/// Of every cluster the latest policy that some repository knows.
#[derive(Default)]
pub(super) struct Found(BTreeMap<ClusterId, FoundPolicy>);

impl Found {
    /// Reads what one repository knows. A cluster may have lain in another one before, so the highest revision counts.
    pub(super) async fn read(
        &mut self,
        name: &str,
        repository: &dyn BackupRepository,
        retry: Retry,
    ) -> PortResult<()> {
        let of_place = |error: PortError| error.context(format!("repository \"{name}\""));
        let found = retry.run("read the policies", || repository.read_policies()).await.map_err(of_place)?;
        for policy in found {
            match self.0.entry(policy.cluster_id) {
                Entry::Vacant(unknown) => {
                    unknown.insert(policy);
                }
                Entry::Occupied(mut known) => {
                    let weight = |policy: &FoundPolicy| (policy.revision, policy.record.is_ok());
                    if weight(known.get()) < weight(&policy) {
                        known.insert(policy);
                    }
                }
            }
        }
        Ok(())
    }

    /// Gives the clusters of the catalog their policies. Those of clusters that it does not know are left out: such a
    /// cluster has no backups.
    pub(super) async fn take(
        self,
        deps: &Deps,
        retry: Retry,
    ) -> PortResult<BTreeMap<ClusterId, RebuiltPolicy>> {
        let mut taken = BTreeMap::new();
        for (cluster_id, FoundPolicy { revision, record, .. }) in self.0 {
            let (policy, was_enabled, unreadable) = match record {
                Ok(record) => (record.policy.clone(), record.policy.enabled, None),
                Err(error) => {
                    let policy = in_place_of_unreadable(deps, cluster_id).await?;
                    (policy, false, Some(error.to_string()))
                }
            };
            let proposed = ProposedPolicy { cluster_id, revision, policy };
            let take = || deps.catalog.take_policy(&proposed, deps.clock.now());
            let outcome = match retry.run("take a policy", take).await? {
                PolicyOutcome::NoCluster => continue,
                PolicyOutcome::Kept => PolicyReturn::Kept,
                PolicyOutcome::Taken { switched_off, copy_left_out } => {
                    PolicyReturn::Returned { switched_off, copy_left_out }
                }
            };
            taken.insert(cluster_id, RebuiltPolicy { was_enabled, outcome, unreadable });
        }
        Ok(taken)
    }

    /// Says what there is.
    pub(super) fn show(
        self,
        clusters: &BTreeMap<ClusterId, RebuiltCluster>,
    ) -> BTreeMap<ClusterId, RebuiltPolicy> {
        let known = self.0.into_iter().filter(|(cluster_id, _)| clusters.contains_key(cluster_id));
        let shown = known.map(|(cluster_id, found)| {
            let was_enabled = found.record.as_ref().is_ok_and(|record| record.policy.enabled);
            let unreadable = found.record.err().map(|error| error.to_string());
            (cluster_id, RebuiltPolicy { was_enabled, outcome: PolicyReturn::Shown, unreadable })
        });
        shown.collect()
    }
}

/// Nobody knows what the policy kept, so as much as one can keep stays. An older catalog knows at least when to make
/// backups.
async fn in_place_of_unreadable(deps: &Deps, cluster_id: ClusterId) -> PortResult<SchedulePolicy> {
    let known = deps.catalog.schedule(cluster_id).await?;
    Ok(known.map_or_else(cautious_policy, |known| SchedulePolicy { keep: KeepRules::MOST, ..known.policy }))
}
