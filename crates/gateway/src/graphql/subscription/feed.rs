//! Streams of jobs' states. News only says which job changed; the state itself is read anew, so a reader that lags
//! behind gets the present instead of the past, and nothing here grows with the number of changes.

use crate::auth::Caller;
use crate::error::GatewayError;
use crate::graphql::Backend;
use crate::graphql::model::job::Job;
use futures::Stream;
use futures::stream;
use milvault_actors::JobChange;
use milvault_domain::ids::{ClusterId, JobId, ProjectId};
use milvault_domain::job as domain;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};

/// What a stream gives.
type Event = Result<Job, GatewayError>;

/// Jobs whose end is remembered, so that it is given once: other servers' news may come in twice.
const ENDED_LATELY_MAX: usize = 256;

fn stopping() -> GatewayError {
    GatewayError::unavailable("the server is stopping; subscribe again later")
}

/// Waits for news and takes along all that have gathered: one reading then serves them all. `None` means that news
/// were missed, which is as good as news about every job.
///
/// # Errors
/// There will be no more.
async fn gather(changes: &mut Receiver<JobChange>) -> Result<Option<Vec<JobChange>>, GatewayError> {
    let mut gathered = match changes.recv().await {
        Ok(change) => vec![change],
        Err(RecvError::Lagged(_)) => return Ok(None),
        Err(RecvError::Closed) => return Err(stopping()),
    };
    // Bounded by the channel's own capacity: what comes in meanwhile waits for the next call.
    for _ in 0..changes.len() {
        match changes.try_recv() {
            Ok(change) => gathered.push(change),
            Err(TryRecvError::Empty | TryRecvError::Closed) => break,
            Err(TryRecvError::Lagged(_)) => return Ok(None),
        }
    }
    Ok(Some(gathered))
}

/// One job until it ends.
pub(super) struct JobFeed {
    backend: Arc<Backend>,
    changes: Receiver<JobChange>,
    job_id: JobId,
    /// The state to give next, when it is known already.
    next: Option<Job>,
    /// The state given last, so that the same is not given twice.
    last: Option<Job>,
    ended: bool,
}

impl JobFeed {
    pub(super) fn new(backend: Arc<Backend>, changes: Receiver<JobChange>, first: domain::Job) -> Self {
        let job_id = first.id;
        let next = Some(Job::now(first, &backend));
        Self { backend, changes, job_id, next, last: None, ended: false }
    }

    pub(super) fn into_stream(self) -> impl Stream<Item = Event> {
        stream::unfold(self, |mut feed| async move {
            if feed.ended {
                return None;
            }
            let event = feed.next_event().await;
            feed.ended = event.as_ref().map_or(true, Job::is_final);
            feed.last = event.as_ref().ok().cloned();
            Some((event, feed))
        })
    }

    async fn next_event(&mut self) -> Event {
        if let Some(next) = self.next.take() {
            return Ok(next);
        }
        loop {
            let gathered = gather(&mut self.changes).await?;
            let concerns_it =
                gathered.is_none_or(|changes| changes.iter().any(|change| change.job_id == self.job_id));
            if !concerns_it {
                continue;
            }
            let live = self.backend.service.live(self.job_id);
            let record = self.backend.catalog.job(self.job_id).await?;
            let job = Job::new(record.ok_or_else(|| GatewayError::not_found("job", self.job_id))?, live);
            if self.last.as_ref() != Some(&job) {
                return Ok(job);
            }
        }
    }
}

/// All jobs of a cluster, of a project, or of all that the caller sees.
pub(super) struct ClusterFeed {
    backend: Arc<Backend>,
    changes: Receiver<JobChange>,
    caller: Caller,
    cluster_id: Option<ClusterId>,
    project_id: Option<ProjectId>,
    /// Jobs to give next, each once.
    waiting: VecDeque<JobId>,
    /// Jobs given that had not ended, as they were: if news are missed, these are looked at again. As many as jobs are
    /// open.
    open: BTreeMap<JobId, Job>,
    /// Jobs whose end was given last.
    ended_lately: VecDeque<JobId>,
    begun: bool,
    ended: bool,
}

impl ClusterFeed {
    pub(super) fn new(
        backend: Arc<Backend>,
        changes: Receiver<JobChange>,
        caller: Caller,
        cluster_id: Option<ClusterId>,
        project_id: Option<ProjectId>,
    ) -> Self {
        Self {
            backend,
            changes,
            caller,
            cluster_id,
            project_id,
            waiting: VecDeque::new(),
            open: BTreeMap::new(),
            ended_lately: VecDeque::new(),
            begun: false,
            ended: false,
        }
    }

    pub(super) fn into_stream(self) -> impl Stream<Item = Event> {
        stream::unfold(self, |mut feed| async move {
            if feed.ended {
                return None;
            }
            let event = feed.next_event().await;
            feed.ended = event.is_err();
            Some((event, feed))
        })
    }

    async fn next_event(&mut self) -> Event {
        loop {
            if let Some(job_id) = self.waiting.pop_front() {
                if let Some(job) = self.look_at(job_id).await? {
                    return Ok(job);
                }
            } else if self.begun {
                self.listen().await?;
            } else {
                self.begun = true;
                self.enqueue_open().await?;
            }
        }
    }

    async fn look_at(&mut self, job_id: JobId) -> Result<Option<Job>, GatewayError> {
        let live = self.backend.service.live(job_id);
        let found = self.backend.catalog.job(job_id).await?;
        let Some(record) = self.caller.visible(found) else { return Ok(None) };
        let is_final = record.state.is_final();
        let job = Job::new(record, live);
        if is_final {
            self.open.remove(&job_id);
            if self.ended_lately.contains(&job_id) {
                return Ok(None);
            }
            self.ended_lately.truncate(ENDED_LATELY_MAX - 1);
            self.ended_lately.push_front(job_id);
        } else if self.open.insert(job_id, job.clone()).as_ref() == Some(&job) {
            return Ok(None);
        }
        Ok(Some(job))
    }

    async fn listen(&mut self) -> Result<(), GatewayError> {
        let Some(changes) = gather(&mut self.changes).await? else {
            // What was given as open may have ended since.
            for job_id in self.open.keys().copied().collect::<Vec<_>>() {
                self.enqueue(job_id);
            }
            return self.enqueue_open().await;
        };
        for change in changes {
            if self.concerns(change.cluster_id, change.project_id) && self.caller.sees(change.project_id) {
                self.enqueue(change.job_id);
            }
        }
        Ok(())
    }

    async fn enqueue_open(&mut self) -> Result<(), GatewayError> {
        for job in self.backend.catalog.open_jobs().await? {
            if self.concerns(job.cluster_id, job.project_id) && self.caller.sees(job.project_id) {
                self.enqueue(job.id);
            }
        }
        Ok(())
    }

    fn concerns(&self, cluster_id: ClusterId, project_id: ProjectId) -> bool {
        self.cluster_id.is_none_or(|wanted| wanted == cluster_id)
            && self.project_id.is_none_or(|wanted| wanted == project_id)
    }

    fn enqueue(&mut self, job_id: JobId) {
        if !self.waiting.contains(&job_id) {
            self.waiting.push_back(job_id);
        }
    }
}
