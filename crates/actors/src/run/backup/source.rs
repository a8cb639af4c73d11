//! Where a backup's bytes come from, and how it is known what they show.

use crate::core::Deps;
use milvault_domain::backup::BackupScope;
use milvault_domain::cluster::{Cluster, MilvusEndpoint};
use milvault_domain::job_request::AdoptRequest;
use milvault_domain::milvus::Cut;
use milvault_domain::ports::{BackupRepository, Copier, PortError, PortResult, SourceStore, Stores};
use milvault_domain::storage::{SourceLayout, StorageConfig};
use std::sync::Arc;

/// A live cluster, or a directory that milvus-backup made of one. Everything after the cut is the same for both.
pub(in crate::run) struct Source {
    storage: StorageConfig,
    layout: SourceLayout,
    /// Asked for the cut when the source is a live cluster.
    endpoint: MilvusEndpoint,
    max_bytes_per_second: Option<u64>,
    pub(in crate::run) copies_in_flight: usize,
}

impl Source {
    pub(in crate::run) fn new(cluster: &Cluster, adopted: Option<AdoptRequest>) -> Self {
        let (storage, layout) = match adopted {
            None => (cluster.storage.clone(), SourceLayout::Milvus),
            Some(AdoptRequest { storage, directory }) => (storage, SourceLayout::MilvusBackup { directory }),
        };
        Self {
            storage,
            layout,
            endpoint: cluster.endpoint.clone(),
            max_bytes_per_second: cluster.max_bytes_per_second,
            copies_in_flight: cluster.copies_in_flight(),
        }
    }

    /// Whether the bytes come from the cluster itself.
    pub(in crate::run) fn is_live(&self) -> bool {
        self.layout == SourceLayout::Milvus
    }

    /// What the cluster consists of, now or when the directory was made.
    pub(in crate::run) async fn take_cut(&self, deps: &Deps, scope: &BackupScope) -> PortResult<Cut> {
        match &self.layout {
            SourceLayout::Milvus => deps.milvus.connect(&self.endpoint).await?.take_cut(scope).await,
            SourceLayout::MilvusBackup { directory } => {
                deps.stores.read_foreign_backup(&self.storage, directory).await
            }
        }
    }

    pub(in crate::run) async fn open(&self, stores: &dyn Stores) -> PortResult<Arc<dyn SourceStore>> {
        stores.open_source(&self.storage, &self.layout).await
    }

    pub(in crate::run) async fn open_copier(
        &self,
        stores: &dyn Stores,
        repository: &Arc<dyn BackupRepository>,
    ) -> PortResult<Arc<dyn Copier>> {
        let repository = Arc::clone(repository);
        stores.open_copier(&self.storage, &self.layout, repository, self.max_bytes_per_second).await
    }

    /// For people, without credentials.
    pub(in crate::run) fn display_url(&self) -> String {
        let url = self.storage.display_url();
        match &self.layout {
            SourceLayout::Milvus => url,
            SourceLayout::MilvusBackup { directory } => format!("{}/{directory}", url.trim_end_matches('/')),
        }
    }

    /// Says what to do when files that the cut needs are not there.
    pub(in crate::run) fn explain_missing(&self, error: PortError) -> PortError {
        let advice = match self.layout {
            SourceLayout::Milvus => {
                "check that the cluster's registered storage is the one this Milvus writes to; if it is, Milvus's \
                 garbage collection came before the backup: raise dataCoord.gc.dropTolerance and \
                 dataCoord.gc.missingTolerance, then try again"
            }
            SourceLayout::MilvusBackup { .. } => {
                "milvus-backup did not finish this directory, or files of it were lost since; it cannot be taken over"
            }
        };
        PortError::with_source(error.kind(), format!("{error}; {advice}"), error)
    }
}
