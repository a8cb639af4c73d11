//! Scheduled verifies and drills, and what verifies have found.

mod findings;
mod leftovers;

pub(crate) use findings::{read_verification, select_damage, select_verification};
pub(crate) use leftovers::read as read_leftovers;
#[cfg(test)]
pub(crate) use leftovers::{select as select_leftovers, select_due as select_due_leftovers};

use crate::admission::Asker;
use crate::audit;
use crate::catalog::SqlCatalog;
use crate::database::{Dialect, Record, Statement, Transaction};
use crate::model::{count, figure, from_json, optional_microseconds, optional_time, to_json};
use crate::{clusters, jobs, requests};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use milvault_domain::audit::AuditTarget;
use milvault_domain::checks::{Damage, DrillSchedule, Leftovers, Verification, VerifySchedule};
use milvault_domain::ids::{BackupId, ClusterId, JobId, RepositoryId};
use milvault_domain::job::Job;
use milvault_domain::ports::{
    ChecksCatalog, InsertJobOutcome, NewJob, PortError, PortErrorKind, PortResult, RecordedCheck,
    SaveScheduleOutcome,
};
use milvault_domain::schedule::LOOK_AHEAD_MAX;

#[async_trait]
impl ChecksCatalog for SqlCatalog {
    async fn verify_schedule(&self, repository_id: RepositoryId) -> PortResult<Option<VerifySchedule>> {
        self.find(select_verify(repository_id), read_verify).await
    }

    async fn verify_schedule_of_job(&self, job_id: JobId) -> PortResult<Option<VerifySchedule>> {
        self.find(select_verify_of_job(job_id), read_verify).await
    }

    async fn save_verify_schedule(
        &self,
        schedule: &VerifySchedule,
        job: Option<&Job>,
    ) -> PortResult<SaveScheduleOutcome> {
        let mut transaction = self.begin().await?;
        let outcome = save_verify(&mut *transaction, self.database.dialect(), schedule, job).await?;
        transaction.commit().await?;
        Ok(outcome)
    }

    async fn due_verify_schedules(&self, now: DateTime<Utc>, limit: u32) -> PortResult<Vec<VerifySchedule>> {
        self.due(select_due_verifies(now, limit), limit, read_verify).await
    }

    async fn record_check(&self, check: &RecordedCheck) -> PortResult<()> {
        let mut transaction = self.begin().await?;
        findings::record(&mut *transaction, self.database.dialect(), check).await?;
        transaction.commit().await
    }

    async fn damage(&self, repository_id: RepositoryId) -> PortResult<Vec<Damage>> {
        let mut rows = self.database.read(select_damage(repository_id)).await?;
        rows.iter_mut().map(findings::read_damage).collect()
    }

    async fn verification(&self, backup_id: BackupId) -> PortResult<Option<Verification>> {
        self.find(select_verification(backup_id), read_verification).await
    }

    async fn drill_schedule(&self, cluster_id: ClusterId) -> PortResult<Option<DrillSchedule>> {
        self.find(select_drill(cluster_id), read_drill).await
    }

    async fn save_drill_schedule(
        &self,
        schedule: &DrillSchedule,
        job: Option<&NewJob>,
        now: DateTime<Utc>,
    ) -> PortResult<SaveScheduleOutcome> {
        let sealed = job.map(|new| requests::sealed(&self.sealer, new.job.id, &new.request)).transpose()?;
        let mut transaction = self.begin().await?;
        let job = job.zip(sealed);
        let outcome = save_drill(&mut *transaction, self.database.dialect(), schedule, job, now).await?;
        transaction.commit().await?;
        Ok(outcome)
    }

    async fn due_drill_schedules(&self, now: DateTime<Utc>, limit: u32) -> PortResult<Vec<DrillSchedule>> {
        self.due(select_due_drills(now, limit), limit, read_drill).await
    }

    async fn last_drill(&self, backup_id: BackupId) -> PortResult<Option<Job>> {
        self.find(select_last_drill(backup_id), jobs::read).await
    }

    async fn remember_leftovers(&self, leftovers: &Leftovers) -> PortResult<()> {
        self.write(leftovers::insert(leftovers)).await.map(drop)
    }

    async fn due_leftovers(&self, now: DateTime<Utc>, limit: u32) -> PortResult<Vec<Leftovers>> {
        let mut rows = self.database.read(leftovers::select_due(now, limit)).await?;
        rows.iter_mut().map(leftovers::read).collect()
    }

    async fn claim_leftovers(&self, attempted: &Leftovers) -> PortResult<bool> {
        Ok(self.write(leftovers::claim(attempted)).await? == 1)
    }

    async fn note_leftovers_failure(&self, job_id: JobId, failure: &str) -> PortResult<()> {
        self.write(leftovers::note_failure(job_id, failure)).await.map(drop)
    }

    async fn forget_leftovers(&self, job_id: JobId) -> PortResult<()> {
        self.write(leftovers::delete(job_id)).await.map(drop)
    }

    async fn leftovers(&self, job_id: JobId) -> PortResult<Option<Leftovers>> {
        self.find(leftovers::select(job_id), leftovers::read).await
    }
}

impl SqlCatalog {
    async fn due<T>(
        &self,
        statements: [Statement; 2],
        limit: u32,
        read: impl Fn(&mut Record) -> PortResult<T> + Send,
    ) -> PortResult<Vec<T>> {
        let mut due = Vec::new();
        for statement in statements {
            for row in &mut self.database.read(statement).await? {
                due.push(read(row)?);
            }
        }
        due.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        Ok(due)
    }
}

/// The lock on the repository's row puts everything about its verifies in a row, other servers' work included.
async fn save_verify(
    transaction: &mut dyn Transaction,
    dialect: Dialect,
    schedule: &VerifySchedule,
    job: Option<&Job>,
) -> PortResult<SaveScheduleOutcome> {
    let repository_id = schedule.repository_id;
    lock_repository(transaction, dialect, repository_id).await?;
    let kept = load_verify(transaction, select_verify(repository_id)).await?;
    if kept.map_or(0, |kept| kept.revision) != schedule.revision {
        return Ok(SaveScheduleOutcome::ScheduleChanged);
    }
    if let Some(job) = job {
        jobs::insert_other(transaction, dialect, job).await?;
    }
    write_verify(transaction, schedule).await?;
    if let Some(job) = job {
        let target = AuditTarget { kind: String::from("repository"), id: repository_id.to_string() };
        audit::append_by_system(transaction, dialect, "startScheduledVerify", target, 1, job.created_at)
            .await?;
    }
    Ok(SaveScheduleOutcome::Saved)
}

async fn lock_repository(
    transaction: &mut dyn Transaction,
    dialect: Dialect,
    repository_id: RepositoryId,
) -> PortResult<()> {
    let statement = Statement::new("SELECT id FROM repositories WHERE id = ")
        .bind(repository_id.to_string())
        .push(dialect.lock_rows);
    if transaction.query(statement).await?.is_empty() {
        let message = format!("repository {repository_id} does not exist");
        return Err(PortError::new(PortErrorKind::NotFound, message));
    }
    Ok(())
}

async fn load_verify(
    transaction: &mut dyn Transaction,
    statement: Statement,
) -> PortResult<Option<VerifySchedule>> {
    transaction.query(statement).await?.first_mut().map(read_verify).transpose()
}

/// Writes a schedule and counts its revision up.
async fn write_verify(transaction: &mut dyn Transaction, schedule: &VerifySchedule) -> PortResult<()> {
    let repository_id = schedule.repository_id.to_string();
    let columns = [
        ("schedule", to_json(schedule)?.into()),
        ("revision", figure("revision", schedule.revision.saturating_add(1))?.into()),
        ("next_look_at_us", optional_microseconds(schedule.next_look).into()),
        ("share_job_id", schedule.share.map(|share| share.job_id.to_string()).into()),
    ];
    let statement = if schedule.revision == 0 {
        let [first, second, third, fourth] = columns;
        Statement::insert(
            "verify_policies",
            [("repository_id", repository_id.into()), first, second, third, fourth],
        )
    } else {
        Statement::update("verify_policies", columns).push("repository_id = ").bind(repository_id)
    };
    transaction.execute(statement).await.map(drop)
}

/// As [`save_verify`], under the lock on the cluster's row.
async fn save_drill(
    transaction: &mut dyn Transaction,
    dialect: Dialect,
    schedule: &DrillSchedule,
    job: Option<(&NewJob, String)>,
    now: DateTime<Utc>,
) -> PortResult<SaveScheduleOutcome> {
    let cluster_id = schedule.cluster_id;
    clusters::lock_active(transaction, dialect, cluster_id).await?;
    let kept = transaction.query(select_drill(cluster_id)).await?.first_mut().map(read_drill).transpose()?;
    if kept.map_or(0, |kept| kept.revision) != schedule.revision {
        return Ok(SaveScheduleOutcome::ScheduleChanged);
    }
    let started = job.is_some();
    if let Some((new, sealed)) = job {
        let inserted = requests::insert_with_job(transaction, dialect, Asker::Timer, new, sealed).await?;
        if inserted != InsertJobOutcome::Created {
            let message = format!("scheduled drill {} was not accepted", new.job.id);
            return Err(PortError::new(PortErrorKind::Internal, message));
        }
    }
    write_drill(transaction, schedule).await?;
    if started {
        let target = AuditTarget { kind: String::from("cluster"), id: cluster_id.to_string() };
        audit::append_by_system(transaction, dialect, "startScheduledDrill", target, 1, now).await?;
    }
    Ok(SaveScheduleOutcome::Saved)
}

async fn write_drill(transaction: &mut dyn Transaction, schedule: &DrillSchedule) -> PortResult<()> {
    let cluster_id = schedule.cluster_id.to_string();
    let columns = [
        ("schedule", to_json(schedule)?.into()),
        ("revision", figure("revision", schedule.revision.saturating_add(1))?.into()),
        ("next_look_at_us", optional_microseconds(schedule.next_look).into()),
    ];
    let statement = if schedule.revision == 0 {
        let [first, second, third] = columns;
        Statement::insert("drill_policies", [("cluster_id", cluster_id.into()), first, second, third])
    } else {
        Statement::update("drill_policies", columns).push("cluster_id = ").bind(cluster_id)
    };
    transaction.execute(statement).await.map(drop)
}

/// Ends the drills of a cluster that is taken out of service.
pub(crate) fn end_drills(cluster_id: ClusterId) -> Statement {
    Statement::update("drill_policies", [("next_look_at_us", None::<i64>.into())])
        .push("cluster_id = ")
        .bind(cluster_id.to_string())
}

pub(crate) fn select_verify(repository_id: RepositoryId) -> Statement {
    Statement::new("SELECT * FROM verify_policies WHERE repository_id = ").bind(repository_id.to_string())
}

pub(crate) fn select_verify_of_job(job_id: JobId) -> Statement {
    Statement::new("SELECT * FROM verify_policies WHERE share_job_id = ").bind(job_id.to_string())
}

pub(crate) fn select_drill(cluster_id: ClusterId) -> Statement {
    Statement::new("SELECT * FROM drill_policies WHERE cluster_id = ").bind(cluster_id.to_string())
}

/// The newest drill of a backup. The job's type is spelled as in the partial index.
pub(crate) fn select_last_drill(backup_id: BackupId) -> Statement {
    Statement::new("SELECT * FROM jobs WHERE job_type = 'DRILL' AND backup_id = ")
        .bind(backup_id.to_string())
        .push(" ORDER BY created_at_us DESC, id DESC LIMIT 1")
}

/// Looks that have come, and looks that lie further ahead than any look may.
pub(crate) fn select_due_verifies(now: DateTime<Utc>, limit: u32) -> [Statement; 2] {
    [
        due_until("SELECT * FROM verify_policies WHERE next_look_at_us <= ", now),
        due_from("SELECT * FROM verify_policies WHERE next_look_at_us > ", now),
    ]
    .map(|due| due.push(" ORDER BY next_look_at_us, repository_id LIMIT ").bind(i64::from(limit)))
}

/// As [`select_due_verifies`].
pub(crate) fn select_due_drills(now: DateTime<Utc>, limit: u32) -> [Statement; 2] {
    [
        due_until("SELECT * FROM drill_policies WHERE next_look_at_us <= ", now),
        due_from("SELECT * FROM drill_policies WHERE next_look_at_us > ", now),
    ]
    .map(|due| due.push(" ORDER BY next_look_at_us, cluster_id LIMIT ").bind(i64::from(limit)))
}

fn due_until(begin: &'static str, now: DateTime<Utc>) -> Statement {
    Statement::new(begin).bind(now.timestamp_micros())
}

fn due_from(begin: &'static str, now: DateTime<Utc>) -> Statement {
    let latest = now.checked_add_signed(LOOK_AHEAD_MAX).unwrap_or(now);
    Statement::new(begin).bind(latest.timestamp_micros())
}

pub(crate) fn read_verify(row: &mut Record) -> PortResult<VerifySchedule> {
    let schedule: VerifySchedule = from_json(&row.text("schedule")?)?;
    Ok(VerifySchedule {
        next_look: optional_time(row.optional_integer("next_look_at_us")?)?,
        revision: count(row.integer("revision")?)?,
        ..schedule
    })
}

pub(crate) fn read_drill(row: &mut Record) -> PortResult<DrillSchedule> {
    let schedule: DrillSchedule = from_json(&row.text("schedule")?)?;
    Ok(DrillSchedule {
        next_look: optional_time(row.optional_integer("next_look_at_us")?)?,
        revision: count(row.integer("revision")?)?,
        ..schedule
    })
}
