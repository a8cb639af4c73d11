//! A restore beside the way of one import job per segment, one after another: the same data, the same Milvus.

use super::measure::rounded;
use crate::demo::api::Api;
use crate::milvault_process::{MilvaultOptions, MilvaultProcess};
use crate::milvus_client::{CollectionSpec, Column, ColumnValues, FieldSpec, MilvusClient};
use crate::servers::{Milvus, MilvusOptions, Tools};
use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, UNIX_EPOCH};

const DIMENSION: usize = 128;
const COLLECTIONS: [&str; 2] = ["one", "two"];
const PARTITIONS: [&str; 3] = ["x", "y", "z"];
/// Flushes of each partition, each of which leaves a segment (of every shard; there is one).
const SEGMENTS_PER_PARTITION: u64 = 6;
/// Pause between two looks at an import job on the reference's side, as the tool it stands for makes.
const REFERENCE_POLL: Duration = Duration::from_secs(3);
/// Longest time for one import job.
const IMPORT_LIMIT: Duration = Duration::from_mins(10);

/// Runs both sides and returns the figures.
///
/// # Errors
/// A server cannot be had, or a side does not bring all rows.
pub async fn bench_restore(work: &Path, rows: u64) -> anyhow::Result<Value> {
    fs::create_dir_all(work)?;
    let _lock = super::lock(work)?;
    let directory = work.join("restore");
    if directory.exists() {
        fs::remove_dir_all(&directory)?;
    }
    fs::create_dir_all(&directory)?;
    let directory = fs::canonicalize(directory)?;
    let tools = Tools::install().await?;
    let mut milvus = Milvus::start(&tools, MilvusOptions::local(directory.join("milvus"))).await?;
    let mut milvault =
        MilvaultProcess::start(&directory.join("milvault"), MilvaultOptions::default()).await?;
    let client = MilvusClient::connect(&milvus.uri()).await?;
    let segments = fill(&client, rows).await?;
    eprintln!("{rows} rows in {segments} segments of {} collections", COLLECTIONS.len());

    let storage = milvus.storage_dir().context("a local Milvus has a directory")?;
    let api = Api::new(milvault.client()?);
    let repository_id = api.register_repository(&directory.join("repository")).await?;
    let cluster_id = api.register_cluster("bench", &milvus.uri(), &storage, &repository_id).await?;
    let started = api.create_backup(&cluster_id, "bench").await?;
    let job = api.follow_job(&started.job_id, |_| ()).await?;
    ensure!(job.state == "SUCCESSFUL", "the backup ended as {}: {:?}", job.state, job.failure);

    // The faster side first: what the system keeps in memory can only help the reference.
    let began = Instant::now();
    let input = json!({
        "backupId": started.backup_id, "targetClusterId": cluster_id, "suffix": "_milvault", "indexes": "LEAVE",
        "load": "NONE",
    });
    let job_id = api.restore_backup(input).await?;
    let job = api.follow_job(&job_id, |_| ()).await?;
    let milvault_seconds = began.elapsed().as_secs_f64();
    ensure!(job.state == "SUCCESSFUL", "the restore ended as {}: {:?}", job.state, job.failure);
    check_rows(&client, "_milvault", rows).await?;
    let peak_rss_mib = super::measure::peak_rss_mib_of(milvault.pid())?;
    eprintln!("milvault: {milvault_seconds:.1} s, rows compared with the backup included");

    let began = Instant::now();
    one_by_one(&client, &storage, &directory.join("reference")).await?;
    let reference_seconds = began.elapsed().as_secs_f64();
    check_rows(&client, "_reference", rows).await?;
    eprintln!("one job per segment: {reference_seconds:.1} s");

    milvault.terminate().await?;
    milvus.kill()?;
    fs::remove_dir_all(&directory)?;
    Ok(json!({
        "rows": rows,
        "segments": segments,
        "milvault_seconds": rounded(milvault_seconds),
        "reference_seconds": rounded(reference_seconds),
        "speedup": rounded(reference_seconds / milvault_seconds),
        "peak_rss_mib": rounded(peak_rss_mib),
    }))
}

/// Makes the collections; returns the number of their segments.
async fn fill(client: &MilvusClient, rows: u64) -> anyhow::Result<usize> {
    let batches = COLLECTIONS.len() as u64 * PARTITIONS.len() as u64 * SEGMENTS_PER_PARTITION;
    let mut batch = 0;
    for collection in COLLECTIONS {
        create(client, collection).await?;
        for _ in 0..SEGMENTS_PER_PARTITION {
            for partition in PARTITIONS {
                let numbers = rows * batch / batches..rows * (batch + 1) / batches;
                client.insert(collection, partition, &columns(numbers)).await?;
                batch += 1;
            }
            // Without an index Milvus 2.3.5 does not merge segments, so that every flush leaves its own.
            client.flush(&[collection]).await?;
        }
    }
    let mut segments = 0;
    for collection in COLLECTIONS {
        segments += client.segments(collection).await?.len();
    }
    Ok(segments)
}

async fn create(client: &MilvusClient, name: &str) -> anyhow::Result<()> {
    let spec = CollectionSpec {
        name: name.to_owned(),
        description: String::new(),
        fields: vec![FieldSpec::int64("id").primary_key(), FieldSpec::float_vector("embedding", DIMENSION)],
        dynamic_field: false,
        shard_count: 1,
        partition_key_partitions: 0,
    };
    client.create_collection(&spec).await?;
    for partition in PARTITIONS {
        client.create_partition(name, partition).await?;
    }
    Ok(())
}

fn columns(numbers: std::ops::Range<u64>) -> Vec<Column> {
    let mut state = numbers.start + 1;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        f32::from_bits(0x3f80_0000 | (state >> 41) as u32) - 1.5
    };
    let count = usize::try_from(numbers.end - numbers.start).unwrap_or(usize::MAX);
    let values = (0..count * DIMENSION).map(|_| next()).collect();
    vec![
        Column::new("id", ColumnValues::Int64(numbers.map(u64::cast_signed).collect())),
        Column::new("embedding", ColumnValues::FloatVector { dimension: DIMENSION, values }),
    ]
}

/// The reference: for every segment its files are staged and imported by a job of their own, and a look every three
/// seconds tells when the next may begin.
async fn one_by_one(client: &MilvusClient, storage: &Path, stage: &Path) -> anyhow::Result<()> {
    let end_ms = i64::try_from(UNIX_EPOCH.elapsed()?.as_millis())?;
    for collection in COLLECTIONS {
        let target = format!("{collection}_reference");
        create(client, &target).await?;
        let collection_id = client.collection_id(collection).await?;
        let partitions = client.partitions(collection).await?;
        for segment in client.segments(collection).await? {
            let partition = partitions.iter().find(|(_, id)| *id == segment.partition_id);
            let (partition, partition_id) = partition.context("a segment lies in a partition")?;
            let place = format!("insert_log/{collection_id}/{partition_id}/{}", segment.segment_id);
            let staged = stage.join(segment.segment_id.to_string());
            copy_tree(&storage.join(&place), &staged.join(&place))?;
            let insert = format!("{}/insert_log/{collection_id}/{partition_id}/", staged.display());
            for task in client.import(&target, partition, [&insert, ""], end_ms).await? {
                await_import(client, task).await?;
            }
        }
    }
    Ok(())
}

async fn await_import(client: &MilvusClient, task: i64) -> anyhow::Result<()> {
    let done = async {
        loop {
            tokio::time::sleep(REFERENCE_POLL).await;
            if client.import_is_complete(task).await? {
                return anyhow::Ok(());
            }
        }
    };
    tokio::time::timeout(IMPORT_LIMIT, done).await.with_context(|| format!("import {task} does not end"))?
}

async fn check_rows(client: &MilvusClient, suffix: &str, rows: u64) -> anyhow::Result<()> {
    let names = COLLECTIONS.map(|name| format!("{name}{suffix}"));
    client.flush(&[&names[0], &names[1]]).await?;
    let mut found = 0;
    for name in &names {
        let segments = client.segments(name).await?;
        found += segments.iter().map(|segment| segment.num_rows).sum::<i64>();
    }
    ensure!(u64::try_from(found)? == rows, "{found} rows instead of {rows} in {names:?}");
    Ok(())
}

fn copy_tree(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from).with_context(|| format!("read {}", from.display()))? {
        let entry = entry?;
        let target: PathBuf = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_tree(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
