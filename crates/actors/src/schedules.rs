//! `ScheduleActor`: makes automatic backups when they are due. What it does is [`Service::run_due_schedules`].

use crate::core::Core;
use crate::host::Host;
use crate::service::Service;
use actix::prelude::{Actor, ActorFutureExt, AsyncContext, Context, WrapFuture};
use chrono::{NaiveTime, Weekday};
use milvault_domain::error::InvalidInput;
use milvault_domain::ids::{ClusterId, RepositoryId};
use milvault_domain::job::Job;
use milvault_domain::keep::KeepRules;
use milvault_domain::schedule::{ClusterSchedule, CopyPolicy, SchedulePolicy, TimeZone, Timing};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

/// A change of a cluster's policy. What is `None` stays as it is; of a first policy it is the usual: every day from
/// 08:00 UTC, kept for seven days.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyChange {
    /// Whose policy.
    pub cluster_id: ClusterId,
    /// Whether automatic backups are made.
    pub enabled: bool,
    /// Days of the week; not together with `cron`.
    pub weekdays: Option<Vec<Weekday>>,
    /// Beginning of the window in which the backup of each of these days starts; not together with `cron`.
    pub start_time: Option<NaiveTime>,
    /// Cron expression, in place of days of the week.
    pub cron: Option<String>,
    /// Whose local times.
    pub time_zone: Option<TimeZone>,
    /// Days until a backup expires, 1 to 30. Backups that are there keep theirs.
    pub retention_days: Option<u32>,
    /// Backups that stay beyond that.
    pub keep: Option<KeepRules>,
    /// Where each backup is copied to; `Some(None)` for nowhere any more.
    pub copy: Option<Option<CopyChange>>,
}

/// Where the backups of a schedule are copied to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CopyChange {
    /// Another repository of the same project.
    pub repository_id: RepositoryId,
    /// Days until a copy expires, 1 to 30; `None` for as many as the backup has.
    pub retention_days: Option<u32>,
}

/// A policy after a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyInForce {
    /// The policy, and how far it is.
    pub schedule: ClusterSchedule,
    /// The job of the backup that the change made at once.
    pub job: Option<Job>,
}

const EVERY_DAY: [Weekday; 7] =
    [Weekday::Mon, Weekday::Tue, Weekday::Wed, Weekday::Thu, Weekday::Fri, Weekday::Sat, Weekday::Sun];

impl PolicyChange {
    /// The policy that the change makes of the former one, checked.
    ///
    /// # Errors
    /// Names the field and the rule that it breaks.
    pub(crate) fn applied_to(&self, former: Option<&SchedulePolicy>) -> Result<SchedulePolicy, InvalidInput> {
        let timing = self.timing(former.map(|former| &former.timing))?;
        let former_zone = former.map_or(TimeZone::UTC, |former| former.time_zone);
        let mut policy = SchedulePolicy::new(timing, self.time_zone.unwrap_or(former_zone));
        if let Some(former) = former {
            policy.retention_days = former.retention_days;
            policy.keep = former.keep;
            policy.copy = former.copy;
        }
        policy.enabled = self.enabled;
        policy.retention_days = self.retention_days.unwrap_or(policy.retention_days);
        policy.keep = self.keep.unwrap_or(policy.keep);
        if let Some(copy) = self.copy {
            let usual_days = policy.retention_days;
            policy.copy = copy.map(|copy| CopyPolicy {
                repository_id: copy.repository_id,
                retention_days: copy.retention_days.unwrap_or(usual_days),
            });
        }
        policy.validate()?;
        Ok(policy)
    }

    fn timing(&self, former: Option<&Timing>) -> Result<Timing, InvalidInput> {
        if let Some(expression) = &self.cron {
            if self.weekdays.is_some() || self.start_time.is_some() {
                return Err(InvalidInput::new("cron", "give either `cron` or `weekdays` with `startTime`"));
            }
            return Ok(Timing::Cron(expression.clone()));
        }
        let (days, window_start) = match former {
            Some(former @ Timing::Cron(_)) => match (&self.weekdays, self.start_time) {
                (None, None) => return Ok(former.clone()),
                (None, Some(_)) => {
                    let rule = "the policy has a cron expression; name `weekdays` too";
                    return Err(InvalidInput::new("startTime", rule));
                }
                (Some(_), _) => (EVERY_DAY.to_vec(), usual_start()),
            },
            Some(Timing::Weekdays { days, window_start }) => (days.clone(), *window_start),
            None => (EVERY_DAY.to_vec(), usual_start()),
        };
        Ok(Timing::Weekdays {
            days: self.weekdays.clone().unwrap_or(days),
            window_start: self.start_time.unwrap_or(window_start),
        })
    }
}

/// Eight in the morning.
fn usual_start() -> NaiveTime {
    NaiveTime::from_hms_opt(8, 0, 0).unwrap_or(NaiveTime::MIN)
}

/// What the runs so far have done.
#[derive(Debug, Default)]
pub(crate) struct ScheduleTally {
    pub(crate) runs: AtomicU64,
    pub(crate) started: AtomicU64,
    pub(crate) skipped: AtomicU64,
    pub(crate) failures: AtomicU64,
}

/// A timer around [`Service::run_due_schedules`] and [`Service::run_due_copies`]. The timer is armed again after a run
/// has ended, so runs never overlap nor pile up, and no result of a run ends the actor.
pub(crate) struct ScheduleActor {
    core: Arc<Core>,
    /// Weak, because the host keeps the actor.
    host: Weak<Host>,
    tally: Arc<ScheduleTally>,
}

impl ScheduleActor {
    pub(crate) fn new(host: &Arc<Host>, tally: Arc<ScheduleTally>) -> Self {
        Self { core: Arc::clone(&host.core), host: Arc::downgrade(host), tally }
    }

    fn arm(&self, context: &mut Context<Self>) {
        context.run_later(self.core.settings.schedule_interval, |actor, context| actor.run(context));
    }

    fn run(&self, context: &mut Context<Self>) {
        let Some(host) = self.host.upgrade() else { return };
        let task = self.core.io.spawn(async move {
            let service = Service::new(host);
            service.run_due_copies().await;
            service.run_due_schedules().await
        });
        let ended = task.into_actor(self).map(|result, actor, context| {
            let tally = &actor.tally;
            tally.runs.fetch_add(1, Ordering::Relaxed);
            match result {
                Ok(Ok(run)) => {
                    tally.started.fetch_add(run.started, Ordering::Relaxed);
                    tally.skipped.fetch_add(run.skipped, Ordering::Relaxed);
                    tally.failures.fetch_add(run.failed, Ordering::Relaxed);
                }
                Ok(Err(error)) => {
                    tally.failures.fetch_add(1, Ordering::Relaxed);
                    tracing::warn!(%error, "cannot look at the schedules; tried again at the next time");
                }
                Err(error) => {
                    tally.failures.fetch_add(1, Ordering::Relaxed);
                    tracing::error!(%error, "a look at the schedules broke off; tried again at the next time");
                }
            }
            actor.arm(context);
        });
        context.spawn(ended);
    }
}

impl Actor for ScheduleActor {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        self.arm(context);
    }
}

#[cfg(test)]
mod tests;
