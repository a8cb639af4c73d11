//! The catalog: the database of clusters, repositories, backups, jobs and keys, on SQLite or PostgreSQL.
//!
//! The port and its contracts are in [`milvault_domain::ports::Catalog`]. The SQL is written once (`clusters`, `backups`,
//! `jobs`, `restores` and their neighbours); `sqlite` and `postgres` only connect, take the catalog for this server and run
//! statements. sqlx stays inside this crate. The tables are in `schema/sql`.
//!
//! Invariants: one server per SQLite file, any number per PostgreSQL database; every method is one transaction; whatever may hold secrets is encrypted before
//! it reaches a statement; no text from outside ever becomes part of a statement.

mod admission;
mod audit;
mod backups;
mod batches;
mod catalog;
mod catalog_backups;
mod catalog_file;
mod checks;
mod clusters;
mod comparisons;
mod completion;
#[cfg(feature = "contract")]
pub mod contract;
mod copies;
mod database;
mod error;
mod export;
mod found;
mod idempotency;
mod identity;
mod job_pruning;
mod jobs;
mod keyed;
mod leases;
mod lifecycle;
mod model;
mod name_search;
mod names;
mod page;
mod policy_records;
mod postgres;
#[cfg(test)]
mod query_plans;
mod recovery;
mod requests;
mod restore_completion;
mod restores;
mod rotation;
#[cfg(feature = "scale")]
pub mod scale;
mod schedules;
mod seal;
mod sign_in;
mod sqlite;
mod tables;
mod tenancy;
mod usage;
mod webhooks;

pub use rotation::{SealedCatalog, SealedValues, refuse_while_in_use};
pub use seal::{Sealer, begin_rotation, end_rotation};

use catalog::SqlCatalog;
use database::Database;
use milvault_domain::ports::{Catalog, PortError, PortErrorKind, PortResult};
use std::path::Path;
use std::sync::Arc;

/// Opens the catalog, makes it where there is none, and brings its schema up to date.
///
/// - `sqlite:///absolute/path.db`: a file, with others beside it whose names begin the same;
/// - `sqlite::memory:`: nothing that stays; for tests;
/// - `postgres://user:password@host:port/database`: a database that exists and may be empty.
///
/// A SQLite file belongs to the caller until the catalog is dropped; a PostgreSQL database may serve several servers.
///
/// # Errors
/// `InvalidInput` for other URLs; `Conflict` when another server uses the SQLite file; `PermissionDenied` when the sealer has
/// another key than the one the catalog was made with; `Unsupported` when a newer Milvault wrote the catalog; errors of
/// the database. No error contains the URL's password.
pub async fn open(url: &str, sealer: Sealer) -> PortResult<Arc<dyn Catalog>> {
    Ok(Arc::new(SqlCatalog::new(open_database(url).await?, sealer).await?))
}

async fn open_database(url: &str) -> PortResult<Box<dyn Database>> {
    if url == "sqlite::memory:" {
        return Ok(Box::new(sqlite::SqliteDatabase::open_in_memory().await?));
    }
    if let Some(path) = url.strip_prefix("sqlite://") {
        if !path.starts_with('/') || path.contains('?') {
            return Err(PortError::new(
                PortErrorKind::InvalidInput,
                format!("`{url}` must have the form `sqlite:///absolute/path.db`"),
            ));
        }
        return Ok(Box::new(sqlite::SqliteDatabase::open(Path::new(path)).await?));
    }
    if url.starts_with("postgres://") || url.starts_with("postgresql://") {
        return Ok(Box::new(postgres::PostgresDatabase::open(url).await?));
    }
    Err(PortError::new(
        PortErrorKind::InvalidInput,
        "the catalog's URL must begin with `sqlite://` or `postgres://`",
    ))
}
