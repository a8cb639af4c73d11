//! A history as it goes on: steps taken through the service, each judged when it has settled.

use super::deeds::{WHO, picked, point_of, points};
use super::ground::{Ground, Pause};
use super::oracle::{GRACE, Made, Oracle};
use super::{Meanwhile, Step, Task};
use crate::support::{Server, new_cluster, project};
use chrono::{DateTime, TimeDelta, Utc};
use milvault_actors::{NewRepository, ServiceError, VerifyRequest};
use milvault_domain::backup::{BackupStatus, CreationMethod};
use milvault_domain::ids::{BackupId, ClusterId, JobId, RepositoryId};
use milvault_domain::job::{JobState, VerifyLevel};
use milvault_domain::ports::{BackupFilter, Clock, JobFilter, PageRequest};
use milvault_domain::schedule::LOOK_AHEAD_MAX;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// After this time what has not come does not come.
const PATIENCE: Duration = Duration::from_secs(5);
/// Looks that retention takes in the meantime would have done harm by then.
const QUIET: Duration = Duration::from_millis(30);

pub(super) struct Past {
    ground: Ground,
    /// `None` while it is down.
    server: Option<Server>,
    pub(super) clusters: Vec<ClusterId>,
    pub(super) repositories: Vec<RepositoryId>,
    pub(super) oracle: Oracle,
    /// What the clusters hold.
    pub(super) segments: BTreeSet<i64>,
    segments_made: i64,
}

impl Past {
    pub(super) async fn begin(clusters: usize, repositories: usize) -> Self {
        let ground = Ground::new().await;
        let server = ground.world.start().await;
        let mut past = Self {
            ground,
            server: Some(server),
            clusters: vec![],
            repositories: vec![],
            oracle: Oracle::default(),
            segments: BTreeSet::new(),
            segments_made: 0,
        };
        past.change(4, 0);
        for number in 0..repositories {
            let name = format!("safe{number}");
            let storage = past.ground.storage(&name);
            let new = NewRepository { project_id: project(), name: name.clone(), storage };
            let repository = past.server().service.register_repository(new).await.unwrap();
            past.ground.found(repository.id, &name);
            past.repositories.push(repository.id);
        }
        for number in 0..clusters {
            let name = format!("cluster{number}");
            let mut new = new_cluster(&name, past.repositories[number % repositories]);
            new.endpoint.uri = format!("http://{name}:19530");
            new.storage = past.ground.storage("source");
            past.clusters.push(past.server().service.register_cluster(new).await.unwrap().id);
        }
        past
    }

    pub(super) fn server(&self) -> &Server {
        self.server.as_ref().unwrap()
    }

    pub(super) fn now(&self) -> DateTime<Utc> {
        self.ground.world.clock.now()
    }

    fn advance(&self, hours: i64) {
        self.ground.world.clock.advance(TimeDelta::hours(hours));
    }

    fn change(&mut self, added: i64, dropped: usize) {
        for _ in 0..dropped {
            self.segments.pop_first();
        }
        self.segments.extend(self.segments_made..self.segments_made + added);
        self.segments_made += added;
        self.ground.show(&self.segments);
    }

    pub(super) fn available(&self) -> Vec<BackupId> {
        let available = self.oracle.made.iter().filter(|made| made.is_available());
        available.map(|made| made.id).collect()
    }

    pub(super) fn made(&mut self, id: BackupId) -> &mut Made {
        self.oracle.made.iter_mut().find(|made| made.id == id).unwrap()
    }

    pub(super) async fn step(&mut self, step: Step) {
        match step {
            Step::Change { added, dropped } => self.change(added, dropped),
            Step::Work(task, meanwhile) => self.work(task, meanwhile).await,
            Step::Schedule { cluster, enabled, days, last, daily } => {
                let cluster_id = picked(&self.clusters, cluster).unwrap();
                self.schedule(cluster_id, enabled, days, (last, daily)).await;
            }
            Step::Hold { backup, days } => {
                if let Some(id) = picked(&self.available(), backup) {
                    self.hold(id, days).await;
                }
            }
            Step::Release(hold) => {
                let holds: Vec<_> = self.oracle.holds.iter().map(|hold| hold.id).collect();
                if let Some(id) = picked(&holds, hold) {
                    self.release(id).await;
                }
            }
            Step::Delete(backup) => self.delete(backup).await,
            Step::Retain { backup, days } => {
                if let Some(id) = picked(&self.available(), backup) {
                    self.retain(id, days).await;
                }
            }
            Step::Pass { hours } => self.advance(hours),
            Step::Ahead { hours, task } => {
                self.advance(hours);
                self.settle().await;
                if let Some(task) = task {
                    self.work(task, Meanwhile::Nothing).await;
                    self.settle().await;
                }
                self.advance(-hours);
                let now = self.now();
                self.oracle.take_back(now);
            }
            Step::Restart { hours } => {
                self.server.take().unwrap().shutdown().await;
                self.advance(hours);
                self.server = Some(self.ground.world.start().await);
            }
        }
        self.settle().await;
    }

    /// Lets a job be done, and other things happen when it comes to a point.
    async fn work(&mut self, task: Task, meanwhile: Meanwhile) {
        let point = point_of(meanwhile).and_then(|point| picked(points(task), point));
        let pause = point.map(|point| self.ground.pause(point));
        let job_id = self.ask_for(task).await;
        if let Some(pause) = pause {
            if let Some(job_id) = job_id {
                let reached = tokio::select! {
                    () = self.ground.reached(&pause) => true,
                    // Not every job comes to every point.
                    _ = self.server().ended(job_id) => false,
                };
                if reached {
                    self.meet(job_id, meanwhile, &pause).await;
                }
            }
            self.ground.go_on(&pause);
        }
        if let (Task::Sweep { .. }, Some(job_id)) = (task, job_id) {
            let job = self.server().ended(job_id).await;
            let canceled = job.state == JobState::Canceled && matches!(meanwhile, Meanwhile::Cancel { .. });
            assert!(canceled || job.state == JobState::Successful, "{:?}", job.failure);
            if !canceled {
                self.settle().await;
                self.check_swept(job.cluster_id);
            }
        }
    }

    async fn meet(&mut self, job_id: JobId, meanwhile: Meanwhile, pause: &Pause) {
        match meanwhile {
            Meanwhile::Nothing => {}
            Meanwhile::Kill { hours, later_us, .. } => {
                if later_us != 0 {
                    self.ground.go_on(pause);
                    tokio::time::sleep(Duration::from_micros(later_us)).await;
                }
                self.server.take().unwrap().kill().await;
                self.ground.go_on(pause);
                // Of a process that is gone no thread is left that writes.
                tokio::time::sleep(QUIET).await;
                self.advance(hours);
                self.server = Some(self.ground.world.start().await);
            }
            Meanwhile::Cancel { .. } => {
                match self.server().service.cancel_job(job_id).await {
                    Ok(_) => {
                        let mine = self.oracle.made.iter_mut().filter(|made| made.job == Some(job_id));
                        mine.for_each(|made| made.canceled = true);
                    }
                    // The point was reached by another job, and this one has come to its end.
                    Err(ServiceError::Conflict { .. }) => {}
                    Err(other) => panic!("{other:?}"),
                }
            }
            Meanwhile::Also { task, .. } => {
                self.ask_for(task).await;
            }
            Meanwhile::Delete { backup, .. } => self.delete(backup).await,
            Meanwhile::Pass { hours, .. } => {
                self.advance(hours);
                tokio::time::sleep(QUIET).await;
            }
        }
    }

    /// Waits for what comes of the present time, and judges it.
    async fn settle(&mut self) {
        self.come_to_rest().await;
        self.take_in_ends().await;
        self.take_in_automatic().await;
        let now = self.now();
        self.oracle.expire(now);
        self.agree().await;
        for (place, repository_id) in self.repositories.iter().enumerate() {
            self.oracle.check(place, &self.ground.look(*repository_id), now);
        }
    }

    /// Waits until schedules were looked at at the present time, and what there was to do is done.
    async fn come_to_rest(&self) {
        let now = self.now();
        for (cluster_id, _) in self.oracle.policies.iter().filter(|(_, policy)| policy.enabled) {
            loop {
                let schedule = self.ground.catalog.schedule(*cluster_id).await.unwrap().unwrap();
                if schedule.next_look.is_none_or(|look| now < look && look <= now + LOOK_AHEAD_MAX) {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        while !self.ground.catalog.open_jobs().await.unwrap().is_empty() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    async fn take_in_ends(&mut self) {
        for made in self.oracle.made.iter_mut().filter(|made| made.job.is_some()) {
            let job = self.ground.catalog.job(made.job.take().unwrap()).await.unwrap().unwrap();
            if job.state == JobState::Successful {
                (made.status, made.complete) = (BackupStatus::Available, true);
            } else {
                assert!(made.canceled, "{:?}: {:?}", job.state, job.failure);
                made.end(BackupStatus::Failed, job.ended_at.unwrap());
            }
        }
    }

    async fn take_in_automatic(&mut self) {
        let page = PageRequest { limit: PageRequest::LIMIT_MAX, after: None };
        let listed = self.ground.catalog.backups(&BackupFilter::default(), page).await.unwrap();
        assert!(!listed.has_more);
        let known = self.oracle.statuses();
        let new = listed.items.into_iter().filter(|backup| !known.contains_key(&backup.id));
        for backup in new.collect::<Vec<_>>() {
            assert_eq!(
                (backup.creation_method, backup.status),
                (CreationMethod::Auto, BackupStatus::Available)
            );
            let days = self.oracle.policies[&backup.cluster_id].days;
            assert_eq!(backup.expires_at, Some(backup.created_at + TimeDelta::days(days.into())));
            self.remember(&backup, self.segments.clone());
        }
    }

    async fn statuses(&self) -> BTreeMap<BackupId, BackupStatus> {
        let ids: Vec<_> = self.oracle.made.iter().map(|made| made.id).collect();
        let rows = self.ground.catalog.backups_among(&ids).await.unwrap();
        rows.into_iter().map(|row| (row.id, row.status)).collect()
    }

    /// Waits until the catalog says of every backup what the oracle says.
    async fn agree(&self) {
        let (expected, began) = (self.oracle.statuses(), Instant::now());
        loop {
            let found = self.statuses().await;
            let at_rest = self.ground.catalog.open_jobs().await.unwrap().is_empty();
            if at_rest && found == expected {
                return;
            }
            if at_rest && PATIENCE < began.elapsed() {
                assert_eq!(found, expected, "at {}", self.now());
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    fn check_swept(&self, cluster_id: ClusterId) {
        let now = self.now();
        for (place, repository_id) in self.repositories.iter().enumerate() {
            self.oracle.check_swept(place, cluster_id, &self.ground.look(*repository_id), now);
        }
    }

    /// Verifies what is left, then lets go of all that is not held: after the grace, only what is held takes up room.
    pub(super) async fn end(&mut self) {
        for cluster_id in self.oracle.policies.keys().copied().collect::<Vec<_>>() {
            self.schedule(cluster_id, false, 1, (0, 0)).await;
        }
        self.settle().await;
        for backup_id in self.available() {
            let verify = VerifyRequest { backup_id, level: VerifyLevel::Content, created_by: WHO.to_owned() };
            let job = self.server().service.request_verify(verify).await.unwrap();
            let job = self.server().ended(job.id).await;
            assert_eq!((job.state, job.failure), (JobState::Successful, None));
        }
        for id in self.available() {
            if !self.oracle.is_held(id, self.now()) {
                self.delete_one(id).await;
            }
        }
        self.settle().await;
        self.ground.world.clock.advance(GRACE);
        self.ground.let_age();
        self.settle().await;
        for cluster in 0..self.clusters.len() {
            self.work(Task::Sweep { cluster }, Meanwhile::Nothing).await;
        }
        tokio::time::sleep(QUIET).await;
        self.settle().await;
        let page = PageRequest { limit: PageRequest::LIMIT_MAX, after: None };
        let jobs = self.ground.catalog.jobs(&JobFilter::default(), page).await.unwrap().items;
        let failed: Vec<_> = jobs.iter().filter(|job| job.state == JobState::Failed).collect();
        assert!(failed.is_empty(), "{failed:?}");
        self.nothing_half_written().await;
        self.server.take().unwrap().shutdown().await;
    }

    /// Waits until nothing is half written any more: a daily backup of the catalog may be under way.
    async fn nothing_half_written(&self) {
        let began = Instant::now();
        for repository_id in &self.repositories {
            loop {
                let left = self.ground.look(*repository_id).temporary;
                if left.is_empty() {
                    break;
                }
                assert!(began.elapsed() < PATIENCE, "{left:?} is half written");
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    }
}
