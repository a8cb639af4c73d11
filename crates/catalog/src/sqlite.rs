//! The catalog in a SQLite file.
//!
//! One connection writes, a few read beside it (write-ahead log). A transaction takes the write lock when it begins:
//! one that read first and wanted to write later could otherwise fail although nothing is wrong.

use crate::database::{Database, Dialect, Record, Statement, Transaction, fetch, prepare};
use crate::error::{migration_error, port_error};
use async_trait::async_trait;
use milvault_domain::ports::{PortError, PortErrorKind, PortResult};
use sqlx::migrate::Migrator;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{Connection, Sqlite};
use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

pub(crate) static MIGRATOR: Migrator = sqlx::migrate!("../../schema/sql/sqlite");

/// Readers beside the one writer.
const READERS_MAX: u32 = 4;
/// How long a request waits for a connection before it is told that the catalog is busy.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a statement waits for another process that holds the file, such as a backup of it.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// A SQLite database.
pub(crate) struct SqliteDatabase {
    writer: SqlitePool,
    readers: SqlitePool,
    /// Held, never read: two servers on one catalog would both take up its jobs. In memory there is nothing to hold.
    _lock: Option<File>,
}

impl SqliteDatabase {
    /// Opens the file, makes it where there is none, and brings its schema up to date.
    pub(crate) async fn open(path: &Path) -> PortResult<Self> {
        let lock = take_lock(path)?;
        create_private(path).map_err(|error| file_error(path, error))?;
        let options = SqliteConnectOptions::new()
            .filename(path)
            .busy_timeout(BUSY_TIMEOUT)
            .foreign_keys(true)
            // What is needed to undo a statement is small, and would be a file with every transaction.
            .pragma("temp_store", "MEMORY");
        let writer = connect_writer(
            options.clone().journal_mode(SqliteJournalMode::Wal).synchronous(SqliteSynchronous::Full),
        )
        .await
        .map_err(|error| error.context(path.display()))?;
        let readers = SqlitePoolOptions::new()
            // A new connection reads the whole schema first; better now than when somebody waits.
            .min_connections(READERS_MAX)
            .max_connections(READERS_MAX)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .test_before_acquire(false)
            .connect_lazy_with(options.read_only(true));
        Ok(Self { writer, readers, _lock: Some(lock) })
    }

    /// A database that lives in the memory of this process, on one connection, until it is dropped. For tests.
    pub(crate) async fn open_in_memory() -> PortResult<Self> {
        let writer = connect_writer(SqliteConnectOptions::new().in_memory(true).foreign_keys(true)).await?;
        Ok(Self { readers: writer.clone(), writer, _lock: None })
    }
}

async fn connect_writer(options: SqliteConnectOptions) -> PortResult<SqlitePool> {
    let pool = SqlitePoolOptions::new()
        .min_connections(1)
        .max_connections(1)
        .idle_timeout(None)
        .max_lifetime(None)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        // A file does not hang up; asking whether it is still there would double the way of every small statement.
        .test_before_acquire(false)
        // On a full disk SQLite itself undoes the transaction, sqlx's own ROLLBACK then fails, and sqlx takes the
        // connection for one inside a transaction for ever. Such a connection is closed and another one opened.
        .before_acquire(|connection, _| Box::pin(async { Ok(!connection.is_in_transaction()) }))
        .connect_with(options)
        .await
        .map_err(port_error)?;
    MIGRATOR.run(&pool).await.map_err(migration_error)?;
    Ok(pool)
}

#[async_trait]
impl Database for SqliteDatabase {
    fn dialect(&self) -> Dialect {
        // A transaction holds the lock on the whole database, so rows and tables need none.
        Dialect {
            lock_rows: "",
            lock_organizations: None,
            lock_audit_log: None,
            #[cfg(feature = "scale")]
            explain: "EXPLAIN QUERY PLAN ",
            orders_arms: false,
            position_function: "instr",
            is_shared: false,
            share_rows: "",
            now_us: "CAST(unixepoch('subsec') * 1000000 AS INTEGER)",
            select_columns: "SELECT tables.name AS table_name, columns.name AS column_name, columns.pk AS key_position FROM sqlite_master AS tables, pragma_table_info(tables.name) AS columns WHERE tables.type = 'table' AND tables.name NOT LIKE 'sqlite_%' AND tables.name <> '_sqlx_migrations' ORDER BY tables.name, columns.cid",
            select_references: "SELECT DISTINCT tables.name AS table_name, keys.\"table\" AS refers_to FROM sqlite_master AS tables, pragma_foreign_key_list(tables.name) AS keys WHERE tables.type = 'table' ORDER BY tables.name, keys.\"table\"",
        }
    }

    async fn ping(&self) -> PortResult<()> {
        self.readers.acquire().await.map_err(port_error)?.ping().await.map_err(port_error)
    }

    async fn read(&self, statement: Statement) -> PortResult<Vec<Record>> {
        fetch(&self.readers, statement).await
    }

    async fn begin_snapshot(&self) -> PortResult<Box<dyn Transaction>> {
        let transaction = self.readers.begin().await.map_err(port_error)?;
        Ok(Box::new(SqliteTransaction(transaction)))
    }

    async fn begin(&self) -> PortResult<Box<dyn Transaction>> {
        let transaction = self.writer.begin_with("BEGIN IMMEDIATE").await.map_err(port_error)?;
        Ok(Box::new(SqliteTransaction(transaction)))
    }
}

struct SqliteTransaction(sqlx::Transaction<'static, Sqlite>);

#[async_trait]
impl Transaction for SqliteTransaction {
    async fn query(&mut self, statement: Statement) -> PortResult<Vec<Record>> {
        fetch(&mut *self.0, statement).await
    }

    async fn execute(&mut self, statement: Statement) -> PortResult<u64> {
        let done = prepare::<Sqlite>(statement).execute(&mut *self.0).await.map_err(port_error)?;
        Ok(done.rows_affected())
    }

    async fn commit(self: Box<Self>) -> PortResult<()> {
        self.0.commit().await.map_err(port_error)
    }
}

/// Takes the lock file beside the database. The operating system gives it back when the process ends, however it ends.
fn take_lock(path: &Path) -> PortResult<File> {
    let mut lock_path = path.as_os_str().to_owned();
    lock_path.push(".lock");
    let lock_path = PathBuf::from(lock_path);
    let file = create_private(&lock_path).map_err(|error| file_error(&lock_path, error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(PortError::new(
            PortErrorKind::Conflict,
            format!(
                "another Milvault server uses the catalog {}; stop that server, or give this one a catalog of its own",
                path.display()
            ),
        )),
        Err(TryLockError::Error(error)) => Err(file_error(&lock_path, error)),
    }
}

/// Opens a file for reading and writing, readable by its owner only, and makes it where there is none. SQLite gives
/// its other files the same permissions.
fn create_private(path: &Path) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(path)?;
    #[cfg(unix)]
    file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    Ok(file)
}

fn file_error(path: &Path, error: std::io::Error) -> PortError {
    use std::io::ErrorKind;
    let (kind, advice) = match error.kind() {
        ErrorKind::NotFound => (PortErrorKind::NotFound, "; make its directory first"),
        ErrorKind::PermissionDenied => {
            (PortErrorKind::PermissionDenied, "; give this user the right to write there")
        }
        ErrorKind::ReadOnlyFilesystem => (PortErrorKind::ReadOnly, ""),
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            (PortErrorKind::StorageFull, "; free some space")
        }
        _ => (PortErrorKind::Unavailable, ""),
    };
    PortError::with_source(kind, format!("cannot open {}: {error}{advice}", path.display()), error)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn a_full_disk_is_told_and_leaves_the_database_usable() {
        let directory = tempfile::tempdir().unwrap();
        let database = SqliteDatabase::open(&directory.path().join("catalog.db")).await.unwrap();
        let insert = |id: &str, length: usize| {
            let name = "x".repeat(length);
            let columns = [("id", id.into()), ("name", name.into()), ("created_at_us", 0.into())];
            Statement::insert("organizations", columns)
        };
        let mut transaction = database.begin().await.unwrap();
        // SQLite takes the number of pages that are in use now when it is given a smaller one.
        transaction.query(Statement::new("PRAGMA max_page_count = 1")).await.unwrap();
        let error = transaction.execute(insert("org_1", 100_000)).await.unwrap_err();
        assert_eq!(error.kind(), PortErrorKind::StorageFull, "{error:?}");
        drop(transaction);
        let mut transaction = database.begin().await.unwrap();
        transaction.execute(insert("org_1", 1)).await.unwrap();
        transaction.commit().await.unwrap();
    }
}
