//! `bench plan`: a cluster of a million objects through the product's own pipeline, with only listing and copying
//! replaced; and the time of a page of backups and jobs with and without such a backup.

use super::child::{fresh_directory, run_in_child};
use super::measure::{median, peak_rss_mib, rounded};
use super::phases::Phases;
use super::pipeline::{GivenSecrets, Made, Pipeline, SystemClock, Uuids};
use super::synthetic::{SyntheticCluster, SyntheticStores, manifest_bytes};
use anyhow::{Context as _, ensure};
use chrono::{DateTime, Utc};
use milvault_domain::backup::{Backup, BackupFacts, BackupScope, BackupStatus, CreationMethod};
use milvault_domain::ids::{BackupId, JobId};
use milvault_domain::job::{Job, JobState, JobType};
use milvault_domain::milvus::Cut;
use milvault_domain::ports::{
    BackupFilter, Clock as _, IdSource as _, InsertOutcome, JobFilter, NewBackup, PageRequest,
};
use milvault_domain::progress::Progress;
use milvault_domain::storage::{LocalStorage, StorageConfig};
use milvault_repository::RepositoryStores;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

/// Small backups that make the pages full.
const SMALL_BACKUPS: u32 = 60;
/// Entries of a page.
const PAGE_LIMIT: u32 = 50;
/// How often a page is timed; the median is told.
const PAGE_REPEATS: u32 = 201;

/// What the child has to do.
#[derive(Debug, Serialize, Deserialize)]
pub struct PlanTask {
    directory: PathBuf,
    objects: u64,
}

/// What it measured.
#[derive(Debug, Serialize, Deserialize)]
pub struct PlanOutcome {
    objects: u64,
    peak_rss_mib: f64,
    first: Phases,
    unchanged: Phases,
    manifest_bytes: u64,
    small: PageSeconds,
    large: PageSeconds,
}

/// Seconds of one page, median.
#[derive(Debug, Serialize, Deserialize)]
struct PageSeconds {
    backups: f64,
    jobs: f64,
}

/// Runs the benchmark and returns its figures.
///
/// # Errors
/// Work failed. That a figure is low is no error.
pub fn bench_plan(work: &Path, objects: u64) -> anyhow::Result<Value> {
    std::fs::create_dir_all(work)?;
    let _lock = super::lock(work)?;
    let directory = fresh_directory(&work.join("plan"))?;
    let task = PlanTask { directory: directory.clone(), objects };
    let outcome: PlanOutcome = run_in_child("plan-task", &task)?;
    std::fs::remove_dir_all(&directory)?;
    Ok(json!({
        "objects": outcome.objects,
        "peak_rss_mib": rounded(outcome.peak_rss_mib),
        "plan_seconds": rounded(outcome.first.plan),
        "seal_seconds": rounded(outcome.first.seal),
        "backup_seconds": rounded(outcome.first.total),
        "unchanged_plan_seconds": rounded(outcome.unchanged.plan),
        "unchanged_seal_seconds": rounded(outcome.unchanged.seal),
        "unchanged_backup_seconds": rounded(outcome.unchanged.total),
        "manifest_bytes": outcome.manifest_bytes,
        "page_seconds_small": outcome.small.backups + outcome.small.jobs,
        "page_seconds_large": outcome.large.backups + outcome.large.jobs,
        "backups_page_seconds_small": outcome.small.backups,
        "backups_page_seconds_large": outcome.large.backups,
        "jobs_page_seconds_small": outcome.small.jobs,
        "jobs_page_seconds_large": outcome.large.jobs,
    }))
}

/// Does the task in this process.
///
/// # Errors
/// Anything that keeps a backup from succeeding.
pub async fn run_plan_task(task: PlanTask) -> anyhow::Result<PlanOutcome> {
    let cluster = SyntheticCluster::with_objects(task.objects)?;
    let repository = task.directory.join("repository");
    let inner = Arc::new(RepositoryStores::new(Arc::new(GivenSecrets)));
    let stores = Arc::new(SyntheticStores::new(inner, repository.clone()));
    let local = |path: &Path| -> anyhow::Result<StorageConfig> {
        let path = path.to_str().context("the benchmark's directory has a name that is not UTF-8")?;
        Ok(StorageConfig::Local(LocalStorage { path: path.to_owned() }))
    };
    let (source, target) = (local(&task.directory)?, local(&repository)?);
    let pipeline = Pipeline::start(&task.directory, stores, source, target, cluster.cut()).await?;

    add_small_backups(&pipeline).await?;
    let small = time_pages(&pipeline).await?;
    let first = back_up(&pipeline, "first", 0).await?;
    let manifest_bytes = manifest_bytes(&repository, first.backup.id)?;
    let unchanged = back_up(&pipeline, "unchanged", cluster.object_count()).await?;
    let large = time_pages(&pipeline).await?;
    pipeline.stop().await;
    Ok(PlanOutcome {
        objects: cluster.object_count(),
        peak_rss_mib: peak_rss_mib()?,
        first: first.phases,
        unchanged: unchanged.phases,
        manifest_bytes,
        small,
        large,
    })
}

async fn back_up(pipeline: &Pipeline, name: &str, reused: u64) -> anyhow::Result<Made> {
    let made = pipeline.back_up().await?;
    ensure!(
        made.job.progress.objects_reused == reused,
        "the {name} backup reused {} objects instead of {reused}",
        made.job.progress.objects_reused
    );
    let objects = made.job.progress.objects_total;
    eprintln!("{name}: {objects} objects {}, peak so far {:.0} MiB", made.phases, peak_rss_mib()?);
    Ok(made)
}

async fn time_pages(pipeline: &Pipeline) -> anyhow::Result<PageSeconds> {
    let page = PageRequest { limit: PAGE_LIMIT, after: None };
    let (mut backups, mut jobs) = (Vec::new(), Vec::new());
    for _ in 0..PAGE_REPEATS {
        let began = Instant::now();
        let listed = pipeline.catalog.backups(&BackupFilter::default(), page).await?;
        backups.push(began.elapsed().as_secs_f64());
        ensure!(listed.items.len() == PAGE_LIMIT as usize, "the page of backups is not full");
        let began = Instant::now();
        let listed = pipeline.catalog.jobs(&JobFilter::default(), page).await?;
        jobs.push(began.elapsed().as_secs_f64());
        ensure!(listed.items.len() == PAGE_LIMIT as usize, "the page of jobs is not full");
    }
    Ok(PageSeconds { backups: median(&backups), jobs: median(&jobs) })
}

/// Backups of a few objects, straight into the catalog: only its pages are of interest.
async fn add_small_backups(pipeline: &Pipeline) -> anyhow::Result<()> {
    let small = SyntheticCluster::with_objects(1)?.cut();
    for number in 0..SMALL_BACKUPS {
        let now = SystemClock.now();
        let new = new_backup(pipeline, number, now);
        let outcome = pipeline.catalog.insert_backup(&new).await?;
        ensure!(outcome == InsertOutcome::Created, "a small backup was refused: {outcome:?}");
        pipeline.catalog.transition_job(new.job.id, JobState::InProgress, None, now).await?;
        let facts = facts(&small, now);
        let progress = Progress::default();
        pipeline.catalog.complete_backup(new.job.id, new.backup.id, &facts, &small, progress, now).await?;
    }
    Ok(())
}

fn new_backup(pipeline: &Pipeline, number: u32, now: DateTime<Utc>) -> NewBackup {
    let backup = Backup {
        id: BackupId::from_uuid(Uuids.new_uuid()),
        project_id: pipeline.project_id,
        cluster_id: pipeline.cluster_id,
        cluster_name: String::from("bench"),
        repository_id: pipeline.repository_id,
        name: format!("small-{number}"),
        description: String::new(),
        scope: BackupScope::Cluster,
        // Never looked up as a base for later backups: it has no manifest.
        creation_method: CreationMethod::Auto,
        status: BackupStatus::Creating,
        created_by: String::from("bench"),
        created_at: now,
        completed_at: None,
        expires_at: None,
        facts: None,
        copied_from: None,
    };
    let job = Job {
        id: JobId::from_uuid(Uuids.new_uuid()),
        project_id: backup.project_id,
        cluster_id: backup.cluster_id,
        job_type: JobType::Backup,
        state: JobState::Pending,
        phase: None,
        description: format!("Backup of bench as {}", backup.name),
        created_by: backup.created_by.clone(),
        created_at: now,
        started_at: None,
        ended_at: None,
        failure: None,
        backup_id: Some(backup.id),
        verify_level: None,
        attempt: 0,
        parks: 0,
        progress: Progress::default(),
    };
    NewBackup { backup, job, request: None, idempotency: None, asked_again: false }
}

fn facts(cut: &Cut, now: DateTime<Utc>) -> BackupFacts {
    BackupFacts {
        cut_at: now,
        milvus_version: cut.server.version.clone(),
        logical_bytes: 1 << 30,
        newly_stored_bytes: 1 << 30,
        object_count: 1_024,
        reused_object_count: 0,
        row_count: cut.row_count(),
        collection_count: 16,
    }
}
