//! Look-ups of what the entries of lists refer to. Those of one operation that come at the same moment become one read,
//! whatever the number of entries; each record is read once.

use super::Backend;
use super::model::compare::CompareReport;
use super::model::restore::Restore;
use super::together::Wanted;
use crate::error::GatewayError;
use async_graphql::dataloader::{DataLoader, Loader};
use milvault_domain::backup::Backup;
use milvault_domain::checks::{DrillSchedule, Leftovers, Verification, VerifySchedule};
use milvault_domain::cluster::Cluster;
use milvault_domain::ids::{BackupId, ClusterId, JobId, RepositoryId, WebhookId};
use milvault_domain::job::{Job, JobEvent};
use milvault_domain::job_request::JobRequest;
use milvault_domain::lifecycle::{BackupHold, StorageUse};
use milvault_domain::milvus::Cut;
use milvault_domain::ports::{BATCH_MAX, LARGE_BATCH_MAX, VerifyReport};
use milvault_domain::repository::Repository;
use milvault_domain::schedule::ClusterSchedule;
use milvault_domain::webhook::Webhook;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

/// The look-ups of one operation. Whether the caller may see what they find is decided afterwards, record by record.
pub(crate) type Records = DataLoader<RecordLoader>;

/// Begins the look-ups of one operation. They keep nothing from one moment to the next, so that neither subscriptions
/// nor what follows a mutation see stale records; and operations share nothing. What they read is read as `wanted` says,
/// which waits for the end of the moment by itself.
pub(super) fn records(backend: Arc<Backend>, wanted: Wanted) -> Records {
    DataLoader::new(RecordLoader { backend }, move |read| wanted.add(read))
        .delay(Duration::ZERO)
        .max_batch_size(BATCH_MAX)
}

/// Reads records of all kinds.
pub(crate) struct RecordLoader {
    pub(super) backend: Arc<Backend>,
}

macro_rules! keys {
    ($($(#[$documentation:meta])* $name:ident($id:ty);)*) => {$(
        $(#[$documentation])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub(crate) struct $name(pub(crate) $id);
    )*};
}

keys! {
    /// The job that makes or made a backup.
    MakerOf(BackupId);
    /// The newest drill of a backup.
    LastDrillOf(BackupId);
    /// Holds on a backup.
    HoldsOn(BackupId);
    /// Copies of a backup.
    CopiesOf(BackupId);
    /// Contents of a backup.
    ContentsOf(BackupId);
    /// What verifies have found about a backup.
    VerificationOf(BackupId);
    /// The schedule of a cluster's backups.
    ScheduleOf(ClusterId);
    /// The schedule of a cluster's drills.
    DrillsOf(ClusterId);
    /// The schedule of a repository's verifies.
    VerifiesOf(RepositoryId);
    /// States and phases of a job.
    HistoryOf(JobId);
    /// The earlier job that a job is about. Whatever else it was asked stays where it is: that may hold secrets.
    SubjectOf(JobId);
    /// The restore that a job does.
    RestoreOf(JobId);
    /// What a verify found.
    VerifyReportOf(JobId);
    /// What a comparison found.
    CompareReportOf(JobId);
    /// What a drill has left at its target.
    LeftoversOf(JobId);
}

/// What the backups of a cluster take up in a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct StorageIn {
    pub(crate) cluster_id: ClusterId,
    pub(crate) repository_id: RepositoryId,
}

/// Figures by backup.
type StorageUses = Arc<HashMap<BackupId, StorageUse>>;

/// Makes look-ups of a method of the catalog that takes many ids: what the key's id is, which key an entry found
/// belongs to, and whether a key has one entry or all of them.
macro_rules! loaders {
    ($($key:ty => $value:ty: $read:ident of $max:ident, $id:expr, $number:ident $entry:expr;)*) => {$(
        impl Loader<$key> for RecordLoader {
            type Value = $value;
            type Error = GatewayError;

            async fn load(&self, keys: &[$key]) -> Result<HashMap<$key, $value>, GatewayError> {
                let ids: Vec<_> = keys.iter().map($id).collect();
                let mut found = Vec::new();
                for ids in ids.chunks($max) {
                    found.extend(self.backend.catalog.$read(ids).await?);
                }
                Ok($number(found.into_iter().filter_map($entry)))
            }
        }
    )*};
}

/// The entry of each key.
fn one<K: Eq + Hash, V>(entries: impl Iterator<Item = (K, V)>) -> HashMap<K, V> {
    entries.collect()
}

/// All entries of each key, in their order.
fn all<K: Eq + Hash, V>(entries: impl Iterator<Item = (K, V)>) -> HashMap<K, Vec<V>> {
    let mut by_key: HashMap<K, Vec<V>> = HashMap::new();
    for (key, entry) in entries {
        by_key.entry(key).or_default().push(entry);
    }
    by_key
}

loaders! {
    ClusterId => Cluster: clusters_among of BATCH_MAX, |id| *id,
        one |cluster: Cluster| Some((cluster.id, cluster));
    RepositoryId => Repository: repositories_among of BATCH_MAX, |id| *id,
        one |repository: Repository| Some((repository.id, repository));
    BackupId => Backup: backups_among of BATCH_MAX, |id| *id,
        one |backup: Backup| Some((backup.id, backup));
    JobId => Job: jobs_among of BATCH_MAX, |id| *id,
        one |job: Job| Some((job.id, job));
    WebhookId => Webhook: webhooks_among of BATCH_MAX, |id| *id,
        one |webhook: Webhook| Some((webhook.id, webhook));
    MakerOf => Job: makers_of of BATCH_MAX, |MakerOf(id)| *id,
        one |job: Job| Some((MakerOf(job.backup_id?), job));
    LastDrillOf => Job: last_drills_of of BATCH_MAX, |LastDrillOf(id)| *id,
        one |job: Job| Some((LastDrillOf(job.backup_id?), job));
    HoldsOn => Vec<BackupHold>: holds_of of BATCH_MAX, |HoldsOn(id)| *id,
        all |hold: BackupHold| Some((HoldsOn(hold.backup_id), hold));
    CopiesOf => Vec<Backup>: copies_of of BATCH_MAX, |CopiesOf(id)| *id,
        all |copy: Backup| Some((CopiesOf(copy.copied_from?.backup_id), copy));
    ContentsOf => Arc<Cut>: contents_of of LARGE_BATCH_MAX, |ContentsOf(id)| *id,
        one |(id, cut)| Some((ContentsOf(id), Arc::new(cut)));
    VerificationOf => Verification: verifications_of of BATCH_MAX, |VerificationOf(id)| *id,
        one |(id, verification)| Some((VerificationOf(id), verification));
    ScheduleOf => ClusterSchedule: schedules_of of BATCH_MAX, |ScheduleOf(id)| *id,
        one |schedule: ClusterSchedule| Some((ScheduleOf(schedule.cluster_id), schedule));
    DrillsOf => DrillSchedule: drill_schedules_of of BATCH_MAX, |DrillsOf(id)| *id,
        one |schedule: DrillSchedule| Some((DrillsOf(schedule.cluster_id), schedule));
    VerifiesOf => VerifySchedule: verify_schedules_of of BATCH_MAX, |VerifiesOf(id)| *id,
        one |schedule: VerifySchedule| Some((VerifiesOf(schedule.repository_id), schedule));
    HistoryOf => Vec<JobEvent>: events_of of BATCH_MAX, |HistoryOf(id)| *id,
        all |(id, event)| Some((HistoryOf(id), event));
    SubjectOf => JobId: requests_of of BATCH_MAX, |SubjectOf(id)| *id,
        one |(id, request)| Some((SubjectOf(id), subject(&request)?));
    RestoreOf => Restore: restores_of of LARGE_BATCH_MAX, |RestoreOf(id)| *id,
        one |(id, restore)| Some((RestoreOf(id), Restore::from(restore)));
    VerifyReportOf => VerifyReport: verify_reports_of of BATCH_MAX, |VerifyReportOf(id)| *id,
        one |(id, report)| Some((VerifyReportOf(id), report));
    CompareReportOf => CompareReport: compare_reports_of of LARGE_BATCH_MAX, |CompareReportOf(id)| *id,
        one |(id, report)| Some((CompareReportOf(id), CompareReport::from(report)));
    LeftoversOf => Leftovers: leftovers_of of BATCH_MAX, |LeftoversOf(id)| *id,
        one |leftovers: Leftovers| Some((LeftoversOf(leftovers.job_id), leftovers));
}

/// The restore that a request undoes, looks at or continues.
fn subject(request: &JobRequest) -> Option<JobId> {
    match request {
        JobRequest::Undo { restore_job_id } | JobRequest::Compare { restore_job_id, .. } => {
            Some(*restore_job_id)
        }
        JobRequest::Restore(request) => request.continues,
        JobRequest::Drill(_) | JobRequest::Adopt(_) => None,
    }
}

/// Each cluster and repository has an outcome of its own: one repository that does not answer leaves the figures of the
/// others alone.
impl Loader<StorageIn> for RecordLoader {
    type Value = Result<StorageUses, GatewayError>;
    type Error = GatewayError;

    async fn load(&self, keys: &[StorageIn]) -> Result<HashMap<StorageIn, Self::Value>, GatewayError> {
        let mut uses = HashMap::new();
        for key in keys {
            let found = self.backend.service.storage_uses(key.cluster_id, key.repository_id).await;
            uses.insert(*key, found.map_err(Into::into));
        }
        Ok(uses)
    }
}
