//! The keeper of all actors: makes a cluster's actor when it is first needed, replaces actors that died, and finds
//! open jobs that nobody works on.
//!
//! It is no actor itself, because it has to outlive every actor.

use crate::cluster::{ClusterActor, ClusterParts};
use crate::core::{Core, lock};
use crate::messages::{Cancel, CancelOutcome, Drain, Refusal, Submit};
use crate::retention::{RetentionActor, RetentionTally};
use crate::runtime::Lifecycle;
use crate::schedules::{ScheduleActor, ScheduleTally};
use crate::settle::settle;
use crate::telemetry;
use actix::ArbiterHandle;
use actix::prelude::{Actor, Addr};
use milvault_domain::ids::{ClusterId, JobId};
use milvault_domain::job::Job;
use milvault_domain::ports::PortResult;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Longest wait for the tasks of an actor that died, and for parked jobs at a shutdown.
const PARK_TIME_MAX: Duration = Duration::from_secs(15);

pub(crate) struct Host {
    pub(crate) core: Arc<Core>,
    arbiter: ArbiterHandle,
    state: Mutex<HostState>,
    /// Parks every job of the server.
    park: CancellationToken,
    /// One replacement at a time.
    reviving: tokio::sync::Mutex<()>,
    pub(crate) retention_tally: Arc<RetentionTally>,
    pub(crate) schedule_tally: Arc<ScheduleTally>,
}

struct HostState {
    lifecycle: Lifecycle,
    clusters: HashMap<ClusterId, Slot>,
    retention: Option<Addr<RetentionActor>>,
    schedules: Option<Addr<ScheduleActor>>,
}

struct Slot {
    actor: Addr<ClusterActor>,
    tasks: TaskTracker,
    restarts: VecDeque<Instant>,
    degraded: bool,
}

impl Host {
    pub(crate) fn new(core: Arc<Core>, arbiter: ArbiterHandle) -> Self {
        Self {
            core,
            arbiter,
            state: Mutex::new(HostState {
                lifecycle: Lifecycle::Starting,
                clusters: HashMap::new(),
                retention: None,
                schedules: None,
            }),
            park: CancellationToken::new(),
            reviving: tokio::sync::Mutex::default(),
            retention_tally: Arc::default(),
            schedule_tally: Arc::default(),
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

    /// Hands a job, whose row is written, to its cluster's actor.
    pub(crate) async fn submit(&self, job: &Job) -> Result<(), Refusal> {
        let actor = self.actor(job.cluster_id)?;
        let message = Submit { job_id: job.id, job_type: job.job_type };
        match actor.send(message).await {
            Ok(answer) => answer,
            // The row is in the catalog, so whoever replaces the actor, this call or the watchdog, takes it up with
            // the other open jobs.
            Err(_) => self.revive(job.cluster_id).await,
        }
    }

    /// Stops a job that the catalog has marked.
    pub(crate) async fn cancel(&self, cluster_id: ClusterId, job_id: JobId) -> CancelOutcome {
        let actor = lock(&self.state).clusters.get(&cluster_id).map(|slot| slot.actor.clone());
        let Some(actor) = actor else { return CancelOutcome::NotRunning };
        match actor.send(Cancel { job_id }).await {
            Ok(outcome) => outcome,
            // Its jobs stop with it; the row says what becomes of this one.
            Err(_) => CancelOutcome::Stopping,
        }
    }

    /// Takes up all jobs that a former process left open.
    pub(crate) async fn take_up_open_jobs(&self) -> PortResult<()> {
        for job in self.core.deps.catalog.open_jobs().await? {
            if let Some(job) = settle(&self.core, job).await? {
                self.resubmit(&job).await;
            }
        }
        Ok(())
    }

    /// Watches until the token is cancelled.
    pub(crate) async fn watch(self: Arc<Self>, stop: CancellationToken) {
        let settings = &self.core.settings;
        let mut reconciled_at = Instant::now();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(settings.watchdog_interval) => {}
            }
            self.replace_dead_actors().await;
            if reconciled_at.elapsed() >= settings.reconcile_interval {
                self.reconcile().await;
                reconciled_at = Instant::now();
            }
        }
    }

    /// Lets running jobs end for a while, then parks them. Nothing is taken up any more.
    pub(crate) async fn drain(&self) {
        let slots: Vec<(Addr<ClusterActor>, TaskTracker)> = {
            let mut state = lock(&self.state);
            state.lifecycle = Lifecycle::Draining;
            state.retention = None;
            state.schedules = None;
            state.clusters.values().map(|slot| (slot.actor.clone(), slot.tasks.clone())).collect()
        };
        for (actor, _) in &slots {
            // A dead actor begins nothing either.
            let _ = actor.send(Drain).await;
        }
        let all_ended = async {
            for (_, tasks) in &slots {
                tasks.close();
                tasks.wait().await;
            }
        };
        tokio::pin!(all_ended);
        if timeout(self.core.settings.shutdown_grace, &mut all_ended).await.is_ok() {
            return;
        }
        tracing::info!("jobs did not end in the time of grace; they continue at the next start");
        self.park.cancel();
        if timeout(PARK_TIME_MAX, all_ended).await.is_err() {
            tracing::error!("some jobs could not be parked; the next start takes them up as cut off");
        }
    }

    pub(crate) fn start_retention(&self) {
        let actor = RetentionActor::new(Arc::clone(&self.core), Arc::clone(&self.retention_tally));
        let address = RetentionActor::start_in_arbiter(&self.arbiter, |_| actor);
        lock(&self.state).retention = Some(address);
    }

    pub(crate) fn start_schedules(self: &Arc<Self>) {
        let actor = ScheduleActor::new(self, Arc::clone(&self.schedule_tally));
        let address = ScheduleActor::start_in_arbiter(&self.arbiter, |_| actor);
        lock(&self.state).schedules = Some(address);
    }

    fn actor(&self, cluster_id: ClusterId) -> Result<Addr<ClusterActor>, Refusal> {
        let mut state = lock(&self.state);
        if matches!(state.lifecycle, Lifecycle::Draining | Lifecycle::Stopped) {
            return Err(Refusal::Draining);
        }
        if let Some(slot) = state.clusters.get(&cluster_id) {
            return if slot.degraded { Err(Refusal::Degraded) } else { Ok(slot.actor.clone()) };
        }
        let slot = self.new_slot(cluster_id, VecDeque::new());
        let actor = slot.actor.clone();
        state.clusters.insert(cluster_id, slot);
        Ok(actor)
    }

    fn new_slot(&self, cluster_id: ClusterId, restarts: VecDeque<Instant>) -> Slot {
        let tasks = TaskTracker::new();
        let parts = ClusterParts {
            cluster_id,
            core: Arc::clone(&self.core),
            arbiter: self.arbiter.clone(),
            park: self.park.clone(),
            tasks: tasks.clone(),
        };
        let actor = ClusterActor::start_in_arbiter(&self.arbiter, |_| ClusterActor::new(parts));
        Slot { actor, tasks, restarts, degraded: false }
    }

    async fn replace_dead_actors(self: &Arc<Self>) {
        let dead: Vec<ClusterId> = {
            let state = lock(&self.state);
            let dead = state.clusters.iter().filter(|(_, slot)| !slot.degraded && !slot.actor.connected());
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
        self.replace(cluster_id)?;
        metrics::counter!(telemetry::ACTOR_RESTARTS).increment(1);
        let open_jobs = match self.core.deps.catalog.open_jobs().await {
            Ok(open_jobs) => open_jobs,
            Err(error) => {
                tracing::error!(%cluster_id, %error, "cannot read the open jobs; a later look takes them up");
                return Ok(());
            }
        };
        for job in open_jobs.into_iter().filter(|job| job.cluster_id == cluster_id) {
            self.resubmit(&job).await;
        }
        Ok(())
    }

    fn tasks_of_dead(&self, cluster_id: ClusterId) -> Option<TaskTracker> {
        let state = lock(&self.state);
        let slot = state.clusters.get(&cluster_id)?;
        (!slot.actor.connected()).then(|| slot.tasks.clone())
    }

    fn replace(&self, cluster_id: ClusterId) -> Result<(), Refusal> {
        let settings = &self.core.settings;
        let now = Instant::now();
        let mut state = lock(&self.state);
        if matches!(state.lifecycle, Lifecycle::Draining | Lifecycle::Stopped) {
            return Err(Refusal::Draining);
        }
        let Some(slot) = state.clusters.get_mut(&cluster_id) else { return Ok(()) };
        slot.restarts.retain(|at| now.duration_since(*at) < settings.restart_window);
        if slot.restarts.len() >= settings.restarts_max {
            slot.degraded = true;
            let restarts = slot.restarts.len();
            tracing::error!(%cluster_id, restarts, "the actor of a cluster died too often and is given up");
            return Err(Refusal::Degraded);
        }
        slot.restarts.push_back(now);
        let restarts = std::mem::take(&mut slot.restarts);
        tracing::error!(%cluster_id, restarts = restarts.len(), "the actor of a cluster died and is replaced");
        *slot = self.new_slot(cluster_id, restarts);
        Ok(())
    }

    /// Hands every open job to its actor again. Actors pass over what they have, so this only finds what was lost:
    /// a message, or the end of a job that the catalog could not record.
    async fn reconcile(&self) {
        match self.core.deps.catalog.open_jobs().await {
            Ok(open_jobs) => {
                for job in &open_jobs {
                    self.resubmit(job).await;
                }
            }
            Err(error) => tracing::warn!(%error, "cannot look for lost jobs; tried again later"),
        }
    }

    /// Not through [`Self::submit`], which replaces dead actors by itself: this is called while that happens.
    async fn resubmit(&self, job: &Job) {
        let Ok(actor) = self.actor(job.cluster_id) else { return };
        let answer = actor.send(Submit { job_id: job.id, job_type: job.job_type }).await;
        if !matches!(answer, Ok(Ok(()))) {
            tracing::warn!(job_id = %job.id, ?answer, "an open job was not taken; offered again later");
        }
    }
}

#[cfg(test)]
mod tests;
