//! Jobs that are asked for with an idempotency key.

use crate::catalog::SqlCatalog;
use crate::clusters;
use crate::database::{Record, Statement};
use crate::idempotency::{self, Earlier};
use crate::jobs;
use crate::model::id;
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use milvault_domain::ids::{ClusterId, JobId};
use milvault_domain::job::{Job, JobState, JobType};
use milvault_domain::ports::{Idempotency, InsertJobOutcome, KeyedJobs, PortResult};

#[async_trait]
impl KeyedJobs for SqlCatalog {
    async fn job_of_key(
        &self,
        cluster_id: ClusterId,
        job_type: JobType,
        idempotency: &Idempotency,
    ) -> PortResult<Option<InsertJobOutcome>> {
        idempotency::check(&idempotency.key)?;
        let statement: Statement = idempotency::select(cluster_id, &idempotency.key);
        let read = |row: &mut Record| Ok((id::<JobId>(&row.text("job_id")?)?, row.hash("request_hash")?));
        let Some((job_id, request_hash)) = self.find(statement, read).await? else { return Ok(None) };
        let job = self.find(jobs::select(job_id), jobs::read).await?;
        Ok(job.map(|job| {
            if request_hash == idempotency.request_hash && job.job_type == job_type {
                InsertJobOutcome::Duplicate(Box::new(job))
            } else {
                InsertJobOutcome::KeyReused(job_id)
            }
        }))
    }

    async fn insert_keyed_job(&self, job: &Job, idempotency: &Idempotency) -> PortResult<InsertJobOutcome> {
        let mut transaction = self.begin().await?;
        let dialect = self.database.dialect();
        clusters::lock_known(&mut *transaction, dialect, job.cluster_id).await?;
        let outcome = match idempotency::find(&mut *transaction, job, Some(idempotency)).await? {
            Some(Earlier::Same(job)) => InsertJobOutcome::Duplicate(job),
            Some(Earlier::Other(job_id)) => InsertJobOutcome::KeyReused(job_id),
            None => {
                jobs::insert_asked(&mut *transaction, dialect, job).await?;
                idempotency::insert(&mut *transaction, job, Some(idempotency)).await?;
                InsertJobOutcome::Created
            }
        };
        transaction.commit().await?;
        Ok(outcome)
    }

    async fn refuse_job(&self, job_id: JobId, reason: &str, now: DateTime<Utc>) -> PortResult<Option<Job>> {
        let mut transaction = self.begin().await?;
        let mut job = jobs::load_locked(&mut *transaction, self.database.dialect(), job_id).await?;
        if job.state != JobState::Pending || job.attempt > 0 {
            return Ok(None);
        }
        jobs::change(&mut *transaction, &mut job, JobState::Failed, Some(reason), now).await?;
        transaction.execute(idempotency::delete(job_id)).await?;
        transaction.commit().await?;
        Ok(Some(job))
    }
}
