//! The order of one cluster's jobs, as a pure state machine: the actor around it carries out the effects.
//!
//! Rules: jobs that write (backups, restores and their like) run one at a time, in the order of acceptance; verifies
//! and comparisons read only and run beside them, a bounded number at once. Nothing here decides whether a manual backup may be accepted: the catalog's
//! unique index does, so that the rule holds across restarts and servers too.

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
    /// Most jobs that may wait.
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
        while let Some((job_id, job_type)) = self.waiting.pop_front() {
            if self.may_start(job_type) {
                self.running.push((job_id, job_type));
                effects.push(Effect::Start(job_id, job_type));
            } else {
                still_waiting.push_back((job_id, job_type));
            }
        }
        self.waiting = still_waiting;
        effects
    }

    fn may_start(&self, job_type: JobType) -> bool {
        let running =
            self.running.iter().filter(|(_, running)| reads_only(*running) == reads_only(job_type)).count();
        running < if reads_only(job_type) { Self::VERIFIES_MAX } else { 1 }
    }
}

const fn reads_only(job_type: JobType) -> bool {
    match job_type {
        JobType::Verify | JobType::Compare => true,
        JobType::Backup
        | JobType::Restore
        | JobType::Drill
        | JobType::Undo
        | JobType::Adopt
        | JobType::Delete
        | JobType::Sweep => false,
    }
}

#[cfg(test)]
mod tests {
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
                        let job_type = match (backup, number % 2) {
                            (true, 0) => JobType::Backup,
                            (true, _) => JobType::Restore,
                            (false, 0) => JobType::Compare,
                            (false, _) => JobType::Verify,
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
                let readers = running.iter().filter(|(_, job_type)| reads_only(*job_type)).count();
                prop_assert!(readers <= ClusterQueue::VERIFIES_MAX);
                prop_assert!(running.len() - readers <= 1);
                prop_assert_eq!(accepted.len(), ended.len() + running.len() + queue.waiting_count());
            }
        }
    }
}
