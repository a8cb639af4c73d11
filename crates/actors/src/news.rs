//! News about jobs that other servers work on, for this server's subscribers.

use crate::core::lock;
use crate::host::Host;
use chrono::TimeDelta;
use milvault_domain::ids::JobId;
use milvault_domain::job::Job;
use milvault_domain::ports::PortResult;
use std::collections::{HashMap, HashSet};

/// How far back ends of jobs are looked for: longer than clocks of servers differ and than two looks lie apart.
const ENDS_WITHIN: TimeDelta = TimeDelta::minutes(1);
/// Most ends of one look.
const ENDS_MAX: u32 = 500;

/// What was told, or known before anybody listened.
#[derive(Debug, Default)]
pub(crate) struct News {
    open: HashMap<JobId, Job>,
    ended: HashSet<JobId>,
    begun: bool,
}

impl News {
    /// What is new, given what is open and what ended lately.
    fn take(&mut self, open: &[Job], ended: Vec<Job>) -> Vec<Job> {
        let mut fresh = Vec::new();
        for job in open {
            if self.open.get(&job.id) != Some(job) {
                fresh.push(job.clone());
            }
        }
        let ended_ids: HashSet<JobId> = ended.iter().map(|job| job.id).collect();
        fresh.extend(ended.into_iter().filter(|job| !self.ended.contains(&job.id)));
        // One that is neither open nor among the latest ends, for there were too many of them.
        let is_open: HashSet<JobId> = open.iter().map(|job| job.id).collect();
        let is_lost = |job: &&Job| !is_open.contains(&job.id) && !ended_ids.contains(&job.id);
        fresh.extend(self.open.values().filter(is_lost).cloned());
        self.open = open.iter().map(|job| (job.id, job.clone())).collect();
        self.ended = ended_ids;
        if std::mem::replace(&mut self.begun, true) { fresh } else { Vec::new() }
    }
}

impl Host {
    /// Tells subscribers what has changed about jobs since the last look. What this server does itself it tells at once,
    /// and not here.
    pub(crate) async fn tell_news(&self, open_jobs: &[Job]) -> PortResult<()> {
        let since = self.core.deps.clock.now() - ENDS_WITHIN;
        let ended = self.core.deps.catalog.jobs_ended_since(since, ENDS_MAX).await?;
        let fresh = lock(&self.news).take(open_jobs, ended);
        for job in fresh {
            if self.core.live.find(job.id).is_none() {
                self.core.live.publish(&job);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::slice::from_ref;

    use super::*;
    use chrono::DateTime;
    use milvault_domain::ids::{ClusterId, ProjectId};
    use milvault_domain::job::{JobState, JobType};
    use milvault_domain::progress::Progress;
    use uuid::Uuid;

    fn job(number: u128, state: JobState, bytes_done: u64) -> Job {
        Job {
            id: JobId::from_uuid(Uuid::from_u128(number)),
            project_id: ProjectId::from_uuid(Uuid::nil()),
            cluster_id: ClusterId::from_uuid(Uuid::nil()),
            job_type: JobType::Verify,
            state,
            phase: None,
            description: String::new(),
            created_by: String::new(),
            created_at: DateTime::UNIX_EPOCH,
            started_at: None,
            ended_at: None,
            failure: None,
            backup_id: None,
            verify_level: None,
            attempt: 1,
            parks: 0,
            progress: Progress { bytes_done, ..Progress::default() },
        }
    }

    #[test]
    fn every_change_is_told_once() {
        let mut news = News::default();
        let (first, second) = (job(1, JobState::InProgress, 0), job(2, JobState::Pending, 0));
        assert_eq!(news.take(from_ref(&first), vec![job(9, JobState::Failed, 0)]), []);
        assert_eq!(news.take(from_ref(&first), vec![job(9, JobState::Failed, 0)]), []);
        assert_eq!(news.take(&[first.clone(), second.clone()], vec![]), from_ref(&second));
        let further = job(1, JobState::InProgress, 5);
        assert_eq!(news.take(&[further.clone(), second.clone()], vec![]), [further]);
        // One ends, and another one begins and ends between two looks.
        let ended = job(1, JobState::Successful, 9);
        let short = job(3, JobState::Canceled, 0);
        let ends = vec![ended, short];
        assert_eq!(news.take(from_ref(&second), ends.clone()), ends);
        assert_eq!(news.take(from_ref(&second), ends), []);
        // So many ended that it is not among them: whoever listens looks for himself.
        assert_eq!(news.take(&[], vec![]), [second]);
        assert_eq!(news.take(&[], vec![]), []);
    }
}
