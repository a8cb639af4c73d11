//! `docs/format.md` is enough to get everything back: a reader that was written from it alone, in another language,
//! extracts what Milvus wrote.

use crate::support::{Installation, insert_plain, local_storage, number, plain_collection, text};
use anyhow::{Context as _, Result, ensure};
use milvault_tests::servers::Tools;
use std::fs;
use std::path::{Path, PathBuf};
use tokio::process::Command;

const DATABASE: &str = "format_reader";
const ROWS: u64 = 8_000;
const MORE_ROWS: u64 = 300;
const DIMENSION: usize = 64;

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_shares_no_code_gets_every_file_back() -> Result<()> {
    let installation = Installation::start("format_reader").await?;
    let (cluster_id, milvus) = installation.with_local_cluster(serde_json::json!({})).await?;
    let api = &installation.api;
    let database = milvus.create_database(DATABASE).await?;
    plain_collection(&database, "rows", ROWS, DIMENSION).await?;
    api.back_up(&cluster_id, &[DATABASE]).await?;
    insert_plain(&database, "rows", ROWS..ROWS + MORE_ROWS, DIMENSION).await?;
    database.delete("rows", "id in [1, 2, 3]").await?;
    // One that takes packs of the first one over, and has deletes.
    let (backup, job) = api.back_up(&cluster_id, &[DATABASE]).await?;
    ensure!(number(&job["progress"]["bytesReused"]) > 0, "nothing was reused: {job}");

    let (repository, backup_id) = (installation.repository_dir(), text(&backup["id"]));
    let repository = repository.to_str().context("a directory in words")?;
    let extracted = tempfile::tempdir()?;
    let target = extracted.path().to_str().context("a directory in words")?;
    let listed = read(&["list", repository]).await?;
    ensure!(listed.lines().any(|line| line == backup_id), "{listed}");
    let (objects, bytes) = (number(&backup["objectCount"]), number(&backup["logicalBytes"]));
    let said = format!("{objects} objects, {bytes} bytes, 0 without a hash");
    assert_eq!(read(&["check", repository, backup_id]).await?.trim_end(), said);
    assert_eq!(read(&["extract", repository, backup_id, target]).await?.trim_end(), said);

    let files = files_below(extracted.path())?;
    assert_eq!(files.len() as u64, objects);
    ensure!(files.iter().any(|file| file.starts_with("delta_log")), "no deletes were read");
    let storage = local_storage().await?;
    for file in &files {
        let original = fs::read(storage.join(file)).with_context(|| format!("read {}", file.display()))?;
        ensure!(fs::read(extracted.path().join(file))? == original, "{} is another file", file.display());
    }

    one_wrong_bit_is_found(Path::new(repository), backup_id).await?;
    installation.finish().await
}

/// A reader that says yes to everything would prove nothing.
async fn one_wrong_bit_is_found(repository: &Path, backup_id: &str) -> Result<()> {
    let packs = files_below(&repository.join("packs"))?;
    let pack = repository.join("packs").join(packs.first().context("a pack")?);
    let mut bytes = fs::read(&pack)?;
    bytes[100] ^= 1;
    fs::write(&pack, &bytes)?;
    let shown = repository.to_str().context("a directory in words")?;
    let error = read(&["check", shown, backup_id]).await.err().context("the damage was not found")?;
    ensure!(error.to_string().contains("damaged"), "{error:#}");
    Ok(())
}

/// What the reader prints.
async fn read(arguments: &[&str]) -> Result<String> {
    let reader = Path::new(env!("CARGO_MANIFEST_DIR")).join("format_reader.py");
    let output = Command::new("python3")
        .arg(reader)
        .args(arguments)
        .env("PYTHONPATH", Tools::python_blake3().await?)
        .kill_on_drop(true)
        .output()
        .await
        .context("run the reader")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

/// Paths of all files below a directory, relative to it.
fn files_below(directory: &Path) -> Result<Vec<PathBuf>> {
    let (mut files, mut directories) = (Vec::new(), vec![directory.to_owned()]);
    while let Some(next) = directories.pop() {
        for entry in fs::read_dir(next)? {
            let path = entry?.path();
            if path.is_dir() {
                directories.push(path);
            } else {
                files.push(path.strip_prefix(directory)?.to_owned());
            }
        }
    }
    files.sort();
    Ok(files)
}
