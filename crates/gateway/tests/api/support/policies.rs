//! Policies that repositories have to know, in the catalog of the tests: the real thing.

use super::catalog::TestCatalog;
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use milvault_domain::ids::ClusterId;
use milvault_domain::ports::{DuePolicy, PolicyOutcome, PolicyRecordCatalog, PortResult, ProposedPolicy};

#[async_trait]
impl PolicyRecordCatalog for TestCatalog {
    async fn due_policies(&self, after: Option<ClusterId>, limit: u32) -> PortResult<Vec<DuePolicy>> {
        self.counted("due_policies").due_policies(after, limit).await
    }

    async fn due_policy(&self, cluster_id: ClusterId) -> PortResult<Option<DuePolicy>> {
        self.counted("due_policy").due_policy(cluster_id).await
    }

    async fn note_policy(&self, cluster_id: ClusterId, revision: u64) -> PortResult<()> {
        self.counted("note_policy").note_policy(cluster_id, revision).await
    }

    async fn take_policy(&self, proposed: &ProposedPolicy, now: DateTime<Utc>) -> PortResult<PolicyOutcome> {
        self.counted("take_policy").take_policy(proposed, now).await
    }
}
