//! Reads of many records at once, in the catalog of the tests: the real thing.

use super::catalog::TestCatalog;
use async_trait::async_trait;
use milvault_domain::backup::Backup;
use milvault_domain::checks::{DrillSchedule, Leftovers, Verification, VerifySchedule};
use milvault_domain::cluster::Cluster;
use milvault_domain::ids::{BackupId, ClusterId, JobId, RepositoryId, WebhookId};
use milvault_domain::job::{Job, JobEvent};
use milvault_domain::job_request::JobRequest;
use milvault_domain::lifecycle::BackupHold;
use milvault_domain::milvus::Cut;
use milvault_domain::ports::{BatchCatalog, PortResult, VerifyReport};
use milvault_domain::repository::Repository;
use milvault_domain::restore::{CompareReport, Restore};
use milvault_domain::schedule::ClusterSchedule;
use milvault_domain::webhook::Webhook;

macro_rules! delegate {
    ($($name:ident($id:ty) -> $answer:ty;)*) => {
        #[async_trait]
        impl BatchCatalog for TestCatalog {
            async fn clusters_among(&self, ids: &[ClusterId]) -> PortResult<Vec<Cluster>> {
                self.meet_trouble().await?;
                let mut found = self.counted("clusters_among").clusters_among(ids).await?;
                for cluster in &mut found {
                    cluster.project_id = self.elsewhere(&cluster.id).unwrap_or(cluster.project_id);
                }
                Ok(found)
            }

            async fn backups_among(&self, ids: &[BackupId]) -> PortResult<Vec<Backup>> {
                let mut found = self.counted("backups_among").backups_among(ids).await?;
                for backup in &mut found {
                    backup.project_id = self.elsewhere(&backup.id).unwrap_or(backup.project_id);
                }
                Ok(found)
            }

            $(async fn $name(&self, ids: &[$id]) -> PortResult<Vec<$answer>> {
                self.counted(stringify!($name)).$name(ids).await
            })*
        }
    };
}

delegate! {
    repositories_among(RepositoryId) -> Repository;
    jobs_among(JobId) -> Job;
    webhooks_among(WebhookId) -> Webhook;
    makers_of(BackupId) -> Job;
    last_drills_of(BackupId) -> Job;
    holds_of(BackupId) -> BackupHold;
    copies_of(BackupId) -> Backup;
    contents_of(BackupId) -> (BackupId, Cut);
    verifications_of(BackupId) -> (BackupId, Verification);
    schedules_of(ClusterId) -> ClusterSchedule;
    drill_schedules_of(ClusterId) -> DrillSchedule;
    verify_schedules_of(RepositoryId) -> VerifySchedule;
    events_of(JobId) -> (JobId, JobEvent);
    requests_of(JobId) -> (JobId, JobRequest);
    restores_of(JobId) -> (JobId, Restore);
    verify_reports_of(JobId) -> (JobId, VerifyReport);
    compare_reports_of(JobId) -> (JobId, CompareReport);
    leftovers_of(JobId) -> Leftovers;
}
