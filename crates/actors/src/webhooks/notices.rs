//! What is noticed by looking: automatic backups that are late, and holds that end soon. It is looked at again and again;
//! the catalog tells each webhook of each cause once.

use crate::core::Core;
use chrono::{DateTime, Utc};
use milvault_domain::backup::{Backup, CreationMethod};
use milvault_domain::error::InvalidInput;
use milvault_domain::job::{Job, JobState, JobType};
use milvault_domain::ports::{EndingHold, PortError, PortErrorKind, PortResult, WatchedSchedule};
use milvault_domain::webhook::{
    END_OVERDUE_AFTER, EventFacts, HOLD_NOTICE, Occurrence, START_OVERDUE_AFTER, WebhookEvent, missed_start,
};

/// Schedules or holds read at a time.
const PAGE_MAX: u32 = 200;
/// Pages of one look.
const PAGES_MAX: u32 = 500;

/// Raises everything that there is to notice now. A failure in one part keeps nothing from the others.
pub(super) async fn raise_notices(core: &Core) -> PortResult<()> {
    let now = core.deps.clock.now();
    let missed = raise_missed_starts(core, now).await;
    let late = raise_late_backups(core, now).await;
    let ending = raise_ending_holds(core, now).await;
    missed.and(late).and(ending)
}

/// Starts that nobody has recorded.
async fn raise_missed_starts(core: &Core, now: DateTime<Utc>) -> PortResult<()> {
    let mut after = None;
    for _ in 0..PAGES_MAX {
        let page = core.deps.catalog.watched_schedules(after, PAGE_MAX).await?;
        let Some(last) = page.last() else { break };
        after = Some(last.schedule.cluster_id);
        let is_last = page.len() < PAGE_MAX as usize;
        for watched in page {
            if let Some(occurrence) = missed(watched, now)? {
                core.deps.catalog.raise_event(&occurrence).await?;
            }
        }
        if is_last {
            break;
        }
    }
    Ok(())
}

fn missed(watched: WatchedSchedule, now: DateTime<Utc>) -> PortResult<Option<Occurrence>> {
    let cluster_id = watched.schedule.cluster_id;
    let start = missed_start(&watched.schedule, now).map_err(|error| {
        let invalid = InvalidInput::from(error);
        PortError::with_source(
            PortErrorKind::Internal,
            format!("the policy of {cluster_id} is not valid"),
            invalid,
        )
    })?;
    Ok(start.map(|start| Occurrence {
        event: WebhookEvent::BackupOverdue,
        project_id: watched.project_id,
        cause: format!("missed:{cluster_id}:{}", start.timestamp_micros()),
        at: now,
        facts: EventFacts {
            cluster_id: Some(cluster_id),
            cluster_name: Some(watched.cluster_name),
            reason: Some(String::from(
                "the backup should have begun more than an hour ago, and was not even asked for",
            )),
            expected_at: Some(start),
            ..EventFacts::default()
        },
    }))
}

/// Jobs of automatic backups that wait or work for too long.
async fn raise_late_backups(core: &Core, now: DateTime<Utc>) -> PortResult<()> {
    for job in core.deps.catalog.open_jobs().await? {
        let Some((kind, reason)) = lateness(&job, now) else { continue };
        let Some(backup_id) = job.backup_id else { continue };
        if let Some(backup) = core.deps.catalog.backup(backup_id).await?
            && backup.creation_method == CreationMethod::Auto
        {
            core.deps.catalog.raise_event(&late(&job, &backup, kind, reason, now)).await?;
        }
    }
    Ok(())
}

/// How an open job is late, and the words for it.
fn lateness(job: &Job, now: DateTime<Utc>) -> Option<(&'static str, &'static str)> {
    let age = now - job.created_at;
    if job.job_type != JobType::Backup {
        None
    } else if END_OVERDUE_AFTER < age {
        Some(("end", "the backup has not ended twelve hours after it was due"))
    } else if START_OVERDUE_AFTER < age && job.state == JobState::Pending && job.started_at.is_none() {
        Some(("start", "the backup waits for its turn for more than an hour"))
    } else {
        None
    }
}

fn late(job: &Job, backup: &Backup, kind: &str, reason: &str, now: DateTime<Utc>) -> Occurrence {
    Occurrence {
        event: WebhookEvent::BackupOverdue,
        project_id: job.project_id,
        cause: format!("late-{kind}:{}", job.id),
        at: now,
        facts: EventFacts {
            cluster_id: Some(job.cluster_id),
            cluster_name: Some(backup.cluster_name.clone()),
            backup_id: Some(backup.id),
            backup_name: Some(backup.name.clone()),
            job_id: Some(job.id),
            reason: Some(reason.to_owned()),
            expected_at: Some(job.created_at),
            ..EventFacts::default()
        },
    }
}

/// Holds that end by themselves within the days of notice.
async fn raise_ending_holds(core: &Core, now: DateTime<Utc>) -> PortResult<()> {
    let Some(until) = now.checked_add_signed(HOLD_NOTICE) else { return Ok(()) };
    let mut after = None;
    for _ in 0..PAGES_MAX {
        let page = core.deps.catalog.ending_holds(now, until, after, PAGE_MAX).await?;
        let Some(last) = page.last() else { break };
        after = Some((last.until, last.hold_id));
        let is_last = page.len() < PAGE_MAX as usize;
        for hold in page {
            core.deps.catalog.raise_event(&ending(hold, now)).await?;
        }
        if is_last {
            break;
        }
    }
    Ok(())
}

fn ending(hold: EndingHold, now: DateTime<Utc>) -> Occurrence {
    Occurrence {
        event: WebhookEvent::HoldExpiring,
        project_id: hold.project_id,
        cause: format!("hold:{}", hold.hold_id),
        at: now,
        facts: EventFacts {
            cluster_id: Some(hold.cluster_id),
            cluster_name: Some(hold.cluster_name),
            backup_id: Some(hold.backup_id),
            backup_name: Some(hold.backup_name),
            hold_id: Some(hold.hold_id),
            reason: Some(hold.reason),
            until: Some(hold.until),
            ..EventFacts::default()
        },
    }
}
