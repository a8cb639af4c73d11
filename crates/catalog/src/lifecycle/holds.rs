//! Holds on backups.

use super::ending::load_locked;
use crate::database::{Dialect, Record, Statement, Transaction};
use crate::model::{CREATED_BY_CHARS_MAX, bounded, id, optional_microseconds, optional_time, time};
use crate::recovery;
use chrono::{DateTime, Utc};
use milvault_domain::backup::BackupStatus;
use milvault_domain::error::DESCRIPTION_CHARS_MAX;
use milvault_domain::ids::{BackupId, ClusterId, HoldId};
use milvault_domain::keep::Hold;
use milvault_domain::lifecycle::{BackupHold, Release};
use milvault_domain::ports::{PortError, PortErrorKind, PortResult};

/// Most holds of one backup that are listed.
pub(crate) const LISTED_MAX: i64 = 100;

/// Adds a hold. The lock on the backup's row keeps the backup from ending meanwhile.
pub(super) async fn insert(
    transaction: &mut dyn Transaction,
    dialect: Dialect,
    hold: &BackupHold,
) -> PortResult<()> {
    let backup = load_locked(transaction, dialect, hold.backup_id).await?;
    if matches!(backup.status, BackupStatus::Failed | BackupStatus::Deleted) {
        let message = format!("backup {} has failed or is deleted; there is nothing to hold", backup.id);
        return Err(super::conflict(message));
    }
    let binding = transaction.query(select_binding(backup.id, hold.created_at)).await?;
    if BackupHold::PER_BACKUP_MAX as usize <= binding.len() {
        let message = format!("backup {} has {} holds already; release one first", backup.id, binding.len());
        return Err(super::conflict(message));
    }
    let columns = [
        ("id", hold.id.to_string().into()),
        ("backup_id", backup.id.to_string().into()),
        ("cluster_id", backup.cluster_id.to_string().into()),
        ("reason", bounded(&hold.hold.reason, DESCRIPTION_CHARS_MAX).into()),
        ("until_us", optional_microseconds(hold.hold.until).into()),
        ("created_by", bounded(&hold.created_by, CREATED_BY_CHARS_MAX).into()),
        ("created_at_us", hold.created_at.timestamp_micros().into()),
    ];
    transaction.execute(Statement::insert("backup_holds", columns)).await?;
    transaction.execute(recovery::changed(backup.id)).await?;
    Ok(())
}

/// Adds a hold that was found in a repository, unless its id is known.
pub(crate) fn insert_found(hold: &BackupHold, cluster_id: ClusterId) -> Statement {
    let released = hold.released.as_ref();
    let columns = [
        ("id", hold.id.to_string().into()),
        ("backup_id", hold.backup_id.to_string().into()),
        ("cluster_id", cluster_id.to_string().into()),
        ("reason", bounded(&hold.hold.reason, DESCRIPTION_CHARS_MAX).into()),
        ("until_us", optional_microseconds(hold.hold.until).into()),
        ("created_by", bounded(&hold.created_by, CREATED_BY_CHARS_MAX).into()),
        ("created_at_us", hold.created_at.timestamp_micros().into()),
        ("released_at_us", optional_microseconds(released.map(|release| release.at)).into()),
        ("released_by", released.map(|release| bounded(&release.by, CREATED_BY_CHARS_MAX)).into()),
    ];
    Statement::insert("backup_holds", columns).push(" ON CONFLICT (id) DO NOTHING")
}

/// Takes a hold off, once.
pub(super) async fn release(
    transaction: &mut dyn Transaction,
    hold_id: HoldId,
    release: &Release,
) -> PortResult<BackupHold> {
    let taken_off = transaction.execute(take_off(hold_id, release)).await?;
    match transaction.query(select(hold_id)).await?.pop() {
        Some(mut row) => {
            let hold = read(&mut row)?;
            if taken_off == 1 {
                transaction.execute(recovery::changed(hold.backup_id)).await?;
            }
            Ok(hold)
        }
        None => Err(PortError::new(PortErrorKind::NotFound, format!("hold {hold_id} does not exist"))),
    }
}

/// Takes a hold off unless it is off already.
pub(crate) fn take_off(hold_id: HoldId, release: &Release) -> Statement {
    let columns = [
        ("released_at_us", release.at.timestamp_micros().into()),
        ("released_by", bounded(&release.by, CREATED_BY_CHARS_MAX).into()),
    ];
    Statement::update("backup_holds", columns)
        .push("released_at_us IS NULL AND id = ")
        .bind(hold_id.to_string())
}

pub(crate) fn select(hold_id: HoldId) -> Statement {
    Statement::new("SELECT * FROM backup_holds WHERE id = ").bind(hold_id.to_string())
}

pub(crate) fn select_of(backup_id: BackupId) -> Statement {
    Statement::new("SELECT * FROM backup_holds WHERE backup_id = ")
        .bind(backup_id.to_string())
        .push(" ORDER BY created_at_us DESC, id DESC LIMIT ")
        .bind(LISTED_MAX)
}

/// The holds that bind a backup at a moment.
pub(crate) fn select_binding(backup_id: BackupId, now: DateTime<Utc>) -> Statement {
    Statement::new("SELECT * FROM backup_holds WHERE released_at_us IS NULL AND backup_id = ")
        .bind(backup_id.to_string())
        .push(" AND (until_us IS NULL OR until_us > ")
        .bind(now.timestamp_micros())
        .push(")")
}

/// The holds that bind any backup of a cluster at a moment.
pub(crate) fn select_binding_in(cluster_id: ClusterId, now: DateTime<Utc>) -> Statement {
    Statement::new("SELECT * FROM backup_holds WHERE released_at_us IS NULL AND cluster_id = ")
        .bind(cluster_id.to_string())
        .push(" AND (until_us IS NULL OR until_us > ")
        .bind(now.timestamp_micros())
        .push(")")
}

pub(crate) fn read(row: &mut Record) -> PortResult<BackupHold> {
    let released_at = optional_time(row.optional_integer("released_at_us")?)?;
    let released_by = row.optional_text("released_by")?;
    Ok(BackupHold {
        id: id(&row.text("id")?)?,
        backup_id: id(&row.text("backup_id")?)?,
        cluster_id: id(&row.text("cluster_id")?)?,
        hold: Hold { reason: row.text("reason")?, until: optional_time(row.optional_integer("until_us")?)? },
        created_by: row.text("created_by")?,
        created_at: time(row.integer("created_at_us")?)?,
        released: released_at.zip(released_by).map(|(at, by)| Release { by, at }),
    })
}
