//! What a repository offers for checks of more than one backup.

use crate::repository::FileRepository;
use crate::verify::{Concurrency, files};
use async_trait::async_trait;
use milvault_domain::error::PortResult;
use milvault_domain::ports::{CheckOrder, CheckReport, RepositoryChecks};
use milvault_domain::progress::ProgressCounters;
use std::sync::Arc;

#[async_trait]
impl RepositoryChecks for FileRepository {
    async fn check_files(
        &self,
        order: &CheckOrder,
        progress: Arc<ProgressCounters>,
    ) -> PortResult<CheckReport> {
        // As many as for a verify of one backup.
        let concurrency = Concurrency(if self.local.is_some() { 4 } else { 16 });
        files::check(Arc::clone(&self.place), order, progress, concurrency).await
    }
}
