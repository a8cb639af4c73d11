//! The catalog's audit log.

use crate::audit::{AuditEntry, AuditRecord, AuditResult};
use crate::error::PortResult;
use crate::ids::{OrganizationId, ProjectId};
use crate::ports::Page;
use async_trait::async_trait;
use chrono::{DateTime, Utc};

/// The part of the catalog that is the audit log. Nothing in it is ever changed or removed: the database refuses that.
///
/// The catalog itself writes down, in the transaction that does it, what the server does by itself: an automatic backup
/// that is started, a backup that expires, ended jobs that are removed.
#[async_trait]
pub trait AuditCatalog: Send + Sync {
    /// Adds an entry at the end and returns its sequence. Texts are cut to their limits. A record without a project gets
    /// that of its target, where the target is known.
    ///
    /// # Errors
    /// Errors of the database.
    async fn append_audit(&self, record: &AuditRecord) -> PortResult<u64>;

    /// Lists entries by time.
    ///
    /// # Errors
    /// `InvalidInput` for a page size out of range; errors of the database.
    async fn audit_entries(&self, filter: &AuditFilter, page: AuditPage) -> PortResult<Page<AuditEntry>>;
}

/// Which entries to list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditFilter {
    /// Only of this organization.
    pub organization_id: OrganizationId,
    /// Only of these projects; `None` is all, and what belongs to no project too.
    pub project_ids: Option<Vec<ProjectId>>,
    /// Only by the actor with this id.
    pub actor_id: Option<String>,
    /// Only of this action.
    pub action: Option<String>,
    /// Only about the target with this id.
    pub target_id: Option<String>,
    /// Only with this result, so no intents.
    pub result: Option<AuditResult>,
    /// Only at or after.
    pub from: Option<DateTime<Utc>>,
    /// Only before.
    pub to: Option<DateTime<Utc>>,
}

impl AuditFilter {
    /// Everything of an organization.
    #[must_use]
    pub const fn of(organization_id: OrganizationId) -> Self {
        Self {
            organization_id,
            project_ids: None,
            actor_id: None,
            action: None,
            target_id: None,
            result: None,
            from: None,
            to: None,
        }
    }
}

/// Where an entry stands in the order of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuditPosition {
    /// Its time.
    pub at: DateTime<Utc>,
    /// Its sequence, for equal times.
    pub sequence: u64,
}

/// A part of the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuditPage {
    /// Most entries, 1 to [`Self::LIMIT_MAX`].
    pub limit: u32,
    /// Begin behind this one.
    pub after: Option<AuditPosition>,
    /// Newest first, or oldest first.
    pub newest_first: bool,
}

impl AuditPage {
    /// Most entries of a page.
    pub const LIMIT_MAX: u32 = 500;
}
