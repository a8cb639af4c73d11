//! How backups and verifies end well: with an available backup, or with a report.

use crate::backups;
use crate::copies;
use crate::database::{Dialect, Record, Statement, Transaction};
use crate::jobs::{change, load_locked};
use crate::model::{from_json, to_json};
use crate::recovery;
use crate::webhooks;
use chrono::{DateTime, Utc};
use milvault_domain::backup::{Backup, BackupFacts};
use milvault_domain::ids::{BackupId, JobId};
use milvault_domain::job::{Job, JobState, JobType};
use milvault_domain::ports::{PortError, PortErrorKind, PortResult, VerifyReport};
use milvault_domain::progress::Progress;

/// A sealed backup, ready to be made available.
pub(crate) struct SealedBackup<'a> {
    pub(crate) job_id: JobId,
    pub(crate) backup_id: BackupId,
    pub(crate) facts: &'a BackupFacts,
    /// As [`backups::contents_json`] writes it: made before the transaction begins, for it can be long.
    pub(crate) contents_json: String,
    pub(crate) progress: Progress,
}

pub(crate) async fn complete_backup(
    transaction: &mut dyn Transaction,
    dialect: Dialect,
    sealed: SealedBackup<'_>,
    now: DateTime<Utc>,
) -> PortResult<(Backup, Job)> {
    let SealedBackup { job_id, backup_id, facts, contents_json, progress } = sealed;
    let mut job = load_locked(transaction, dialect, job_id).await?;
    if !job.job_type.makes_backup() || job.backup_id != Some(backup_id) {
        return Err(PortError::new(
            PortErrorKind::Conflict,
            format!("job {job_id} does not make backup {backup_id}"),
        ));
    }
    if job.state != JobState::Successful {
        job.progress = progress;
        change(transaction, &mut job, JobState::Successful, None, now).await?;
        if transaction.execute(backups::make_available(backup_id, facts, now)?).await? != 1 {
            return Err(PortError::new(
                PortErrorKind::Internal,
                format!("backup {backup_id} is not CREATING although its job had not ended"),
            ));
        }
        transaction.execute(backups::insert_contents(backup_id, contents_json)).await?;
        transaction.execute(recovery::changed(backup_id)).await?;
        let backup = backups::load(transaction, backup_id).await?;
        copies::record_due(transaction, &job, &backup, now).await?;
        webhooks::backup_completed(transaction, &job, &backup, now).await?;
    }
    Ok((backups::load(transaction, backup_id).await?, job))
}

pub(crate) async fn complete_verify(
    transaction: &mut dyn Transaction,
    dialect: Dialect,
    job_id: JobId,
    report: &VerifyReport,
    progress: Progress,
    now: DateTime<Utc>,
) -> PortResult<Job> {
    let mut job = load_locked(transaction, dialect, job_id).await?;
    if job.job_type != JobType::Verify {
        return Err(PortError::new(PortErrorKind::Conflict, format!("job {job_id} is no verify")));
    }
    let reported = !transaction.query(select_report(job_id)).await?.is_empty();
    if job.state.is_final() && reported {
        return Ok(job);
    }
    job.progress = progress;
    let failure = describe_failures(report);
    let end = if failure.is_none() { JobState::Successful } else { JobState::Failed };
    change(transaction, &mut job, end, failure.as_deref(), now).await?;
    transaction.execute(insert_report(job_id, report)?).await?;
    Ok(job)
}

/// Counts the failures and names the first; `None` when there is none.
fn describe_failures(report: &VerifyReport) -> Option<String> {
    let listed = u64::try_from(report.failures.len()).unwrap_or(u64::MAX);
    let failure_count = report.failure_count.max(listed);
    if failure_count == 0 {
        return None;
    }
    let counted =
        if failure_count == 1 { String::from("1 failure") } else { format!("{failure_count} failures") };
    let Some(first) = report.failures.first() else { return Some(counted) };
    let object = first.key.as_ref().map(|key| format!(" (object {key})")).unwrap_or_default();
    Some(format!("{counted}; first: {}{object}: {}", first.file, first.reason))
}

fn insert_report(job_id: JobId, report: &VerifyReport) -> PortResult<Statement> {
    let mut bounded = report.clone();
    bounded.failures.truncate(VerifyReport::FAILURES_MAX);
    let json = to_json(&bounded)?;
    Ok(Statement::insert("verify_reports", [("job_id", job_id.to_string().into()), ("report", json.into())]))
}

pub(crate) fn select_report(job_id: JobId) -> Statement {
    Statement::new("SELECT report FROM verify_reports WHERE job_id = ").bind(job_id.to_string())
}

pub(crate) fn read_report(row: &mut Record) -> PortResult<VerifyReport> {
    from_json(&row.text("report")?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use milvault_domain::ports::VerifyFailure;

    #[test]
    fn failures_are_counted_and_the_first_is_named() {
        let failure = |key: Option<&str>| VerifyFailure {
            file: String::from("packs/ab/abcd"),
            key: key.map(str::to_owned),
            reason: String::from("hash differs"),
        };
        let report =
            |failures, failure_count| VerifyReport { failures, failure_count, ..VerifyReport::default() };
        assert_eq!(describe_failures(&report(vec![], 0)), None);
        assert_eq!(
            describe_failures(&report(vec![failure(None)], 1)).as_deref(),
            Some("1 failure; first: packs/ab/abcd: hash differs")
        );
        assert_eq!(
            describe_failures(&report(vec![failure(Some("insert_log/1"))], 70)).as_deref(),
            Some("70 failures; first: packs/ab/abcd (object insert_log/1): hash differs")
        );
        assert_eq!(describe_failures(&report(vec![failure(None)], 0)).map(|text| text.len()), Some(45));
    }
}
