//! An opened repository.

use crate::backups;
use crate::backups::packs::PackSizes;
use crate::connect::Connection;
use crate::layout;
use crate::marker;
use crate::place::{LocalPlace, Overwrite, Place};
use crate::verify::{self, Concurrency};
use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use milvault_domain::backup::ManifestHeader;
use milvault_domain::error::{PortError, PortErrorKind, PortResult};
use milvault_domain::ids::{BackupId, ClusterId, RepositoryId};
use milvault_domain::job::VerifyLevel;
use milvault_domain::object::StoredObject;
use milvault_domain::plan::{CopyPlan, Holdings};
use milvault_domain::ports::{
    BackupRepository, CheckFinding, GoAhead, SealReceipt, UnfinishedBackup, VerifyReport,
};
use milvault_domain::progress::ProgressCounters;
use milvault_domain::repository::StoreCapabilities;
use std::any::Any;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Temporary files older than this were left by a process that is gone: no single file takes so long to write.
const TEMPORARY_KEPT: Duration = Duration::from_hours(24);

/// A repository whose files lie in a place.
pub(crate) struct FileRepository {
    pub(crate) id: RepositoryId,
    pub(crate) place: Arc<dyn Place>,
    pub(crate) connection: Connection,
    /// The same place, where it is a local directory.
    pub(crate) local: Option<LocalPlace>,
    pub(crate) capabilities: StoreCapabilities,
    /// What the manifests that were read for an index state.
    pub(crate) pack_sizes: PackSizes,
}

impl FileRepository {
    /// Checks that the place is this repository.
    ///
    /// # Errors
    /// `NotFound`, `Conflict`, `Unsupported`, as the port says.
    pub(crate) async fn confirm(&self) -> PortResult<()> {
        let shown = self.place.display("");
        match marker::read(self.place.as_ref()).await? {
            None => Err(PortError::new(
                PortErrorKind::NotFound,
                format!("there is no repository at `{shown}`: it has no `{}`", layout::MARKER),
            )),
            Some(marker) if marker.repository_id != self.id.to_string() => Err(PortError::new(
                PortErrorKind::Conflict,
                format!("`{shown}` is repository {}, not {}", marker.repository_id, self.id),
            )),
            Some(_) => Ok(()),
        }
    }

    /// Removes what processes that are gone left half written. Failures are logged: nothing depends on it.
    pub(crate) async fn remove_stale_files(&self) {
        let mut files = self.place.list(layout::TEMPORARY);
        while let Some(file) = files.next().await {
            let removed = match file {
                Ok(file) => {
                    // Compared with the clock that stamped the file, not with one that a test may have set.
                    let age = SystemTime::now().duration_since(file.facts.modified_at.into());
                    if age.is_ok_and(|age| TEMPORARY_KEPT < age) {
                        self.place.delete(&file.path).await
                    } else {
                        Ok(())
                    }
                }
                Err(error) => Err(error),
            };
            if let Err(error) = removed {
                tracing::warn!(repository_id = %self.id, %error, "temporary files could not be removed");
                return;
            }
        }
    }

    async fn check_writing(&self) -> PortResult<()> {
        const CONTENT: &[u8] = b"Milvault checks whether it can write here.";
        let path = layout::temporary("check");
        self.place.create(&path, Bytes::from_static(CONTENT), Overwrite::Never).await?;
        let read = self.place.read(&path, 0..CONTENT.len() as u64).await;
        self.place.delete(&path).await?;
        if read? == CONTENT {
            return Ok(());
        }
        Err(PortError::new(
            PortErrorKind::Corrupt,
            format!("`{}` did not come back as it was written", self.place.display(&path)),
        ))
    }
}

#[async_trait]
impl BackupRepository for FileRepository {
    fn id(&self) -> RepositoryId {
        self.id
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    async fn check(&self) -> Vec<CheckFinding> {
        let finding = |ok, message| CheckFinding { subject: String::from("repository"), ok, message };
        let shown = self.place.display("");
        if let Err(error) = self.confirm().await {
            return vec![finding(false, error.to_string())];
        }
        let writing = match self.check_writing().await {
            Ok(()) => finding(true, format!("`{shown}` can be read and written")),
            Err(error) => finding(false, format!("`{shown}` can be read but not written: {error}")),
        };
        vec![writing]
    }

    async fn save_unfinished(&self, header: &ManifestHeader, plan: &CopyPlan) -> PortResult<()> {
        backups::unfinished::save(self.place.as_ref(), header, plan).await
    }

    async fn load_unfinished(&self, backup_id: BackupId) -> PortResult<Option<UnfinishedBackup>> {
        backups::unfinished::load(self.place.as_ref(), backup_id).await
    }

    async fn remove_unfinished(&self, backup_id: BackupId) -> PortResult<()> {
        backups::unfinished::remove(self.place.as_ref(), backup_id).await
    }

    async fn load_index(
        &self,
        cluster_id: ClusterId,
        complete: &[BackupId],
        unfinished: &[BackupId],
        current: Option<&ManifestHeader>,
    ) -> PortResult<Holdings> {
        let (place, sizes) = (self.place.as_ref(), &self.pack_sizes);
        backups::index::load(place, cluster_id, complete, unfinished, current, sizes).await
    }

    async fn seal_after(
        &self,
        go_ahead: GoAhead<'_>,
        header: &ManifestHeader,
        objects: Vec<StoredObject>,
    ) -> PortResult<SealReceipt> {
        backups::seal::seal(self.place.as_ref(), go_ahead, header, objects, &self.pack_sizes).await
    }

    async fn read_header(&self, backup_id: BackupId) -> PortResult<ManifestHeader> {
        let (header, _) = backups::open_manifest(self.place.as_ref(), backup_id).await?;
        Ok(header)
    }

    async fn read_objects(
        &self,
        backup_id: BackupId,
        collection_ids: Option<&HashSet<i64>>,
    ) -> PortResult<Vec<StoredObject>> {
        backups::objects::list(self.place.as_ref(), backup_id, collection_ids).await
    }

    async fn read_object(&self, object: &StoredObject) -> PortResult<Vec<u8>> {
        backups::objects::read(self.place.as_ref(), object).await
    }

    async fn list_backups(&self) -> PortResult<Vec<BackupId>> {
        backups::list(self.place.as_ref()).await
    }

    async fn verify(
        &self,
        backup_id: BackupId,
        level: VerifyLevel,
        progress: Arc<ProgressCounters>,
    ) -> PortResult<VerifyReport> {
        // Locally the disk is the limit, in a store the time that each request takes.
        let concurrency = Concurrency(if self.local.is_some() { 4 } else { 16 });
        verify::verify(Arc::clone(&self.place), backup_id, level, progress, concurrency).await
    }
}
