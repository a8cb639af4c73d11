//! What backups take up in their repository.

use super::Service;
use crate::error::ServiceError;
use crate::retry::Retry;
use crate::sweep::{judge, open};
use futures::stream::{self, StreamExt};
use milvault_domain::backup::BackupStatus;
use milvault_domain::error::InvalidInput;
use milvault_domain::ids::{BackupId, ClusterId, RepositoryId};
use milvault_domain::lifecycle::StorageUse;
use milvault_domain::sweep::{DataFile, References};
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::Mutex;

/// Backups of one cluster in one repository whose manifests are read for the figures of one of them.
const MANIFESTS_MAX: usize = 2_000;
/// Manifests that are read at once.
const MANIFESTS_AT_ONCE: usize = 4;

/// The figures that were worked out last. They hold as long as the cluster has the same backups there; one cluster is
/// kept, for a list shows one cluster's backups.
#[derive(Default)]
pub(super) struct StorageUses(Mutex<Option<Known>>);

struct Known {
    of: (ClusterId, RepositoryId, Vec<BackupId>),
    uses: Arc<HashMap<BackupId, StorageUse>>,
}

impl Service {
    /// What each available backup of a cluster takes up in a repository, what of it is shared, and what deleting it would
    /// free. Reads the manifests of all of them, one request at a time, unless they are those of the request before.
    ///
    /// # Errors
    /// `Unavailable` when the repository cannot be read; `InvalidInput` when the cluster has too many backups there.
    pub async fn storage_uses(
        &self,
        cluster_id: ClusterId,
        repository_id: RepositoryId,
    ) -> Result<Arc<HashMap<BackupId, StorageUse>>, ServiceError> {
        let mut known = self.inner.storage_uses.0.lock().await;
        let repository = open(self.core(), repository_id).await?;
        let verdicts = judge(self.core(), repository.as_ref(), cluster_id).await?;
        let ids: Vec<BackupId> = verdicts
            .by_backup
            .values()
            .filter(|verdict| verdict.standing.status == BackupStatus::Available)
            .map(|verdict| verdict.standing.backup_id)
            .collect();
        let of = (cluster_id, repository_id, ids);
        if let Some(known) = known.as_ref().filter(|known| known.of == of) {
            return Ok(Arc::clone(&known.uses));
        }
        if MANIFESTS_MAX < of.2.len() {
            let rule = format!(
                "can be worked out for at most {MANIFESTS_MAX} backups of a cluster in one repository, this one has {}",
                of.2.len()
            );
            return Err(InvalidInput::new("storage", rule).into());
        }
        let retry = Retry::of(&self.core().settings);
        let read = |id: BackupId| {
            let repository = Arc::clone(&repository);
            async move { (id, retry.run("read a manifest", || repository.referenced_files(id)).await) }
        };
        let mut reads = stream::iter(of.2.clone()).map(read).buffer_unordered(MANIFESTS_AT_ONCE).boxed();
        let mut references = HashMap::new();
        while let Some((id, files)) = reads.next().await {
            references.insert(id, files?);
        }
        drop(reads);
        let mut all = References::default();
        for files in references.values() {
            all.add_all(files);
        }
        let all: Vec<DataFile> = all.iter().collect();
        let sizes = retry.run("look at the files", || repository.existing_files(&all)).await?;
        let sizes = sizes.into_iter().map(|listed| (listed.file, listed.size_bytes)).collect();
        let uses = Arc::new(uses(&references, &sizes));
        *known = Some(Known { of, uses: Arc::clone(&uses) });
        Ok(uses)
    }
}

fn uses(
    references: &HashMap<BackupId, References>,
    sizes: &HashMap<DataFile, u64>,
) -> HashMap<BackupId, StorageUse> {
    let mut users: HashMap<DataFile, u32> = HashMap::new();
    for file in references.values().flat_map(References::iter) {
        *users.entry(file).or_default() += 1;
    }
    let sum = |files: &References, shared: bool| {
        let counted = files.iter().filter(|file| !shared || 1 < users.get(file).copied().unwrap_or(0));
        counted.filter_map(|file| sizes.get(&file)).sum()
    };
    let of = |(id, files): (&BackupId, &References)| {
        (*id, StorageUse { stored_bytes: sum(files, false), shared_bytes: sum(files, true) })
    };
    references.iter().map(of).collect()
}
