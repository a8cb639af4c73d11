//! The keeper of all actors: makes a cluster's actor when this server has its lease, replaces actors that died. Which
//! clusters that are is a matter of [`crate::takeover`].
//!
//! It is no actor itself, because it has to outlive every actor.

use crate::cluster::{ClusterActor, ClusterParts};
use crate::core::{Core, lock};
use crate::leases::{ClusterLease, LeaseHealth};
use crate::messages::{Cancel, CancelOutcome, Drain, Refusal, Submit};
use crate::news::News;
use crate::retention::{RetentionActor, RetentionTally};
use crate::runtime::Lifecycle;
use crate::schedules::{ScheduleActor, ScheduleTally};
use crate::takeover::Place;
use crate::telemetry;
use crate::webhooks::{NotifyActor, NotifyTally};
use actix::ArbiterHandle;
use actix::prelude::{Actor, Addr};
use futures::future::join_all;
use milvault_domain::ids::{ClusterId, JobId};
use milvault_domain::job::{Job, JobState};
use milvault_domain::lease::NewServer;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Longest wait for the tasks of an actor that died, and for parked jobs at a shutdown.
const PARK_TIME_MAX: Duration = Duration::from_secs(15);

/// Longest wait at a shutdown for what is still to be done about jobs that have ended.
const CHORE_TIME_MAX: Duration = Duration::from_secs(5);

/// How long a lease lasts where nobody else could claim it: a hundred years.
const FOR_EVER: Duration = Duration::from_hours(100 * 365 * 24);

pub(crate) struct Host {
    pub(crate) core: Arc<Core>,
    /// This server, as others see it.
    pub(crate) server: NewServer,
    pub(crate) lease_health: LeaseHealth,
    pub(crate) lease_length: Duration,
    arbiter: ArbiterHandle,
    pub(crate) state: Mutex<HostState>,
    pub(crate) news: Mutex<News>,
    /// One claim at a time.
    pub(crate) claims: tokio::sync::Mutex<()>,
    /// Parks every job of the server.
    park: CancellationToken,
    /// One replacement at a time.
    reviving: tokio::sync::Mutex<()>,
    pub(crate) retention_tally: Arc<RetentionTally>,
    pub(crate) schedule_tally: Arc<ScheduleTally>,
    pub(crate) notify_tally: Arc<NotifyTally>,
}

pub(crate) struct HostState {
    lifecycle: Lifecycle,
    /// Those that this server works on, or whose work has not come to its end.
    pub(crate) clusters: HashMap<ClusterId, Slot>,
    /// Restarts of actors under leases that were let go of.
    pub(crate) former_restarts: HashMap<ClusterId, VecDeque<Instant>>,
    /// When an open job was last given to an actor, and in which state.
    pub(crate) offered: HashMap<JobId, (Instant, JobState)>,
    retention: Option<Addr<RetentionActor>>,
    schedules: Option<Addr<ScheduleActor>>,
    notify: Option<Addr<NotifyActor>>,
}

pub(crate) struct Slot {
    pub(crate) lease: Arc<ClusterLease>,
    /// What the work under the lease sees of the world.
    pub(crate) core: Arc<Core>,
    /// Parks the jobs of the cluster.
    pub(crate) park: CancellationToken,
    pub(crate) actor: Addr<ClusterActor>,
    pub(crate) tasks: TaskTracker,
    pub(crate) restarts: VecDeque<Instant>,
    pub(crate) degraded: bool,
    /// The lease is over, and work comes to its end.
    pub(crate) ending: bool,
    pub(crate) idle_since: Option<Instant>,
}

impl Host {
    pub(crate) fn new(core: Arc<Core>, arbiter: ArbiterHandle) -> Self {
        let shared = core.deps.catalog.is_shared();
        let lease_length = if shared { core.settings.lease_length } else { FOR_EVER };
        Self {
            server: Self::identity(&core),
            lease_health: LeaseHealth::new(lease_length),
            lease_length,
            core,
            arbiter,
            news: Mutex::default(),
            claims: tokio::sync::Mutex::default(),
            state: Mutex::new(HostState {
                lifecycle: Lifecycle::Starting,
                clusters: HashMap::new(),
                former_restarts: HashMap::new(),
                offered: HashMap::new(),
                retention: None,
                schedules: None,
                notify: None,
            }),
            park: CancellationToken::new(),
            reviving: tokio::sync::Mutex::default(),
            retention_tally: Arc::default(),
            schedule_tally: Arc::default(),
            notify_tally: Arc::default(),
        }
    }

    pub(crate) fn lifecycle(&self) -> Lifecycle {
        lock(&self.state).lifecycle
    }

    pub(crate) fn set_lifecycle(&self, lifecycle: Lifecycle) {
        lock(&self.state).lifecycle = lifecycle;
    }

    pub(crate) fn degraded_clusters(&self) -> Vec<ClusterId> {
        let state = lock(&self.state);
        state.clusters.iter().filter(|(_, slot)| slot.degraded).map(|(id, _)| *id).collect()
    }

    /// Hands a job, whose row is written, to its cluster's actor. Where another server works on the cluster, that one
    /// finds it.
    pub(crate) async fn submit(&self, job: &Job) -> Result<(), Refusal> {
        if self.is_ending() {
            return Err(Refusal::Draining);
        }
        if lock(&self.state).clusters.get(&job.cluster_id).is_some_and(|slot| slot.degraded) {
            return Err(Refusal::Degraded);
        }
        let actor = match self.claim(job.cluster_id).await {
            Ok(Some(actor)) => actor,
            Ok(None) => return Ok(()),
            Err(error) => {
                tracing::warn!(job_id = %job.id, %error, "a job is taken up by the next look for open jobs");
                return Ok(());
            }
        };
        lock(&self.state).offered.insert(job.id, (Instant::now(), job.state));
        match actor.send(Submit { job_id: job.id, job_type: job.job_type }).await {
            // Its lease was given back in this very moment. The next look for open jobs finds this one.
            Ok(Err(Refusal::Draining)) if !self.is_ending() => Ok(()),
            Ok(answer) => answer,
            // The row is in the catalog, so whoever replaces the actor, this call or the watchdog, takes it up with
            // the other open jobs.
            Err(_) => self.revive(job.cluster_id).await,
        }
    }

    /// Stops a job that the catalog has marked.
    pub(crate) async fn cancel(&self, job: &Job) -> CancelOutcome {
        let cluster_id = job.cluster_id;
        let actor = match self.place(cluster_id) {
            Place::Here(actor) => actor,
            Place::Closed => return CancelOutcome::Elsewhere,
            Place::NotHere => {
                return match self.core.deps.catalog.held_lease(cluster_id).await {
                    Ok(None) => CancelOutcome::NotRunning,
                    // Whoever holds it, or finds the mark when the lease is over, carries it out.
                    Ok(Some(_)) | Err(_) => CancelOutcome::Elsewhere,
                };
            }
        };
        match actor.send(Cancel::of(job)).await {
            Ok(outcome) => outcome,
            // Its jobs stop with it; the row says what becomes of this one.
            Err(_) => CancelOutcome::Stopping,
        }
    }

    fn is_ending(&self) -> bool {
        matches!(self.lifecycle(), Lifecycle::Draining | Lifecycle::Stopped)
    }

    /// Watches until the token is cancelled.
    pub(crate) async fn watch(self: Arc<Self>, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(self.core.settings.watchdog_interval) => {}
            }
            self.replace_dead_actors().await;
        }
    }

    /// Lets running jobs end for a while, then parks them. Nothing is taken up any more.
    pub(crate) async fn drain(&self) {
        let slots: Vec<(Addr<ClusterActor>, TaskTracker, TaskTracker, Arc<ClusterLease>)> = {
            let mut state = lock(&self.state);
            state.lifecycle = Lifecycle::Draining;
            state.retention = None;
            state.schedules = None;
            state.notify = None;
            let slots = state.clusters.values();
            let of_slot = |slot: &Slot| {
                let (tasks, chores) = (slot.tasks.clone(), slot.core.chores.clone());
                (slot.actor.clone(), tasks, chores, Arc::clone(&slot.lease))
            };
            slots.map(of_slot).collect()
        };
        for (actor, ..) in &slots {
            // A dead actor begins nothing either.
            let _ = actor.send(Drain).await;
        }
        // Each lease is given back as soon as its work has ended, so that another server goes on at once.
        let all_ended = join_all(slots.iter().map(|(_, tasks, chores, lease)| async {
            tasks.close();
            tasks.wait().await;
            // They too work under the lease, and none is begun when the tasks have ended.
            chores.close();
            // What is not done by then is done after the next start.
            let _ = timeout(CHORE_TIME_MAX, chores.wait()).await;
            self.mark_ending(lease);
            self.give_back(lease).await;
        }));
        tokio::pin!(all_ended);
        if timeout(self.core.settings.shutdown_grace, &mut all_ended).await.is_err() {
            tracing::info!("jobs did not end in the time of grace; they continue at the next start");
            self.park.cancel();
            if timeout(PARK_TIME_MAX, all_ended).await.is_err() {
                tracing::error!("some jobs could not be parked; whoever takes them up finds them cut off");
            }
        }
        let remove = self.core.deps.catalog.remove_server(self.server.id);
        if !matches!(timeout(PARK_TIME_MAX, remove).await, Ok(Ok(()))) {
            tracing::warn!("the catalog was not told that this server ends");
        }
    }

    /// Tells the guard that this lease ends in order.
    fn mark_ending(&self, lease: &ClusterLease) {
        let mut state = lock(&self.state);
        let slot = state.clusters.get_mut(&lease.fence.cluster_id);
        if let Some(slot) = slot.filter(|slot| slot.lease.fence == lease.fence) {
            slot.ending = true;
        }
    }

    pub(crate) fn start_retention(&self) {
        let actor = RetentionActor::new(Arc::clone(&self.core), Arc::clone(&self.retention_tally));
        let address = RetentionActor::start_in_arbiter(&self.arbiter, |_| actor);
        lock(&self.state).retention = Some(address);
    }

    pub(crate) fn start_notify(&self) {
        let actor = NotifyActor::new(Arc::clone(&self.core), Arc::clone(&self.notify_tally));
        let address = NotifyActor::start_in_arbiter(&self.arbiter, |_| actor);
        lock(&self.state).notify = Some(address);
    }

    pub(crate) fn start_schedules(self: &Arc<Self>) {
        let actor = ScheduleActor::new(self, Arc::clone(&self.schedule_tally));
        let address = ScheduleActor::start_in_arbiter(&self.arbiter, |_| actor);
        lock(&self.state).schedules = Some(address);
    }

    /// Begins to work on a cluster under a new lease; `None` when the server is ending.
    pub(crate) fn open_slot(&self, lease: &Arc<ClusterLease>, core: Arc<Core>) -> Option<Addr<ClusterActor>> {
        let cluster_id = lease.fence.cluster_id;
        let mut state = lock(&self.state);
        if matches!(state.lifecycle, Lifecycle::Draining | Lifecycle::Stopped) {
            return None;
        }
        let restarts = state.former_restarts.remove(&cluster_id).unwrap_or_default();
        let slot = self.new_slot(Arc::clone(lease), core, restarts);
        let actor = slot.actor.clone();
        state.clusters.insert(cluster_id, slot);
        Some(actor)
    }

    fn new_slot(&self, lease: Arc<ClusterLease>, core: Arc<Core>, restarts: VecDeque<Instant>) -> Slot {
        let (tasks, park) = (TaskTracker::new(), self.park.child_token());
        let parts = ClusterParts {
            cluster_id: lease.fence.cluster_id,
            core: Arc::clone(&core),
            arbiter: self.arbiter.clone(),
            park: park.clone(),
            tasks: tasks.clone(),
        };
        let actor = ClusterActor::start_in_arbiter(&self.arbiter, |_| ClusterActor::new(parts));
        Slot { lease, core, park, actor, tasks, restarts, degraded: false, ending: false, idle_since: None }
    }

    async fn replace_dead_actors(self: &Arc<Self>) {
        let dead: Vec<ClusterId> = {
            let state = lock(&self.state);
            let is_dead = |slot: &Slot| !slot.degraded && !slot.ending && !slot.actor.connected();
            let dead = state.clusters.iter().filter(|(_, slot)| is_dead(slot));
            dead.map(|(id, _)| *id).collect()
        };
        for cluster_id in dead {
            // What went wrong is logged there; the next look tries again.
            let _ = self.revive(cluster_id).await;
        }
        let retention_died = lock(&self.state).retention.as_ref().is_some_and(|actor| !actor.connected());
        if retention_died {
            metrics::counter!(telemetry::ACTOR_RESTARTS).increment(1);
            tracing::error!("the retention actor died and is replaced");
            self.start_retention();
        }
        let schedules_died = lock(&self.state).schedules.as_ref().is_some_and(|actor| !actor.connected());
        if schedules_died {
            metrics::counter!(telemetry::ACTOR_RESTARTS).increment(1);
            tracing::error!("the schedule actor died and is replaced");
            self.start_schedules();
        }
        let notify_died = lock(&self.state).notify.as_ref().is_some_and(|actor| !actor.connected());
        if notify_died {
            metrics::counter!(telemetry::ACTOR_RESTARTS).increment(1);
            tracing::error!("the notify actor died and is replaced");
            self.start_notify();
        }
    }

    /// Replaces a cluster's dead actor and hands it the cluster's open jobs.
    async fn revive(&self, cluster_id: ClusterId) -> Result<(), Refusal> {
        let _one_at_a_time = self.reviving.lock().await;
        let Some(former_tasks) = self.tasks_of_dead(cluster_id) else { return Ok(()) };
        // The jobs of the dead actor park themselves. Two tasks for one job must never be.
        former_tasks.close();
        if timeout(PARK_TIME_MAX, former_tasks.wait()).await.is_err() {
            tracing::error!(%cluster_id, "jobs of an actor that died do not end");
            return Err(Refusal::Degraded);
        }
        let Some(actor) = self.replace(cluster_id)? else { return Ok(()) };
        metrics::counter!(telemetry::ACTOR_RESTARTS).increment(1);
        let open_jobs = match self.core.deps.catalog.open_jobs().await {
            Ok(open_jobs) => open_jobs,
            Err(error) => {
                tracing::error!(%cluster_id, %error, "cannot read the open jobs; a later look takes them up");
                return Ok(());
            }
        };
        for job in open_jobs.into_iter().filter(|job| job.cluster_id == cluster_id) {
            self.submit_to(&actor, &job, Instant::now()).await;
        }
        Ok(())
    }

    fn tasks_of_dead(&self, cluster_id: ClusterId) -> Option<TaskTracker> {
        let state = lock(&self.state);
        let slot = state.clusters.get(&cluster_id)?;
        (!slot.actor.connected()).then(|| slot.tasks.clone())
    }

    /// Makes a new actor under the same lease; `None` when there is nothing to replace.
    fn replace(&self, cluster_id: ClusterId) -> Result<Option<Addr<ClusterActor>>, Refusal> {
        let settings = &self.core.settings;
        let now = Instant::now();
        let mut state = lock(&self.state);
        if matches!(state.lifecycle, Lifecycle::Draining | Lifecycle::Stopped) {
            return Err(Refusal::Draining);
        }
        let Some(slot) = state.clusters.get_mut(&cluster_id).filter(|slot| !slot.ending) else {
            return Ok(None);
        };
        slot.restarts.retain(|at| now.duration_since(*at) < settings.restart_window);
        if slot.restarts.len() >= settings.restarts_max {
            slot.degraded = true;
            // Another server may have more luck.
            slot.lease.end();
            let restarts = slot.restarts.len();
            tracing::error!(%cluster_id, restarts, "the actor of a cluster died too often and is given up");
            return Err(Refusal::Degraded);
        }
        slot.restarts.push_back(now);
        let restarts = std::mem::take(&mut slot.restarts);
        tracing::error!(%cluster_id, restarts = restarts.len(), "the actor of a cluster died and is replaced");
        *slot = self.new_slot(Arc::clone(&slot.lease), Arc::clone(&slot.core), restarts);
        Ok(Some(slot.actor.clone()))
    }
}

#[cfg(test)]
mod tests;
