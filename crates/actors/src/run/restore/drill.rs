//! What a drill does otherwise: it reports what the comparison found, and drops every collection afterwards.

use super::Restoring;
use super::place::Place;
use milvault_domain::ports::PortResult;
use milvault_domain::restore::{ComparedCollection, RestoreStep, RestoredCollection};

/// Takes over what an attempt that was cut off has reported.
pub(super) async fn load_report(job: &Restoring<'_>) -> PortResult<()> {
    let catalog = &job.run.core.deps.catalog;
    let kept = || catalog.compare_report(job.run.job.id);
    if let Some(kept) = job.run.retry().run("look up the report", kept).await? {
        *job.report.lock().await = kept;
    }
    Ok(())
}

/// Adds a collection to the report and keeps it: before the collection is dropped, because nothing can be compared
/// afterwards.
pub(super) async fn report(job: &Restoring<'_>, compared: ComparedCollection) -> PortResult<()> {
    let mut report = job.report.lock().await;
    report.collections.retain(|former| former.source != compared.source);
    report.collections.push(compared);
    report.collections.sort_by(|a, b| a.source.cmp(&b.source));
    let catalog = &job.run.core.deps.catalog;
    let save = || catalog.save_compare_report(job.run.job.id, &report);
    job.run.retry().run("keep the report", save).await
}

/// Keeps the report also when it is empty.
pub(super) async fn keep_report(job: &Restoring<'_>) -> PortResult<()> {
    let report = job.report.lock().await;
    let catalog = &job.run.core.deps.catalog;
    let save = || catalog.save_compare_report(job.run.job.id, &report);
    job.run.retry().run("keep the report", save).await
}

/// Drops a collection that was compared.
pub(super) async fn put_away(place: &Place<'_>, state: &mut RestoredCollection) -> PortResult<()> {
    let warnings = place.take_away(state).await?;
    state.warnings.extend(warnings);
    state.step = RestoreStep::Undone;
    place.save(state).await
}
