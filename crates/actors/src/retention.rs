//! `RetentionActor`: ends backups whose time is over, and asks for a sweep when one is due. It only marks and buries;
//! nothing is deleted here.

mod early;

use crate::core::Core;
use crate::job_pruning::{PruningPace, prune_jobs};
use crate::service::sweep_job;
use crate::sweep::open;
use actix::prelude::{Actor, ActorFutureExt, AsyncContext, Context, WrapFuture};
use chrono::TimeDelta;
use milvault_domain::backup::BackupStatus;
use milvault_domain::ids::{BackupId, ClusterId};
use milvault_domain::keep::{Hold, KeepRules, RetentionPolicy, retention_decision};
use milvault_domain::lifecycle::{BackupHold, Tombstone};
use milvault_domain::ports::{PortError, PortErrorKind, PortResult};
use milvault_domain::schedule::TimeZone;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Backups marked by one statement: a bound for the transaction.
const BATCH_MAX: u32 = 200;
/// Batches of one run. What is left over is marked by the next.
const BATCHES_MAX: u32 = 50;
/// Longest time for the tombstone of one backup. What does not get one in time gets it from the sweep.
const BURIAL_TIME_MAX: Duration = Duration::from_secs(10);
/// Shortest time between two sweeps of one cluster that nobody asked for, unless the time of grace is shorter: a sweep
/// that fails is not repeated at every look.
const SWEEP_PAUSE: Duration = Duration::from_hours(1);
/// Who asks for the sweeps that nobody else asks for.
const RETENTION: &str = "retention";

/// What the runs so far have done.
#[derive(Debug, Default)]
pub(crate) struct RetentionTally {
    pub(crate) runs: AtomicU64,
    pub(crate) expired: AtomicU64,
    pub(crate) failures: AtomicU64,
}

/// A timer around [`expire`]. The timer is armed again after a run has ended, so runs never overlap nor pile up,
/// and no result of a run ends the actor.
pub(crate) struct RetentionActor {
    core: Arc<Core>,
    tally: Arc<RetentionTally>,
    pruning: PruningPace,
}

impl RetentionActor {
    pub(crate) fn new(core: Arc<Core>, tally: Arc<RetentionTally>) -> Self {
        Self { core, tally, pruning: PruningPace::default() }
    }

    fn arm(&self, context: &mut Context<Self>) {
        context.run_later(self.core.settings.retention_interval, RetentionActor::run);
    }

    fn run(&mut self, context: &mut Context<Self>) {
        let core = Arc::clone(&self.core);
        let prunes = self.pruning.take(core.deps.clock.now());
        let task = self.core.io.spawn(async move {
            let expired = expire(&core).await;
            crate::records::write_due(&core).await;
            if prunes {
                prune_jobs(&core).await?;
            }
            expired
        });
        let ended = task.into_actor(self).map(|result, actor, context| {
            actor.tally.runs.fetch_add(1, Ordering::Relaxed);
            match result {
                Ok(Ok(expired)) => {
                    actor.tally.expired.fetch_add(expired, Ordering::Relaxed);
                }
                Ok(Err(error)) => {
                    actor.tally.failures.fetch_add(1, Ordering::Relaxed);
                    tracing::warn!(%error, "retention failed; tried again at its next time");
                }
                Err(error) => {
                    actor.tally.failures.fetch_add(1, Ordering::Relaxed);
                    tracing::error!(%error, "retention broke off; tried again at its next time");
                }
            }
            actor.arm(context);
        });
        context.spawn(ended);
    }
}

impl Actor for RetentionActor {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        self.arm(context);
    }
}

/// Ends the backups whose time is over, by age and by the keep rules of their clusters. Returns how many. A failure in
/// one part keeps the others from nothing.
async fn expire(core: &Core) -> PortResult<u64> {
    let taken_back = early::take_back(core).await;
    let by_age = expire_by_age(core).await;
    let by_rules = expire_by_rules(core).await;
    let swept = ask_for_sweeps(core).await;
    let expired = by_age? + by_rules?;
    taken_back.and(swept)?;
    Ok(expired)
}

/// Marks what age alone decides about, in bounded batches.
async fn expire_by_age(core: &Core) -> PortResult<u64> {
    let mut expired_count = 0;
    for _ in 0..BATCHES_MAX {
        let expired = core.deps.catalog.expire_backups(core.deps.clock.now(), BATCH_MAX).await?;
        bury(core, &expired).await;
        expired_count += expired.len() as u64;
        if expired.len() < BATCH_MAX as usize {
            break;
        }
    }
    Ok(expired_count)
}

/// Decides about the backups of clusters that have schedules, whose keep rules may keep more than age does.
async fn expire_by_rules(core: &Core) -> PortResult<u64> {
    let mut expired_count = 0;
    let mut first_failure = None;
    for cluster_id in core.deps.catalog.overdue_clusters(core.deps.clock.now()).await? {
        // What is wrong with one cluster keeps the backups of no other.
        match expire_of(core, cluster_id).await {
            Ok(count) => expired_count += count,
            Err(error) => {
                tracing::warn!(%cluster_id, %error, "the backups of a cluster cannot be expired");
                first_failure.get_or_insert(error);
            }
        }
    }
    first_failure.map_or(Ok(expired_count), Err)
}

/// Decides anew before each batch, and writes tombstones when all are marked: what people change meanwhile, of the
/// policy or of a backup, counts for all that is not marked yet.
async fn expire_of(core: &Core, cluster_id: ClusterId) -> PortResult<u64> {
    let catalog = &core.deps.catalog;
    let mut all_expired = Vec::new();
    for _ in 0..BATCHES_MAX {
        let policy = policy(core, cluster_id).await?;
        let now = core.deps.clock.now();
        let retained = catalog.retained(cluster_id, now).await?;
        let ends: HashMap<BackupId, _> =
            retained.backups.iter().map(|backup| (backup.id, backup.expires_at)).collect();
        let verdicts = retention_decision(&retained.backups, &policy, &longest(retained.holds), now);
        let mut over: Vec<BackupId> =
            verdicts.iter().filter(|verdict| verdict.expires()).map(|verdict| verdict.backup_id).collect();
        // In the order in which those are locked whose age alone decides.
        over.sort_unstable_by_key(|id| (ends.get(id).copied().flatten(), *id));
        let over_count = over.len();
        over.truncate(BATCH_MAX as usize);
        if over.is_empty() {
            break;
        }
        // The time of grace counts from when they are marked, however long the decision took.
        let expired = catalog.expire_chosen(&over, core.deps.clock.now()).await?;
        // Those that an open job needs are chosen every time, so a batch may come to nothing.
        let is_last = over_count == over.len() || expired.is_empty();
        all_expired.extend(expired);
        if is_last {
            break;
        }
    }
    bury(core, &all_expired).await;
    Ok(all_expired.len() as u64)
}

/// What a cluster's policy keeps beyond age.
pub(crate) async fn policy(core: &Core, cluster_id: ClusterId) -> PortResult<RetentionPolicy> {
    let policy = core.deps.catalog.keep_rules(cluster_id).await?;
    Ok(policy.unwrap_or(RetentionPolicy { keep: KeepRules::NONE, time_zone: TimeZone::UTC }))
}

/// Of several holds on one backup the one that binds longest.
pub(crate) fn longest(holds: Vec<BackupHold>) -> HashMap<BackupId, Hold> {
    let mut longest: HashMap<BackupId, Hold> = HashMap::new();
    for BackupHold { backup_id, hold, .. } in holds {
        let end = |hold: &Hold| (hold.until.is_none(), hold.until);
        let binds_longer = longest.get(&backup_id).is_none_or(|other| end(other) < end(&hold));
        if binds_longer {
            longest.insert(backup_id, hold);
        }
    }
    longest
}

/// Writes the tombstones of backups that have just been marked. The catalog counts, and sweeps write what is missing,
/// so a store that does not answer keeps nothing from expiring.
async fn bury(core: &Core, backup_ids: &[BackupId]) {
    for backup_id in backup_ids {
        let buried = tokio::time::timeout(BURIAL_TIME_MAX, bury_one(core, *backup_id)).await;
        match buried {
            Ok(Ok(())) => tracing::info!(%backup_id, "the retention of a backup is over"),
            Ok(Err(error)) => tracing::warn!(%backup_id, %error, "an expired backup has no tombstone yet"),
            Err(_) => {
                tracing::warn!(%backup_id, "an expired backup has no tombstone yet: the repository is slow");
            }
        }
    }
}

async fn bury_one(core: &Core, backup_id: BackupId) -> PortResult<()> {
    let backup = core.deps.catalog.backup(backup_id).await?;
    let backup = backup.ok_or_else(|| PortError::new(PortErrorKind::NotFound, "it is not in the catalog"))?;
    // Another server may have taken the expiry back meanwhile.
    if backup.status != BackupStatus::Deleted {
        return Ok(());
    }
    let repository = open(core, backup.repository_id).await?;
    let deleted_at = core.deps.clock.now();
    repository.bury(&Tombstone { backup_id, cluster_id: backup.cluster_id, deleted_at }).await
}

/// Writes the rows of sweeps that are due. The next look for open jobs hands them to their clusters.
async fn ask_for_sweeps(core: &Core) -> PortResult<()> {
    let settings = &core.settings;
    let pause = SWEEP_PAUSE.min(settings.sweep_grace);
    let now = core.deps.clock.now();
    let back = |by: Duration| TimeDelta::from_std(by).ok().and_then(|by| now.checked_sub_signed(by));
    let (Some(ended_before), Some(not_since)) = (back(settings.sweep_grace), back(pause)) else {
        return Ok(());
    };
    for (cluster_id, project_id) in core.deps.catalog.due_sweeps(ended_before, not_since, now).await? {
        let job = sweep_job(core, cluster_id, project_id, RETENTION.to_owned());
        if core.deps.catalog.insert_due_sweep(&job, not_since).await? {
            core.live.publish(&job);
            tracing::info!(%cluster_id, job_id = %job.id, "a sweep is due");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
