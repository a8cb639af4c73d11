//! `ClusterActor`: the order of one cluster's jobs.

use crate::core::Core;
use crate::messages::{Cancel, CancelOutcome, Drain, Refusal, Retire, Submit};
use crate::run::restore::leaves_traces;
use crate::run::{self, Assignment, Stop, Worked};
use actix::ArbiterHandle;
use actix::prelude::{Actor, ActorFutureExt, AsyncContext, Context, Handler, MessageResult, WrapFuture};
use milvault_domain::ids::{ClusterId, JobId};
use milvault_domain::job::JobType;
use milvault_domain::queue::{ClusterQueue, Effect};
use std::collections::HashMap;
use std::sync::Arc;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

/// A shell around [`ClusterQueue`]: it starts a task for every job whose turn it is, and stops it on request. It
/// keeps nothing that the catalog does not know, so a new one can take its place at any time.
pub(crate) struct ClusterActor {
    parts: ClusterParts,
    queue: ClusterQueue,
    running: HashMap<JobId, RunningJob>,
    draining: bool,
}

/// What a `ClusterActor` is given.
pub(crate) struct ClusterParts {
    pub(crate) cluster_id: ClusterId,
    pub(crate) core: Arc<Core>,
    /// Where its jobs start their `CopyActor`s.
    pub(crate) arbiter: ArbiterHandle,
    /// Parks all jobs of the cluster.
    pub(crate) park: CancellationToken,
    /// Counts the tasks, so that others can wait for their end even when the actor is gone.
    pub(crate) tasks: TaskTracker,
}

struct RunningJob {
    cancel: CancellationToken,
    /// When the actor dies, its jobs park themselves; whoever takes its place takes them up again.
    _park_on_drop: DropGuard,
}

impl ClusterActor {
    pub(crate) fn new(parts: ClusterParts) -> Self {
        Self { parts, queue: ClusterQueue::default(), running: HashMap::new(), draining: false }
    }

    fn apply(&mut self, effects: Vec<Effect>, context: &mut Context<Self>) {
        for effect in effects {
            match effect {
                Effect::Start(job_id, job_type) => self.start(job_id, job_type, context),
                Effect::Stop(job_id) => {
                    if let Some(running) = self.running.get(&job_id) {
                        running.cancel.cancel();
                    }
                }
                // Whoever cancels a waiting job has ended its row before.
                Effect::Discard(_) => {}
            }
        }
    }

    fn start(&mut self, job_id: JobId, job_type: JobType, context: &mut Context<Self>) {
        if self.draining {
            return;
        }
        let stop = Stop { cancel: CancellationToken::new(), park: self.parts.park.child_token() };
        self.running.insert(
            job_id,
            RunningJob { cancel: stop.cancel.clone(), _park_on_drop: stop.park.clone().drop_guard() },
        );
        let assignment = Assignment {
            core: Arc::clone(&self.parts.core),
            arbiter: self.parts.arbiter.clone(),
            cluster_id: self.parts.cluster_id,
            job_id,
            job_type,
            stop,
        };
        let task = self.parts.tasks.spawn_on(run::work_on(assignment), &self.parts.core.io);
        let ended = task.into_actor(self).map(move |worked, actor, context| {
            let running = actor.running.remove(&job_id);
            let effects = actor.queue.finish(job_id);
            actor.apply(effects, context);
            // The wish to cancel may have come when the work had just parked itself, and what it left behind is still to
            // be removed. A job that has ended takes no place from those that wait.
            let canceled = running.is_some_and(|running| running.cancel.is_cancelled());
            let has_ended = matches!(worked, Ok(Worked::Ended));
            if canceled
                && !has_ended
                && leaves_traces(job_type)
                && let Ok(effects) = actor.queue.submit(job_id, job_type)
            {
                actor.apply(effects, context);
            }
        });
        context.spawn(ended);
    }
}

impl Actor for ClusterActor {
    type Context = Context<Self>;
}

impl Handler<Submit> for ClusterActor {
    type Result = Result<(), Refusal>;

    fn handle(&mut self, message: Submit, context: &mut Self::Context) -> Self::Result {
        if self.draining {
            return Err(Refusal::Draining);
        }
        match self.queue.submit(message.job_id, message.job_type) {
            Ok(effects) => self.apply(effects, context),
            // It was accepted, and waits in the catalog until a later look for open jobs finds a place for it here.
            Err(full) => tracing::debug!(job_id = %message.job_id, %full, "a job is offered again"),
        }
        Ok(())
    }
}

impl Handler<Cancel> for ClusterActor {
    type Result = MessageResult<Cancel>;

    fn handle(&mut self, message: Cancel, context: &mut Self::Context) -> Self::Result {
        if message.cleans_up && self.queue.is_waiting(message.job_id) {
            return MessageResult(CancelOutcome::Stopping);
        }
        let effects = self.queue.cancel(message.job_id);
        let stopping = effects.iter().any(|effect| matches!(effect, Effect::Stop(_)));
        self.apply(effects, context);
        MessageResult(if stopping { CancelOutcome::Stopping } else { CancelOutcome::NotRunning })
    }
}

impl Handler<Drain> for ClusterActor {
    type Result = ();

    fn handle(&mut self, _: Drain, _: &mut Self::Context) {
        self.draining = true;
    }
}

impl Handler<Retire> for ClusterActor {
    type Result = bool;

    fn handle(&mut self, _: Retire, _: &mut Self::Context) -> bool {
        let is_idle = self.running.is_empty() && self.queue.waiting_count() == 0;
        self.draining = self.draining || is_idle;
        is_idle
    }
}

#[cfg(test)]
impl Handler<crate::messages::Crash> for ClusterActor {
    type Result = ();

    #[allow(clippy::panic, reason = "the point of the message")]
    fn handle(&mut self, _: crate::messages::Crash, _: &mut Self::Context) {
        panic!("crashed on request of a test");
    }
}
