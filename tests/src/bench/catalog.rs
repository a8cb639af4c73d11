//! `bench catalog`: what the catalog answers with very many backups and jobs in it, on SQLite and on PostgreSQL. Times
//! are told as ratios to the look-up of a job by its id, in the same run.

use super::child::fresh_directory;
use super::measure::rounded;
use super::pipeline::{SystemClock, Uuids, make_tenancy};
use crate::servers::{Postgres, Tools};
use anyhow::{Context as _, ensure};
use chrono::{DateTime, Utc};
use milvault_catalog::Sealer;
use milvault_catalog::scale::{ScaleCatalog, Shape};
use milvault_domain::cluster::{Cluster, MilvusAuth, MilvusEndpoint};
use milvault_domain::identity::Project;
use milvault_domain::ids::{ClusterId, OrganizationId, ProjectId, RepositoryId};
use milvault_domain::ports::{Catalog, Clock as _, IdSource as _};
use milvault_domain::repository::{Repository, StoreCapabilities};
use milvault_domain::storage::{LocalStorage, StorageConfig};
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

mod questions;

use questions::{Asked, questions};

/// Projects, and the clusters that are spread over them.
const PROJECTS: u32 = 4;
const CLUSTERS: u32 = 200;
/// How often a question is asked before it is timed, and then.
const WARM_UPS: u32 = 3;
const REPEATS: u32 = 60;
/// A question that takes long is asked no more often than this allows.
const QUESTION_SECONDS_MAX: f64 = 2.0;
/// The name of the question that the others are compared with.
const REFERENCE: &str = "job by id";

/// Whom the questions are about.
struct World {
    organization_id: OrganizationId,
    projects: Vec<ProjectId>,
    cluster_id: ClusterId,
    shape: Shape,
}

/// Runs the benchmark and returns its figures.
///
/// # Errors
/// Work failed. That a figure is low is no error.
pub async fn bench_catalog(work: &Path, backups: u64, jobs: u64) -> anyhow::Result<Value> {
    std::fs::create_dir_all(work)?;
    let _lock = super::lock(work)?;
    let directory = fresh_directory(&work.join("catalog"))?;
    let shape = Shape { backups, jobs, audit_entries: jobs.min(100_000) };
    let tools = Tools::install().await?;
    let mut server = Postgres::start(&tools, &directory.join("postgres")).await?;
    let sqlite = format!("sqlite://{}", directory.join("catalog.db").display());
    let postgres = server.create_database("milvault").await?;
    let figures = json!({
        "backups": backups,
        "jobs": jobs,
        "sqlite": measure("sqlite", &sqlite, shape).await?,
        "postgres": measure("postgres", &postgres, shape).await?,
    });
    server.stop().await?;
    std::fs::remove_dir_all(&directory)?;
    Ok(figures)
}

async fn measure(name: &str, url: &str, shape: Shape) -> anyhow::Result<Value> {
    let world = make_world(url, shape).await?;
    eprintln!("{name}: adding {} backups and {} jobs", shape.backups, shape.jobs);
    let began = Instant::now();
    let scale = ScaleCatalog::open(url).await?;
    scale.fill(shape).await?;
    drop(scale);
    let fill_seconds = began.elapsed().as_secs_f64();
    let asked = questions(&world);
    let times = time_all(&*open(url).await?, &asked).await?;
    let scale = ScaleCatalog::open(url).await?;
    let reference = times.first().context("no question was asked")?.p50;
    eprintln!("{name}: filled in {fill_seconds:.0} s; {REFERENCE} {:.3} ms", reference * 1e3);
    eprintln!("{:<46} {:>9} {:>9} {:>8} {:>10}", "question", "p50 ms", "p99 ms", "ratio", "looked at");
    let mut answers = Vec::new();
    for (asked, times) in asked.iter().zip(&times) {
        let explained = scale.explain(&asked.question).await?;
        let looked_at: Option<u64> = explained.iter().map(|explained| explained.rows_looked_at).sum();
        let ratio = times.p50 / reference;
        let shown = looked_at.map_or_else(|| String::from("-"), |rows| rows.to_string());
        let (p50_ms, p99_ms) = (times.p50 * 1e3, times.p99 * 1e3);
        eprintln!("{:<46} {p50_ms:>9.3} {p99_ms:>9.3} {ratio:>8.1} {shown:>10}", asked.name);
        let faults: Vec<&str> = explained.iter().flat_map(|explained| explained.faults()).collect();
        answers.push(json!({
            "question": asked.name,
            "rows": times.rows,
            "p50_ms": rounded(p50_ms),
            "p99_ms": rounded(p99_ms),
            "ratio": rounded(ratio),
            "rows_looked_at": looked_at,
            "faults": faults,
        }));
    }
    Ok(json!({
        "fill_seconds": rounded(fill_seconds),
        "job_by_id_ms": rounded(reference * 1e3),
        "questions": answers,
    }))
}

struct Times {
    rows: usize,
    p50: f64,
    p99: f64,
}

async fn time_all(catalog: &dyn Catalog, asked: &[Asked]) -> anyhow::Result<Vec<Times>> {
    let mut all = Vec::new();
    for Asked { name, question } in asked {
        let mut seconds = Vec::new();
        let mut rows = 0;
        for round in 0..WARM_UPS + REPEATS {
            let began = Instant::now();
            rows = questions::ask(catalog, question).await.with_context(|| (*name).to_owned())?;
            let took = began.elapsed().as_secs_f64();
            if WARM_UPS <= round || QUESTION_SECONDS_MAX < took {
                seconds.push(took);
            }
            if QUESTION_SECONDS_MAX < seconds.iter().sum() {
                break;
            }
        }
        seconds.sort_by(f64::total_cmp);
        let at = |share: usize| seconds[(seconds.len() * share / 100).min(seconds.len() - 1)];
        all.push(Times { rows, p50: at(50), p99: at(99) });
    }
    Ok(all)
}

async fn open(url: &str) -> anyhow::Result<Arc<dyn Catalog>> {
    Ok(milvault_catalog::open(url, Sealer::from_key_bytes([7; 32])).await?)
}

/// A new catalog with projects, and clusters that are spread over them.
async fn make_world(url: &str, shape: Shape) -> anyhow::Result<World> {
    let catalog = open(url).await?;
    let tenancy = make_tenancy(&*catalog).await?;
    let mut projects = vec![tenancy.project_id];
    for number in 1..PROJECTS {
        let id = ProjectId::from_uuid(Uuids.new_uuid());
        let (organization_id, created_at) = (tenancy.organization_id, SystemClock.now());
        let name = format!("project {number}");
        catalog.insert_project(&Project { id, organization_id, name, created_at }).await?;
        projects.push(id);
    }
    let mut repositories = Vec::new();
    for project_id in &projects {
        let repository = repository(*project_id);
        catalog.insert_repository(&repository).await?;
        repositories.push(repository);
    }
    let mut cluster_id = None;
    for (number, repository) in (0..CLUSTERS).zip(repositories.iter().cycle()) {
        let cluster = cluster(repository, number, SystemClock.now());
        catalog.insert_cluster(&cluster).await?;
        cluster_id.get_or_insert(cluster.id);
    }
    let cluster_id = cluster_id.context("there is no cluster")?;
    ensure!(!projects.is_empty(), "there is no project");
    Ok(World { organization_id: tenancy.organization_id, projects, cluster_id, shape })
}

fn local() -> StorageConfig {
    StorageConfig::Local(LocalStorage { path: String::from("/nowhere") })
}

fn repository(project_id: ProjectId) -> Repository {
    Repository {
        id: RepositoryId::from_uuid(Uuids.new_uuid()),
        project_id,
        name: String::from("bench"),
        storage: local(),
        capabilities: StoreCapabilities::default(),
        created_at: SystemClock.now(),
    }
}

fn cluster(repository: &Repository, number: u32, now: DateTime<Utc>) -> Cluster {
    Cluster {
        id: ClusterId::from_uuid(Uuids.new_uuid()),
        project_id: repository.project_id,
        name: format!("cluster{number}"),
        endpoint: MilvusEndpoint {
            uri: String::from("http://127.0.0.1:1"),
            auth: MilvusAuth::None,
            ca_pem: None,
            server_name: None,
        },
        storage: local(),
        repository_id: repository.id,
        cu_size: 1,
        max_bytes_per_second: None,
        created_at: now,
        updated_at: now,
    }
}
