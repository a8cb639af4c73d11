//! Schedules in the catalog of the tests: the real ones.

use super::catalog::TestCatalog;
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use milvault_domain::ids::ClusterId;
use milvault_domain::keep::RetentionPolicy;
use milvault_domain::ports::{
    PortResult, SaveScheduleOutcome, ScheduleCatalog, ScheduledStart, StartOutcome,
};
use milvault_domain::schedule::ClusterSchedule;

#[async_trait]
impl ScheduleCatalog for TestCatalog {
    async fn schedule(&self, cluster_id: ClusterId) -> PortResult<Option<ClusterSchedule>> {
        self.counted("schedule").schedule(cluster_id).await
    }

    async fn save_schedule(&self, schedule: &ClusterSchedule) -> PortResult<SaveScheduleOutcome> {
        self.counted("save_schedule").save_schedule(schedule).await
    }

    async fn turn_schedule_back(
        &self,
        schedule: &ClusterSchedule,
        now: DateTime<Utc>,
    ) -> PortResult<SaveScheduleOutcome> {
        self.counted("turn_schedule_back").turn_schedule_back(schedule, now).await
    }

    async fn due_schedules(&self, now: DateTime<Utc>, limit: u32) -> PortResult<Vec<ClusterSchedule>> {
        self.counted("due_schedules").due_schedules(now, limit).await
    }

    async fn record_start(&self, start: &ScheduledStart) -> PortResult<StartOutcome> {
        self.counted("record_start").record_start(start).await
    }

    async fn keep_rules(&self, cluster_id: ClusterId) -> PortResult<Option<RetentionPolicy>> {
        self.counted("keep_rules").keep_rules(cluster_id).await
    }
}
