//! Times a backup between two local directories against `cp -r` followed by `sync`, in turn, on the same data; and what
//! comes after it: a backup of what has not changed, a verify, and staging for a restore.
//!
//! `cargo run --release -p milvault-repository --example copy_speed -- <work directory> [rounds] [copies at once]`

use futures::{StreamExt, TryStreamExt};
use milvault_domain::backup::{BackupScope, CreationMethod, ManifestHeader};
use milvault_domain::ids::{BackupId, ClusterId, JobId, ProjectId, RepositoryId};
use milvault_domain::job::VerifyLevel;
use milvault_domain::milvus::{Capabilities, Cut, ServerInfo, TimestampUnit};
use milvault_domain::plan::plan_copy;
use milvault_domain::ports::{BackupRepository, PortError, PortErrorKind, PortResult, SecretSource, Stores};
use milvault_domain::progress::ProgressCounters;
use milvault_domain::restore::staging_directory;
use milvault_domain::secret::{Secret, SecretValue};
use milvault_domain::storage::{LocalStorage, SourceLayout, StorageConfig};
use milvault_repository::RepositoryStores;
use std::collections::HashSet;
use std::error::Error;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};
use uuid::Uuid;

const TOTAL_BYTES: usize = 2 << 30;
const TOTAL_MEGABYTES: f64 = 2147.5;
const SMALL_FILES: usize = 20_000;
const SEGMENT_FILES: usize = 50;

type Outcome<T> = Result<T, Box<dyn Error>>;

#[tokio::main]
async fn main() -> Outcome<()> {
    let mut arguments = std::env::args().skip(1);
    let work = arguments.next().ok_or("name a work directory")?;
    let rounds: u128 = arguments.next().map_or(Ok(3), |rounds| rounds.parse())?;
    let at_once: usize = arguments.next().map_or(Ok(4), |count| count.parse())?;
    let work = Path::new(&work);
    let source = work.join("source");
    if !source.exists() {
        make_source(&source)?;
    }
    for round in 1..=rounds {
        let copy = work.join("copy");
        let reference = time(|| {
            run(Command::new("cp").arg("-r").arg(&source).arg(&copy))?;
            run(Command::new("sync").arg("-f").arg(&copy))
        })?;
        std::fs::remove_dir_all(&copy)?;
        let repository = work.join("repository");
        let times = back_up(&source, &repository, round, at_once).await?;
        std::fs::remove_dir_all(&repository)?;
        println!(
            "cp+sync {:.0} MB/s; backup {:.0} MB/s; ratio {:.2}; unchanged {:.2} %; verify {:.0} MB/s; stage {:.0} MB/s; peak {} MiB",
            TOTAL_MEGABYTES / reference.as_secs_f64(),
            TOTAL_MEGABYTES / times.full.as_secs_f64(),
            reference.as_secs_f64() / times.full.as_secs_f64(),
            100.0 * times.unchanged.as_secs_f64() / times.full.as_secs_f64(),
            TOTAL_MEGABYTES / times.verify.as_secs_f64(),
            TOTAL_MEGABYTES / times.stage.as_secs_f64(),
            peak_mib()?,
        );
    }
    Ok(())
}

struct Times {
    full: Duration,
    unchanged: Duration,
    verify: Duration,
    stage: Duration,
}

async fn back_up(source: &Path, repository: &Path, round: u128, at_once: usize) -> Outcome<Times> {
    let stores = RepositoryStores::new(Arc::new(NoSecrets));
    let source = local(source);
    let config = local(repository);
    let id = RepositoryId::from_uuid(Uuid::from_u128(round));
    let capabilities = stores.create_repository(id, &config).await?;
    let target = local(&repository.with_file_name("target"));
    let repository = stores.open_repository(id, &config, capabilities).await?;
    let cluster_id = ClusterId::from_uuid(Uuid::from_u128(1));
    let mut times = Vec::new();
    let ids = [1, 2].map(|number| BackupId::from_uuid(Uuid::from_u128(number)));
    for (position, backup_id) in ids.into_iter().enumerate() {
        let begun = Instant::now();
        let opened = stores.open_source(&source, &SourceLayout::Milvus).await?;
        let segments: HashSet<i64> = (0..100_000).collect();
        let index = repository.load_index(cluster_id, &ids[..position], &[], None).await?.index;
        let listed = opened.list_binlogs(1, &segments).await?;
        let copier =
            stores.open_copier(&source, &SourceLayout::Milvus, Arc::clone(&repository), None).await?;
        let plan = plan_copy(cluster_id, listed, &index, copier.route());
        let header = header(backup_id, cluster_id);
        repository.save_unfinished(&header, &plan).await?;
        let planned = begun.elapsed();
        let progress = ProgressCounters::default();
        let units = futures::stream::iter(&plan.units).map(|unit| copier.copy(unit, &progress));
        let mut objects = plan.reused.clone();
        objects.extend(units.buffer_unordered(at_once).try_concat().await?);
        let all_there = begun.elapsed();
        repository.seal(&header, objects).await?;
        times.push(begun.elapsed());
        println!("  planned {planned:.0?}, copied {all_there:.0?}, sealed {:.0?}", begun.elapsed());
    }
    let begun = Instant::now();
    let report = repository.verify(ids[0], VerifyLevel::Content, Arc::default()).await?;
    if report.failure_count != 0 {
        return Err(format!("{:?}", report.failures).into());
    }
    let verify = begun.elapsed();
    let stage = stage(&stores, &repository, ids[0], &target).await?;
    Ok(Times { full: times[0], unchanged: times[1], verify, stage })
}

async fn stage(
    stores: &RepositoryStores,
    repository: &Arc<dyn BackupRepository>,
    backup_id: BackupId,
    target: &StorageConfig,
) -> Outcome<Duration> {
    if let StorageConfig::Local(target) = target {
        std::fs::create_dir_all(&target.path)?;
    }
    let directory = staging_directory(JobId::from_uuid(Uuid::from_u128(1)));
    let stager = stores.open_stager(Arc::clone(repository), target, None).await?;
    let begun = Instant::now();
    let objects = repository.read_objects(backup_id, None).await?;
    stager.stage(&objects, &directory, &ProgressCounters::default()).await?;
    let taken = begun.elapsed();
    stager.remove(&directory).await?;
    Ok(taken)
}

/// Milvus's layout: large binlogs of 16 to 64 MiB, and small ones of 1 to 100 KiB.
fn make_source(root: &Path) -> Outcome<()> {
    let mut random = blake3::Hasher::new().finalize_xof();
    let mut number = || {
        let mut bytes = [0; 8];
        random.fill(&mut bytes);
        usize::from_le_bytes(bytes)
    };
    let mut sizes: Vec<usize> = (0..SMALL_FILES).map(|_| 1024 + number() % (99 * 1024)).collect();
    let mut left = TOTAL_BYTES - sizes.iter().sum::<usize>();
    while 0 < left {
        let size = ((16 << 20) + number() % (48 << 20)).min(left);
        sizes.push(size);
        left -= size;
    }
    let mut content = vec![0; 64 << 20];
    for (file, size) in sizes.into_iter().enumerate() {
        let directory = root.join(format!("insert_log/1/2/{}/{}", file / SEGMENT_FILES, 100 + file % 10));
        std::fs::create_dir_all(&directory)?;
        blake3::Hasher::new().update(&file.to_le_bytes()).finalize_xof().fill(&mut content[..size]);
        std::fs::write(directory.join(file.to_string()), &content[..size])?;
    }
    run(&mut Command::new("sync"))
}

struct NoSecrets;

impl SecretSource for NoSecrets {
    fn reveal(&self, _: &Secret) -> PortResult<SecretValue> {
        Err(PortError::new(PortErrorKind::NotFound, "there are no secrets here"))
    }
}

fn local(path: &Path) -> StorageConfig {
    StorageConfig::Local(LocalStorage { path: path.to_string_lossy().into_owned() })
}

fn header(backup_id: BackupId, cluster_id: ClusterId) -> ManifestHeader {
    let capabilities = Capabilities {
        verified: true,
        databases: true,
        gc_pause: false,
        l0_segments: false,
        import_end_timestamp: TimestampUnit::Milliseconds,
    };
    ManifestHeader {
        backup_id,
        cluster_id,
        cluster_name: String::from("timed"),
        project_id: ProjectId::from_uuid(Uuid::from_u128(1)),
        name: String::from("timed"),
        description: String::new(),
        scope: BackupScope::Cluster,
        creation_method: CreationMethod::Manual,
        created_by: String::from("example"),
        created_at_ms: 0,
        expires_at_ms: None,
        source_url: String::new(),
        copied_from: None,
        cut: Cut {
            cut_at_ms: 0,
            server: ServerInfo { version: String::from("none"), capabilities },
            databases: vec![],
            access_control: None,
        },
    }
}

fn time(work: impl FnOnce() -> Outcome<()>) -> Outcome<Duration> {
    let begun = Instant::now();
    work()?;
    Ok(begun.elapsed())
}

fn run(command: &mut Command) -> Outcome<()> {
    let status = command.status()?;
    if status.success() { Ok(()) } else { Err(format!("{command:?}: {status}").into()) }
}

fn peak_mib() -> Outcome<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).ok_or("no VmHWM")?;
    let kib: u64 = line.split_whitespace().nth(1).ok_or("no figure")?.parse()?;
    Ok(kib / 1024)
}
