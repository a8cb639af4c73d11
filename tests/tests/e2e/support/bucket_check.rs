//! Compares a backup with the binlogs that a Milvus keeps in a bucket, byte by byte and without the server's help.

use anyhow::{Context as _, Result, ensure};
use milvault_domain::object::StoredObject;
use milvault_tests::demo::byte_check::{place, read_objects};
use object_store::ObjectStoreExt as _;
use object_store::aws::AmazonS3;
use object_store::path::Path as ObjectPath;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

/// A prefix in a bucket.
pub(crate) struct Bucket {
    pub(crate) store: AmazonS3,
    pub(crate) prefix: &'static str,
}

impl Bucket {
    async fn read(&self, key: &str) -> Result<Vec<u8>> {
        let path = ObjectPath::from(format!("{}/{key}", self.prefix));
        let object = self.store.get(&path).await.with_context(|| format!("get {path}"))?;
        Ok(object.bytes().await?.to_vec())
    }
}

/// Compares a backup in one bucket with the binlogs in another; returns the number of its objects.
pub(crate) async fn compare_buckets(repository: &Bucket, backup_id: &str, source: &Bucket) -> Result<u64> {
    let manifest = repository.read(&format!("backups/{backup_id}/manifest")).await?;
    let objects = objects_of(manifest.as_slice())?;
    for object in &objects {
        let (file, start) = place(object);
        let whole = repository.read(&file).await?;
        let end = start + object.stored_bytes;
        let stored = whole
            .get(usize::try_from(start)?..usize::try_from(end)?)
            .with_context(|| format!("{file} ends before byte {end}"))?;
        compare(object, stored, source).await?;
    }
    Ok(objects.len() as u64)
}

/// Compares a backup in a directory with the binlogs in a bucket; returns the number of its objects.
pub(crate) async fn compare_with_directory(
    repository: &Path,
    backup_id: &str,
    source: &Bucket,
) -> Result<u64> {
    let manifest = File::open(repository.join("backups").join(backup_id).join("manifest"))?;
    let objects = objects_of(manifest)?;
    for object in &objects {
        let (file, start) = place(object);
        let mut stored = vec![0; usize::try_from(object.stored_bytes)?];
        File::open(repository.join(&file))?.read_exact_at(&mut stored, start).with_context(|| file)?;
        compare(object, &stored, source).await?;
    }
    Ok(objects.len() as u64)
}

fn objects_of(manifest: impl std::io::Read) -> Result<Vec<StoredObject>> {
    let mut objects = Vec::new();
    read_objects(manifest, |object| objects.push(object))?;
    Ok(objects)
}

async fn compare(object: &StoredObject, stored: &[u8], source: &Bucket) -> Result<()> {
    let key = object.source.key.to_string();
    let original = source.read(&key).await?;
    ensure!(original == stored, "{key} differs from what the repository holds");
    Ok(())
}
