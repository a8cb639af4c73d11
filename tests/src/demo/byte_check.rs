//! Compares a backup with Milvus's own files, byte by byte.
//!
//! Neither the server nor the repository crate takes part: only the manifest's decoder is shared, and where the bytes
//! lie is taken from `docs/format.md`. So a defect of the product's own verify would show here.

use anyhow::{Context as _, bail, ensure};
use milvault_domain::manifest::{Decoder, FileKind, Item};
use milvault_domain::object::{Encoding, Location, StoredObject};
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

/// Bytes compared at once.
const BLOCK_BYTES: usize = 1 << 20;
/// Differences that are told one by one.
const DIFFERENCES_MAX: usize = 100;

/// What a comparison found.
#[derive(Debug, Default)]
pub struct Comparison {
    /// Objects that are the same in both places.
    pub objects_equal: u64,
    /// Their bytes.
    pub bytes_equal: u64,
    /// Objects that are not, in words; at most a hundred.
    pub differences: Vec<String>,
}

/// Compares every object of a backup with the file in Milvus's storage that it was copied from.
///
/// # Errors
/// The manifest cannot be read. What is wrong with objects is in the result.
pub fn compare(repository: &Path, backup_id: &str, storage: &Path) -> anyhow::Result<Comparison> {
    let mut comparison = Comparison::default();
    let manifest = repository.join("backups").join(backup_id).join("manifest");
    let file = File::open(&manifest).with_context(|| format!("open {}", manifest.display()))?;
    read_objects(file, |object| match compare_object(repository, storage, &object) {
        Ok(bytes) => {
            comparison.objects_equal += 1;
            comparison.bytes_equal += bytes;
        }
        Err(error) if comparison.differences.len() < DIFFERENCES_MAX => {
            comparison.differences.push(format!("{}: {error:#}", object.source.key));
        }
        Err(_) => {}
    })
    .with_context(|| format!("read {}", manifest.display()))?;
    Ok(comparison)
}

/// Reads the objects that a manifest names.
///
/// # Errors
/// It cannot be read, or is no whole manifest.
pub fn read_objects(mut manifest: impl Read, mut on_object: impl FnMut(StoredObject)) -> anyhow::Result<()> {
    let mut decoder = Decoder::new(FileKind::Manifest);
    let mut block = vec![0; BLOCK_BYTES];
    loop {
        let length = manifest.read(&mut block)?;
        if length == 0 {
            return Ok(decoder.finish()?);
        }
        decoder.push(&block[..length]);
        while let Some(item) = decoder.next_item()? {
            if let Item::Objects(objects) = item {
                objects.into_iter().for_each(&mut on_object);
            }
        }
    }
}

/// Compares one object; returns its size.
fn compare_object(repository: &Path, storage: &Path, object: &StoredObject) -> anyhow::Result<u64> {
    let Encoding::Raw = object.encoding;
    let size = object.source.size_bytes;
    ensure!(object.stored_bytes == size, "{} bytes are stored of {size}", object.stored_bytes);
    let (path, start) = place(object);
    let path = repository.join(path);
    let stored = File::open(&path).with_context(|| format!("open {}", path.display()))?;
    let original = File::open(storage.join(object.source.key.to_string())).context("open Milvus's file")?;
    let original_size = original.metadata()?.len();
    ensure!(original_size == size, "Milvus's file has {original_size} bytes, the manifest says {size}");
    let (mut left, mut right) = (vec![0; BLOCK_BYTES], vec![0; BLOCK_BYTES]);
    let mut done = 0;
    while done < size {
        let length = usize::try_from(size - done).unwrap_or(usize::MAX).min(BLOCK_BYTES);
        original.read_exact_at(&mut left[..length], done).context("read Milvus's file")?;
        stored
            .read_exact_at(&mut right[..length], start + done)
            .with_context(|| format!("read {}", path.display()))?;
        if left[..length] != right[..length] {
            bail!("{} differs within {length} bytes from offset {done}", path.display());
        }
        done += length as u64;
    }
    Ok(size)
}

/// The file that holds an object, as a path from the repository's root, and where in it the object begins.
#[must_use]
pub fn place(object: &StoredObject) -> (String, u64) {
    let (directory, name, start) = match object.location {
        Location::Pack { pack_id, offset_bytes } => ("packs", pack_id.to_string(), offset_bytes),
        Location::Object => ("objects", object.id.to_string(), 0),
    };
    (format!("{directory}/{}/{name}", &name[..2]), start)
}
