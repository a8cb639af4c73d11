//! How restores, drills, undos and comparisons come to their own end, well or not.

use crate::comparisons;
use crate::database::{Dialect, Statement, Transaction};
use crate::jobs::{change, load_locked};
use crate::model::{bounded_warnings, to_json};
use crate::requests;
use crate::restores::{load_collections_at, load_plan};
use crate::seal::Sealer;
use chrono::{DateTime, Utc};
use milvault_domain::backup::CollectionName;
use milvault_domain::ids::JobId;
use milvault_domain::job::{Job, JobState, JobType};
use milvault_domain::job_request::JobRequest;
use milvault_domain::ports::{PortError, PortErrorKind, PortResult};
use milvault_domain::progress::Progress;
use milvault_domain::restore::{CompareReport, RestoreAction, RestorePlan, RestoreStep, RestoredCollection};

/// Ends a restore, drill or undo.
pub(crate) async fn complete_restore(
    transaction: &mut dyn Transaction,
    dialect: Dialect,
    sealer: &Sealer,
    job_id: JobId,
    ended: Ended<'_>,
) -> PortResult<Job> {
    let job = load_locked(transaction, dialect, job_id).await?;
    if !matches!(job.job_type, JobType::Restore | JobType::Drill | JobType::Undo) {
        return Err(conflict(format!("job {job_id} is no restore, drill or undo")));
    }
    if is_completed(transaction, job_id).await? {
        return Ok(job);
    }
    let failure = match job.job_type {
        JobType::Undo => undo_failure(transaction, sealer, job_id).await?,
        JobType::Drill => drill_failure(transaction, job_id).await?,
        _ => restore_failure(transaction, job_id).await?,
    };
    end(transaction, job, failure, ended).await
}

/// Ends a comparison whose report is kept.
pub(crate) async fn complete_compare(
    transaction: &mut dyn Transaction,
    dialect: Dialect,
    job_id: JobId,
    ended: Ended<'_>,
) -> PortResult<Job> {
    let job = load_locked(transaction, dialect, job_id).await?;
    if job.job_type != JobType::Compare {
        return Err(conflict(format!("job {job_id} is no comparison")));
    }
    if is_completed(transaction, job_id).await? {
        return Ok(job);
    }
    let Some(report) = comparisons::load(transaction, job_id).await? else {
        return Err(PortError::new(
            PortErrorKind::NotFound,
            format!("job {job_id} has no report; keep its report before completing it"),
        ));
    };
    end(transaction, job, difference(&report), ended).await
}

/// What a job leaves when its work is done.
pub(crate) struct Ended<'a> {
    pub(crate) warnings: &'a [String],
    pub(crate) progress: Progress,
    pub(crate) now: DateTime<Utc>,
}

async fn end(
    transaction: &mut dyn Transaction,
    mut job: Job,
    failure: Option<String>,
    ended: Ended<'_>,
) -> PortResult<Job> {
    if !matches!(job.state, JobState::InProgress | JobState::Canceling) {
        return Err(conflict(format!("job {} is {:?} and cannot be completed", job.id, job.state)));
    }
    let warnings = bounded_warnings(ended.warnings);
    let state = if failure.is_none() { JobState::Successful } else { JobState::Failed };
    let reason = match job.job_type {
        // An undo has no plan of its own that its warnings could be shown with, so its history has them too.
        JobType::Undo => joined(failure.as_deref(), &warnings),
        _ => failure,
    };
    job.progress = ended.progress;
    change(transaction, &mut job, state, reason.as_deref(), ended.now).await?;
    let columns = [("job_id", job.id.to_string().into()), ("warnings", to_json(&warnings)?.into())];
    transaction.execute(Statement::insert("job_completions", columns)).await?;
    Ok(job)
}

fn joined(failure: Option<&str>, warnings: &[String]) -> Option<String> {
    let texts: Vec<_> = failure.into_iter().chain(warnings.iter().map(String::as_str)).collect();
    (!texts.is_empty()).then(|| texts.join("; "))
}

async fn is_completed(transaction: &mut dyn Transaction, job_id: JobId) -> PortResult<bool> {
    Ok(!transaction.query(select_completion(job_id)).await?.is_empty())
}

pub(crate) fn select_completion(job_id: JobId) -> Statement {
    Statement::new("SELECT job_id FROM job_completions WHERE job_id = ").bind(job_id.to_string())
}

/// A restore is good when every collection that it was to restore is there. One that was left half-way counts as
/// failed: nobody may take it for restored.
async fn restore_failure(transaction: &mut dyn Transaction, job_id: JobId) -> PortResult<Option<String>> {
    use RestoreStep::{Compared, Created, Failed, Waiting};
    let plan = required_plan(transaction, job_id).await?;
    let mut missing = load_collections_at(transaction, job_id, &[Failed, Waiting, Created, Compared]).await?;
    missing.retain(|(position, collection)| collection.step == Failed || !is_skipped(&plan, *position));
    Ok(count_and_name_first(&plan, &missing, "not restored"))
}

/// A drill leaves nothing behind, so only what it found counts.
async fn drill_failure(transaction: &mut dyn Transaction, job_id: JobId) -> PortResult<Option<String>> {
    let plan = required_plan(transaction, job_id).await?;
    let failed = load_collections_at(transaction, job_id, &[RestoreStep::Failed]).await?;
    if let Some(failure) = count_and_name_first(&plan, &failed, "not restored") {
        return Ok(Some(failure));
    }
    Ok(comparisons::load(transaction, job_id).await?.as_ref().and_then(difference))
}

/// An undo is good when nothing is left of the restore that it undoes.
async fn undo_failure(
    transaction: &mut dyn Transaction,
    sealer: &Sealer,
    job_id: JobId,
) -> PortResult<Option<String>> {
    use RestoreStep::{Compared, Created, Done};
    let JobRequest::Undo { restore_job_id } = requests::load(transaction, sealer, job_id).await? else {
        return Err(conflict(format!("job {job_id} does not say which restore it undoes")));
    };
    let Some(plan) = load_plan(transaction, restore_job_id).await? else { return Ok(None) };
    let left = load_collections_at(transaction, restore_job_id, &[Created, Compared, Done]).await?;
    Ok(count_and_name_first(&plan, &left, "not removed"))
}

async fn required_plan(transaction: &mut dyn Transaction, job_id: JobId) -> PortResult<RestorePlan> {
    load_plan(transaction, job_id).await?.ok_or_else(|| {
        PortError::new(
            PortErrorKind::NotFound,
            format!("job {job_id} has no plan; keep its plan before completing it"),
        )
    })
}

fn is_skipped(plan: &RestorePlan, position: usize) -> bool {
    plan.collections.get(position).is_some_and(|collection| collection.action == RestoreAction::Skip)
}

fn count_and_name_first(
    plan: &RestorePlan,
    collections: &[(usize, RestoredCollection)],
    what: &str,
) -> Option<String> {
    let (position, first) = collections.first()?;
    let name = plan.collections.get(*position).map(|collection| displayed(&collection.target));
    let failure = first.failure.as_deref().unwrap_or(match first.step {
        RestoreStep::Waiting => "nothing was done",
        RestoreStep::Created => "it has its working name, and rows may be missing",
        RestoreStep::Compared => "it still has its working name",
        _ => "no reason is known",
    });
    let (count, total) = (collections.len(), plan.collections.len());
    let verb = if count == 1 { "was" } else { "were" };
    let name = name.unwrap_or_default();
    Some(format!("{count} of {total} collections {verb} {what}; first: {name}: {failure}"))
}

/// Counts the collections that differ and names the first; `None` when there is none.
fn difference(report: &CompareReport) -> Option<String> {
    let first = report.collections.iter().find(|collection| !collection.differences.is_empty())?;
    let (count, total) = (report.differing(), report.collections.len());
    let verb = if count == 1 { "differs" } else { "differ" };
    let name = displayed(&first.target);
    let difference = first.differences.first().map(String::as_str).unwrap_or_default();
    Some(format!("{count} of {total} collections {verb} from the backup; first: {name}: {difference}"))
}

fn displayed(name: &CollectionName) -> String {
    format!("{}.{}", name.database, name.collection)
}

fn conflict(message: String) -> PortError {
    PortError::new(PortErrorKind::Conflict, message)
}
