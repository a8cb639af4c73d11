//! The catalog in a PostgreSQL database.
//!
//! A pool serves the requests. Beside it one connection holds a session advisory lock for as long as this server lives:
//! two servers on one catalog would both take up its jobs. A pooler that hands a session to several clients (such as
//! PgBouncer in transaction mode) would break that lock, so the URL must lead to the server itself.

use crate::database::{Database, Dialect, Record, Statement, Transaction, fetch, prepare};
use crate::error::{migration_error, port_error};
use async_trait::async_trait;
use milvault_domain::ports::{PortError, PortErrorKind, PortResult};
use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions};
use sqlx::{ConnectOptions, Connection, Postgres};
use std::str::FromStr;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::timeout;

pub(crate) static MIGRATOR: Migrator = sqlx::migrate!("../../schema/sql/postgres");

/// Connections of the pool. The catalog's statements take milliseconds, so few serve many requests.
const CONNECTIONS_MAX: u32 = 10;
/// How long a request waits for a connection before it is told that the catalog is busy.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(15);
/// How long the server may take to accept a connection, or to answer on the connection that holds the lock.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// Limits of a request, set at the server: no statement of the catalog needs long, and no lock may be held for ever.
const REQUEST_LIMITS: [(&str, &str); 3] =
    [("statement_timeout", "30s"), ("lock_timeout", "10s"), ("idle_in_transaction_session_timeout", "60s")];
/// The advisory lock of a catalog; such locks belong to one database of the server. The figure is `milvault` in ASCII.
const CATALOG_LOCK: i64 = 0x6d69_6c76_6175_6c74;

/// A PostgreSQL database.
pub(crate) struct PostgresDatabase {
    pool: PgPool,
    options: PgConnectOptions,
    /// The connection that holds the catalog's lock; `None` while it is lost.
    lock_holder: Mutex<Option<PgConnection>>,
}

impl PostgresDatabase {
    /// Connects, takes the catalog for this server, and brings its schema up to date.
    pub(crate) async fn open(url: &str) -> PortResult<Self> {
        let options = PgConnectOptions::from_str(url)
            .map_err(|_| {
                // The parser's own error may quote the URL, and that holds the password.
                PortError::new(
                    PortErrorKind::InvalidInput,
                    "the catalog's database URL is not of the form `postgres://user:password@host:port/database`",
                )
            })?
            .application_name("milvault");
        let place = display_place(&options);
        let lock_holder = take_lock(&options).await.map_err(|error| error.context(&place))?;
        migrate(options.clone()).await.map_err(|error| error.context(&place))?;
        let pool = PgPoolOptions::new()
            .max_connections(CONNECTIONS_MAX)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .connect_lazy_with(options.clone().options(REQUEST_LIMITS));
        Ok(Self { pool, options, lock_holder: Mutex::new(Some(lock_holder)) })
    }

    /// Makes sure that the catalog's lock is held. When it was lost, takes it again and still reports the loss: another
    /// server may have used the catalog meanwhile.
    async fn check_lock(&self) -> PortResult<()> {
        let mut lock_holder = self.lock_holder.lock().await;
        if let Some(connection) = lock_holder.as_mut()
            && let Ok(Ok(())) = timeout(ANSWER_TIMEOUT, connection.ping()).await
        {
            return Ok(());
        }
        *lock_holder = None;
        *lock_holder =
            Some(take_lock(&self.options).await.map_err(|error| {
                error.context("the lock on the catalog was lost and cannot be taken again")
            })?);
        Err(PortError::new(
            PortErrorKind::Unavailable,
            "the lock on the catalog was lost, because the database server closed its connection; it is taken again",
        ))
    }
}

#[async_trait]
impl Database for PostgresDatabase {
    fn dialect(&self) -> Dialect {
        Dialect {
            lock_rows: " FOR UPDATE",
            lock_organizations: Some("LOCK TABLE organizations IN SHARE ROW EXCLUSIVE MODE"),
            lock_audit_log: Some("LOCK TABLE audit_log IN SHARE ROW EXCLUSIVE MODE"),
            position_function: "strpos",
        }
    }

    async fn ping(&self) -> PortResult<()> {
        self.check_lock().await?;
        self.pool.acquire().await.map_err(port_error)?.ping().await.map_err(port_error)
    }

    async fn read(&self, statement: Statement) -> PortResult<Vec<Record>> {
        fetch(&self.pool, statement).await
    }

    async fn begin(&self) -> PortResult<Box<dyn Transaction>> {
        Ok(Box::new(PostgresTransaction(self.pool.begin().await.map_err(port_error)?)))
    }
}

struct PostgresTransaction(sqlx::Transaction<'static, Postgres>);

#[async_trait]
impl Transaction for PostgresTransaction {
    async fn query(&mut self, statement: Statement) -> PortResult<Vec<Record>> {
        fetch(&mut *self.0, statement).await
    }

    async fn execute(&mut self, statement: Statement) -> PortResult<u64> {
        let done = prepare::<Postgres>(statement).execute(&mut *self.0).await.map_err(port_error)?;
        Ok(done.rows_affected())
    }

    async fn commit(self: Box<Self>) -> PortResult<()> {
        self.0.commit().await.map_err(port_error)
    }
}

/// Runs on a pool of its own, because no limit of a request applies: a migration may rewrite a large table.
async fn migrate(options: PgConnectOptions) -> PortResult<()> {
    let pool =
        PgPoolOptions::new().max_connections(1).acquire_timeout(ACQUIRE_TIMEOUT).connect_lazy_with(options);
    let outcome = MIGRATOR.run(&pool).await.map_err(migration_error);
    pool.close().await;
    outcome
}

/// Opens a connection that holds the catalog's lock until it is closed. Waits a few seconds for it, because the
/// database notices the end of a killed server only after a moment.
async fn take_lock(options: &PgConnectOptions) -> PortResult<PgConnection> {
    let options = options.clone().options([("lock_timeout", "5s")]);
    let mut connection = timeout(ANSWER_TIMEOUT, options.connect())
        .await
        .map_err(|_| {
            PortError::new(
                PortErrorKind::Unavailable,
                "the catalog's database server does not accept connections",
            )
        })?
        .map_err(port_error)?;
    let statement = Statement::new("SELECT pg_advisory_lock(").bind(CATALOG_LOCK).push(")");
    match prepare::<Postgres>(statement).execute(&mut connection).await {
        Ok(_) => {}
        Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some(LOCK_NOT_AVAILABLE) => {
            return Err(PortError::new(
                PortErrorKind::Conflict,
                "another Milvault server uses this catalog; stop that server, or give this one a database of its own",
            ));
        }
        Err(error) => return Err(port_error(error)),
    }
    Ok(connection)
}

/// SQLSTATE of a lock that was not to be had in time.
const LOCK_NOT_AVAILABLE: &str = "55P03";

/// The database without user and password.
fn display_place(options: &PgConnectOptions) -> String {
    let database = options.get_database().unwrap_or("(default database)");
    format!("PostgreSQL {}:{}/{database}", options.get_host(), options.get_port())
}
