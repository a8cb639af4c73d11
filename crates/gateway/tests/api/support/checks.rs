//! Verifies and drills go to the real catalog.

use super::catalog::TestCatalog;
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use milvault_domain::checks::{Damage, DrillSchedule, Leftovers, Verification, VerifySchedule};
use milvault_domain::ids::{BackupId, ClusterId, JobId, RepositoryId};
use milvault_domain::job::Job;
use milvault_domain::ports::{ChecksCatalog, NewJob, PortResult, RecordedCheck, SaveScheduleOutcome};

macro_rules! delegate {
    ($($name:ident($($argument:ident: $kind:ty),*) -> $answer:ty;)*) => {
        #[async_trait]
        impl ChecksCatalog for TestCatalog {
            $(async fn $name(&self, $($argument: $kind),*) -> PortResult<$answer> {
                self.counted(stringify!($name)).$name($($argument),*).await
            })*
        }
    };
}

delegate! {
    verify_schedule(repository_id: RepositoryId) -> Option<VerifySchedule>;
    verify_schedule_of_job(job_id: JobId) -> Option<VerifySchedule>;
    save_verify_schedule(schedule: &VerifySchedule, job: Option<&Job>) -> SaveScheduleOutcome;
    due_verify_schedules(now: DateTime<Utc>, limit: u32) -> Vec<VerifySchedule>;
    record_check(check: &RecordedCheck) -> ();
    damage(repository_id: RepositoryId) -> Vec<Damage>;
    verification(backup_id: BackupId) -> Option<Verification>;
    drill_schedule(cluster_id: ClusterId) -> Option<DrillSchedule>;
    save_drill_schedule(schedule: &DrillSchedule, job: Option<&NewJob>, now: DateTime<Utc>)
        -> SaveScheduleOutcome;
    due_drill_schedules(now: DateTime<Utc>, limit: u32) -> Vec<DrillSchedule>;
    last_drill(backup_id: BackupId) -> Option<Job>;
    remember_leftovers(leftovers: &Leftovers) -> ();
    due_leftovers(now: DateTime<Utc>, limit: u32) -> Vec<Leftovers>;
    claim_leftovers(attempted: &Leftovers) -> bool;
    note_leftovers_failure(job_id: JobId, failure: &str) -> ();
    forget_leftovers(job_id: JobId) -> ();
    leftovers(job_id: JobId) -> Option<Leftovers>;
}
