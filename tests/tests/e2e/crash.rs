//! The server is killed at moments of all kinds while it makes a backup, and goes on where it was.

use crate::support::{Installation, PATIENCE, is_final, local_storage, number, plain_collection, text};
use anyhow::{Context as _, Result, bail, ensure};
use futures::StreamExt as _;
use milvault_tests::demo::byte_check;
use milvault_tests::graphql_client::GraphqlError;
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

const DATABASE: &str = "crash";
/// 4 KiB of vector each, so 320 MiB in five packs and more.
const ROWS: u64 = 80_000;
const DIMENSION: usize = 1024;
/// So slow that the copy lasts for several kills.
const BYTES_PER_SECOND: u64 = 32 << 20;
/// More than the kills.
const ATTEMPTS_MAX: (&str, &str) = ("MILVAULT_JOBS__ATTEMPTS_MAX", "50");
/// Events after which a random kill comes at the latest.
const EVENTS_MAX: usize = 6;

/// When the server is killed.
#[derive(Debug, Clone, Copy)]
enum Moment {
    /// Its job has entered this phase, or a later one.
    Phase(&'static str),
    /// So many events were seen since the job was watched.
    Events(usize),
    /// A unit more is complete than when the job was watched.
    UnitDone,
}

/// What identifies a file that nobody has touched: inode, size, and time of change in nanoseconds.
type Untouched = (u64, u64, i64);

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_survives_kills_at_any_moment_without_copying_twice() -> Result<()> {
    let mut installation = Installation::start_with("crash", &[ATTEMPTS_MAX]).await?;
    let slow = json!({ "maxBytesPerSecond": BYTES_PER_SECOND, "cuSize": 1 });
    let (cluster_id, milvus) = installation.with_local_cluster(slow).await?;
    plain_collection(&milvus.create_database(DATABASE).await?, "rows", ROWS, DIMENSION).await?;
    let scope = json!({ "scope": { "databases": [DATABASE] } });
    let started = installation.api.create_backup(&cluster_id, scope.clone()).await?;

    let seed = rand::rng().random();
    eprintln!("the random moments come from seed {seed}");
    let mut packs = BTreeMap::new();
    let mut kills = 0;
    for moment in moments(seed) {
        if !reach(&installation, &started.job_id, moment).await? {
            break;
        }
        installation = installation.crash().await?;
        kills += 1;
        check_untouched(&packs, moment)?;
        packs = packs_of(&installation.repository_dir())?;
        if let Moment::Phase("CUT" | "PLAN") = moment {
            // The rows were there before the crash, so the rule still holds.
            match installation.api.create_backup(&cluster_id, scope.clone()).await {
                Err(GraphqlError::Answer { code, extensions, .. }) if code == "CONFLICT" => {
                    assert_eq!(extensions["jobId"], started.job_id);
                }
                other => bail!("CONFLICT was expected after {moment:?}, not {other:?}"),
            }
        }
    }
    ensure!(kills >= 6, "the backup was complete after {kills} kills");
    ensure!(!packs.is_empty(), "no kill found a complete pack");

    let (backup, job) = installation.api.await_available(&started).await?;
    ensure!(number(&job["attempt"]) > 1, "{job}");
    check_untouched(&packs, Moment::Phase("SEAL"))?;
    assert_eq!(backup["rowCount"], ROWS);
    let stored = packs_of(&installation.repository_dir())?.values().map(|(_, size, _)| size).sum::<u64>();
    let logical = number(&backup["logicalBytes"]);
    ensure!(stored < logical + logical / 100, "{stored} bytes of packs hold {logical} of objects");
    installation.api.verify_ok(&started.backup_id).await?;
    let comparison =
        byte_check::compare(&installation.repository_dir(), &started.backup_id, local_storage().await?)?;
    assert_eq!(comparison.differences, Vec::<String>::new());
    assert_eq!(json!(comparison.bytes_equal), backup["logicalBytes"]);

    // Nothing is left that would hold up the next backup, and it finds everything.
    let (_, job) = installation.api.back_up(&cluster_id, &[DATABASE]).await?;
    ensure!(number(&job["progress"]["bytesReused"]) > 0, "{job}");
    installation.finish().await
}

/// Every phase, a few times after a random number of events, and twice when something has been completed.
fn moments(seed: u64) -> Vec<Moment> {
    let mut random = SmallRng::seed_from_u64(seed);
    let mut events = || Moment::Events(random.random_range(1..=EVENTS_MAX));
    vec![
        events(),
        Moment::Phase("CUT"),
        Moment::Phase("PLAN"),
        Moment::Phase("COPY"),
        events(),
        Moment::UnitDone,
        events(),
        Moment::UnitDone,
        events(),
        Moment::Phase("SEAL"),
    ]
}

/// Watches the job until the moment has come; false when the job has ended before.
async fn reach(installation: &Installation, job_id: &str, moment: Moment) -> Result<bool> {
    let mut events = installation.api.watch(job_id).await?;
    let mut count = 0;
    let mut done_at_first = None;
    loop {
        let event = tokio::time::timeout(PATIENCE, events.next()).await.context("no further event")?;
        let job = event.context("the events ended before the job did")??["jobUpdated"].take();
        if is_final(&job) {
            ensure!(job["state"] == "SUCCESSFUL", "{job}");
            return Ok(false);
        }
        count += 1;
        let copying = job["phase"] == "COPY";
        let reached = match moment {
            Moment::Phase(phase) => rank(&job) >= rank_of(phase),
            Moment::Events(wanted) => count >= wanted,
            Moment::UnitDone => {
                let done = number(&job["progress"]["objectsDone"]);
                copying && *done_at_first.get_or_insert(done) < done
            }
        };
        if reached {
            return Ok(true);
        }
    }
}

fn rank(job: &Value) -> usize {
    if job["state"] == "IN_PROGRESS" { rank_of(text(&job["phase"])) } else { 0 }
}

fn rank_of(phase: &str) -> usize {
    ["", "CUT", "PLAN", "COPY", "SEAL"].iter().position(|known| *known == phase).unwrap_or(0)
}

/// Packs under their final names.
fn packs_of(repository: &Path) -> Result<BTreeMap<PathBuf, Untouched>> {
    let mut packs = BTreeMap::new();
    let directory = repository.join("packs");
    if !directory.exists() {
        return Ok(packs);
    }
    for group in fs::read_dir(directory)? {
        for pack in fs::read_dir(group?.path())? {
            let pack = pack?;
            let metadata = pack.metadata()?;
            let changed_at = metadata.mtime() * 1_000_000_000 + metadata.mtime_nsec();
            packs.insert(pack.path(), (metadata.ino(), metadata.len(), changed_at));
        }
    }
    Ok(packs)
}

/// Packs that were there before a kill are the same files after it.
fn check_untouched(packs: &BTreeMap<PathBuf, Untouched>, moment: Moment) -> Result<()> {
    for (path, before) in packs {
        let metadata = fs::metadata(path).with_context(|| format!("{} is gone", path.display()))?;
        let changed_at = metadata.mtime() * 1_000_000_000 + metadata.mtime_nsec();
        let after = (metadata.ino(), metadata.len(), changed_at);
        ensure!(*before == after, "{} was written again; last kill at {moment:?}", path.display());
    }
    Ok(())
}
