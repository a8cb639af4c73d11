//! The Milvus servers that all tests share, started by the first one that needs them.

use anyhow::{Context as _, Result};
use milvault_tests::servers::{Milvus, MilvusOptions, SeaweedFs, SeaweedFsOptions, Tools};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use tokio::sync::OnceCell;

/// Bucket of the Milvus that keeps its files on S3.
pub(crate) const LAKE: &str = "lake";

static LOCAL: OnceCell<Milvus> = OnceCell::const_new();
static ON_S3: OnceCell<(SeaweedFs, Milvus)> = OnceCell::const_new();
static RUN_DIRECTORY: OnceLock<PathBuf> = OnceLock::new();

/// A Milvus that keeps its files in a directory.
pub(crate) async fn local_milvus() -> Result<&'static Milvus> {
    let start = || async {
        let tools = Tools::install().await?;
        Milvus::start(&tools, MilvusOptions::local(run_directory()?.join("milvus-local"))).await
    };
    LOCAL.get_or_try_init(start).await
}

/// A Milvus that keeps its files in the bucket [`LAKE`] of the store beside it.
pub(crate) async fn s3_milvus() -> Result<&'static (SeaweedFs, Milvus)> {
    let start = || async {
        let tools = Tools::install().await?;
        let directory = run_directory()?;
        let store =
            SeaweedFs::start(&tools, &directory.join("seaweedfs"), SeaweedFsOptions::default()).await?;
        let options = MilvusOptions::on_s3(directory.join("milvus-s3"), store.milvus_storage(LAKE));
        let milvus = Milvus::start(&tools, options).await?;
        anyhow::Ok((store, milvus))
    };
    ON_S3.get_or_try_init(start).await
}

/// Variable of a server's environment that holds the secret key of the store.
const S3_SECRET: &str = "MILVAULT_SECRET_S3";

/// What a server needs in its environment to use the store.
pub(crate) fn s3_secret(store: &SeaweedFs) -> (&'static str, &str) {
    (S3_SECRET, &store.admin().secret_key)
}

/// A place in the store, as the API is told of it.
pub(crate) fn s3_storage(store: &SeaweedFs, bucket: &str, prefix: &str) -> Value {
    json!({ "s3": {
        "bucket": bucket, "prefix": prefix, "endpoint": store.endpoint(),
        "accessKeyId": store.admin().access_key, "secretAccessKey": { "environment": S3_SECRET },
    } })
}

/// The same place, as the command line is told of it.
pub(crate) fn s3_argument(store: &SeaweedFs, bucket: &str, prefix: &str) -> String {
    format!(
        "bucket=s3:bucket={bucket},prefix={prefix},endpoint={},access_key_id={},secret_access_key=env:{S3_SECRET}",
        store.endpoint(),
        store.admin().access_key
    )
}

/// The directory of this run. Those of earlier runs are removed when it is made.
pub(crate) fn run_directory() -> Result<&'static Path> {
    if let Some(directory) = RUN_DIRECTORY.get() {
        return Ok(directory);
    }
    let parent = Path::new(env!("CARGO_TARGET_TMPDIR")).join("e2e");
    let directory = parent.join(std::process::id().to_string());
    fs::create_dir_all(&directory).with_context(|| format!("create {}", directory.display()))?;
    for entry in fs::read_dir(&parent)? {
        let entry = entry?;
        // The name is the process id of the run.
        if !Path::new("/proc").join(entry.file_name()).exists() {
            // Another test of this run may remove it at the same time.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
    Ok(RUN_DIRECTORY.get_or_init(|| directory))
}
