//! The catalog in a PostgreSQL database.
//!
//! A pool serves the requests. Several servers may use the database at once: who works on which cluster is a matter of
//! leases, and nothing here rests on a session.

use crate::database::{Database, Dialect, Record, Statement, Transaction, fetch, prepare};
use crate::error::{migration_error, port_error};
use async_trait::async_trait;
use milvault_domain::ports::{PortError, PortErrorKind, PortResult};
use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{Connection, Postgres};
use std::str::FromStr;
use std::time::Duration;

pub(crate) static MIGRATOR: Migrator = sqlx::migrate!("../../schema/sql/postgres");

/// Connections of the pool. The catalog's statements take milliseconds, so few serve many requests.
const CONNECTIONS_MAX: u32 = 10;
/// How long a request waits for a connection before it is told that the catalog is busy.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(15);
/// Limits of a request, set at the server: no statement of the catalog needs long, and no lock may be held for ever. A
/// server that is suspended within a transaction lets go of its locks before its leases run out.
const REQUEST_LIMITS: [(&str, &str); 3] =
    [("statement_timeout", "30s"), ("lock_timeout", "10s"), ("idle_in_transaction_session_timeout", "10s")];

/// A PostgreSQL database.
pub(crate) struct PostgresDatabase {
    pool: PgPool,
}

impl PostgresDatabase {
    /// Connects, and brings the schema up to date. Of servers that start at once one does it, and the others wait.
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
        migrate(options.clone()).await.map_err(|error| error.context(&place))?;
        let pool = PgPoolOptions::new()
            .max_connections(CONNECTIONS_MAX)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .connect_lazy_with(options.options(REQUEST_LIMITS));
        Ok(Self { pool })
    }
}

#[async_trait]
impl Database for PostgresDatabase {
    fn dialect(&self) -> Dialect {
        Dialect {
            lock_rows: " FOR UPDATE",
            lock_organizations: Some("LOCK TABLE organizations IN SHARE ROW EXCLUSIVE MODE"),
            lock_audit_log: Some("LOCK TABLE audit_log IN SHARE ROW EXCLUSIVE MODE"),
            #[cfg(feature = "scale")]
            explain: "EXPLAIN (ANALYZE, TIMING OFF) ",
            orders_arms: true,
            position_function: "strpos",
            is_shared: true,
            share_rows: " FOR SHARE",
            now_us: "CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000 AS BIGINT)",
            select_columns: "SELECT CAST(columns.table_name AS TEXT) AS table_name, CAST(columns.column_name AS TEXT) AS column_name, CAST(COALESCE(keys.ordinal_position, 0) AS BIGINT) AS key_position FROM information_schema.columns AS columns JOIN information_schema.tables AS tables ON tables.table_schema = columns.table_schema AND tables.table_name = columns.table_name AND tables.table_type = 'BASE TABLE' LEFT JOIN information_schema.table_constraints AS constraints ON constraints.table_schema = columns.table_schema AND constraints.table_name = columns.table_name AND constraints.constraint_type = 'PRIMARY KEY' LEFT JOIN information_schema.key_column_usage AS keys ON keys.constraint_schema = constraints.constraint_schema AND keys.constraint_name = constraints.constraint_name AND keys.column_name = columns.column_name WHERE columns.table_schema = current_schema() AND columns.table_name <> '_sqlx_migrations' ORDER BY columns.table_name, columns.ordinal_position",
            select_references: "SELECT DISTINCT CAST(tables.relname AS TEXT) AS table_name, CAST(others.relname AS TEXT) AS refers_to FROM pg_constraint AS keys JOIN pg_class AS tables ON tables.oid = keys.conrelid JOIN pg_class AS others ON others.oid = keys.confrelid WHERE keys.contype = 'f' AND tables.relnamespace = CAST(current_schema() AS REGNAMESPACE) ORDER BY table_name, refers_to",
        }
    }

    async fn ping(&self) -> PortResult<()> {
        self.pool.acquire().await.map_err(port_error)?.ping().await.map_err(port_error)
    }

    async fn read(&self, statement: Statement) -> PortResult<Vec<Record>> {
        fetch(&self.pool, statement).await
    }

    async fn begin_snapshot(&self) -> PortResult<Box<dyn Transaction>> {
        let mut transaction = self.pool.begin().await.map_err(port_error)?;
        // Between two pages the rows go to a store, which may be slow. No lock is held meanwhile.
        for statement in [
            "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY",
            "SET LOCAL idle_in_transaction_session_timeout = '10min'",
        ] {
            prepare::<Postgres>(Statement::new(statement))
                .execute(&mut *transaction)
                .await
                .map_err(port_error)?;
        }
        Ok(Box::new(PostgresTransaction(transaction)))
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

/// The database without user and password.
fn display_place(options: &PgConnectOptions) -> String {
    let database = options.get_database().unwrap_or("(default database)");
    format!("PostgreSQL {}:{}/{database}", options.get_host(), options.get_port())
}
