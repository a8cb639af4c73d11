//! Schedules in the fake catalog.

use super::catalog::MemoryCatalog;
use super::tables::{Tables, error};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use milvault_domain::backup::CreationMethod;
use milvault_domain::ids::{ClusterId, JobId};
use milvault_domain::job::{Job, JobType};
use milvault_domain::keep::RetentionPolicy;
use milvault_domain::ports::{
    InsertOutcome, PortErrorKind, PortResult, SaveScheduleOutcome, ScheduleCatalog, ScheduledStart,
    StartOutcome,
};
use milvault_domain::schedule::{ClusterSchedule, LOOK_AHEAD_MAX, MADE_EARLY_MAX, SkippedStart};
use std::collections::HashMap;

#[derive(Default)]
pub struct ScheduleTables {
    pub schedules: HashMap<ClusterId, ClusterSchedule>,
    pub starts: HashMap<(ClusterId, DateTime<Utc>), RecordedStart>,
}

pub struct RecordedStart {
    job_id: JobId,
    made: bool,
    memory: Memory,
}

/// Whether a start counts as recorded.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Memory {
    First,
    Forgotten,
    /// It was forgotten once and is not again.
    Final,
}

impl Tables {
    /// The newest open job of the cluster that makes an automatic backup, among those that are wanted.
    pub fn open_automatic(&self, cluster_id: ClusterId, wanted: impl Fn(&Job) -> bool) -> Option<JobId> {
        let automatic = |job: &&Job| {
            job.cluster_id == cluster_id
                && job.job_type == JobType::Backup
                && !job.state.is_final()
                && self.backups[&job.backup_id.unwrap()].creation_method == CreationMethod::Auto
                && wanted(job)
        };
        self.jobs.values().rev().find(automatic).map(|job| job.id)
    }

    fn check_in_service(&self, cluster_id: ClusterId) -> PortResult<()> {
        match self.clusters.get(&cluster_id) {
            Some((_, false)) => Ok(()),
            _ => Err(error(PortErrorKind::NotFound, "no such cluster")),
        }
    }

    fn save_schedule(&mut self, schedule: &ClusterSchedule) -> PortResult<SaveScheduleOutcome> {
        self.check_in_service(schedule.cluster_id)?;
        let kept = self.schedules.schedules.get(&schedule.cluster_id);
        if kept.map_or(0, |kept| kept.revision) != schedule.revision {
            return Ok(SaveScheduleOutcome::ScheduleChanged);
        }
        let next = ClusterSchedule { revision: schedule.revision + 1, ..schedule.clone() };
        self.schedules.schedules.insert(schedule.cluster_id, next);
        Ok(SaveScheduleOutcome::Saved)
    }

    fn forget_starts(&mut self, cluster_id: ClusterId, now: DateTime<Utc>) {
        for ((of, scheduled_for), start) in &mut self.schedules.starts {
            if *of == cluster_id && *scheduled_for > now + MADE_EARLY_MAX && start.memory == Memory::First {
                start.memory = Memory::Forgotten;
            }
        }
    }

    fn record_start(&mut self, start: &ScheduledStart) -> PortResult<StartOutcome> {
        let cluster_id = start.backup.backup.cluster_id;
        self.check_in_service(cluster_id)?;
        let mut schedule = match self.schedules.schedules.get(&cluster_id) {
            Some(schedule) if schedule.revision == start.revision && schedule.policy.enabled => {
                schedule.clone()
            }
            _ => return Ok(StartOutcome::ScheduleChanged),
        };
        let has_come = start.has_come_by_itself(schedule.next_look);
        schedule.revision += 1;
        schedule.last_run = Some(start.scheduled_for);
        schedule.next_look = start.next_look;
        let key = (cluster_id, start.scheduled_for);
        let recorded = self.schedules.starts.get(&key);
        let memory = if recorded.is_some() { Memory::Final } else { Memory::First };
        let outcome =
            if let Some(before) = recorded.filter(|start| start.memory != Memory::Forgotten || !has_come) {
                let deed = if before.made { "made" } else { "skipped" };
                schedule.last_skipped = Some(SkippedStart {
                    scheduled_for: start.scheduled_for,
                    reason: format!("it was {deed} before the clock went back"),
                    job_id: before.job_id,
                });
                StartOutcome::RecordedBefore
            } else if let Some(job_id) = self.open_automatic(cluster_id, |_| true) {
                schedule.last_skipped = Some(SkippedStart {
                    scheduled_for: start.scheduled_for,
                    reason: "the automatic backup before it had not ended".to_owned(),
                    job_id,
                });
                self.schedules.starts.insert(key, RecordedStart { job_id, made: false, memory });
                StartOutcome::Skipped(job_id)
            } else {
                schedule.last_started = Some(start.scheduled_for);
                assert_eq!(self.insert_backup(&start.backup)?, InsertOutcome::Created);
                let job_id = start.backup.job.id;
                self.schedules.starts.insert(key, RecordedStart { job_id, made: true, memory });
                StartOutcome::Started
            };
        self.forget_starts(cluster_id, start.now);
        self.schedules.schedules.insert(cluster_id, schedule);
        Ok(outcome)
    }
}

#[async_trait]
impl ScheduleCatalog for MemoryCatalog {
    async fn schedule(&self, cluster_id: ClusterId) -> PortResult<Option<ClusterSchedule>> {
        Ok(self.tables().schedules.schedules.get(&cluster_id).cloned())
    }

    async fn save_schedule(&self, schedule: &ClusterSchedule) -> PortResult<SaveScheduleOutcome> {
        self.gates.pass("save_schedule").await?;
        self.tables().save_schedule(schedule)
    }

    async fn turn_schedule_back(
        &self,
        schedule: &ClusterSchedule,
        now: DateTime<Utc>,
    ) -> PortResult<SaveScheduleOutcome> {
        self.gates.pass("save_schedule").await?;
        let mut tables = self.tables();
        let outcome = tables.save_schedule(schedule)?;
        if outcome == SaveScheduleOutcome::Saved {
            tables.forget_starts(schedule.cluster_id, now);
        }
        Ok(outcome)
    }

    async fn due_schedules(&self, now: DateTime<Utc>, limit: u32) -> PortResult<Vec<ClusterSchedule>> {
        self.gates.pass("due_schedules").await?;
        let tables = self.tables();
        let due = tables.schedules.schedules.values().filter(|schedule| {
            let in_service = matches!(tables.clusters.get(&schedule.cluster_id), Some((_, false)));
            let is_due = |look: DateTime<Utc>| look <= now || look > now + LOOK_AHEAD_MAX;
            in_service && schedule.next_look.is_some_and(is_due)
        });
        let mut due: Vec<_> = due.cloned().collect();
        due.sort_by_key(|schedule| (schedule.next_look, schedule.cluster_id));
        due.truncate(limit as usize);
        Ok(due)
    }

    async fn record_start(&self, start: &ScheduledStart) -> PortResult<StartOutcome> {
        self.gates.pass("record_start").await?;
        let outcome = self.tables().record_start(start)?;
        self.gates.pass("recorded_start").await?;
        Ok(outcome)
    }

    async fn keep_rules(&self, cluster_id: ClusterId) -> PortResult<Option<RetentionPolicy>> {
        let tables = self.tables();
        let policy = tables.schedules.schedules.get(&cluster_id).map(|schedule| &schedule.policy);
        Ok(policy.map(|policy| RetentionPolicy { keep: policy.keep, time_zone: policy.time_zone }))
    }
}
