//! What a repository knows about its backups beyond their manifests, so that a lost catalog can be made again.

use crate::backup::Backup;
use crate::ids::{BackupId, ClusterId, HoldId, OrganizationId, ProjectId};
use crate::keep::Hold;
use crate::lifecycle::BackupHold;
use chrono::{DateTime, TimeDelta, Utc};

/// An organization and its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedOrganization {
    /// Identity.
    pub id: OrganizationId,
    /// Name for people.
    pub name: String,
}

/// A project and its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedProject {
    /// Identity.
    pub id: ProjectId,
    /// Name for people.
    pub name: String,
}

/// What the catalog knows of an available backup and its manifest does not: what people may change, and what only the
/// end of its making showed. A manifest is never changed, so this lies beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupRecord {
    /// The backup.
    pub backup_id: BackupId,
    /// Its cluster.
    pub cluster_id: ClusterId,
    /// Counts the changes from 1. Of several records of one backup the one with the highest revision counts.
    pub revision: u64,
    /// Organization of the catalog.
    pub organization: NamedOrganization,
    /// Project of the backup.
    pub project: NamedProject,
    /// Name now.
    pub name: String,
    /// Description now.
    pub description: String,
    /// When it was asked for.
    pub created_at: DateTime<Utc>,
    /// When it became available.
    pub completed_at: DateTime<Utc>,
    /// When its retention is over; `None` is never.
    pub expires_at: Option<DateTime<Utc>>,
    /// Bytes that were new in the repository when it was made.
    pub newly_stored_bytes: u64,
    /// Objects that were in the repository before it was made.
    pub reused_object_count: u64,
    /// The latest holds, ended ones included.
    pub holds: Vec<BackupHold>,
}

impl BackupRecord {
    /// Gives a backup that was read from its manifest what the record knows better. The project stays: it is decided
    /// where the backup is taken in.
    pub fn apply_to(&self, backup: &mut Backup) {
        backup.name.clone_from(&self.name);
        backup.description.clone_from(&self.description);
        backup.created_at = self.created_at;
        backup.completed_at = Some(self.completed_at);
        backup.expires_at = self.expires_at;
        if let Some(facts) = &mut backup.facts {
            facts.newly_stored_bytes = self.newly_stored_bytes;
            facts.reused_object_count = self.reused_object_count;
        }
    }
}

/// Who holds the backups whose time would be over soon after a catalog was rebuilt.
pub const REBUILD: &str = "catalog rebuild";

/// The hold that a rebuilt catalog needs on a backup: policies and late changes of a lost catalog may have kept a
/// backup beyond what its files say, so nothing ends before the time of grace is over. `None` when it stays so long
/// anyway.
#[must_use]
pub fn grace_hold(
    backup: &Backup,
    holds: &[BackupHold],
    id: HoldId,
    now: DateTime<Utc>,
    grace: TimeDelta,
) -> Option<BackupHold> {
    let until = now.checked_add_signed(grace)?;
    let ends_soon = backup.expires_at.is_some_and(|end| end < until);
    let stays = |hold: &BackupHold| {
        hold.is_active_at(now) && hold.hold.until.is_none_or(|held_until| until <= held_until)
    };
    if !ends_soon || holds.iter().any(stays) {
        return None;
    }
    let reason =
        String::from("the catalog was rebuilt; time to look at schedules and holds before it expires");
    Some(BackupHold {
        id,
        backup_id: backup.id,
        cluster_id: backup.cluster_id,
        hold: Hold { reason, until: Some(until) },
        created_by: REBUILD.to_owned(),
        created_at: now,
        released: None,
    })
}
