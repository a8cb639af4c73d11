//! Which backups of the catalog itself were made.

use crate::database::{Record, Statement, Transaction};
use crate::model::{count, id, optional_time, time};
use milvault_domain::ports::{CatalogBackup, CatalogBackupClaim, PortResult};

/// Claims the making of one. The row of a day is there once; it is taken over when it has come to nothing.
pub(crate) async fn claim(transaction: &mut dyn Transaction, claim: &CatalogBackupClaim) -> PortResult<bool> {
    let columns = || {
        [
            ("name", claim.name.as_str().into()),
            ("repository_id", claim.repository_id.to_string().into()),
            ("started_at_us", claim.now.timestamp_micros().into()),
            ("ended_at_us", None::<i64>.into()),
            ("size_bytes", None::<i64>.into()),
            ("failure", None::<String>.into()),
        ]
    };
    let [name, repository, started, ended, size, failure] = columns();
    let insert = Statement::insert(
        "catalog_backups",
        [("day", claim.day.into()), name, repository, started, ended, size, failure],
    );
    let stale_before = claim.stale_before.timestamp_micros();
    let Some(day) = claim.day else {
        let at_work = transaction.query(select_at_work(stale_before)).await?;
        // Two servers may get here at one moment; then there are two backups.
        return Ok(at_work.is_empty() && transaction.execute(insert).await? == 1);
    };
    let mut claimed = transaction.execute(insert.push(" ON CONFLICT (day) DO NOTHING")).await?;
    if claimed == 0 {
        let take_over = Statement::update("catalog_backups", columns())
            .push("size_bytes IS NULL AND day = ")
            .bind(day)
            .push(" AND started_at_us < ")
            .bind(stale_before);
        claimed = transaction.execute(take_over).await?;
    }
    Ok(claimed == 1)
}

/// The latest ones.
pub(crate) fn select(limit: u32) -> Statement {
    Statement::new("SELECT * FROM catalog_backups ORDER BY started_at_us DESC, name DESC LIMIT ")
        .bind(i64::from(limit))
}

pub(crate) fn select_at_work(begun_since: i64) -> Statement {
    Statement::new("SELECT name FROM catalog_backups WHERE ended_at_us IS NULL AND started_at_us >= ")
        .bind(begun_since)
}

/// The latest one that was made.
pub(crate) fn select_made() -> Statement {
    Statement::new(
        "SELECT * FROM catalog_backups WHERE size_bytes IS NOT NULL ORDER BY started_at_us DESC, name DESC LIMIT 1",
    )
}

/// The first one that was tried.
pub(crate) fn select_first() -> Statement {
    Statement::new("SELECT * FROM catalog_backups ORDER BY started_at_us, name LIMIT 1")
}

pub(crate) fn read(row: &mut Record) -> PortResult<CatalogBackup> {
    Ok(CatalogBackup {
        name: row.text("name")?,
        repository_id: id(&row.text("repository_id")?)?,
        day: row.optional_integer("day")?,
        started_at: time(row.integer("started_at_us")?)?,
        ended_at: optional_time(row.optional_integer("ended_at_us")?)?,
        size_bytes: row.optional_integer("size_bytes")?.map(count).transpose()?,
        failure: row.optional_text("failure")?,
    })
}
