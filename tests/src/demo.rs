//! The demo: a real Milvus with real data is backed up while it serves and every byte is proven right; then a
//! collection is lost and comes back, and the cluster comes back in another Milvus, every row proven right.

pub(crate) mod api;
pub mod byte_check;
pub mod data;
mod job_bar;
mod report;
mod restore;
mod summary;
mod traffic;

pub use report::{BackupReport, DemoReport};
pub use restore::{RestoreOutcome, RestoreReport};
pub use summary::Summary;

use crate::milvault_process::{MilvaultOptions, MilvaultProcess};
use crate::milvus_client::MilvusClient;
use crate::servers::{Milvus, MilvusOptions, Tools};
use anyhow::Context as _;
use api::{Api, BackupView};
use data::DemoCollection;
use indicatif::{HumanCount, ProgressBar, ProgressStyle};
use job_bar::JobBar;
use rand::SeedableRng as _;
use rand::rngs::SmallRng;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use traffic::{Traffic, TrafficReport};

/// Operations that writer and searcher get done before and after each backup.
const OPERATIONS_AROUND: u64 = 25;
/// Of a hundred rows, how many are added and how many are deleted between the backups.
const CHANGED_PERCENT: u64 = 3;
/// Rows that one delete names.
const ROWS_PER_DELETE: u64 = 1_000;

/// The servers of a demo and where they keep their files. Dropping it kills the servers and leaves the files.
pub struct Stage {
    directory: PathBuf,
    milvus: Milvus,
    milvault: MilvaultProcess,
}

impl Stage {
    /// Starts Milvus and Milvault with everything below `directory`.
    ///
    /// # Errors
    /// A server cannot be had or does not start.
    pub async fn start(directory: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir_all(directory)?;
        let directory = std::fs::canonicalize(directory)?;
        let tools = step("install Milvus", Tools::install()).await?;
        let options = MilvusOptions::local(directory.join("milvus"));
        let milvus = step("start Milvus", Milvus::start(&tools, options)).await?;
        let milvault = step(
            "start Milvault",
            MilvaultProcess::start(&directory.join("milvault"), MilvaultOptions::default()),
        )
        .await?;
        Ok(Self { directory, milvus, milvault })
    }

    /// Tells a person how to look around.
    #[must_use]
    pub fn how_to_reach(&self) -> String {
        format!(
            "  GraphiQL     http://{}/graphql\n  API key in   {}\n  Milvus       {}\n  repository   {}\n  logs         {}",
            self.milvault.address(),
            self.milvault.api_key_file().display(),
            self.milvus.uri(),
            self.repository().display(),
            self.directory.display(),
        )
    }

    /// Plays the story and returns what it showed. That everything is as it must be is for the caller to ask the
    /// report; an error means that the story could not be played to its end.
    ///
    /// # Errors
    /// Milvus or Milvault refuses something or does not answer.
    pub async fn play(&self, rows: u64) -> anyhow::Result<DemoReport> {
        let milvus = MilvusClient::connect(&self.milvus.uri()).await?;
        fill(&milvus, rows).await?;
        let api = Api::new(self.milvault.client()?);
        let (repository_id, cluster_id) = self.register(&api).await?;
        let mut traffic = TrafficReport::default();
        let first = self.back_up_in_service(&api, &milvus, &cluster_id, "first", &mut traffic).await?;
        step("insert and delete rows", change(&milvus, rows)).await?;
        let second = self.back_up_in_service(&api, &milvus, &cluster_id, "second", &mut traffic).await?;
        let first = self.examine(&api, first).await?;
        let second = self.examine(&api, second).await?;
        let restore = self.restore(&api, &milvus, &repository_id, &cluster_id).await?;
        Ok(DemoReport { rows, backups: [first, second], traffic, restore })
    }

    /// Ends both servers.
    ///
    /// # Errors
    /// A process cannot be signaled.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        self.milvault.terminate().await?;
        // Nothing of this Milvus is kept, so it need not write anything out.
        self.milvus.kill()
    }

    /// Registers repository and cluster; returns their ids.
    async fn register(&self, api: &Api) -> anyhow::Result<(String, String)> {
        let storage = self.milvus.storage_dir().context("the demo's Milvus has no local storage")?;
        let repository_id = api.register_repository(&self.repository()).await?;
        let cluster_id = api.register_cluster("demo", &self.milvus.uri(), &storage, &repository_id).await?;
        for finding in api.check_cluster(&cluster_id).await? {
            eprintln!("  check            {finding}");
        }
        Ok((repository_id, cluster_id))
    }

    /// Makes a backup while a writer and a searcher use the cluster.
    async fn back_up_in_service(
        &self,
        api: &Api,
        milvus: &MilvusClient,
        cluster_id: &str,
        name: &str,
        report: &mut TrafficReport,
    ) -> anyhow::Result<Ended> {
        let mut traffic = Traffic::start(milvus);
        traffic.both_try(OPERATIONS_AROUND).await;
        let ended = back_up(api, cluster_id, name).await;
        traffic.both_try(OPERATIONS_AROUND).await;
        let done = traffic.finish().await?;
        report.writer.merge(done.writer);
        report.searcher.merge(done.searcher);
        ended
    }

    /// Has Milvault verify a backup, and compares it with Milvus's files without Milvault's help.
    async fn examine(&self, api: &Api, ended: Ended) -> anyhow::Result<BackupReport> {
        let backup_id = ended.view.id.clone();
        let job_id = api.verify_backup(&backup_id).await?;
        let mut bar = JobBar::new(&format!("verify {}", ended.view.name))?;
        api.follow_job(&job_id, |job| bar.show(job)).await?;
        let _events = bar.finish();
        let storage = self.milvus.storage_dir().context("the demo's Milvus has no local storage")?;
        let repository = self.repository();
        let comparison =
            step(&format!("compare {} byte by byte with Milvus's files", ended.view.name), async {
                tokio::task::spawn_blocking(move || byte_check::compare(&repository, &backup_id, &storage))
                    .await?
            })
            .await?;
        Ok(BackupReport {
            reused_bytes: ended.job.progress.bytes_reused,
            verify: api.verify_report(&job_id).await?,
            view: ended.view,
            job: ended.job,
            duration: ended.duration,
            event_count: ended.event_count,
            comparison,
        })
    }

    fn repository(&self) -> PathBuf {
        self.directory.join("repository")
    }
}

/// A backup whose job has ended.
struct Ended {
    view: BackupView,
    job: api::JobView,
    duration: Duration,
    event_count: u64,
}

async fn back_up(api: &Api, cluster_id: &str, name: &str) -> anyhow::Result<Ended> {
    let mut bar = JobBar::new(&format!("{name} backup"))?;
    let began = Instant::now();
    let started = api.create_backup(cluster_id, name).await?;
    let job = api.follow_job(&started.job_id, |job| bar.show(job)).await?;
    let duration = began.elapsed();
    let event_count = bar.finish();
    let view = api.backup(&started.backup_id).await?;
    if job.state != "SUCCESSFUL" {
        anyhow::bail!("the {name} backup {}: {}", job.state, job.failure.unwrap_or_default());
    }
    Ok(Ended { view, job, duration, event_count })
}

async fn fill(milvus: &MilvusClient, rows: u64) -> anyhow::Result<()> {
    let style = ProgressStyle::with_template("  {prefix:<16} {bar:32} {percent:>3}%  {human_pos} rows")?;
    let bar = ProgressBar::new(rows).with_style(style).with_prefix("fill Milvus");
    let began = Instant::now();
    data::fill(milvus, rows, |count| bar.inc(count)).await?;
    bar.abandon();
    let seconds = began.elapsed().as_secs_f64();
    eprintln!("  filled Milvus with {} rows, indexed and loaded, in {seconds:.1} s", HumanCount(rows));
    Ok(())
}

/// What happens to the data between the backups: new rows and deleted ones in every collection.
async fn change(milvus: &MilvusClient, rows: u64) -> anyhow::Result<()> {
    let mut random = SmallRng::seed_from_u64(2);
    for collection in DemoCollection::ALL {
        let present = collection.share_of(rows);
        let changed = (present * CHANGED_PERCENT / 100).max(1);
        data::insert(milvus, collection, present..present + changed, &mut random, |_| ()).await?;
        let database = milvus.in_database(collection.database());
        let mut first = 0;
        while first < changed.min(present) {
            let end = (first + ROWS_PER_DELETE).min(changed);
            if let Some(expression) = collection.select(first..end) {
                database.delete(collection.name(), &expression).await?;
            }
            first = end;
        }
    }
    Ok(())
}

/// Says what is being done, and how long it took.
async fn step<T>(what: &str, work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let began = Instant::now();
    let done = work.await.with_context(|| what.to_owned())?;
    eprintln!("  {what}: {:.1} s", began.elapsed().as_secs_f64());
    Ok(done)
}
