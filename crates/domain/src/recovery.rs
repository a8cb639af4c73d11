//! What a repository knows about its backups beyond their manifests, so that a lost catalog can be made again.

use crate::backup::Backup;
use crate::ids::{BackupId, ClusterId, HoldId, OrganizationId, ProjectId};
use crate::keep::{Hold, KeepRules};
use crate::lifecycle::BackupHold;
use crate::schedule::{SchedulePolicy, TimeZone, Timing};
use chrono::{DateTime, NaiveTime, TimeDelta, Utc, Weekday};

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

/// The policy of a cluster's automatic backups, as its repository knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyRecord {
    /// The cluster.
    pub cluster_id: ClusterId,
    /// Grows with every change, from one catalog to the next as well. Of several records of one cluster, in whatever
    /// repositories, the one with the highest revision counts.
    pub revision: u64,
    /// Organization of the catalog.
    pub organization: NamedOrganization,
    /// Project of the cluster.
    pub project: NamedProject,
    /// Name of the cluster when this was written.
    pub cluster_name: String,
    /// The policy.
    pub policy: SchedulePolicy,
}

/// The policy in place of one that cannot be read: nothing is made, and as much is kept as a policy can keep. Whatever
/// the policy was, no backup ends that it kept.
#[must_use]
pub fn cautious_policy() -> SchedulePolicy {
    let days = vec![
        Weekday::Mon,
        Weekday::Tue,
        Weekday::Wed,
        Weekday::Thu,
        Weekday::Fri,
        Weekday::Sat,
        Weekday::Sun,
    ];
    SchedulePolicy {
        enabled: false,
        keep: KeepRules::MOST,
        ..SchedulePolicy::new(Timing::Weekdays { days, window_start: NaiveTime::MIN }, TimeZone::UTC)
    }
}

/// Who holds the backups whose time would be over soon after a catalog was rebuilt or a repository attached.
pub const REBUILD: &str = "catalog rebuild";

/// The hold that a catalog needs on a backup that it found in a repository: policies and late changes of a lost catalog
/// may have kept a backup beyond what its files say, so nothing ends before the time of grace is over. `None` when it
/// stays so long anyway.
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
    let reason = "it was found in its repository; time to look at schedules and holds before it expires";
    Some(rebuild_hold(backup, reason, Some(until), id, now))
}

/// The hold that a rebuilt catalog needs on a backup whose record cannot be read: people may have decided that it stays.
/// `None` when it stays for ever anyway.
#[must_use]
pub fn doubt_hold(backup: &Backup, id: HoldId, now: DateTime<Utc>) -> Option<BackupHold> {
    backup.expires_at?;
    let reason =
        "its record cannot be read: its expiry and its holds may have been changed since it was made";
    Some(rebuild_hold(backup, reason, None, id, now))
}

fn rebuild_hold(
    backup: &Backup,
    reason: &str,
    until: Option<DateTime<Utc>>,
    id: HoldId,
    now: DateTime<Utc>,
) -> BackupHold {
    BackupHold {
        id,
        backup_id: backup.id,
        cluster_id: backup.cluster_id,
        hold: Hold { reason: reason.to_owned(), until },
        created_by: REBUILD.to_owned(),
        created_at: now,
        released: None,
    }
}
