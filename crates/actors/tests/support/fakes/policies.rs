//! Records of policies in the fake catalog and the fake repository. The fake catalog counts no changes: nothing is due.

use super::catalog::MemoryCatalog;
use super::repository::FakeRepository;
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use milvault_domain::ids::ClusterId;
use milvault_domain::ports::{
    DuePolicy, FoundPolicy, PolicyOutcome, PolicyRecordCatalog, PortError, PortErrorKind, PortResult,
    ProposedPolicy, RepositoryPolicies,
};
use milvault_domain::recovery::PolicyRecord;

#[async_trait]
impl PolicyRecordCatalog for MemoryCatalog {
    async fn due_policies(&self, _: Option<ClusterId>, _: u32) -> PortResult<Vec<DuePolicy>> {
        Ok(Vec::new())
    }

    async fn due_policy(&self, _: ClusterId) -> PortResult<Option<DuePolicy>> {
        Ok(None)
    }

    async fn note_policy(&self, _: ClusterId, _: u64) -> PortResult<()> {
        Ok(())
    }

    async fn take_policy(&self, _: &ProposedPolicy, _: DateTime<Utc>) -> PortResult<PolicyOutcome> {
        Ok(PolicyOutcome::NoCluster)
    }
}

#[async_trait]
impl RepositoryPolicies for FakeRepository {
    async fn write_policy(&self, record: &PolicyRecord) -> PortResult<()> {
        self.gates.pass("write_policy").await?;
        self.state.policies.lock().unwrap().insert(record.cluster_id, record.clone());
        Ok(())
    }

    async fn read_policies(&self) -> PortResult<Vec<FoundPolicy>> {
        let unreadable = self.state.unreadable_policies.lock().unwrap();
        let policies = self.state.policies.lock().unwrap();
        let found = policies.values().map(|record| FoundPolicy {
            cluster_id: record.cluster_id,
            revision: record.revision,
            record: if unreadable.contains(&record.cluster_id) {
                Err(PortError::new(PortErrorKind::Corrupt, "the policy is damaged"))
            } else {
                Ok(record.clone())
            },
        });
        Ok(found.collect())
    }
}
