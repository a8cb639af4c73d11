//! Jobs with idempotency keys in the catalog of the tests: the real ones.

use super::catalog::TestCatalog;
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use milvault_domain::ids::{ClusterId, JobId};
use milvault_domain::job::{Job, JobType};
use milvault_domain::ports::{Idempotency, InsertJobOutcome, KeyedJobs, PortResult};

#[async_trait]
impl KeyedJobs for TestCatalog {
    async fn job_of_key(
        &self,
        cluster_id: ClusterId,
        job_type: JobType,
        idempotency: &Idempotency,
    ) -> PortResult<Option<InsertJobOutcome>> {
        self.counted("job_of_key").job_of_key(cluster_id, job_type, idempotency).await
    }

    async fn insert_keyed_job(&self, job: &Job, idempotency: &Idempotency) -> PortResult<InsertJobOutcome> {
        self.counted("insert_keyed_job").insert_keyed_job(job, idempotency).await
    }

    async fn refuse_job(&self, job_id: JobId, reason: &str, now: DateTime<Utc>) -> PortResult<Option<Job>> {
        self.counted("refuse_job").refuse_job(job_id, reason, now).await
    }
}
