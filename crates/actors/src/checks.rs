//! The timer of scheduled verifies and drills, and of what restores and drills left behind. What it does is
//! [`Service::run_due_checks`] and [`Service::run_due_leftovers`]; both claim their work in the catalog, so several
//! servers may have one.

use crate::host::Host;
use crate::runtime::Lifecycle;
use crate::schedules::PolicyChange;
use crate::service::Service;
use chrono::{NaiveTime, Weekday};
use milvault_domain::checks::{DrillPolicy, DrillSample, DrillSchedule, VerifyPolicy, VerifySchedule};
use milvault_domain::error::InvalidInput;
use milvault_domain::ids::{ClusterId, RepositoryId};
use milvault_domain::job::{Job, VerifyLevel};
use milvault_domain::restore::CompareDepth;
use milvault_domain::schedule::{SchedulePolicy, TimeZone, Timing};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// A change of the scheduled verifies of a repository. What is `None` stays as it is; of a first policy it is the usual:
/// every byte within 30 days, from 03:00 UTC, without a limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifyPolicyChange {
    /// Whose policy.
    pub repository_id: RepositoryId,
    /// Whether shares are read.
    pub enabled: bool,
    /// How thoroughly.
    pub level: Option<VerifyLevel>,
    /// Days within which everything is read.
    pub every_days: Option<u32>,
    /// Hour of the day.
    pub hour: Option<u32>,
    /// Whose hour.
    pub time_zone: Option<TimeZone>,
    /// Most bytes per second; `Some(None)` removes the limit.
    pub max_bytes_per_second: Option<Option<u64>>,
}

/// The scheduled verifies of a repository after a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifyPolicyInForce {
    /// The policy, and how far it is.
    pub schedule: VerifySchedule,
    /// The job of the share that the change began at once.
    pub job: Option<Job>,
}

/// A change of the scheduled drills of a cluster's backups. What is `None` stays as it is; of a first policy it is the
/// usual: Sundays from 08:00 UTC, one collection, another each time, by whole rows, without a limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DrillPolicyChange {
    /// Whose backups.
    pub cluster_id: ClusterId,
    /// Whether drills are made.
    pub enabled: bool,
    /// Days of the week; not together with `cron`.
    pub weekdays: Option<Vec<Weekday>>,
    /// Beginning of the window in which the drill of each of these days starts; not together with `cron`.
    pub start_time: Option<NaiveTime>,
    /// Cron expression, in place of days of the week.
    pub cron: Option<String>,
    /// Whose local times.
    pub time_zone: Option<TimeZone>,
    /// Where; a cluster of the same project. A first policy must name it.
    pub target_cluster_id: Option<ClusterId>,
    /// What of the backup.
    pub sample: Option<DrillSample>,
    /// Most bytes of binlogs; `Some(None)` removes the limit.
    pub max_bytes: Option<Option<u64>>,
    /// How thoroughly rows are compared.
    pub depth: Option<CompareDepth>,
}

/// The scheduled drills of a cluster after a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DrillPolicyInForce {
    /// The policy, and how far it is.
    pub schedule: DrillSchedule,
    /// The job of the drill that the change began at once.
    pub job: Option<Job>,
}

impl VerifyPolicyChange {
    /// The policy that the change makes of the former one, checked.
    ///
    /// # Errors
    /// Names the field and the rule that it breaks.
    pub(crate) fn applied_to(&self, former: Option<&VerifyPolicy>) -> Result<VerifyPolicy, InvalidInput> {
        let usual = VerifyPolicy {
            enabled: self.enabled,
            level: VerifyLevel::Content,
            every_days: 30,
            hour: 3,
            time_zone: TimeZone::UTC,
            max_bytes_per_second: None,
        };
        let former = former.copied().unwrap_or(usual);
        let policy = VerifyPolicy {
            enabled: self.enabled,
            level: self.level.unwrap_or(former.level),
            every_days: self.every_days.unwrap_or(former.every_days),
            hour: self.hour.unwrap_or(former.hour),
            time_zone: self.time_zone.unwrap_or(former.time_zone),
            max_bytes_per_second: self.max_bytes_per_second.unwrap_or(former.max_bytes_per_second),
        };
        policy.validate()?;
        Ok(policy)
    }
}

impl DrillPolicyChange {
    /// The policy that the change makes of the former one, checked.
    ///
    /// # Errors
    /// Names the field and the rule that it breaks.
    pub(crate) fn applied_to(&self, former: Option<&DrillPolicy>) -> Result<DrillPolicy, InvalidInput> {
        let (timing, time_zone) = self.times(former)?;
        let target = self.target_cluster_id.or_else(|| former.map(|former| former.target_cluster_id));
        let target_cluster_id =
            target.ok_or_else(|| InvalidInput::new("targetClusterId", "name the cluster to try it on"))?;
        let (sample, max_bytes, depth) = former
            .map_or((DrillSample::InTurn, None, CompareDepth::Rows), |former| {
                (former.sample.clone(), former.max_bytes, former.depth)
            });
        let policy = DrillPolicy {
            enabled: self.enabled,
            timing,
            time_zone,
            target_cluster_id,
            sample: self.sample.clone().unwrap_or(sample),
            max_bytes: self.max_bytes.unwrap_or(max_bytes),
            depth: self.depth.unwrap_or(depth),
        };
        policy.validate()?;
        Ok(policy)
    }

    /// The same rules as those of backups.
    fn times(&self, former: Option<&DrillPolicy>) -> Result<(Timing, TimeZone), InvalidInput> {
        let sundays = former.is_none() && self.cron.is_none() && self.weekdays.is_none();
        let change = PolicyChange {
            cluster_id: self.cluster_id,
            enabled: self.enabled,
            weekdays: if sundays { Some(vec![Weekday::Sun]) } else { self.weekdays.clone() },
            start_time: self.start_time,
            cron: self.cron.clone(),
            time_zone: self.time_zone,
            retention_days: None,
            keep: None,
            copy: None,
        };
        let former = former.map(|former| SchedulePolicy::new(former.timing.clone(), former.time_zone));
        let policy = change.applied_to(former.as_ref())?;
        Ok((policy.timing, policy.time_zone))
    }
}

/// Looks until the token is cancelled. A look is begun only after the one before has ended, and none ends the timer.
pub(crate) async fn watch(host: Arc<Host>, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(host.core.settings.schedule_interval) => {}
        }
        if host.lifecycle() != Lifecycle::Ready {
            continue;
        }
        let service = Service::new(Arc::clone(&host));
        let look = host.core.io.spawn(async move {
            if let Err(error) = service.run_due_checks().await {
                tracing::warn!(%error, "cannot look for verifies and drills; tried again at the next time");
            }
            if let Err(error) = service.run_due_leftovers().await {
                tracing::warn!(%error, "cannot look for leftovers of restores; tried again at the next time");
            }
        });
        tokio::select! {
            () = stop.cancelled() => return,
            looked = look => {
                if let Err(error) = looked {
                    tracing::error!(%error, "a look for verifies and drills broke off; tried again at the next time");
                }
            }
        }
    }
}
