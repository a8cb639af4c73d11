//! Which clusters this server works on: it claims the leases of those that have open jobs and that nobody works on,
//! keeps them while there is work, and lets go of them when there is none or when they cannot be kept.
//!
//! The look at the open jobs is also how a server hears what happens at others: jobs that were asked for there, wishes
//! to cancel, and the progress of jobs, which its own subscribers wait for.

use crate::cluster::ClusterActor;
use crate::core::{Core, lock};
use crate::host::{Host, Slot};
use crate::leases::ClusterLease;
use crate::messages::{Cancel, CancelOutcome, Retire, Submit};
use crate::runtime::Lifecycle;
use crate::settle::settle;
use crate::telemetry;
use actix::prelude::Addr;
use milvault_domain::ids::{ClusterId, JobId, ServerId};
use milvault_domain::job::{Job, JobState};
use milvault_domain::lease::{Claim, Fence, NewServer};
use milvault_domain::ports::{PortError, PortErrorKind, PortResult};
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

/// Time between two looks whether a lease is over: far shorter than the part of it that is left unused.
const GUARD_INTERVAL: Duration = Duration::from_millis(200);
/// Longest time for giving a lease back. It runs out by itself.
const GIVE_BACK_TIME_MAX: Duration = Duration::from_secs(5);
/// Time until a renewal that failed is tried again.
const RENEWAL_PAUSE_MAX: Duration = Duration::from_secs(1);

/// Whether a cluster's jobs can be handed to an actor of this server.
pub(crate) enum Place {
    /// They can.
    Here(Addr<ClusterActor>),
    /// This server holds no lease.
    NotHere,
    /// Work on the cluster was given up here, or a former lease has not come to its end.
    Closed,
}

impl Host {
    /// Tells the catalog that this server is there.
    pub(crate) async fn register(&self) -> PortResult<()> {
        let length = self.lease_length;
        let asked_at = Instant::now();
        let catalog = &self.core.deps.catalog;
        if let Some(former) = self.core.settings.former_server_id {
            catalog.bury_server(former).await?;
        }
        catalog.register_server(&self.server, length).await?;
        self.lease_health.heard(asked_at);
        Ok(())
    }

    /// Renews leases and ends those that cannot be renewed, until the token is cancelled.
    pub(crate) async fn keep_leases(self: Arc<Self>, stop: CancellationToken) {
        let renewals = async {
            let interval = self.core.settings.lease_renew_interval;
            if !self.core.deps.catalog.is_shared() {
                std::future::pending::<()>().await;
            }
            loop {
                let pause = if self.renew().await { interval } else { interval.min(RENEWAL_PAUSE_MAX) };
                tokio::time::sleep(pause).await;
            }
        };
        let guard = async {
            loop {
                tokio::time::sleep(GUARD_INTERVAL).await;
                self.end_overdue_leases();
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = renewals => {}
            () = guard => {}
        }
    }

    /// Renews all leases at once; false when the catalog did not answer in time.
    async fn renew(self: &Arc<Self>) -> bool {
        let leases: Vec<Arc<ClusterLease>> = {
            let state = lock(&self.state);
            let at_work = state.clusters.values().filter(|slot| slot.lease.may_work());
            at_work.map(|slot| Arc::clone(&slot.lease)).collect()
        };
        let mut fences: Vec<Fence> = leases.iter().map(|lease| lease.fence).collect();
        fences.sort_unstable_by_key(|fence| fence.cluster_id);
        let asked_at = Instant::now();
        let renewal = self.core.deps.catalog.renew_leases(&self.server, &fences, self.lease_length);
        let renewed = match timeout(self.lease_length / 4, renewal).await {
            Ok(Ok(renewed)) => renewed,
            failed => {
                metrics::counter!(telemetry::LEASE_RENEWAL_FAILURES).increment(1);
                tracing::warn!(?failed, leases = fences.len(), "leases were not renewed; tried again");
                return false;
            }
        };
        self.lease_health.heard(asked_at);
        metrics::gauge!(telemetry::LEASES_HELD).set(u32::try_from(renewed.len()).map_or(f64::NAN, f64::from));
        for lease in leases {
            if renewed.contains(&lease.fence) {
                lease.prolong(asked_at);
            } else {
                lease.end();
            }
        }
        true
    }

    /// Parks the jobs of clusters whose lease is over. When they have ended, the cluster may be claimed again.
    fn end_overdue_leases(self: &Arc<Self>) {
        let over: Vec<(ClusterId, Arc<ClusterLease>)> = {
            let mut state = lock(&self.state);
            let over = state.clusters.iter_mut().filter(|(_, slot)| !slot.ending && !slot.lease.may_work());
            over.map(|(cluster_id, slot)| {
                slot.ending = true;
                slot.park.cancel();
                (*cluster_id, Arc::clone(&slot.lease))
            })
            .collect()
        };
        for (cluster_id, lease) in over {
            metrics::counter!(telemetry::LEASES_LOST).increment(1);
            tracing::warn!(%cluster_id, generation = lease.fence.generation, "a lease is over; its jobs are parked");
            let host = Arc::clone(self);
            self.core.io.spawn(async move {
                host.work_has_ended(cluster_id, &lease).await;
                host.let_go(cluster_id, &lease).await;
            });
        }
    }

    /// Waits for the tasks of a lease, however long that takes: two tasks for one job must never be.
    async fn work_has_ended(&self, cluster_id: ClusterId, lease: &ClusterLease) {
        let tasks = {
            let state = lock(&self.state);
            let slot = state.clusters.get(&cluster_id).filter(|slot| slot.lease.fence == lease.fence);
            slot.map(|slot| (slot.tasks.clone(), slot.core.chores.clone()))
        };
        let Some((tasks, chores)) = tasks else { return };
        tasks.close();
        tasks.wait().await;
        chores.close();
        chores.wait().await;
    }

    /// Forgets the actor of a cluster whose work has ended, and gives the lease back.
    async fn let_go(&self, cluster_id: ClusterId, lease: &ClusterLease) {
        {
            let mut state = lock(&self.state);
            let is_it = |slot: &Slot| slot.lease.fence == lease.fence && !slot.degraded;
            if state.clusters.get(&cluster_id).is_some_and(is_it)
                && let Some(slot) = state.clusters.remove(&cluster_id)
            {
                state.former_restarts.insert(cluster_id, slot.restarts);
            }
        }
        self.give_back(lease).await;
    }

    /// Gives a lease back. Where that fails, it runs out.
    pub(crate) async fn give_back(&self, lease: &ClusterLease) {
        lease.end();
        let giving = self.core.deps.catalog.give_back_leases(std::slice::from_ref(&lease.fence));
        let answer = timeout(GIVE_BACK_TIME_MAX, giving).await;
        if !matches!(answer, Ok(Ok(()))) {
            tracing::warn!(cluster_id = %lease.fence.cluster_id, ?answer, "a lease was not given back; it runs out");
        }
    }

    /// Looks for work until the token is cancelled.
    pub(crate) async fn look_round_for_ever(self: Arc<Self>, stop: CancellationToken) {
        let settings = &self.core.settings;
        let shared = self.core.deps.catalog.is_shared();
        let interval = if shared { settings.lease_poll_interval } else { settings.reconcile_interval };
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(interval) => {}
            }
            if let Err(error) = self.look_round().await {
                tracing::warn!(%error, "cannot look for open jobs; tried again later");
            }
        }
    }

    /// Offers every open job of its clusters to their actors, claims the clusters that nobody works on, and lets go of
    /// those that have no work. Actors pass over what they have.
    pub(crate) async fn look_round(&self) -> PortResult<()> {
        let began_at = Instant::now();
        let catalog = &self.core.deps.catalog;
        let shared = catalog.is_shared();
        let open_jobs = catalog.open_jobs().await?;
        self.forget_offers(&open_jobs);
        let mut elsewhere = HashSet::new();
        if shared {
            let held = catalog.held_leases().await?;
            let others = held.into_iter().filter(|held| held.fence.server_id != self.server.id);
            elsewhere.extend(others.map(|held| held.fence.cluster_id));
            self.tell_news(&open_jobs).await?;
        }
        if matches!(self.lifecycle(), Lifecycle::Draining | Lifecycle::Stopped) {
            return Ok(());
        }
        let mut by_cluster: BTreeMap<ClusterId, Vec<Job>> = BTreeMap::new();
        for job in open_jobs {
            by_cluster.entry(job.cluster_id).or_default().push(job);
        }
        if shared {
            self.let_go_of_idle(&by_cluster).await;
        }
        for (cluster_id, jobs) in by_cluster {
            match self.place(cluster_id) {
                Place::Here(actor) => {
                    for job in jobs {
                        self.offer(&actor, job, began_at).await;
                    }
                }
                Place::NotHere if !elsewhere.contains(&cluster_id) => {
                    if let Err(error) = self.claim(cluster_id).await {
                        tracing::warn!(%cluster_id, %error, "cannot take up the jobs of a cluster; tried again later");
                    }
                }
                Place::NotHere | Place::Closed => {}
            }
        }
        Ok(())
    }

    /// Where the jobs of a cluster are worked on, as far as this server knows without asking.
    pub(crate) fn place(&self, cluster_id: ClusterId) -> Place {
        let state = lock(&self.state);
        match state.clusters.get(&cluster_id) {
            None => Place::NotHere,
            Some(slot) if slot.degraded || slot.ending || !slot.lease.may_work() => Place::Closed,
            Some(slot) => Place::Here(slot.actor.clone()),
        }
    }

    /// Claims a cluster and takes up its open jobs. Returns its actor, or `None` when another server has it.
    pub(crate) async fn claim(&self, cluster_id: ClusterId) -> PortResult<Option<Addr<ClusterActor>>> {
        if let Place::Here(actor) = self.place(cluster_id) {
            return Ok(Some(actor));
        }
        let _one_at_a_time = self.claims.lock().await;
        match self.place(cluster_id) {
            Place::Here(actor) => return Ok(Some(actor)),
            Place::Closed => return Ok(None),
            Place::NotHere => {}
        }
        if !self.lease_health.is_good() {
            return Err(PortError::new(
                PortErrorKind::Unavailable,
                "leases cannot be renewed, so none is claimed",
            ));
        }
        let (catalog, length) = (&self.core.deps.catalog, self.lease_length);
        let asked_at = Instant::now();
        let fence = match catalog.claim_lease(cluster_id, self.server.id, length).await? {
            Claim::Granted(fence) => fence,
            Claim::HeldBy(_) => return Ok(None),
        };
        tracing::info!(%cluster_id, generation = fence.generation, "this server works on a cluster");
        metrics::counter!(telemetry::LEASES_CLAIMED).increment(1);
        let lease = Arc::new(ClusterLease::new(fence, asked_at, length));
        let taken_up = self.take_up(&lease).await;
        if !matches!(taken_up, Ok(Some(_))) {
            self.give_back(&lease).await;
        }
        taken_up
    }

    /// Begins work under a new lease. Nobody works on the jobs yet, so those that were cut off are settled first.
    async fn take_up(&self, lease: &Arc<ClusterLease>) -> PortResult<Option<Addr<ClusterActor>>> {
        let cluster_id = lease.fence.cluster_id;
        let core = Arc::new(self.core.under(lease));
        let mut waiting = Vec::new();
        for job in self.core.deps.catalog.open_jobs().await? {
            if job.cluster_id == cluster_id
                && let Some(job) = settle(&core, job).await?
            {
                waiting.push(job);
            }
        }
        let Some(actor) = self.open_slot(lease, core) else { return Ok(None) };
        let now = Instant::now();
        for job in waiting {
            self.submit_to(&actor, &job, now).await;
        }
        Ok(Some(actor))
    }

    /// Gives an open job to the actor of its cluster, unless that was done a short while ago.
    async fn offer(&self, actor: &Addr<ClusterActor>, job: Job, now: Instant) {
        let pause = self.core.settings.reconcile_interval;
        let is_time = !self.core.deps.catalog.is_shared()
            || lock(&self.state).offered.get(&job.id).is_none_or(|(at, state)| {
                let is_new_wish = job.state == JobState::Canceling && *state != job.state;
                is_new_wish || pause <= now.duration_since(*at)
            });
        if job.state != JobState::Canceling {
            if is_time {
                self.submit_to(actor, &job, now).await;
            }
            return;
        }
        // Somebody at another server wishes so, or this one could not record the end.
        if !matches!(actor.send(Cancel::of(&job)).await, Ok(CancelOutcome::NotRunning)) || !is_time {
            return;
        }
        let Some(core) = self.core_of(job.cluster_id) else { return };
        match settle(&core, job).await {
            Ok(Some(job)) => self.submit_to(actor, &job, now).await,
            Ok(None) => {}
            Err(error) => tracing::warn!(%error, "the end of a canceled job cannot be recorded; tried again"),
        }
    }

    fn core_of(&self, cluster_id: ClusterId) -> Option<Arc<Core>> {
        lock(&self.state).clusters.get(&cluster_id).map(|slot| Arc::clone(&slot.core))
    }

    /// Not through [`Self::submit`], which replaces dead actors and claims leases: this is called while that happens.
    pub(crate) async fn submit_to(&self, actor: &Addr<ClusterActor>, job: &Job, now: Instant) {
        lock(&self.state).offered.insert(job.id, (now, job.state));
        match actor.send(Submit { job_id: job.id, job_type: job.job_type }).await {
            Ok(Ok(())) => {}
            answer => {
                tracing::warn!(job_id = %job.id, ?answer, "an open job was not taken; offered again later");
            }
        }
    }

    /// Of jobs that have ended nothing is kept.
    fn forget_offers(&self, open_jobs: &[Job]) {
        let open_jobs: HashSet<JobId> = open_jobs.iter().map(|job| job.id).collect();
        lock(&self.state).offered.retain(|job_id, _| open_jobs.contains(job_id));
    }

    /// Gives back the leases of clusters that have had no open job for a while, so that whichever server gets the next
    /// request works on it.
    async fn let_go_of_idle(&self, open: &BTreeMap<ClusterId, Vec<Job>>) {
        let patience = self.core.settings.lease_renew_interval;
        let idle: Vec<(ClusterId, Addr<ClusterActor>, Arc<ClusterLease>)> = {
            let mut state = lock(&self.state);
            let mut idle = Vec::new();
            for (cluster_id, slot) in &mut state.clusters {
                if open.contains_key(cluster_id) || slot.ending || !slot.core.chores.is_empty() {
                    slot.idle_since = None;
                } else if slot.idle_since.get_or_insert_with(Instant::now).elapsed() >= patience {
                    idle.push((*cluster_id, slot.actor.clone(), Arc::clone(&slot.lease)));
                }
            }
            idle
        };
        for (cluster_id, actor, lease) in idle {
            // An actor that has something to do, or that died, is left to those who care for it.
            if matches!(actor.send(Retire).await, Ok(true)) {
                tracing::debug!(%cluster_id, "a cluster has no work; its lease is given back");
                self.let_go(cluster_id, &lease).await;
            }
        }
    }

    /// What this server tells of itself.
    pub(crate) fn identity(core: &Core) -> NewServer {
        NewServer {
            id: core.settings.server_id.unwrap_or_else(|| ServerId::from_uuid(core.deps.ids.new_uuid())),
            name: core.settings.server_name.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }
}
