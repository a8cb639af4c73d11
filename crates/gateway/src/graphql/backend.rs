//! What resolvers work on, and batched look-ups of single records.

use async_graphql::dataloader::{DataLoader, Loader};
use futures::stream::{self, StreamExt, TryStreamExt};
use milvault_actors::Service;
use milvault_domain::backup::Backup;
use milvault_domain::checks::Verification;
use milvault_domain::cluster::Cluster;
use milvault_domain::error::{PortError, PortResult};
use milvault_domain::ids::{BackupId, ClusterId, JobId, RepositoryId};
use milvault_domain::job::{Job, JobType};
use milvault_domain::milvus::Cut;
use milvault_domain::ports::{Catalog, JobFilter, PageRequest};
use milvault_domain::repository::Repository;
use milvault_domain::schedule::ClusterSchedule;
use milvault_domain::sign_in::SessionRules;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

/// What resolvers work on.
pub(crate) struct Backend {
    pub(crate) catalog: Arc<dyn Catalog>,
    pub(crate) service: Service,
    /// What makes sessions good; `None` where nobody can sign in.
    pub(crate) session_rules: Option<Arc<SessionRules>>,
    /// Look-ups of single records from lists go through this: those of one moment are joined, each record is read
    /// once. It keeps nothing between moments, so subscriptions never see stale records.
    pub(crate) records: DataLoader<RecordLoader>,
}

impl Backend {
    pub(crate) fn new(catalog: Arc<dyn Catalog>, service: Service) -> Self {
        let loader = RecordLoader { catalog: Arc::clone(&catalog) };
        Self { catalog, service, session_rules: None, records: DataLoader::new(loader, tokio::spawn) }
    }

    /// The same where people can sign in.
    pub(crate) fn with_sessions(mut self, rules: Option<Arc<SessionRules>>) -> Self {
        self.session_rules = rules;
        self
    }
}

/// Contents of a backup, as a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct ContentsOf(pub(crate) BackupId);

/// The job that makes or made a backup, as a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct MakerOf(pub(crate) BackupId);

/// The schedule of a cluster, as a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct ScheduleOf(pub(crate) ClusterId);

/// What verifies have found about a backup, as a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct VerificationOf(pub(crate) BackupId);

/// Reads records from the catalog.
pub(crate) struct RecordLoader {
    pub(crate) catalog: Arc<dyn Catalog>,
}

/// Records read at the same time for one batch.
const CONCURRENT_READS_MAX: usize = 8;

async fn read_each<K, V, F>(keys: &[K], read: impl Fn(K) -> F) -> Result<HashMap<K, V>, Arc<PortError>>
where
    K: Copy + Eq + Hash,
    F: Future<Output = PortResult<Option<V>>>,
{
    stream::iter(keys.iter().copied())
        .map(|key| {
            let reading = read(key);
            async move { Ok(reading.await?.map(|value| (key, value))) }
        })
        .buffer_unordered(CONCURRENT_READS_MAX)
        .try_filter_map(async |found| Ok(found))
        .try_collect()
        .await
        .map_err(Arc::new)
}

impl Loader<ClusterId> for RecordLoader {
    type Value = Cluster;
    type Error = Arc<PortError>;

    async fn load(&self, keys: &[ClusterId]) -> Result<HashMap<ClusterId, Cluster>, Arc<PortError>> {
        read_each(keys, |id| self.catalog.cluster(id)).await
    }
}

impl Loader<RepositoryId> for RecordLoader {
    type Value = Repository;
    type Error = Arc<PortError>;

    async fn load(&self, keys: &[RepositoryId]) -> Result<HashMap<RepositoryId, Repository>, Arc<PortError>> {
        read_each(keys, |id| self.catalog.repository(id)).await
    }
}

impl Loader<BackupId> for RecordLoader {
    type Value = Backup;
    type Error = Arc<PortError>;

    async fn load(&self, keys: &[BackupId]) -> Result<HashMap<BackupId, Backup>, Arc<PortError>> {
        read_each(keys, |id| self.catalog.backup(id)).await
    }
}

impl Loader<JobId> for RecordLoader {
    type Value = Job;
    type Error = Arc<PortError>;

    async fn load(&self, keys: &[JobId]) -> Result<HashMap<JobId, Job>, Arc<PortError>> {
        read_each(keys, |id| self.catalog.job(id)).await
    }
}

impl Loader<MakerOf> for RecordLoader {
    type Value = Job;
    type Error = Arc<PortError>;

    async fn load(&self, keys: &[MakerOf]) -> Result<HashMap<MakerOf, Job>, Arc<PortError>> {
        read_each(keys, |MakerOf(backup_id)| async move {
            // Nearly every backup was made here, so the second look is rare.
            for job_type in [JobType::Backup, JobType::Adopt, JobType::Copy] {
                let filter = JobFilter {
                    backup_id: Some(backup_id),
                    job_types: Some(vec![job_type]),
                    ..JobFilter::default()
                };
                let page = self.catalog.jobs(&filter, PageRequest { limit: 1, after: None }).await?;
                if let Some(job) = page.items.into_iter().next() {
                    return Ok(Some(job));
                }
            }
            Ok(None)
        })
        .await
    }
}

impl Loader<ContentsOf> for RecordLoader {
    type Value = Arc<Cut>;
    type Error = Arc<PortError>;

    async fn load(&self, keys: &[ContentsOf]) -> Result<HashMap<ContentsOf, Arc<Cut>>, Arc<PortError>> {
        read_each(keys, |ContentsOf(backup_id)| async move {
            Ok(self.catalog.backup_contents(backup_id).await?.map(Arc::new))
        })
        .await
    }
}

impl Loader<VerificationOf> for RecordLoader {
    type Value = Verification;
    type Error = Arc<PortError>;

    async fn load(
        &self,
        keys: &[VerificationOf],
    ) -> Result<HashMap<VerificationOf, Verification>, Arc<PortError>> {
        read_each(keys, |VerificationOf(backup_id)| self.catalog.verification(backup_id)).await
    }
}

impl Loader<ScheduleOf> for RecordLoader {
    type Value = ClusterSchedule;
    type Error = Arc<PortError>;

    async fn load(
        &self,
        keys: &[ScheduleOf],
    ) -> Result<HashMap<ScheduleOf, ClusterSchedule>, Arc<PortError>> {
        read_each(keys, |ScheduleOf(cluster_id)| self.catalog.schedule(cluster_id)).await
    }
}
