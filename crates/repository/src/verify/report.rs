//! Collecting what was found.

use super::FileFindings;
use milvault_domain::object::{ContentHash, ObjectId};
use milvault_domain::ports::{VerifyFailure, VerifyReport};

/// A report in the making.
#[derive(Default)]
pub(super) struct Findings {
    report: VerifyReport,
}

impl Findings {
    /// Adds a failure; beyond the limit it is only counted.
    pub(super) fn fail(&mut self, file: &str, key: Option<String>, reason: String) {
        self.report.failure_count += 1;
        if self.report.failures.len() < VerifyReport::FAILURES_MAX {
            self.report.failures.push(VerifyFailure { file: file.to_owned(), key, reason });
        }
    }

    /// Adds what was found in a file, and gives the hashes to be recorded.
    pub(super) fn add(&mut self, file: FileFindings) -> Vec<(ObjectId, ContentHash)> {
        let FileFindings { failures, objects_checked, bytes_read, recorded } = file;
        for failure in failures {
            self.fail(&failure.file, failure.source_key, failure.reason);
        }
        self.report.objects_checked += objects_checked;
        self.report.bytes_read += bytes_read;
        self.report.hashes_recorded += recorded.len() as u64;
        recorded
    }

    /// The finished report; the order of the failures does not depend on which file was looked at first.
    pub(super) fn into_report(mut self) -> VerifyReport {
        self.report.failures.sort_by(|first, second| {
            (&first.file, &first.key, &first.reason).cmp(&(&second.file, &second.key, &second.reason))
        });
        self.report
    }
}
