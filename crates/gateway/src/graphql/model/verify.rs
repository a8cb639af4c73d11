//! Reports of verifies.

use crate::graphql::scalar::{Bytes, Int64};
use async_graphql::{Enum, SimpleObject};
use milvault_domain::job::{self as domain};
use milvault_domain::ports::{VerifyFailure as DomainFailure, VerifyReport as DomainReport};

/// How thoroughly a verify checks.
#[derive(Enum, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "domain::VerifyLevel")]
pub(crate) enum VerifyLevel {
    /// Manifests decode, and every file they reference exists with the right size.
    Existence,
    /// Besides, the packs' own indexes agree with the manifests.
    Structure,
    /// Besides, every byte is read and hashed.
    Content,
}

/// Result of a verify.
#[derive(SimpleObject)]
pub(crate) struct VerifyReport {
    /// How thoroughly it checked.
    level: Option<VerifyLevel>,
    /// Objects looked at.
    objects_checked: Int64,
    /// Bytes read and hashed; 0 below the level `CONTENT`.
    bytes_read: Bytes,
    /// Objects whose hash was not known before and is recorded now.
    hashes_recorded: Int64,
    /// Number of failures, including those that are not listed.
    failure_count: Int64,
    /// The first failures, at most 100.
    failures: Vec<VerifyFailure>,
}

/// A file or object that is not as it must be.
#[derive(SimpleObject)]
pub(crate) struct VerifyFailure {
    /// File in the repository.
    file: String,
    /// Key of the object at the source, where it is about one.
    key: Option<String>,
    /// What is wrong.
    reason: String,
}

impl VerifyReport {
    pub(crate) fn new(level: Option<domain::VerifyLevel>, report: DomainReport) -> Self {
        Self {
            level: level.map(Into::into),
            objects_checked: Int64(report.objects_checked),
            bytes_read: Bytes(report.bytes_read),
            hashes_recorded: Int64(report.hashes_recorded),
            failure_count: Int64(report.failure_count),
            failures: report.failures.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<DomainFailure> for VerifyFailure {
    fn from(failure: DomainFailure) -> Self {
        Self { file: failure.file, key: failure.key, reason: failure.reason }
    }
}
