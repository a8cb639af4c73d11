//! Staging into the storages of fake clusters.

use super::disks::Disks;
use super::gates::Gates;
use super::repository::RepositoryState;
use async_trait::async_trait;
use milvault_domain::object::StoredObject;
use milvault_domain::plan::CopyRoute;
use milvault_domain::ports::{PortError, PortErrorKind, PortResult, Stager};
use milvault_domain::progress::ProgressCounters;
use std::sync::Arc;

pub struct FakeStager {
    pub gates: Arc<Gates>,
    pub state: Arc<RepositoryState>,
    pub disks: Arc<Disks>,
    /// Name of the target's storage.
    pub disk: String,
}

/// What every path of a fake cluster's storage begins with, when its Milvus is told of it.
pub const IMPORT_ROOT: &str = "/files/";

#[async_trait]
impl Stager for FakeStager {
    fn route(&self) -> CopyRoute {
        CopyRoute::Packs
    }

    fn import_path(&self, relative_path: &str) -> String {
        format!("{IMPORT_ROOT}{relative_path}")
    }

    async fn stage(
        &self,
        objects: &[StoredObject],
        directory: &str,
        progress: &ProgressCounters,
    ) -> PortResult<()> {
        self.gates.pass("stage").await?;
        for object in objects {
            let content = self.state.read(object)?;
            progress.add_bytes(object.source.size_bytes);
            progress.add_object();
            let path = format!("{directory}/{}", object.source.key);
            self.disks.edit(&self.disk, |disk| disk.staged.insert(path, content));
        }
        self.gates.pass("staged").await
    }

    async fn remove(&self, directory: &str) -> PortResult<u64> {
        self.gates.pass("unstage").await?;
        if !directory.starts_with("milvault_restore/") || directory.contains("..") {
            return Err(PortError::new(PortErrorKind::InvalidInput, "not a directory of a restore"));
        }
        let prefix = format!("{directory}/");
        let removed = self.disks.edit(&self.disk, |disk| {
            let before = disk.staged.len();
            disk.staged.retain(|path, _| !path.starts_with(&prefix));
            before - disk.staged.len()
        });
        self.gates.pass("unstaged").await?;
        Ok(removed as u64)
    }
}
