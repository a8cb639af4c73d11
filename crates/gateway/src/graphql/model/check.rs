//! Findings of a check.

use async_graphql::SimpleObject;
use milvault_domain::ports::CheckFinding as DomainFinding;

/// Something found by a check, in words.
#[derive(SimpleObject)]
pub(crate) struct CheckFinding {
    /// What was looked at: `milvus`, `storage` or `repository`.
    subject: String,
    /// Whether it is fine.
    ok: bool,
    /// What was found, and what to do if it is not fine.
    message: String,
}

impl From<DomainFinding> for CheckFinding {
    fn from(finding: DomainFinding) -> Self {
        Self { subject: finding.subject, ok: finding.ok, message: finding.message }
    }
}
