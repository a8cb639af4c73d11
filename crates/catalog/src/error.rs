//! The one place where an error of the database becomes a [`PortError`].

use milvault_domain::ports::{PortError, PortErrorKind};
use sqlx::migrate::MigrateError;
use sqlx::postgres::PgDatabaseError;
use sqlx::sqlite::SqliteError;

/// Turns an error of the driver into kind and words. Messages never carry bound values or the database's address.
pub(crate) fn port_error(error: sqlx::Error) -> PortError {
    let (kind, message) = match &error {
        sqlx::Error::Database(inner) => {
            if let Some(postgres) = inner.try_downcast_ref::<PgDatabaseError>() {
                classify_postgres(postgres.code())
            } else if inner.try_downcast_ref::<SqliteError>().is_some() {
                classify_sqlite(inner.code().and_then(|code| code.parse().ok()).unwrap_or_default())
            } else {
                (PortErrorKind::Internal, "the catalog's database refused a statement")
            }
        }
        sqlx::Error::PoolTimedOut => (
            PortErrorKind::Unavailable,
            "all connections to the catalog's database are busy; try again in a moment",
        ),
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed
        | sqlx::Error::BeginFailed => {
            (PortErrorKind::Unavailable, "the catalog's database cannot be reached")
        }
        _ => (PortErrorKind::Internal, "the catalog's database gave an answer that was not expected"),
    };
    PortError::with_source(kind, message, error)
}

/// Turns a failed migration into words.
pub(crate) fn migration_error(error: MigrateError) -> PortError {
    match error {
        MigrateError::Execute(inner) | MigrateError::ExecuteMigration(inner, _) => {
            port_error(inner).context("cannot bring the catalog's schema up to date")
        }
        MigrateError::VersionMissing(version) | MigrateError::VersionTooNew(version, _) => PortError::new(
            PortErrorKind::Unsupported,
            format!(
                "the catalog has migration {version}, which this program does not know: it was written by a newer Milvault; start that version or a later one"
            ),
        ),
        MigrateError::VersionMismatch(version) => PortError::new(
            PortErrorKind::Unsupported,
            format!(
                "migration {version} of the catalog is not the one of this program; start the version of Milvault that made the catalog, or a released later one"
            ),
        ),
        other => PortError::with_source(
            PortErrorKind::Internal,
            "cannot bring the catalog's schema up to date",
            other,
        ),
    }
}

/// A row that this program could not have written.
pub(crate) fn corrupt(what: impl std::fmt::Display) -> PortError {
    PortError::new(PortErrorKind::Corrupt, format!("a row of the catalog cannot be understood: {what}"))
}

/// Codes: <https://www.postgresql.org/docs/current/errcodes-appendix.html>.
fn classify_postgres(code: &str) -> (PortErrorKind, &'static str) {
    match code {
        "23505" => (PortErrorKind::Conflict, DUPLICATE),
        "23503" => (PortErrorKind::NotFound, MISSING_REFERENCE),
        "22021" | "22P05" => {
            (PortErrorKind::InvalidInput, "texts must not contain a zero character; remove it")
        }
        "25006" => (PortErrorKind::ReadOnly, "the catalog's database refuses writes; connect to the primary"),
        "28000" | "28P01" | "42501" => (
            PortErrorKind::PermissionDenied,
            "the catalog's database refused the user; check user, password and rights of the database URL",
        ),
        "3D000" => (PortErrorKind::NotFound, "the catalog's database does not exist; create it"),
        "25P03" | "40001" | "40P01" | "55P03" | "57014" => {
            (PortErrorKind::Unavailable, "the catalog's database is busy; try again in a moment")
        }
        "53100" => (PortErrorKind::StorageFull, FULL),
        _ if ["08", "53", "57"].iter().any(|class| code.starts_with(class)) => {
            (PortErrorKind::Unavailable, "the catalog's database does not take requests now")
        }
        _ => (PortErrorKind::Internal, "the catalog's database refused a statement"),
    }
}

/// Codes: <https://www.sqlite.org/rescode.html>; the low byte is the primary code.
fn classify_sqlite(code: u32) -> (PortErrorKind, &'static str) {
    match (code & 0xff, code) {
        (_, 1555 | 2067) => (PortErrorKind::Conflict, DUPLICATE),
        (_, 787) => (PortErrorKind::NotFound, MISSING_REFERENCE),
        (3, _) => (PortErrorKind::PermissionDenied, "no permission to use the catalog's database file"),
        (5 | 6, _) => (PortErrorKind::Unavailable, "the catalog's database is busy; try again in a moment"),
        (8, _) => (PortErrorKind::ReadOnly, "the catalog's database file cannot be written"),
        (10, _) => (PortErrorKind::Unavailable, "the catalog's database file cannot be read or written"),
        (11 | 26, _) => (
            PortErrorKind::Corrupt,
            "the catalog's database file is damaged or is no SQLite database; put a good copy back",
        ),
        (13, _) => (PortErrorKind::StorageFull, FULL),
        (14, _) => (
            PortErrorKind::Unavailable,
            "the catalog's database file cannot be opened; check that its directory exists and can be written",
        ),
        _ => (PortErrorKind::Internal, "the catalog's database refused a statement"),
    }
}

const DUPLICATE: &str = "a record with this id, name or key exists already";
const MISSING_REFERENCE: &str =
    "a project, repository, cluster or backup that the record refers to does not exist";
const FULL: &str = "no space left for the catalog's database; free some and try again";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_of_both_databases_get_the_same_kinds() {
        for (postgres, sqlite, kind) in [
            ("23505", 2067, PortErrorKind::Conflict),
            ("23503", 787, PortErrorKind::NotFound),
            ("40P01", 261, PortErrorKind::Unavailable),
            ("53100", 13, PortErrorKind::StorageFull),
            ("25006", 8, PortErrorKind::ReadOnly),
            ("23514", 275, PortErrorKind::Internal),
        ] {
            assert_eq!(classify_postgres(postgres).0, kind, "{postgres}");
            assert_eq!(classify_sqlite(sqlite).0, kind, "{sqlite}");
        }
        assert_eq!(classify_postgres("57P01").0, PortErrorKind::Unavailable);
    }

    #[test]
    fn a_used_up_pool_may_be_tried_again() {
        assert!(port_error(sqlx::Error::PoolTimedOut).is_retryable());
    }
}
