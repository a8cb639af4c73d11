//! Reads of many records at once in the fake catalog: the single reads, one after the other.

use super::catalog::MemoryCatalog;
use async_trait::async_trait;
use milvault_domain::backup::Backup;
use milvault_domain::checks::{DrillSchedule, Leftovers, Verification, VerifySchedule};
use milvault_domain::cluster::Cluster;
use milvault_domain::ids::{BackupId, ClusterId, JobId, RepositoryId, WebhookId};
use milvault_domain::job::{Job, JobEvent};
use milvault_domain::job_request::JobRequest;
use milvault_domain::lifecycle::BackupHold;
use milvault_domain::milvus::Cut;
use milvault_domain::ports::{
    BatchCatalog, Catalog, ChecksCatalog, CopyCatalog, LifecycleCatalog, PortResult, ScheduleCatalog,
    VerifyReport, WebhookCatalog,
};
use milvault_domain::repository::Repository;
use milvault_domain::restore::{CompareReport, Restore};
use milvault_domain::schedule::ClusterSchedule;
use milvault_domain::webhook::Webhook;

/// Reads what is there of each id, by itself or together with the id.
macro_rules! batches {
    ({ $($one:ident($id:ty) -> $record:ty = $read:ident;)* }
     { $($with:ident($with_id:ty) -> $with_record:ty = $with_read:ident;)* }) => {
        #[async_trait]
        impl BatchCatalog for MemoryCatalog {
            $(async fn $one(&self, ids: &[$id]) -> PortResult<Vec<$record>> {
                let mut found = Vec::new();
                for id in ids {
                    found.extend(self.$read(*id).await?);
                }
                Ok(found)
            })*

            $(async fn $with(&self, ids: &[$with_id]) -> PortResult<Vec<($with_id, $with_record)>> {
                let mut found = Vec::new();
                for id in ids {
                    found.extend(self.$with_read(*id).await?.into_iter().map(|record| (*id, record)));
                }
                Ok(found)
            })*

            async fn makers_of(&self, ids: &[BackupId]) -> PortResult<Vec<Job>> {
                let makes = |job: &Job| {
                    job.job_type.makes_backup() && job.backup_id.is_some_and(|id| ids.contains(&id))
                };
                Ok(self.all_jobs().into_iter().filter(makes).collect())
            }
        }
    };
}

batches! {
    {
        clusters_among(ClusterId) -> Cluster = cluster;
        repositories_among(RepositoryId) -> Repository = repository;
        backups_among(BackupId) -> Backup = backup;
        jobs_among(JobId) -> Job = job;
        webhooks_among(WebhookId) -> Webhook = webhook;
        last_drills_of(BackupId) -> Job = last_drill;
        holds_of(BackupId) -> BackupHold = holds;
        copies_of(BackupId) -> Backup = copies;
        schedules_of(ClusterId) -> ClusterSchedule = schedule;
        drill_schedules_of(ClusterId) -> DrillSchedule = drill_schedule;
        verify_schedules_of(RepositoryId) -> VerifySchedule = verify_schedule;
        leftovers_of(JobId) -> Leftovers = leftovers;
    }
    {
        contents_of(BackupId) -> Cut = backup_contents;
        verifications_of(BackupId) -> Verification = verification;
        events_of(JobId) -> JobEvent = job_events;
        requests_of(JobId) -> JobRequest = job_request;
        restores_of(JobId) -> Restore = restore;
        verify_reports_of(JobId) -> VerifyReport = verify_report;
        compare_reports_of(JobId) -> CompareReport = compare_report;
    }
}
