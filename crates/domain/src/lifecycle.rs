//! What happens to a backup after it is made: changes, holds, deletion, and the figures of what it takes up.

use crate::backup::{Backup, BackupStatus};
use crate::error::{InvalidInput, check_description};
use crate::ids::{BackupId, ClusterId, HoldId};
use crate::keep::Hold;
use crate::retention::{RETENTION_DAYS_MAX, RETENTION_DAYS_MIN};
use chrono::{DateTime, Days, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

/// Changes of a backup: what is `None` stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BackupChange {
    /// New name; unique among the backups of the cluster that are not deleted.
    pub name: Option<String>,
    /// New description.
    pub description: Option<String>,
    /// New end; `Some(None)` keeps it for ever.
    pub expires_at: Option<Option<DateTime<Utc>>>,
}

/// When a backup ends that is kept so many days, counted from when it was made.
///
/// # Errors
/// Days outside 1 to 30, or an end that is over: whoever wants a backup to go now deletes it.
pub fn changed_expiry(
    backup: &Backup,
    retention_days: Option<u32>,
    now: DateTime<Utc>,
) -> Result<Option<DateTime<Utc>>, InvalidInput> {
    let Some(days) = retention_days else { return Ok(None) };
    if !(RETENTION_DAYS_MIN..=RETENTION_DAYS_MAX).contains(&days) {
        let rule = format!(
            "must be between {RETENTION_DAYS_MIN} and {RETENTION_DAYS_MAX}, or null to keep the backup for ever; got {days}"
        );
        return Err(InvalidInput::new("retentionDays", rule));
    }
    let end = backup.created_at.checked_add_days(Days::new(u64::from(days)));
    match end {
        Some(end) if now < end => Ok(Some(end)),
        _ => Err(InvalidInput::new(
            "retentionDays",
            format!(
                "is counted from when the backup was made, and {days} days are over; delete the backup instead"
            ),
        )),
    }
}

/// A hold on a backup: as long as one binds, the backup is neither deleted nor expires.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupHold {
    /// Identity.
    pub id: HoldId,
    /// The backup that is held.
    pub backup_id: BackupId,
    /// Its cluster.
    pub cluster_id: ClusterId,
    /// Why, and until when.
    pub hold: Hold,
    /// Who holds it.
    pub created_by: String,
    /// Since when.
    pub created_at: DateTime<Utc>,
    /// Who took the hold off, and when; `None` while nobody has.
    pub released: Option<Release>,
}

/// The end of a hold by hand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// Who took it off.
    pub by: String,
    /// When.
    pub at: DateTime<Utc>,
}

impl BackupHold {
    /// Most holds that bind one backup at a time.
    pub const PER_BACKUP_MAX: u32 = 16;

    /// Whether it binds at that moment.
    #[must_use]
    pub fn is_active_at(&self, now: DateTime<Utc>) -> bool {
        self.released.is_none() && self.hold.is_active_at(now)
    }
}

/// Checks a hold before it is kept.
///
/// # Errors
/// A reason that is empty or too long, or an end that is over.
pub fn check_hold(hold: &Hold, now: DateTime<Utc>) -> Result<(), InvalidInput> {
    if hold.reason.trim().is_empty() {
        return Err(InvalidInput::new("reason", "must say why the backup has to stay"));
    }
    check_description("reason", &hold.reason)?;
    if hold.is_active_at(now) { Ok(()) } else { Err(InvalidInput::new("until", "must lie in the future")) }
}

/// The file that says in the repository itself that a backup is deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tombstone {
    /// The backup.
    pub backup_id: BackupId,
    /// Its cluster.
    pub cluster_id: ClusterId,
    /// When it was deleted.
    pub deleted_at: DateTime<Utc>,
}

/// A backup as far as a sweep is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// The backup.
    pub backup_id: BackupId,
    /// Its cluster.
    pub cluster_id: ClusterId,
    /// Its status.
    pub status: BackupStatus,
    /// When it was deleted, expired or failed.
    pub ended_at: Option<DateTime<Utc>>,
    /// Whether a job that has not ended refers to it.
    pub in_use: bool,
}

/// What a sweep makes of a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Its files stay.
    Kept,
    /// It goes when the time of grace is over; until then its files stay.
    Waiting,
    /// What only it refers to goes now.
    Due,
}

impl Standing {
    /// Decides about a backup. One that failed or was deleted goes when the time of grace is over and no job needs it.
    #[must_use]
    pub fn fate(&self, now: DateTime<Utc>, grace: TimeDelta) -> Fate {
        match (self.status, self.ended_at) {
            (BackupStatus::Creating | BackupStatus::Available, _) | (_, None) => Fate::Kept,
            _ if self.in_use => Fate::Kept,
            (BackupStatus::Failed | BackupStatus::Deleted, Some(ended_at)) if now - ended_at < grace => {
                Fate::Waiting
            }
            (BackupStatus::Failed | BackupStatus::Deleted, Some(_)) => Fate::Due,
        }
    }
}

/// What a backup takes up in its repository.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StorageUse {
    /// Bytes of the files that it refers to.
    pub stored_bytes: u64,
    /// Bytes of those of them that other backups refer to as well.
    pub shared_bytes: u64,
}

impl StorageUse {
    /// Bytes that a sweep frees when this backup alone is deleted.
    #[must_use]
    pub const fn freed_if_deleted_bytes(&self) -> u64 {
        self.stored_bytes.saturating_sub(self.shared_bytes)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use uuid::Uuid;

    const GRACE: TimeDelta = TimeDelta::hours(24);

    fn standing(status: BackupStatus, in_use: bool) -> Standing {
        Standing {
            backup_id: BackupId::from_uuid(Uuid::nil()),
            cluster_id: ClusterId::from_uuid(Uuid::nil()),
            status,
            ended_at: Some(DateTime::UNIX_EPOCH),
            in_use,
        }
    }

    #[test]
    fn only_ended_backups_go_and_only_after_the_grace() {
        let end = DateTime::UNIX_EPOCH + GRACE;
        for status in [BackupStatus::Failed, BackupStatus::Deleted] {
            assert_eq!(standing(status, false).fate(end - TimeDelta::seconds(1), GRACE), Fate::Waiting);
            assert_eq!(standing(status, false).fate(end, GRACE), Fate::Due);
            assert_eq!(standing(status, true).fate(end, GRACE), Fate::Kept);
            assert_eq!(Standing { ended_at: None, ..standing(status, false) }.fate(end, GRACE), Fate::Kept);
        }
        for status in [BackupStatus::Creating, BackupStatus::Available] {
            assert_eq!(standing(status, false).fate(end, GRACE), Fate::Kept);
        }
    }

    #[test]
    fn a_clock_that_goes_back_makes_nothing_due() {
        let before = DateTime::UNIX_EPOCH - TimeDelta::days(900);
        assert_eq!(standing(BackupStatus::Deleted, false).fate(before, GRACE), Fate::Waiting);
    }

    #[test]
    fn a_hold_needs_a_reason_and_a_future() {
        let now = DateTime::UNIX_EPOCH;
        let hold = |reason: &str, until| Hold { reason: reason.to_owned(), until };
        assert!(check_hold(&hold("audit", None), now).is_ok());
        assert_eq!(check_hold(&hold(" ", None), now).unwrap_err().field, "reason");
        assert_eq!(check_hold(&hold("audit", Some(now)), now).unwrap_err().field, "until");
    }
}
