//! What the demo found out, and whether it is all as it must be.

use super::api::{BackupView, JobView, VerifyView};
use super::byte_check::Comparison;
use super::restore::RestoreReport;
use super::traffic::TrafficReport;
use serde_json::{Value, json};
use std::time::Duration;

/// Everything the demo measured.
#[derive(Debug)]
pub struct DemoReport {
    /// Rows that were in the cluster before the first backup was asked for.
    pub rows: u64,
    /// The two backups.
    pub backups: [BackupReport; 2],
    /// What writer and searcher did meanwhile.
    pub traffic: TrafficReport,
    /// What came back.
    pub restore: RestoreReport,
}

/// What was measured of one backup.
#[derive(Debug)]
pub struct BackupReport {
    /// The backup as the API shows it.
    pub view: BackupView,
    /// The last event of its job.
    pub job: JobView,
    /// From the request until the job had ended.
    pub duration: Duration,
    /// Events of the job that came.
    pub event_count: u64,
    /// Bytes it found in the repository.
    pub reused_bytes: u64,
    /// What reading and hashing all of it found.
    pub verify: VerifyView,
    /// What comparing it with Milvus's own files found.
    pub comparison: Comparison,
}

impl DemoReport {
    /// Everything that is not as it must be, in words; empty when all is well.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        for backup in &self.backups {
            let name = &backup.view.name;
            if backup.view.status != "AVAILABLE" || backup.job.state != "SUCCESSFUL" {
                let reason = backup.job.failure.as_deref().unwrap_or("no reason given");
                problems.push(format!("{name} is {} ({})", backup.view.status, reason));
            }
            if backup.view.row_count.unwrap_or(0) < self.rows {
                problems.push(format!("{name} has fewer rows than the {} put in before it", self.rows));
            }
            if backup.verify.failure_count > 0 {
                problems.push(format!("{name} has verify failures: {:?}", backup.verify.failures));
            }
            if backup.verify.objects_checked < backup.view.object_count.unwrap_or(1) {
                problems.push(format!("not all objects of {name} were verified"));
            }
            if backup.comparison.objects_equal == 0 {
                problems.push(format!("nothing of {name} was compared with Milvus's files"));
            }
            problems.extend(backup.comparison.differences.iter().map(|key| format!("{name}: {key}")));
        }
        if self.backups[1].reused_bytes == 0 {
            problems.push(String::from("the second backup reused nothing"));
        }
        for restore in &self.restore.restores {
            if restore.rows == 0 {
                problems.push(format!("no rows of {} were compared", restore.what));
            }
            if restore.state != "SUCCESSFUL" || restore.differences > 0 {
                problems.push(format!(
                    "the restore of {} is {}; {} of {} rows differ",
                    restore.what, restore.state, restore.differences, restore.rows
                ));
            }
        }
        for (who, lane) in [("writer", &self.traffic.writer), ("searcher", &self.traffic.searcher)] {
            if lane.error_count > 0 {
                problems.push(format!("the {who} had {} errors: {:?}", lane.error_count, lane.errors));
            }
        }
        problems
    }

    /// The figures for programs.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let [first, second] = &self.backups;
        let both_available = self.backups.iter().all(|backup| backup.view.status == "AVAILABLE");
        let status = if both_available { "AVAILABLE" } else { "FAILED" };
        let stored = |backup: &BackupReport| backup.view.newly_stored_bytes.unwrap_or(0);
        let differences: usize = self.backups.iter().map(|backup| backup.comparison.differences.len()).sum();
        let restores = &self.restore.restores;
        json!({
            "backup_status": status,
            "restored_rows": restores.iter().map(|restore| restore.rows).sum::<u64>(),
            "restore_differences": restores.iter().map(|restore| restore.differences).sum::<u64>(),
            "restore_seconds": restores.iter().map(|restore| restore.duration.as_secs_f64()).collect::<Vec<_>>(),
            "rows": self.rows,
            "stored_bytes": stored(first) + stored(second),
            "first_stored_bytes": stored(first),
            "second_stored_bytes": stored(second),
            "reused_bytes": second.reused_bytes,
            "verify_failures": first.verify.failure_count + second.verify.failure_count,
            "objects_compared": first.comparison.objects_equal + second.comparison.objects_equal,
            "objects_different": differences,
            "writer_operations": self.traffic.writer.operation_count(),
            "writer_errors": self.traffic.writer.error_count,
            "searcher_operations": self.traffic.searcher.operation_count(),
            "searcher_errors": self.traffic.searcher.error_count,
            "first_seconds": first.duration.as_secs_f64(),
            "second_seconds": second.duration.as_secs_f64(),
            "problems": self.problems(),
        })
    }
}
