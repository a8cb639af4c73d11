//! Automatic backups on a clock that is moved by hand, on the fake catalog and on a real one.

use crate::on_sqlite::open_in;
use crate::support::fakes::gates::Act;
use crate::support::{Server, World, bounded, new_cluster, request};
use chrono::{DateTime, TimeDelta, Utc};
use milvault_actors::{PolicyChange, ServiceError};
use milvault_domain::backup::{BackupScope, CreationMethod};
use milvault_domain::ids::ClusterId;
use milvault_domain::job::{Job, JobState, JobType};
use milvault_domain::ports::{Catalog, Clock, JobFilter, PageRequest, PortErrorKind, SortKey};
use milvault_domain::schedule::{ClusterSchedule, LOOK_AHEAD_MAX};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

mod clock;
mod rules;
mod year;

/// A world with its catalog, whichever it is.
struct Stage {
    world: World,
    catalog: Arc<dyn Catalog>,
    _directory: Option<TempDir>,
}

impl Stage {
    fn in_memory() -> Self {
        let world = world();
        Self { catalog: Arc::clone(&world.catalog) as _, world, _directory: None }
    }

    async fn on_sqlite() -> Self {
        let (directory, mut world) = (TempDir::new().unwrap(), world());
        let catalog = open_in(&directory, &world).await;
        world.real_catalog = Some(Arc::clone(&catalog));
        Self { world, catalog, _directory: Some(directory) }
    }

    async fn both() -> [Self; 2] {
        [Self::in_memory(), Self::on_sqlite().await]
    }

    fn now(&self) -> DateTime<Utc> {
        self.world.clock.now()
    }

    async fn schedule(&self, cluster_id: ClusterId) -> ClusterSchedule {
        self.catalog.schedule(cluster_id).await.unwrap().unwrap()
    }

    /// Backups that have not ended. What retention makes of the others is no matter of these tests.
    async fn open_jobs(&self) -> Vec<Job> {
        let mut open = self.catalog.open_jobs().await.unwrap();
        open.retain(|job| job.job_type == JobType::Backup);
        open
    }

    /// The latest jobs that failed, in words.
    async fn failures(&self) -> Vec<String> {
        let request = PageRequest { limit: PageRequest::LIMIT_MAX, after: None };
        let page = self.catalog.jobs(&JobFilter::default(), request).await.unwrap();
        let failed = page.items.into_iter().filter(|job| job.state == JobState::Failed);
        failed.map(|job| format!("{:?} at {}: {:?}", job.job_type, job.created_at, job.failure)).collect()
    }

    /// Jobs of backups, whatever became of them.
    async fn backup_jobs(&self) -> Vec<Job> {
        let mut jobs = match &self.world.real_catalog {
            None => self.world.catalog.all_jobs(),
            Some(catalog) => every_job(catalog.as_ref()).await,
        };
        jobs.retain(|job| job.job_type == JobType::Backup);
        jobs
    }

    /// Backups that were made, those that have expired since included.
    async fn backups_made(&self) -> usize {
        let jobs = self.backup_jobs().await;
        jobs.iter().filter(|job| job.state == JobState::Successful).count()
    }

    /// Waits until the schedule was looked at at the present time of the clock.
    async fn looked_at(&self, cluster_id: ClusterId) -> ClusterSchedule {
        loop {
            let (schedule, now) = (self.schedule(cluster_id).await, self.now());
            if schedule.next_look.is_none_or(|look| now < look && look <= now + LOOK_AHEAD_MAX) {
                return schedule;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// The same, and until what was started has ended well.
    async fn settled(&self, cluster_id: ClusterId) -> ClusterSchedule {
        let schedule = self.looked_at(cluster_id).await;
        while !self.open_jobs().await.is_empty() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        schedule
    }

    /// Moves the clock and waits for what comes of it.
    async fn pass(&self, cluster_id: ClusterId, by: TimeDelta) -> ClusterSchedule {
        self.world.clock.advance(by);
        self.settled(cluster_id).await
    }
}

/// The whole history of jobs, page by page.
async fn every_job(catalog: &dyn Catalog) -> Vec<Job> {
    let (mut jobs, mut after) = (Vec::new(), None);
    loop {
        let request = PageRequest { limit: PageRequest::LIMIT_MAX, after };
        let page = catalog.jobs(&JobFilter::default(), request).await.unwrap();
        after = page.items.last().map(|job| SortKey { created_at: job.created_at, id: job.id.as_uuid() });
        jobs.extend(page.items);
        if !page.has_more {
            return jobs;
        }
    }
}

fn world() -> World {
    let mut world = World::new();
    world.settings.schedule_interval = Duration::from_millis(1);
    world
}

fn change(cluster_id: ClusterId) -> PolicyChange {
    PolicyChange {
        cluster_id,
        enabled: true,
        weekdays: None,
        start_time: None,
        cron: None,
        time_zone: None,
        retention_days: None,
        keep: None,
        copy: None,
    }
}

fn cron(cluster_id: ClusterId, expression: &str, zone: &str) -> PolicyChange {
    PolicyChange {
        cron: Some(expression.to_owned()),
        time_zone: Some(zone.parse().unwrap()),
        ..change(cluster_id)
    }
}

/// Switches a policy on and waits for the backup that this makes.
async fn switch_on(stage: &Stage, server: &Server, change: PolicyChange) -> ClusterSchedule {
    let set = server.service.set_backup_policy(change.clone()).await.unwrap();
    let job = server.ended(set.job.unwrap().id).await;
    assert_eq!(job.state, JobState::Successful, "{:?}", job.failure);
    stage.settled(change.cluster_id).await
}

/// The starts of a schedule after an instant, up to another and with it.
fn starts(schedule: &ClusterSchedule, after: DateTime<Utc>, until: DateTime<Utc>) -> Vec<DateTime<Utc>> {
    schedule.rules().unwrap().runs_after(after).take_while(|start| *start <= until).collect()
}
