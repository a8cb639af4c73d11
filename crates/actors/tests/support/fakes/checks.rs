//! Scheduled verifies and drills in the fake catalog, and checks of the fake repository.

use super::catalog::MemoryCatalog;
use super::repository::FakeRepository;
use super::tables::{Tables, error};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use milvault_domain::backup::BackupStatus;
use milvault_domain::checks::{
    BackupChecked, Damage, DamageKey, DrillSchedule, Leftovers, Verification, VerifySchedule,
};
use milvault_domain::ids::{BackupId, ClusterId, JobId, RepositoryId};
use milvault_domain::job::{Job, JobType};
use milvault_domain::ports::{
    CheckOrder, CheckReport, ChecksCatalog, InsertJobOutcome, NewJob, PortErrorKind, PortResult,
    RecordedCheck, RepositoryChecks, SaveScheduleOutcome, VerifyFailure,
};
use milvault_domain::progress::{Progress, ProgressCounters};
use milvault_domain::schedule::LOOK_AHEAD_MAX;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

#[derive(Default)]
pub struct CheckTables {
    pub verifies: HashMap<RepositoryId, VerifySchedule>,
    pub drills: HashMap<ClusterId, DrillSchedule>,
    pub damage: BTreeMap<(RepositoryId, DamageKey), Damage>,
    pub verifications: HashMap<BackupId, Verification>,
    pub leftovers: BTreeMap<JobId, Leftovers>,
}

fn is_due(look: Option<DateTime<Utc>>, now: DateTime<Utc>) -> bool {
    look.is_some_and(|look| look <= now || look > now + LOOK_AHEAD_MAX)
}

impl Tables {
    fn record_check(&mut self, check: &RecordedCheck) {
        let of_job =
            |schedule: &&mut VerifySchedule| schedule.share.is_some_and(|share| share.job_id == check.job_id);
        if let Some(schedule) = self.checks.verifies.values_mut().find(of_job) {
            if !schedule.note_end(check.job_id) {
                return;
            }
            schedule.revision += 1;
        }
        for key in &check.sound {
            self.checks.damage.remove(&(check.repository_id, *key));
        }
        for damage in &check.found {
            self.checks.damage.insert((check.repository_id, damage.key), damage.clone());
        }
        for (backup_id, checked) in &check.backups {
            let backup = &self.backups[backup_id];
            if backup.status != BackupStatus::Available {
                continue;
            }
            let count = backup.facts.as_ref().map_or(0, |facts| facts.object_count);
            let former = self.checks.verifications.remove(backup_id).unwrap_or_default();
            let after = former.after(checked.clone(), count, check.level, check.now);
            self.checks.verifications.insert(*backup_id, after);
        }
    }
}

#[async_trait]
impl ChecksCatalog for MemoryCatalog {
    async fn verify_schedule(&self, repository_id: RepositoryId) -> PortResult<Option<VerifySchedule>> {
        Ok(self.tables().checks.verifies.get(&repository_id).cloned())
    }

    async fn verify_schedule_of_job(&self, job_id: JobId) -> PortResult<Option<VerifySchedule>> {
        let tables = self.tables();
        let of_job = |schedule: &&VerifySchedule| schedule.share.is_some_and(|share| share.job_id == job_id);
        Ok(tables.checks.verifies.values().find(of_job).cloned())
    }

    async fn save_verify_schedule(
        &self,
        schedule: &VerifySchedule,
        job: Option<&Job>,
    ) -> PortResult<SaveScheduleOutcome> {
        self.gates.pass("save_verify_schedule").await?;
        let mut tables = self.tables();
        if !tables.repositories.contains_key(&schedule.repository_id) {
            return Err(error(PortErrorKind::NotFound, "no such repository"));
        }
        let kept = tables.checks.verifies.get(&schedule.repository_id).map_or(0, |kept| kept.revision);
        if kept != schedule.revision {
            return Ok(SaveScheduleOutcome::ScheduleChanged);
        }
        if let Some(job) = job {
            tables.jobs.insert(job.id, job.clone());
        }
        let next = VerifySchedule { revision: schedule.revision + 1, ..schedule.clone() };
        tables.checks.verifies.insert(schedule.repository_id, next);
        Ok(SaveScheduleOutcome::Saved)
    }

    async fn due_verify_schedules(&self, now: DateTime<Utc>, limit: u32) -> PortResult<Vec<VerifySchedule>> {
        self.gates.pass("due_verify_schedules").await?;
        let tables = self.tables();
        let due = tables.checks.verifies.values().filter(|schedule| is_due(schedule.next_look, now));
        Ok(due.take(limit as usize).cloned().collect())
    }

    async fn record_check(&self, check: &RecordedCheck) -> PortResult<()> {
        self.gates.pass("record_check").await?;
        self.tables().record_check(check);
        self.gates.pass("recorded_check").await
    }

    async fn damage(&self, repository_id: RepositoryId) -> PortResult<Vec<Damage>> {
        let tables = self.tables();
        let rows = tables.checks.damage.iter().filter(|((id, _), _)| *id == repository_id);
        Ok(rows.map(|(_, damage)| damage.clone()).collect())
    }

    async fn verification(&self, backup_id: BackupId) -> PortResult<Option<Verification>> {
        Ok(self.tables().checks.verifications.get(&backup_id).cloned())
    }

    async fn drill_schedule(&self, cluster_id: ClusterId) -> PortResult<Option<DrillSchedule>> {
        Ok(self.tables().checks.drills.get(&cluster_id).cloned())
    }

    async fn save_drill_schedule(
        &self,
        schedule: &DrillSchedule,
        job: Option<&NewJob>,
        _: DateTime<Utc>,
    ) -> PortResult<SaveScheduleOutcome> {
        self.gates.pass("save_drill_schedule").await?;
        let mut tables = self.tables();
        let kept = tables.checks.drills.get(&schedule.cluster_id).map_or(0, |kept| kept.revision);
        if kept != schedule.revision {
            return Ok(SaveScheduleOutcome::ScheduleChanged);
        }
        if let Some(new) = job {
            if !matches!(tables.clusters.get(&new.job.cluster_id), Some((_, false))) {
                return Err(error(PortErrorKind::NotFound, "the target is not in service"));
            }
            assert_eq!(tables.insert_requested_job(new)?, InsertJobOutcome::Created);
        }
        let next = DrillSchedule { revision: schedule.revision + 1, ..schedule.clone() };
        tables.checks.drills.insert(schedule.cluster_id, next);
        Ok(SaveScheduleOutcome::Saved)
    }

    async fn due_drill_schedules(&self, now: DateTime<Utc>, limit: u32) -> PortResult<Vec<DrillSchedule>> {
        let tables = self.tables();
        let in_service = |id: &ClusterId| matches!(tables.clusters.get(id), Some((_, false)));
        let due = tables.checks.drills.values();
        let due = due.filter(|schedule| is_due(schedule.next_look, now) && in_service(&schedule.cluster_id));
        Ok(due.take(limit as usize).cloned().collect())
    }

    async fn last_drill(&self, backup_id: BackupId) -> PortResult<Option<Job>> {
        let tables = self.tables();
        let drill = |job: &&Job| job.backup_id == Some(backup_id) && job.job_type == JobType::Drill;
        Ok(tables.jobs.values().rev().find(drill).cloned())
    }

    async fn remember_leftovers(&self, leftovers: &Leftovers) -> PortResult<()> {
        self.tables().checks.leftovers.entry(leftovers.job_id).or_insert_with(|| leftovers.clone());
        Ok(())
    }

    async fn due_leftovers(&self, now: DateTime<Utc>, limit: u32) -> PortResult<Vec<Leftovers>> {
        let tables = self.tables();
        let due = tables.checks.leftovers.values();
        let due = due.filter(|leftovers| leftovers.next_attempt_at.is_some_and(|at| at <= now));
        Ok(due.take(limit as usize).cloned().collect())
    }

    async fn claim_leftovers(&self, attempted: &Leftovers) -> PortResult<bool> {
        let mut tables = self.tables();
        let kept = tables.checks.leftovers.get_mut(&attempted.job_id);
        let kept = kept.filter(|kept| kept.attempts + 1 == attempted.attempts);
        Ok(kept.map(|kept| *kept = attempted.clone()).is_some())
    }

    async fn note_leftovers_failure(&self, job_id: JobId, failure: &str) -> PortResult<()> {
        if let Some(kept) = self.tables().checks.leftovers.get_mut(&job_id) {
            failure.clone_into(&mut kept.last_failure);
        }
        Ok(())
    }

    async fn forget_leftovers(&self, job_id: JobId) -> PortResult<()> {
        self.tables().checks.leftovers.remove(&job_id);
        Ok(())
    }

    async fn leftovers(&self, job_id: JobId) -> PortResult<Option<Leftovers>> {
        Ok(self.tables().checks.leftovers.get(&job_id).cloned())
    }
}

#[async_trait]
impl RepositoryChecks for FakeRepository {
    async fn check_files(
        &self,
        order: &CheckOrder,
        progress: Arc<ProgressCounters>,
    ) -> PortResult<CheckReport> {
        progress.start(Progress { bytes_total: 10, objects_total: 1, ..Progress::default() });
        self.gates.pass("verify").await?;
        progress.add_bytes(10);
        progress.add_object();
        let mut check =
            CheckReport { report: self.state.report.lock().unwrap().clone(), ..CheckReport::default() };
        let sealed = self.state.sealed.lock().unwrap();
        let damaged = self.state.damaged.lock().unwrap();
        let mut looked = HashSet::new();
        let mut found = BTreeMap::new();
        for backup_id in &order.backups {
            let mut checked = BackupChecked { whole: true, ..BackupChecked::default() };
            for object in sealed.get(backup_id).map_or(&[][..], |(_, objects)| objects) {
                if damaged.contains(&object.id) {
                    checked.damaged_count += 1;
                    checked.findings.push(VerifyFailure {
                        file: object.id.to_string(),
                        key: None,
                        reason: "flipped".to_owned(),
                    });
                }
                if !order.share.contains(object.file()) {
                    checked.whole = false;
                    continue;
                }
                checked.objects += 1;
                looked.insert(object.file());
                if damaged.contains(&object.id) {
                    let key = DamageKey { file: object.file(), object: None };
                    let reason = "flipped".to_owned();
                    found.insert(key, Damage { key, source_key: None, reason, level: order.level });
                }
            }
            check.backups.push((*backup_id, checked));
        }
        check.report.objects_checked = looked.len() as u64;
        check.report.failure_count += found.len() as u64;
        self.state.checks.lock().unwrap().push((order.clone(), looked.into_iter().collect()));
        let known = order.known.iter().map(|damage| damage.key);
        check.sound =
            known.filter(|key| order.share.contains(key.file) && !found.contains_key(key)).collect();
        check.found = found.into_values().collect();
        Ok(check)
    }
}
