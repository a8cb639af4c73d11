//! The contract suite on a real PostgreSQL, whose superuser URL is in `MILVAULT_TEST_POSTGRES_URL`. Each case makes a
//! database of its own there and removes it.
//!
//! Run with `cargo test -p milvault-catalog --features postgres-tests --test contract_postgres`.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "these are tests")]

use async_trait::async_trait;
use milvault_catalog::contract::{Home, run};
use milvault_catalog::scale::ScaleCatalog;
use milvault_catalog::{SealedCatalog, Sealer, open};
use milvault_domain::ports::{Catalog, PortResult};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Row};
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

struct PostgresHome {
    database: String,
}

fn server_url() -> String {
    std::env::var("MILVAULT_TEST_POSTGRES_URL").expect(
        "MILVAULT_TEST_POSTGRES_URL is not set; start a PostgreSQL and give its superuser URL, such as postgres://postgres@127.0.0.1:5432/postgres",
    )
}

/// Runs a statement outside the databases of the cases.
async fn at_server(statement: &str) {
    let mut connection = PgConnection::connect(&server_url()).await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

/// One may be left of a run that was killed.
async fn create_anew(database: &str, template: &str) {
    at_server(&format!("DROP DATABASE IF EXISTS {database} WITH (FORCE)")).await;
    at_server(&format!("CREATE DATABASE {database} TEMPLATE {template}")).await;
}

fn url_of(database: &str) -> String {
    let url = server_url();
    let (server, _) = url.rsplit_once('/').expect("the URL names a database");
    format!("{server}/{database}")
}

/// A database with the tables of a catalog and nothing in them. Most of a case's time would go into making them.
struct Template {
    database: String,
}

impl Template {
    async fn new() -> Self {
        let template = Self { database: format!("milvault_test_{}_template", std::process::id()) };
        create_anew(&template.database, "template1").await;
        drop(open(&url_of(&template.database), sealer()).await.unwrap());
        template
    }

    /// What is still connected to the template is waited for by the server.
    async fn home(&self) -> PostgresHome {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let home = PostgresHome { database: format!("milvault_test_{}_{number}", std::process::id()) };
        create_anew(&home.database, &self.database).await;
        home
    }
}

impl PostgresHome {
    async fn connect(&self) -> PgConnection {
        PgConnectOptions::from_str(&server_url()).unwrap().database(&self.database).connect().await.unwrap()
    }

    fn url(&self) -> String {
        url_of(&self.database)
    }
}

#[async_trait]
impl Home for PostgresHome {
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
        let mut connection = self.connect().await;
        let tables = sqlx::query("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
            .fetch_all(&mut connection)
            .await
            .unwrap();
        let mut contents = Vec::new();
        for table in tables {
            let table: String = table.get(0);
            let statement = format!("SELECT {table}::text FROM {table}");
            for row in sqlx::query(AssertSqlSafe(statement)).fetch_all(&mut connection).await.unwrap() {
                contents.extend(row.get::<String, _>(0).into_bytes());
            }
        }
        contents
    }

    async fn run_statement(&self, statement: &'static str) -> Result<(), String> {
        let mut connection = self.connect().await;
        sqlx::raw_sql(statement).execute(&mut connection).await.map_err(|error| error.to_string())?;
        Ok(())
    }

    async fn remove(&self) {
        at_server(&format!("DROP DATABASE {} WITH (FORCE)", self.database)).await;
    }
}

fn sealer() -> Sealer {
    Sealer::from_key_bytes([7; 32])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn postgres_keeps_the_contract() {
    let template = Template::new().await;
    run(|| template.home()).await;
    at_server(&format!("DROP DATABASE {} WITH (FORCE)", template.database)).await;
}

#[tokio::test]
async fn the_password_stays_out_of_errors() {
    let server = PgConnectOptions::from_str(&server_url()).unwrap();
    let address = format!("{}:{}", server.get_host(), server.get_port());
    for url in [
        format!("postgres://postgres:hunter2@{address}/missing_database"),
        format!("postgres://nobody:hunter2@{address}/postgres"),
        String::from("postgres://postgres:hunter2@127.0.0.1:1/postgres"),
    ] {
        let error = open(&url, sealer()).await.err().unwrap();
        let text = format!("{error} {error:?}");
        assert!(!text.contains("hunter2"), "{text}");
        assert!(error.to_string().contains("PostgreSQL 127.0.0.1:"), "{error}");
    }
}
