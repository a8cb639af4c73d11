//! Reports of comparisons of restored collections with their backup.

use crate::database::{Dialect, Record, Statement, Transaction};
use crate::jobs::load_locked;
use crate::model::{WARNING_CHARS_MAX, bounded, from_json, to_json};
use milvault_domain::ids::JobId;
use milvault_domain::job::JobType;
use milvault_domain::ports::{PortError, PortErrorKind, PortResult};
use milvault_domain::restore::CompareReport;

/// Keeps the report of a comparison or drill, in place of an earlier one. Once the job has ended, its report stays as
/// it is: it is the reason of that end.
pub(crate) async fn save(
    transaction: &mut dyn Transaction,
    dialect: Dialect,
    job_id: JobId,
    report_json: String,
) -> PortResult<()> {
    let job = load_locked(transaction, dialect, job_id).await?;
    if !matches!(job.job_type, JobType::Compare | JobType::Drill) || job.state.is_final() {
        return Err(PortError::new(
            PortErrorKind::Conflict,
            format!("job {job_id} is no comparison or drill that has not ended"),
        ));
    }
    let columns = [("job_id", job_id.to_string().into()), ("report", report_json.into())];
    let replace = " ON CONFLICT (job_id) DO UPDATE SET report = excluded.report";
    transaction.execute(Statement::insert("compare_reports", columns).push(replace)).await?;
    Ok(())
}

/// A report as it is kept, with a bounded number of bounded differences. Made before the transaction begins, for it
/// can be long.
pub(crate) fn report_json(report: &CompareReport) -> PortResult<String> {
    let mut kept = report.clone();
    for collection in &mut kept.collections {
        collection.differences.truncate(CompareReport::DIFFERENCES_MAX);
        for difference in &mut collection.differences {
            *difference = bounded(difference, WARNING_CHARS_MAX);
        }
    }
    to_json(&kept)
}

pub(crate) fn select(job_id: JobId) -> Statement {
    Statement::new("SELECT report FROM compare_reports WHERE job_id = ").bind(job_id.to_string())
}

pub(crate) fn read(row: &mut Record) -> PortResult<CompareReport> {
    from_json(&row.text("report")?)
}

/// Reads a report, inside a transaction.
pub(crate) async fn load(
    transaction: &mut dyn Transaction,
    job_id: JobId,
) -> PortResult<Option<CompareReport>> {
    transaction.query(select(job_id)).await?.first_mut().map(read).transpose()
}
