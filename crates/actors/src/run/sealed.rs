//! A backup whose manifest is there, and of which the catalog does not know yet.

use super::backup::{SealedFacts, complete, unless_lasting};
use super::{Run, Trouble};
use milvault_domain::backup::ManifestHeader;
use milvault_domain::job::{Job, JobPhase, VerifyLevel};
use milvault_domain::ports::{BackupRepository, PortError, PortErrorKind};
use std::sync::Arc;

/// Brings the catalog up to date with a sealed manifest, after a look whether every file of it is there. The saved plan
/// goes, where the attempt that sealed did not come to remove it.
///
/// The figures are those that were recorded when sealing began. Two things about the newly stored bytes are lost by
/// then: the size of the manifest itself, which is left out, and which reused units an earlier attempt of this very
/// job had copied, which count as reused.
pub(super) async fn complete_sealed(
    run: &Run,
    repository: &Arc<dyn BackupRepository>,
    header: ManifestHeader,
) -> Result<Job, Trouble> {
    tracing::info!("the manifest was sealed before the server was cut off; the catalog follows");
    let progress = run.job.progress;
    run.live.counters.start(progress);
    run.enter(JobPhase::Seal).await?;
    let verify = || repository.verify(header.backup_id, VerifyLevel::Existence, Arc::default());
    let report = run.retry().run("check the manifest", verify).await?;
    if report.failure_count > 0 || report.objects_checked != progress.objects_total {
        let message = format!(
            "the manifest that an earlier attempt sealed names {} objects instead of {}, and {} of its files are not \
             as they must be; ask for a new backup",
            report.objects_checked, progress.objects_total, report.failure_count
        );
        return Err(PortError::new(PortErrorKind::Corrupt, message).into());
    }
    let remove = || repository.remove_unfinished(header.backup_id);
    run.retry().run("remove the saved plan", remove).await.map_err(unless_lasting)?;
    let sealed = SealedFacts {
        logical_bytes: progress.bytes_total,
        objects: progress.objects_total,
        reused_objects: progress.objects_reused,
    };
    let newly_stored_bytes = progress.bytes_total.saturating_sub(progress.bytes_reused);
    complete(run, header, &sealed, newly_stored_bytes).await
}
