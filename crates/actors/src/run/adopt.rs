//! Taking over a backup that milvus-backup made.

use super::{Run, Trouble, backup};
use milvault_domain::job::Job;
use milvault_domain::job_request::JobRequest;
use milvault_domain::ports::{PortError, PortErrorKind};

/// Makes the directory's content into a backup of the repository. Interrupted anywhere, it continues like a backup.
pub(super) async fn adopt(run: &Run) -> Result<Job, Trouble> {
    let catalog = &run.core.deps.catalog;
    let request = run.retry().run("look up the request", || catalog.job_request(run.job.id)).await?;
    let Some(JobRequest::Adopt(request)) = request else {
        let message = format!("job {} does not say which directory to take over", run.job.id);
        return Err(PortError::new(PortErrorKind::Internal, message).into());
    };
    backup::make_backup(run, Some(request)).await
}
