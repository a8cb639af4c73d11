//! What happens to backups after they are made.

use super::backup::Backup;
use crate::error::GatewayError;
use crate::graphql::access::ContextExt;
use crate::graphql::scalar::{Bytes, Int64, print_id};
use async_graphql::{ComplexObject, Context, Enum, ID, SimpleObject};
use chrono::{DateTime, NaiveDate, Utc};
use milvault_actors::SweepPreview as Preview;
use milvault_domain::ids;
use milvault_domain::keep::{KeepReason, Verdict};
use milvault_domain::lifecycle as domain;

/// A promise that a backup stays: as long as one binds, the backup is neither deleted nor expires.
#[derive(SimpleObject)]
pub(crate) struct BackupHold {
    /// Identity, `hld_...`.
    id: ID,
    /// The backup that is held.
    backup_id: ID,
    /// Why.
    reason: String,
    /// When it ends by itself; null is never.
    until: Option<DateTime<Utc>>,
    /// Whether it binds now.
    active: bool,
    /// Who holds the backup.
    created_by: String,
    /// Since when.
    created_at: DateTime<Utc>,
    /// Who took the hold off; null while nobody has.
    released_by: Option<String>,
    /// When it was taken off; null while nobody has.
    released_at: Option<DateTime<Utc>>,
}

impl BackupHold {
    /// The hold as it is at a moment.
    pub(crate) fn at(hold: domain::BackupHold, now: DateTime<Utc>) -> Self {
        let active = hold.is_active_at(now);
        let (released_by, released_at) = hold.released.map(|release| (release.by, release.at)).unzip();
        Self {
            id: print_id(hold.id),
            backup_id: print_id(hold.backup_id),
            reason: hold.hold.reason,
            until: hold.hold.until,
            active,
            created_by: hold.created_by,
            created_at: hold.created_at,
            released_by,
            released_at,
        }
    }
}

/// What a backup takes up in its repository, manifests not counted.
#[derive(SimpleObject)]
#[allow(clippy::struct_field_names, reason = "the names are those of the schema, which says units")]
pub(crate) struct BackupStorage {
    /// Sum of the sizes of its objects at the source.
    logical_bytes: Bytes,
    /// Bytes of the files that it refers to.
    stored_bytes: Bytes,
    /// Bytes of those of them that other available backups of the cluster refer to as well.
    shared_bytes: Bytes,
    /// Bytes that are freed when this backup alone is deleted and swept.
    freed_if_deleted_bytes: Bytes,
}

impl BackupStorage {
    pub(crate) fn new(logical_bytes: u64, storage: domain::StorageUse) -> Self {
        Self {
            logical_bytes: Bytes(logical_bytes),
            stored_bytes: Bytes(storage.stored_bytes),
            shared_bytes: Bytes(storage.shared_bytes),
            freed_if_deleted_bytes: Bytes(storage.freed_if_deleted_bytes()),
        }
    }
}

/// What retention makes of a backup at a moment.
#[derive(SimpleObject)]
#[graphql(complex)]
pub(crate) struct RetentionVerdict {
    /// The backup.
    backup_id: ID,
    /// Whether it expires, unless a job that has not ended needs it.
    expires: bool,
    /// When its age was over; null while it is not.
    over_age_since: Option<DateTime<Utc>>,
    /// Why it stays; empty when it expires.
    kept_by: Vec<BackupKeepReason>,
    #[graphql(skip)]
    key: ids::BackupId,
}

#[ComplexObject]
impl RetentionVerdict {
    /// The backup.
    async fn backup(&self, context: &Context<'_>) -> Result<Option<Backup>, GatewayError> {
        let found = context.records()?.load_one(self.key).await?;
        Ok(context.caller()?.visible(found).map(Into::into))
    }
}

impl From<Verdict> for RetentionVerdict {
    fn from(verdict: Verdict) -> Self {
        Self {
            backup_id: print_id(verdict.backup_id),
            expires: verdict.expires(),
            over_age_since: verdict.over_age_since,
            kept_by: verdict.kept_by.into_iter().map(Into::into).collect(),
            key: verdict.backup_id,
        }
    }
}

/// What keeps a backup.
#[derive(Enum, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BackupKeepKind {
    /// It has no end.
    Forever,
    /// Its end has not come.
    Age,
    /// Somebody holds it.
    Held,
    /// It is among the newest.
    Last,
    /// It is the newest of a day.
    Daily,
    /// It is the newest of a week.
    Weekly,
    /// It is the newest of a month.
    Monthly,
}

/// Why a backup stays.
#[derive(SimpleObject)]
pub(crate) struct BackupKeepReason {
    /// What keeps it.
    kind: BackupKeepKind,
    /// Until when, for its age and for holds that end.
    until: Option<DateTime<Utc>>,
    /// Why it is held.
    reason: Option<String>,
    /// The day, or the first day of the week or month, that it is the newest of: `YYYY-MM-DD`.
    period: Option<String>,
}

impl From<KeepReason> for BackupKeepReason {
    fn from(reason: KeepReason) -> Self {
        let of = |kind| Self { kind, until: None, reason: None, period: None };
        let newest_of = |kind, day: NaiveDate| Self { period: Some(day.to_string()), ..of(kind) };
        match reason {
            KeepReason::Forever => of(BackupKeepKind::Forever),
            KeepReason::Age { until } => Self { until: Some(until), ..of(BackupKeepKind::Age) },
            KeepReason::Held { reason, until } => {
                Self { until, reason: Some(reason), ..of(BackupKeepKind::Held) }
            }
            KeepReason::Last => of(BackupKeepKind::Last),
            KeepReason::Daily(day) => newest_of(BackupKeepKind::Daily, day),
            KeepReason::Weekly(day) => newest_of(BackupKeepKind::Weekly, day),
            KeepReason::Monthly(day) => newest_of(BackupKeepKind::Monthly, day),
        }
    }
}

/// What a sweep of a cluster would do now.
#[derive(SimpleObject)]
pub(crate) struct SweepPreview {
    /// Deleted and failed backups of which nothing would be left.
    backup_ids: Vec<ID>,
    /// Deleted and failed backups whose time of grace is not over.
    waiting: Int64,
    /// Files that would be removed, manifests not counted.
    files: Int64,
    /// Their bytes.
    bytes: Bytes,
    /// Deleted backups that cannot be read, each with the reason; their files stay.
    unreadable: Vec<String>,
}

impl From<Preview> for SweepPreview {
    fn from(preview: Preview) -> Self {
        Self {
            backup_ids: preview.backups.into_iter().map(print_id).collect(),
            waiting: Int64(preview.waiting),
            files: Int64(preview.files),
            bytes: Bytes(preview.bytes),
            unreadable: preview.unreadable,
        }
    }
}
