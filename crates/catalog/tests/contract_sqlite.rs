//! The contract suite on SQLite.
#![allow(clippy::unwrap_used, reason = "these are tests")]

use async_trait::async_trait;
use milvault_catalog::contract::{Home, run};
use milvault_catalog::scale::ScaleCatalog;
use milvault_catalog::{SealedCatalog, Sealer, open};
use milvault_domain::ports::{Catalog, PortErrorKind, PortResult};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection};
use std::path::PathBuf;
use std::sync::Arc;
use tempfile::TempDir;

struct SqliteHome {
    directory: TempDir,
}

impl SqliteHome {
    fn new() -> Self {
        Self { directory: TempDir::new().unwrap() }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("catalog.db")
    }

    fn url(&self) -> String {
        format!("sqlite://{}", self.path().display())
    }
}

#[async_trait]
impl Home for SqliteHome {
    async fn open(&self, sealer: Sealer) -> PortResult<Arc<dyn Catalog>> {
        open(&self.url(), sealer).await
    }

    async fn open_sealed(&self, sealer: Sealer) -> PortResult<SealedCatalog> {
        SealedCatalog::open(&self.url(), sealer).await
    }

    async fn scale(&self) -> PortResult<ScaleCatalog> {
        ScaleCatalog::open(&self.url()).await
    }

    async fn raw_contents(&self) -> Vec<u8> {
        let mut contents = Vec::new();
        for entry in std::fs::read_dir(self.directory.path()).unwrap() {
            contents.extend(std::fs::read(entry.unwrap().path()).unwrap());
        }
        contents
    }

    async fn run_statement(&self, statement: &'static str) -> Result<(), String> {
        let mut connection = SqliteConnectOptions::new().filename(self.path()).connect().await.unwrap();
        sqlx::raw_sql(statement).execute(&mut connection).await.map_err(|error| error.to_string())?;
        Ok(())
    }

    async fn remove(&self) {
        // The directory goes when the home is dropped.
    }
}

fn sealer() -> Sealer {
    Sealer::from_key_bytes([7; 32])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sqlite_keeps_the_contract() {
    run(async || SqliteHome::new()).await;
}

#[cfg(unix)]
#[tokio::test]
async fn only_the_owner_can_read_the_files() {
    use std::os::unix::fs::PermissionsExt;
    let home = SqliteHome::new();
    std::fs::write(home.path(), "").unwrap();
    std::fs::set_permissions(home.path(), std::fs::Permissions::from_mode(0o644)).unwrap();
    let _catalog = home.open(sealer()).await.unwrap();
    let mut names = Vec::new();
    for entry in std::fs::read_dir(home.directory.path()).unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{}", entry.path().display());
        names.push(entry.file_name().into_string().unwrap());
    }
    names.sort();
    assert_eq!(names, ["catalog.db", "catalog.db-shm", "catalog.db-wal", "catalog.db.lock"]);
}

#[tokio::test]
async fn a_catalog_in_memory_is_empty_each_time() {
    for _ in 0..2 {
        let catalog = open("sqlite::memory:", sealer()).await.unwrap();
        catalog.ping().await.unwrap();
        assert!(catalog.open_jobs().await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn wrong_urls_and_places_are_refused_in_words() {
    let home = SqliteHome::new();
    let missing = home.directory.path().join("missing/catalog.db");
    let no_database = home.directory.path().join("note.txt");
    std::fs::write(&no_database, "this is a note and no database, however long it may be").unwrap();
    for (url, kind, words) in [
        (String::from("mysql://user:hunter2@host/db"), PortErrorKind::InvalidInput, "must begin with"),
        (String::from("sqlite://relative.db"), PortErrorKind::InvalidInput, "sqlite:///absolute"),
        (String::from("postgres://user:hunter2@host:port:1/db"), PortErrorKind::InvalidInput, "form"),
        (format!("sqlite://{}", missing.display()), PortErrorKind::NotFound, "make its directory"),
        (format!("sqlite://{}", no_database.display()), PortErrorKind::Corrupt, "no SQLite database"),
    ] {
        let error = open(&url, sealer()).await.err().unwrap();
        assert_eq!(error.kind(), kind, "{error:?}");
        assert!(error.to_string().contains(words), "{error}");
        assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
    }
}

#[tokio::test]
async fn catalogs_of_other_versions_are_refused_in_words() {
    for (change, words) in [
        (
            "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
             VALUES (9999, 'from the future', 1, x'00', 0)",
            "newer Milvault",
        ),
        ("UPDATE _sqlx_migrations SET checksum = x'00' WHERE version = 1", "migration 1 of the catalog"),
    ] {
        let home = SqliteHome::new();
        drop(home.open(sealer()).await.unwrap());
        let options = SqliteConnectOptions::new().filename(home.path());
        let mut connection = options.connect().await.unwrap();
        sqlx::query(change).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();

        let error = home.open(sealer()).await.err().unwrap();
        assert_eq!(error.kind(), PortErrorKind::Unsupported, "{error:?}");
        assert!(error.to_string().contains(words), "{error}");
    }
}
