//! Names of backups: which living backup of a cluster has one, and the numbers of those that were given none. That a
//! name is given once is guaranteed by the index `backups_living_names`, whatever happens.

use crate::database::{Statement, Transaction};
use crate::model::{count, id};
use milvault_domain::backup::Backup;
use milvault_domain::ids::{BackupId, ClusterId};
use milvault_domain::names::{default_backup_name, distinct_backup_name};
use milvault_domain::ports::PortResult;

/// Digits of a backup's id that tell it from another one of the same name.
const DISTINCT_DIGITS: usize = 12;

/// What became of the wish for a name.
pub(crate) enum Claim {
    /// It, or a default name, is free.
    Free(String),
    /// A living backup of the cluster has it.
    Taken(BackupId),
}

/// Looks whether a backup's name is free in its cluster; one without a name gets the next default one. The caller holds
/// the lock on the cluster's row.
pub(crate) async fn claim(transaction: &mut dyn Transaction, backup: &Backup) -> PortResult<Claim> {
    if !backup.name.is_empty() {
        let other = living(transaction, backup.cluster_id, &backup.name).await?;
        return Ok(other.map_or_else(|| Claim::Free(backup.name.clone()), Claim::Taken));
    }
    loop {
        // Somebody may have chosen what a number would have given; the next number is another.
        let mut rows = transaction.query(next_number(backup.cluster_id)).await?;
        let Some(row) = rows.first_mut() else { continue };
        let name = default_backup_name(&backup.cluster_name, count(row.integer("given")?)?);
        if living(transaction, backup.cluster_id, &name).await?.is_none() {
            return Ok(Claim::Free(name));
        }
    }
}

/// The name under which a backup that was found in a repository is kept: its own, or one made distinct by its id.
pub(crate) async fn distinct(
    transaction: &mut dyn Transaction,
    cluster_id: ClusterId,
    backup_id: BackupId,
    name: &str,
) -> PortResult<String> {
    let digits = backup_id.as_uuid().simple().to_string();
    let shortened = &digits[digits.len() - DISTINCT_DIGITS..];
    for name in [name.to_owned(), distinct_backup_name(name, shortened)] {
        let other = living(transaction, cluster_id, &name).await?;
        if other.is_none_or(|other| other == backup_id) {
            return Ok(name);
        }
    }
    Ok(distinct_backup_name(name, &digits))
}

/// The living backup of a cluster that has a name.
pub(crate) async fn living(
    transaction: &mut dyn Transaction,
    cluster_id: ClusterId,
    name: &str,
) -> PortResult<Option<BackupId>> {
    let mut rows = transaction.query(select_living(cluster_id, name)).await?;
    rows.first_mut().map(|row| id(&row.text("id")?)).transpose()
}

pub(crate) fn select_living(cluster_id: ClusterId, name: &str) -> Statement {
    Statement::new("SELECT id FROM backups WHERE cluster_id = ")
        .bind(cluster_id.to_string())
        .push(" AND name = ")
        .bind(name)
        .push(" AND status IN ('CREATING', 'AVAILABLE')")
}

fn next_number(cluster_id: ClusterId) -> Statement {
    Statement::insert(
        "backup_numbers",
        [("cluster_id", cluster_id.to_string().into()), ("given", 1_i64.into())],
    )
    .push(" ON CONFLICT (cluster_id) DO UPDATE SET given = backup_numbers.given + 1 RETURNING given")
}
