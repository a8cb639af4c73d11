//! What restores and drills could not remove at their targets.

use crate::database::{Record, Statement};
use crate::model::{FAILURE_CHARS_MAX, bounded, count, id, optional_microseconds, optional_time};
use chrono::{DateTime, Utc};
use milvault_domain::checks::Leftovers;
use milvault_domain::ids::JobId;
use milvault_domain::ports::PortResult;

pub(super) fn insert(leftovers: &Leftovers) -> Statement {
    let columns = [
        ("job_id", leftovers.job_id.to_string().into()),
        ("cluster_id", leftovers.cluster_id.to_string().into()),
        ("attempts", i64::from(leftovers.attempts).into()),
        ("next_attempt_at_us", optional_microseconds(leftovers.next_attempt_at).into()),
        ("last_failure", bounded(&leftovers.last_failure, FAILURE_CHARS_MAX).into()),
    ];
    Statement::insert("drill_leftovers", columns).push(" ON CONFLICT (job_id) DO NOTHING")
}

pub(crate) fn select_due(now: DateTime<Utc>, limit: u32) -> Statement {
    Statement::new("SELECT * FROM drill_leftovers WHERE next_attempt_at_us <= ")
        .bind(now.timestamp_micros())
        .push(" ORDER BY next_attempt_at_us, job_id LIMIT ")
        .bind(i64::from(limit))
}

pub(super) fn claim(attempted: &Leftovers) -> Statement {
    let columns = [
        ("attempts", i64::from(attempted.attempts).into()),
        ("next_attempt_at_us", optional_microseconds(attempted.next_attempt_at).into()),
    ];
    Statement::update("drill_leftovers", columns)
        .push("job_id = ")
        .bind(attempted.job_id.to_string())
        .push(" AND attempts = ")
        .bind(i64::from(attempted.attempts) - 1)
}

pub(super) fn note_failure(job_id: JobId, failure: &str) -> Statement {
    let column = ("last_failure", bounded(failure, FAILURE_CHARS_MAX).into());
    Statement::update("drill_leftovers", [column]).push("job_id = ").bind(job_id.to_string())
}

pub(super) fn delete(job_id: JobId) -> Statement {
    Statement::new("DELETE FROM drill_leftovers WHERE job_id = ").bind(job_id.to_string())
}

pub(crate) fn select(job_id: JobId) -> Statement {
    Statement::new("SELECT * FROM drill_leftovers WHERE job_id = ").bind(job_id.to_string())
}

pub(crate) fn read(row: &mut Record) -> PortResult<Leftovers> {
    Ok(Leftovers {
        job_id: id(&row.text("job_id")?)?,
        cluster_id: id(&row.text("cluster_id")?)?,
        attempts: count(row.integer("attempts")?)?,
        next_attempt_at: optional_time(row.optional_integer("next_attempt_at_us")?)?,
        last_failure: row.text("last_failure")?,
    })
}
