//! Schedules of clusters, and the starts that were recorded for them.

use crate::audit;
use crate::backups;
use crate::catalog::SqlCatalog;
use crate::clusters;
use crate::database::{Dialect, Parameter, Record, Statement, Transaction};
use crate::jobs::OPEN_STATES;
use crate::model::{count, figure, from_json, id, optional_microseconds, optional_time, to_json};
use crate::policy_records;
use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use milvault_domain::audit::AuditTarget;
use milvault_domain::backup::CreationMethod;
use milvault_domain::ids::{ClusterId, JobId};
use milvault_domain::job::JobType;
use milvault_domain::keep::RetentionPolicy;
use milvault_domain::ports::{
    InsertOutcome, NewBackup, PortError, PortErrorKind, PortResult, SaveScheduleOutcome, ScheduleCatalog,
    ScheduledStart, StartOutcome,
};
use milvault_domain::schedule::{
    ClusterSchedule, LOOK_AHEAD_MAX, MADE_EARLY_MAX, SchedulePolicy, SkippedStart,
};

/// How long recorded starts are kept behind the one that is recorded. Far longer than a clock may be wrong without
/// being taken to be wrong, and bounded: 3,400 rows per cluster at the shortest interval.
const STARTS_KEPT: TimeDelta = TimeDelta::days(35);

/// Outcomes of starts that are recorded for the first time: that a backup was started, and that none was.
const FIRST_OUTCOMES: [&str; 2] = ["STARTED", "SKIPPED"];
/// The same of starts that were forgotten and are made again. These are never forgotten: however clocks go back and
/// forth, no start is made more than twice.
const FINAL_OUTCOMES: [&str; 2] = ["STARTED_AGAIN", "SKIPPED_AGAIN"];
/// The outcome of a start that was recorded far ahead of its time and does not count.
const FORGOTTEN: &str = "FORGOTTEN";

#[async_trait]
impl ScheduleCatalog for SqlCatalog {
    async fn schedule(&self, cluster_id: ClusterId) -> PortResult<Option<ClusterSchedule>> {
        self.find(select(cluster_id), read).await
    }

    async fn save_schedule(&self, schedule: &ClusterSchedule) -> PortResult<SaveScheduleOutcome> {
        let mut transaction = self.begin().await?;
        let outcome = save(&mut *transaction, self.database.dialect(), schedule).await?;
        transaction.commit().await?;
        Ok(outcome)
    }

    async fn turn_schedule_back(
        &self,
        schedule: &ClusterSchedule,
        now: DateTime<Utc>,
    ) -> PortResult<SaveScheduleOutcome> {
        let mut transaction = self.begin().await?;
        let outcome = save(&mut *transaction, self.database.dialect(), schedule).await?;
        if outcome == SaveScheduleOutcome::Saved {
            transaction.execute(forget_starts(schedule.cluster_id, now)).await?;
        }
        transaction.commit().await?;
        Ok(outcome)
    }

    async fn due_schedules(&self, now: DateTime<Utc>, limit: u32) -> PortResult<Vec<ClusterSchedule>> {
        let mut due = Vec::new();
        for statement in select_due(now, limit) {
            let mut rows = self.database.read(statement).await?;
            for row in &mut rows {
                due.push(read(row)?);
            }
        }
        due.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        Ok(due)
    }

    async fn record_start(&self, start: &ScheduledStart) -> PortResult<StartOutcome> {
        let mut transaction = self.begin().await?;
        let outcome = record(&mut *transaction, self.database.dialect(), start).await?;
        transaction.commit().await?;
        Ok(outcome)
    }

    async fn keep_rules(&self, cluster_id: ClusterId) -> PortResult<Option<RetentionPolicy>> {
        self.find(select_policy(cluster_id), read_keep_rules).await
    }
}

async fn save(
    transaction: &mut dyn Transaction,
    dialect: Dialect,
    schedule: &ClusterSchedule,
) -> PortResult<SaveScheduleOutcome> {
    clusters::lock_active(transaction, dialect, schedule.cluster_id).await?;
    let kept = load(transaction, schedule.cluster_id).await?;
    if kept.as_ref().map_or(0, |kept| kept.revision) != schedule.revision {
        return Ok(SaveScheduleOutcome::ScheduleChanged);
    }
    write(transaction, schedule).await?;
    // Most of what is saved is how far a schedule is; its repository knows the policy alone.
    if kept.is_none_or(|kept| kept.policy != schedule.policy) {
        transaction.execute(policy_records::changed(dialect, schedule.cluster_id)).await?;
    }
    Ok(SaveScheduleOutcome::Saved)
}

/// The lock on the cluster's row puts everything about one schedule in a row, other servers' work included.
async fn record(
    transaction: &mut dyn Transaction,
    dialect: Dialect,
    start: &ScheduledStart,
) -> PortResult<StartOutcome> {
    check_new(&start.backup)?;
    let cluster_id = start.backup.backup.cluster_id;
    clusters::lock_active(transaction, dialect, cluster_id).await?;
    let mut schedule = match load(transaction, cluster_id).await? {
        Some(schedule) if schedule.revision == start.revision && schedule.policy.enabled => schedule,
        _ => return Ok(StartOutcome::ScheduleChanged),
    };
    let has_come = start.has_come_by_itself(schedule.next_look);
    schedule.last_run = Some(start.scheduled_for);
    schedule.next_look = start.next_look;
    let mut recorded = recorded_start(transaction, cluster_id, start.scheduled_for).await?;
    let forgotten = recorded.take_if(|recorded| recorded.outcome == FORGOTTEN && has_come).is_some();
    let [started, skipped] = if forgotten { FINAL_OUTCOMES } else { FIRST_OUTCOMES };
    if forgotten {
        transaction.execute(delete_start(cluster_id, start.scheduled_for)).await?;
    }
    let outcome = if let Some(recorded) = recorded {
        schedule.last_skipped = Some(SkippedStart {
            scheduled_for: start.scheduled_for,
            reason: format!("it was {} before the clock went back", recorded.in_words()),
            job_id: recorded.job_id,
        });
        StartOutcome::RecordedBefore
    } else if let Some(mut row) = transaction.query(select_open_automatic(cluster_id)).await?.pop() {
        let job_id = id(&row.text("id")?)?;
        schedule.last_skipped = Some(SkippedStart {
            scheduled_for: start.scheduled_for,
            reason: String::from("the automatic backup before it had not ended"),
            job_id,
        });
        transaction.execute(insert_start(start, skipped, job_id)).await?;
        StartOutcome::Skipped(job_id)
    } else {
        schedule.last_started = Some(start.scheduled_for);
        let inserted = backups::insert_with_job(transaction, dialect, &start.backup, None).await?;
        if inserted != InsertOutcome::Created {
            return Err(PortError::new(
                PortErrorKind::Internal,
                format!("automatic backup {} was not accepted", start.backup.backup.id),
            ));
        }
        transaction.execute(insert_start(start, started, start.backup.job.id)).await?;
        StartOutcome::Started
    };
    transaction.execute(delete_old_starts(cluster_id, start.scheduled_for)).await?;
    transaction.execute(forget_starts(cluster_id, start.now)).await?;
    write(transaction, &schedule).await?;
    if outcome == StartOutcome::Started {
        let target = AuditTarget { kind: String::from("backup"), id: start.backup.backup.id.to_string() };
        audit::append_by_system(transaction, dialect, "startScheduledBackup", target, 1, start.now).await?;
    }
    Ok(outcome)
}

/// A start as it was recorded.
struct RecordedStart {
    outcome: String,
    job_id: JobId,
}

impl RecordedStart {
    fn in_words(&self) -> &'static str {
        if self.outcome.starts_with("SKIPPED") { "skipped" } else { "made" }
    }
}

async fn recorded_start(
    transaction: &mut dyn Transaction,
    cluster_id: ClusterId,
    scheduled_for: DateTime<Utc>,
) -> PortResult<Option<RecordedStart>> {
    let Some(mut row) = transaction.query(select_start(cluster_id, scheduled_for)).await?.pop() else {
        return Ok(None);
    };
    Ok(Some(RecordedStart { outcome: row.text("outcome")?, job_id: id(&row.text("job_id")?)? }))
}

fn check_new(new: &NewBackup) -> PortResult<()> {
    if new.backup.creation_method == CreationMethod::Auto
        && new.job.job_type == JobType::Backup
        && new.idempotency.is_none()
    {
        return Ok(());
    }
    Err(PortError::new(
        PortErrorKind::InvalidInput,
        format!("backup {} must be an automatic one without an idempotency key", new.backup.id),
    ))
}

/// Reads a cluster's schedule, inside a transaction that holds the lock on the cluster's row.
async fn load(
    transaction: &mut dyn Transaction,
    cluster_id: ClusterId,
) -> PortResult<Option<ClusterSchedule>> {
    transaction.query(select(cluster_id)).await?.first_mut().map(read).transpose()
}

/// Writes a schedule and counts its revision up.
pub(crate) async fn write(transaction: &mut dyn Transaction, schedule: &ClusterSchedule) -> PortResult<()> {
    let cluster_id = schedule.cluster_id.to_string();
    let [policy, revision, last_run, next_look, last_started, at, reason, job] = columns(schedule)?;
    let statement = if schedule.revision == 0 {
        let key = ("cluster_id", cluster_id.into());
        Statement::insert(
            "schedules",
            [key, policy, revision, last_run, next_look, last_started, at, reason, job],
        )
    } else {
        let changed = [policy, revision, last_run, next_look, last_started, at, reason, job];
        Statement::update("schedules", changed).push("cluster_id = ").bind(cluster_id)
    };
    transaction.execute(statement).await?;
    Ok(())
}

fn columns(schedule: &ClusterSchedule) -> PortResult<[(&'static str, Parameter); 8]> {
    let skipped = schedule.last_skipped.as_ref();
    Ok([
        ("policy", to_json(&schedule.policy)?.into()),
        ("revision", figure("revision", schedule.revision.saturating_add(1))?.into()),
        ("last_run_at_us", optional_microseconds(schedule.last_run).into()),
        ("next_look_at_us", optional_microseconds(schedule.next_look).into()),
        ("last_started_at_us", optional_microseconds(schedule.last_started).into()),
        ("last_skipped_at_us", optional_microseconds(skipped.map(|skipped| skipped.scheduled_for)).into()),
        ("last_skipped_reason", skipped.map(|skipped| skipped.reason.clone()).into()),
        ("last_skipped_job_id", skipped.map(|skipped| skipped.job_id.to_string()).into()),
    ])
}

/// Ends the schedule of a cluster that is taken out of service. The policy stays: its keep rules still hold.
pub(crate) fn end(cluster_id: ClusterId) -> Statement {
    Statement::update("schedules", [("next_look_at_us", None::<i64>.into())])
        .push("cluster_id = ")
        .bind(cluster_id.to_string())
}

pub(crate) fn select(cluster_id: ClusterId) -> Statement {
    Statement::new("SELECT * FROM schedules WHERE cluster_id = ").bind(cluster_id.to_string())
}

/// The policy of a cluster; [`read_keep_rules`] reads it.
pub(crate) fn select_policy(cluster_id: ClusterId) -> Statement {
    Statement::new("SELECT policy FROM schedules WHERE cluster_id = ").bind(cluster_id.to_string())
}

/// Looks that have come, and looks that lie further ahead than any look may.
pub(crate) fn select_due(now: DateTime<Utc>, limit: u32) -> [Statement; 2] {
    let latest = now.checked_add_signed(LOOK_AHEAD_MAX).unwrap_or(now);
    [
        Statement::new("SELECT * FROM schedules WHERE next_look_at_us <= ").bind(now.timestamp_micros()),
        Statement::new("SELECT * FROM schedules WHERE next_look_at_us > ").bind(latest.timestamp_micros()),
    ]
    .map(|statement| statement.push(" ORDER BY next_look_at_us, cluster_id LIMIT ").bind(i64::from(limit)))
}

pub(crate) fn select_start(cluster_id: ClusterId, scheduled_for: DateTime<Utc>) -> Statement {
    Statement::new("SELECT outcome, job_id FROM schedule_starts WHERE cluster_id = ")
        .bind(cluster_id.to_string())
        .push(" AND scheduled_for_us = ")
        .bind(scheduled_for.timestamp_micros())
}

/// The job of an automatic backup of the cluster that has not ended.
pub(crate) fn select_open_automatic(cluster_id: ClusterId) -> Statement {
    Statement::new("SELECT id FROM jobs WHERE cluster_id = ")
        .bind(cluster_id.to_string())
        .push(" AND creation_method = 'AUTO' AND ")
        .push(OPEN_STATES)
        .push(" ORDER BY created_at_us DESC, id DESC")
}

/// The job of an automatic backup of the cluster that is at work. One that waits for its turn is not.
pub(crate) fn select_automatic_at_work(cluster_id: ClusterId) -> Statement {
    Statement::new("SELECT id FROM jobs WHERE cluster_id = ")
        .bind(cluster_id.to_string())
        .push(" AND creation_method = 'AUTO' AND state <> 'PENDING' AND ")
        .push(OPEN_STATES)
}

fn insert_start(start: &ScheduledStart, outcome: &'static str, job_id: JobId) -> Statement {
    Statement::insert(
        "schedule_starts",
        [
            ("cluster_id", start.backup.backup.cluster_id.to_string().into()),
            ("scheduled_for_us", start.scheduled_for.timestamp_micros().into()),
            ("outcome", outcome.into()),
            ("job_id", job_id.to_string().into()),
            ("recorded_at_us", start.now.timestamp_micros().into()),
        ],
    )
}

pub(crate) fn delete_start(cluster_id: ClusterId, scheduled_for: DateTime<Utc>) -> Statement {
    Statement::new("DELETE FROM schedule_starts WHERE cluster_id = ")
        .bind(cluster_id.to_string())
        .push(" AND scheduled_for_us = ")
        .bind(scheduled_for.timestamp_micros())
}

/// Forgets the starts that were made too far ahead of their time, by a clock that has gone back to `now`.
pub(crate) fn forget_starts(cluster_id: ClusterId, now: DateTime<Utc>) -> Statement {
    let latest = now.checked_add_signed(MADE_EARLY_MAX).unwrap_or(DateTime::<Utc>::MAX_UTC);
    let [started, skipped] = FIRST_OUTCOMES;
    Statement::update("schedule_starts", [("outcome", FORGOTTEN.into())])
        .push("cluster_id = ")
        .bind(cluster_id.to_string())
        .push(" AND scheduled_for_us > ")
        .bind(latest.timestamp_micros())
        .push(" AND outcome IN (")
        .bind(started)
        .push(", ")
        .bind(skipped)
        .push(")")
}

pub(crate) fn delete_old_starts(cluster_id: ClusterId, scheduled_for: DateTime<Utc>) -> Statement {
    let oldest = scheduled_for.checked_sub_signed(STARTS_KEPT).unwrap_or(DateTime::<Utc>::MIN_UTC);
    Statement::new("DELETE FROM schedule_starts WHERE cluster_id = ")
        .bind(cluster_id.to_string())
        .push(" AND scheduled_for_us < ")
        .bind(oldest.timestamp_micros())
}

pub(crate) fn read(row: &mut Record) -> PortResult<ClusterSchedule> {
    let skipped_at = optional_time(row.optional_integer("last_skipped_at_us")?)?;
    let last_skipped = match skipped_at {
        Some(scheduled_for) => Some(SkippedStart {
            scheduled_for,
            reason: row.text("last_skipped_reason")?,
            job_id: id(&row.text("last_skipped_job_id")?)?,
        }),
        None => None,
    };
    Ok(ClusterSchedule {
        cluster_id: id(&row.text("cluster_id")?)?,
        policy: from_json(&row.text("policy")?)?,
        last_run: optional_time(row.optional_integer("last_run_at_us")?)?,
        next_look: optional_time(row.optional_integer("next_look_at_us")?)?,
        last_started: optional_time(row.optional_integer("last_started_at_us")?)?,
        last_skipped,
        revision: count(row.integer("revision")?)?,
    })
}

/// Reads the keep rules out of what [`select_policy`] selects.
pub(crate) fn read_keep_rules(row: &mut Record) -> PortResult<RetentionPolicy> {
    let policy: SchedulePolicy = from_json(&row.text("policy")?)?;
    Ok(RetentionPolicy { keep: policy.keep, time_zone: policy.time_zone })
}
