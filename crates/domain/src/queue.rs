//! The order of one cluster's jobs, as a pure state machine: the actor around it carries out the effects.
//!
//! Rules: jobs that write (backups, restores and their like) run one at a time, in the order of acceptance; verifies
//! and comparisons read only and run beside them, a bounded number at once. A copy to another repository may take long,
//! so it holds up no backup: copies run one at a time beside all others but sweeps, which would remove what a copy that
//! is being planned relies on. Nothing here decides whether a job may be accepted: the catalog does, by its unique index
//! for manual backups and by counting pending jobs, so that the rules hold across restarts and servers too. What finds
//! no place here waits in the catalog and is offered again.

use crate::ids::JobId;
use crate::job::JobType;
use std::collections::VecDeque;

/// Jobs of one cluster: waiting and at work.
#[derive(Debug, Default)]
pub struct ClusterQueue {
    waiting: VecDeque<(JobId, JobType)>,
    running: Vec<(JobId, JobType)>,
}

/// What the owner of the queue has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Begin work on the job.
    Start(JobId, JobType),
    /// Tell the running job to stop.
    Stop(JobId),
    /// The job was waiting and is out of the queue: end it as canceled.
    Discard(JobId),
}

/// The queue is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the cluster already has {limit} waiting jobs")]
pub struct QueueFull {
    /// How many may wait.
    pub limit: usize,
}

impl ClusterQueue {
    /// Most jobs that may wait. The catalog accepts no request of a person while as many jobs of the cluster are pending;
    /// what timers ask for, and what is put aside, may come on top of that and waits in the catalog alone.
    pub const WAITING_MAX: usize = 64;
    /// Most verifies and comparisons of one cluster at once.
    pub const VERIFIES_MAX: usize = 2;

    /// Accepts a job. A job that is already here is accepted again without effect, so that a repeated message does
    /// no harm.
    ///
    /// # Errors
    /// Too many jobs wait.
    pub fn submit(&mut self, job_id: JobId, job_type: JobType) -> Result<Vec<Effect>, QueueFull> {
        if self.contains(job_id) {
            return Ok(Vec::new());
        }
        if self.waiting.len() >= Self::WAITING_MAX {
            return Err(QueueFull { limit: Self::WAITING_MAX });
        }
        self.waiting.push_back((job_id, job_type));
        Ok(self.start_ready())
    }

    /// A running job has ended, whatever way.
    pub fn finish(&mut self, job_id: JobId) -> Vec<Effect> {
        self.running.retain(|(running, _)| *running != job_id);
        self.start_ready()
    }

    /// Cancels a job. Unknown jobs have ended already: no effect.
    pub fn cancel(&mut self, job_id: JobId) -> Vec<Effect> {
        if self.running.iter().any(|(running, _)| *running == job_id) {
            return vec![Effect::Stop(job_id)];
        }
        let waiting_before = self.waiting.len();
        self.waiting.retain(|(waiting, _)| *waiting != job_id);
        if self.waiting.len() < waiting_before { vec![Effect::Discard(job_id)] } else { Vec::new() }
    }

    /// Jobs at work.
    pub fn running(&self) -> impl Iterator<Item = JobId> + '_ {
        self.running.iter().map(|(job_id, _)| *job_id)
    }

    /// Whether a job waits for its turn.
    #[must_use]
    pub fn is_waiting(&self, job_id: JobId) -> bool {
        self.waiting.iter().any(|(waiting, _)| *waiting == job_id)
    }

    /// Number of waiting jobs.
    #[must_use]
    pub fn waiting_count(&self) -> usize {
        self.waiting.len()
    }

    fn contains(&self, job_id: JobId) -> bool {
        self.waiting.iter().chain(&self.running).any(|(known, _)| *known == job_id)
    }

    fn start_ready(&mut self) -> Vec<Effect> {
        let mut effects = Vec::new();
        let mut still_waiting = VecDeque::with_capacity(self.waiting.len());
        let mut sweep_waits = false;
        while let Some((job_id, job_type)) = self.waiting.pop_front() {
            // Copies that follow one another would keep a sweep whose turn it is waiting for ever.
            let goes_first = job_type != JobType::Copy || !sweep_waits;
            if goes_first && self.may_start(job_type) {
                self.running.push((job_id, job_type));
                effects.push(Effect::Start(job_id, job_type));
            } else {
                sweep_waits |= job_type == JobType::Sweep && self.running_in(Lane::Writers) == 0;
                still_waiting.push_back((job_id, job_type));
            }
        }
        self.waiting = still_waiting;
        effects
    }

    fn may_start(&self, job_type: JobType) -> bool {
        let lane = Lane::of(job_type);
        let in_the_way = match job_type {
            JobType::Copy => self.runs(JobType::Sweep),
            JobType::Sweep => self.runs(JobType::Copy),
            _ => false,
        };
        !in_the_way && self.running_in(lane) < if lane == Lane::Readers { Self::VERIFIES_MAX } else { 1 }
    }

    fn running_in(&self, lane: Lane) -> usize {
        self.running.iter().filter(|(_, running)| Lane::of(*running) == lane).count()
    }

    fn runs(&self, job_type: JobType) -> bool {
        self.running.iter().any(|(_, running)| *running == job_type)
    }
}

/// Jobs that bound one another's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lane {
    Writers,
    Copies,
    Readers,
}

impl Lane {
    const fn of(job_type: JobType) -> Self {
        match job_type {
            JobType::Verify | JobType::Compare => Self::Readers,
            JobType::Copy => Self::Copies,
            JobType::Backup
            | JobType::Restore
            | JobType::Drill
            | JobType::Undo
            | JobType::Adopt
            | JobType::Delete
            | JobType::Sweep => Self::Writers,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;
    use uuid::Uuid;

    fn job(number: u8) -> JobId {
        JobId::from_uuid(Uuid::from_u128(u128::from(number) + 1))
    }

    #[derive(Debug, Clone)]
    enum Step {
        Submit(u8, bool),
        Finish(u8),
        Cancel(u8),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            (0..100_u8, any::<bool>()).prop_map(|(number, backup)| Step::Submit(number, backup)),
            (0..100_u8).prop_map(Step::Finish),
            (0..100_u8).prop_map(Step::Cancel),
        ];
        prop::collection::vec(step, 0..300)
    }

    #[test]
    fn a_sweep_gets_its_turn_among_copies() {
        let mut queue = ClusterQueue::default();
        let started = |effects: Vec<Effect>| -> Vec<JobType> {
            let types = effects.into_iter().filter_map(|effect| match effect {
                Effect::Start(_, job_type) => Some(job_type),
                Effect::Stop(_) | Effect::Discard(_) => None,
            });
            types.collect()
        };
        assert_eq!(started(queue.submit(job(1), JobType::Copy).unwrap()), [JobType::Copy]);
        assert_eq!(started(queue.submit(job(2), JobType::Sweep).unwrap()), []);
        assert_eq!(started(queue.submit(job(3), JobType::Copy).unwrap()), []);
        assert_eq!(started(queue.submit(job(4), JobType::Backup).unwrap()), [JobType::Backup]);
        assert_eq!(started(queue.finish(job(1))), [JobType::Copy], "the sweep waits for the backup anyway");
        assert_eq!(started(queue.finish(job(3))), []);
        assert_eq!(started(queue.finish(job(4))), [JobType::Sweep]);
        assert_eq!(started(queue.submit(job(5), JobType::Copy).unwrap()), []);
        assert_eq!(started(queue.finish(job(2))), [JobType::Copy]);
    }

    proptest! {
        #[test]
        fn one_writer_at_a_time_and_nobody_is_lost(steps in steps()) {
            let mut queue = ClusterQueue::default();
            let mut accepted = HashSet::new();
            let mut ended = HashSet::new();
            let mut running: Vec<(JobId, JobType)> = Vec::new();
            for step in steps {
                let effects = match step {
                    Step::Submit(number, backup) => {
                        if ended.contains(&job(number)) { continue }
                        let job_type = match (backup, number % 3) {
                            (true, 0) => JobType::Backup,
                            (true, 1) => JobType::Restore,
                            (true, _) => JobType::Sweep,
                            (false, 0) => JobType::Compare,
                            (false, 1) => JobType::Verify,
                            (false, _) => JobType::Copy,
                        };
                        match queue.submit(job(number), job_type) {
                            Ok(effects) => { accepted.insert(job(number)); effects }
                            Err(full) => { prop_assert_eq!(full.limit, queue.waiting_count()); Vec::new() }
                        }
                    }
                    Step::Finish(number) => {
                        let known = running.iter().any(|(id, _)| *id == job(number));
                        if !known { continue }
                        running.retain(|(id, _)| *id != job(number));
                        ended.insert(job(number));
                        queue.finish(job(number))
                    }
                    Step::Cancel(number) => queue.cancel(job(number)),
                };
                for effect in effects {
                    match effect {
                        Effect::Start(id, job_type) => running.push((id, job_type)),
                        Effect::Stop(id) => prop_assert!(running.iter().any(|(known, _)| *known == id)),
                        Effect::Discard(id) => { prop_assert!(accepted.contains(&id)); ended.insert(id); }
                    }
                }
                let at_work = |wanted| running.iter().filter(|(_, job_type)| Lane::of(*job_type) == wanted).count();
                prop_assert!(at_work(Lane::Readers) <= ClusterQueue::VERIFIES_MAX);
                prop_assert!(at_work(Lane::Writers) <= 1 && at_work(Lane::Copies) <= 1);
                let sweeps = running.iter().any(|(_, job_type)| *job_type == JobType::Sweep);
                prop_assert!(!sweeps || at_work(Lane::Copies) == 0);
                prop_assert_eq!(accepted.len(), ended.len() + running.len() + queue.waiting_count());
            }
        }
    }
}
