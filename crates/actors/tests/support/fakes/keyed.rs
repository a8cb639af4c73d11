//! Jobs that are asked for with an idempotency key.

use super::catalog::MemoryCatalog;
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use milvault_domain::ids::{ClusterId, JobId};
use milvault_domain::job::{Job, JobState, JobType};
use milvault_domain::ports::{Idempotency, InsertJobOutcome, KeyedJobs, PortResult};

#[async_trait]
impl KeyedJobs for MemoryCatalog {
    async fn job_of_key(
        &self,
        cluster_id: ClusterId,
        job_type: JobType,
        idempotency: &Idempotency,
    ) -> PortResult<Option<InsertJobOutcome>> {
        let tables = self.tables();
        Ok(tables.known(cluster_id, Some(idempotency)).map(|(same, job_id)| match &tables.jobs[&job_id] {
            job if same && job.job_type == job_type => InsertJobOutcome::Duplicate(Box::new(job.clone())),
            _ => InsertJobOutcome::KeyReused(job_id),
        }))
    }

    async fn insert_keyed_job(&self, job: &Job, idempotency: &Idempotency) -> PortResult<InsertJobOutcome> {
        if let Some(earlier) = self.job_of_key(job.cluster_id, job.job_type, idempotency).await? {
            return Ok(earlier);
        }
        let mut tables = self.tables();
        tables.admit(job.cluster_id)?;
        tables.keep_key(job, Some(idempotency));
        tables.jobs.insert(job.id, job.clone());
        Ok(InsertJobOutcome::Created)
    }

    async fn refuse_job(&self, job_id: JobId, reason: &str, now: DateTime<Utc>) -> PortResult<Option<Job>> {
        let mut tables = self.tables();
        if tables.jobs.get(&job_id).is_none_or(|job| job.state != JobState::Pending || job.attempt > 0) {
            return Ok(None);
        }
        tables.keys.retain(|_, (_, keyed)| *keyed != job_id);
        tables.transition(job_id, JobState::Failed, Some(reason), now).map(Some)
    }
}
