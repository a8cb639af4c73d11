//! A source in a local directory.

use super::grouped::{self, Groups};
use super::{GroupedKeys, KeyLayout, changed, gone, too_large};
use crate::error::{from_io, from_join};
use async_trait::async_trait;
use milvault_domain::binlog::{BinlogKey, BinlogKind};
use milvault_domain::error::{PortError, PortErrorKind, PortResult};
use milvault_domain::object::{Fingerprint, SourceObject};
use milvault_domain::ports::{CheckFinding, READ_BYTES_MAX, SourceStore};
use rustix::fs::{Advice, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use std::collections::HashSet;
use std::fs::{DirEntry, File, Metadata};
use std::io::{self, Read};
use std::num::NonZeroU64;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

/// Files from this size on are worth a word to the kernel about how they will be read.
const ADVISE_FROM_BYTES: u64 = 1 << 20;

/// See the module.
#[derive(Clone)]
pub(crate) struct LocalSource {
    root: Arc<Path>,
    layout: KeyLayout,
}

impl LocalSource {
    /// A source at an absolute path. Nothing is touched.
    pub(crate) fn new(root: &Path, layout: KeyLayout) -> Self {
        Self { root: Arc::from(root), layout }
    }

    /// Opens the directory for reading files below it. For blocking threads.
    pub(crate) fn open(&self) -> PortResult<SourceDirectory> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(&*self.root, flags, Mode::empty())
            .map_err(|errno| from_io("open the source", &self.root.display().to_string(), errno.into()))?;
        Ok(SourceDirectory { directory, root: Arc::clone(&self.root), layout: self.layout.clone() })
    }

    fn list(
        &self,
        kinds: &[BinlogKind],
        collection_id: i64,
        segment_ids: &HashSet<i64>,
    ) -> PortResult<Vec<SourceObject>> {
        match &self.layout {
            KeyLayout::Milvus => list(&self.root, kinds, collection_id, segment_ids),
            KeyLayout::Grouped(keys) => {
                let mut objects = Vec::new();
                for &kind in kinds {
                    objects.extend(list_grouped(&self.root, keys, kind, collection_id, segment_ids)?.1);
                }
                Ok(objects)
            }
        }
    }

    async fn list_kinds(
        &self,
        kinds: &'static [BinlogKind],
        collection_id: i64,
        segment_ids: &HashSet<i64>,
    ) -> PortResult<Vec<SourceObject>> {
        let source = self.clone();
        let segment_ids = segment_ids.clone();
        let listing = tokio::task::spawn_blocking(move || source.list(kinds, collection_id, &segment_ids));
        listing.await.map_err(from_join)?
    }

    fn read(&self, key: &BinlogKey) -> PortResult<Vec<u8>> {
        let directory = self.open()?;
        let file = directory.open_key(key)?;
        let failure = |error| directory.error(&key.to_string(), error);
        let size_bytes = file.metadata().map_err(failure)?.len();
        if READ_BYTES_MAX < size_bytes {
            return Err(too_large(key, size_bytes));
        }
        let mut content = Vec::with_capacity(usize::try_from(size_bytes).unwrap_or(0));
        file.take(READ_BYTES_MAX).read_to_end(&mut content).map_err(failure)?;
        Ok(content)
    }
}

/// An open source directory. Files are found below it and nowhere else: no link is followed.
pub(crate) struct SourceDirectory {
    directory: OwnedFd,
    root: Arc<Path>,
    layout: KeyLayout,
}

impl SourceDirectory {
    /// Opens a listed file.
    ///
    /// # Errors
    /// `NotFound` when it is gone, `Changed` when it is not a regular file any more.
    pub(crate) fn open(&self, object: &SourceObject) -> PortResult<File> {
        let file = self.open_key(&object.key)?;
        if ADVISE_FROM_BYTES <= object.size_bytes {
            // Advice that is not taken changes nothing.
            let _ = rustix::fs::fadvise(&file, 0, NonZeroU64::new(object.size_bytes), Advice::Sequential);
        }
        Ok(file)
    }

    fn open_key(&self, key: &BinlogKey) -> PortResult<File> {
        let path = self.path(key)?;
        // A pipe must not make the open wait for a writer.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let opened = match rustix::fs::openat2(&self.directory, path.as_str(), flags, Mode::empty(), resolve)
        {
            // Kernels before 5.6, and sandboxes that do not know the call.
            Err(Errno::NOSYS | Errno::PERM) => {
                rustix::fs::openat(&self.directory, path.as_str(), flags, Mode::empty())
            }
            other => other,
        };
        match opened {
            Ok(file) => Ok(File::from(file)),
            Err(Errno::NOENT | Errno::NOTDIR) => Err(gone(key)),
            Err(Errno::LOOP | Errno::XDEV) => Err(self.refused(&path)),
            Err(errno) => Err(self.error(&path, errno.into())),
        }
    }

    /// Where a key lies below the root.
    fn path(&self, key: &BinlogKey) -> PortResult<String> {
        match &self.layout {
            KeyLayout::Milvus => Ok(key.to_string()),
            KeyLayout::Grouped(keys) => {
                // Where segments lie is asked here, not what is in them.
                let list = || {
                    let none = HashSet::new();
                    Ok(list_grouped(&self.root, keys, key.kind, key.collection_id, &none)?.0)
                };
                keys.path_blocking(key, list)?.ok_or_else(|| gone(key))
            }
        }
    }

    /// Checks after reading that the file is still the one that was listed.
    ///
    /// # Errors
    /// `Changed`.
    pub(crate) fn confirm(&self, file: &File, object: &SourceObject) -> PortResult<()> {
        let metadata = file.metadata().map_err(|error| self.error(&object.key.to_string(), error))?;
        if !metadata.is_file() {
            return Err(self.refused(&object.key.to_string()));
        }
        let same = metadata.len() == object.size_bytes && fingerprint(&metadata) == object.fingerprint;
        if same { Ok(()) } else { Err(changed(object)) }
    }

    /// A failure to read a file.
    pub(crate) fn error(&self, key: &str, error: io::Error) -> PortError {
        from_io("read", &self.root.join(key).display().to_string(), error)
    }

    fn refused(&self, key: &str) -> PortError {
        refused(&self.root.join(key))
    }
}

/// A link is not followed, since it may lead to any file of this server.
fn refused(path: &Path) -> PortError {
    PortError::new(
        PortErrorKind::InvalidInput,
        format!(
            "`{}` is a symbolic link or no regular file, or leads through a link; such files are not backed up: put what \
             it leads to in its place",
            path.display()
        ),
    )
}

fn fingerprint(metadata: &Metadata) -> Fingerprint {
    Fingerprint::ModifiedAtNanos(
        metadata.mtime().saturating_mul(1_000_000_000).saturating_add(metadata.mtime_nsec()),
    )
}

#[async_trait]
impl SourceStore for LocalSource {
    async fn list_binlogs(
        &self,
        collection_id: i64,
        segment_ids: &HashSet<i64>,
    ) -> PortResult<Vec<SourceObject>> {
        self.list_kinds(&[BinlogKind::Insert, BinlogKind::Delta], collection_id, segment_ids).await
    }

    async fn list_delta_logs(
        &self,
        collection_id: i64,
        segment_ids: &HashSet<i64>,
    ) -> PortResult<Vec<SourceObject>> {
        self.list_kinds(&[BinlogKind::Delta], collection_id, segment_ids).await
    }

    async fn read_binlog(&self, key: &BinlogKey) -> PortResult<Vec<u8>> {
        let (source, key) = (self.clone(), *key);
        tokio::task::spawn_blocking(move || source.read(&key)).await.map_err(from_join)?
    }

    async fn check(&self) -> Vec<CheckFinding> {
        let root = self.root.join(self.layout.base());
        let looked = tokio::task::spawn_blocking(move || check_root(&root)).await;
        vec![looked.unwrap_or_else(|error| finding(false, from_join(error).to_string()))]
    }
}

fn finding(ok: bool, message: String) -> CheckFinding {
    CheckFinding { subject: String::from("storage"), ok, message }
}

fn check_root(root: &Path) -> CheckFinding {
    let shown = root.display();
    if let Err(error) = std::fs::read_dir(root) {
        return finding(false, from_io("read the source", &shown.to_string(), error).to_string());
    }
    let directory = root.join(BinlogKind::Insert.directory());
    match std::fs::read_dir(&directory) {
        Ok(_) => finding(true, format!("`{shown}` can be read and holds binlogs")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => finding(
            true,
            format!(
                "`{shown}` can be read but has no `insert_log` directory: either nothing was flushed yet, or this is not \
                 the directory that Milvus has as its local storage path"
            ),
        ),
        Err(error) => finding(false, from_io("read", &directory.display().to_string(), error).to_string()),
    }
}

/// Threads that a listing uses. What they wait for is the kernel, not the disk, once directories are cached.
const LISTING_THREADS: usize = 4;

/// Lists one collection. Directories of segments that are not wanted are not opened.
fn list(
    root: &Path,
    kinds: &[BinlogKind],
    collection_id: i64,
    segment_ids: &HashSet<i64>,
) -> PortResult<Vec<SourceObject>> {
    let mut segments = Vec::new();
    for &kind in kinds {
        let prefix = format!("{}/{collection_id}", kind.directory());
        for partition in directories(&root.join(&prefix), |_| true)? {
            let prefix = format!("{prefix}/{partition}");
            for segment in directories(&root.join(&prefix), |id| segment_ids.contains(&id))? {
                segments.push((kind, format!("{prefix}/{segment}")));
            }
        }
    }
    let per_thread = segments.len().div_ceil(LISTING_THREADS).max(1);
    let listed: Vec<PortResult<Vec<SourceObject>>> = std::thread::scope(|scope| {
        let threads: Vec<_> = segments
            .chunks(per_thread)
            .map(|segments| scope.spawn(move || list_segments(root, segments)))
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| Err(panicked()))).collect()
    });
    let mut objects = Vec::new();
    for listed in listed {
        objects.extend(listed?);
    }
    Ok(objects)
}

/// Lists one kind of a collection's binlogs as milvus-backup lays them out, with the groups they lie in. Links are passed
/// over: whoever takes such a directory over misses the files that its description names.
fn list_grouped(
    root: &Path,
    keys: &GroupedKeys,
    kind: BinlogKind,
    collection_id: i64,
    segment_ids: &HashSet<i64>,
) -> PortResult<(Groups, Vec<SourceObject>)> {
    let (mut groups, mut objects) = (Groups::default(), Vec::new());
    let mut open = vec![format!("{}/{collection_id}", kind.directory())];
    while let Some(prefix) = open.pop() {
        let directory = root.join(keys.base()).join(&prefix);
        for entry in entries(&directory)? {
            let entry = entry.map_err(|error| from_io("list", &directory.display().to_string(), error))?;
            let name = entry.file_name();
            let Some(path) = name.to_str().map(|name| format!("{prefix}/{name}")) else { continue };
            let metadata = match entry.metadata() {
                Ok(metadata) => metadata,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(from_io("look at", &entry.path().display().to_string(), error)),
            };
            if metadata.is_dir() && path.split('/').count() <= grouped::DIRECTORIES_MAX {
                open.push(path);
            } else if metadata.is_file()
                && let Some((key, group)) = grouped::parse(&path)
            {
                groups.note(&key, group)?;
                if segment_ids.contains(&key.segment_id) {
                    let size_bytes = metadata.len();
                    objects.push(SourceObject { key, size_bytes, fingerprint: fingerprint(&metadata) });
                }
            }
        }
    }
    Ok((groups, objects))
}

fn panicked() -> PortError {
    PortError::new(PortErrorKind::Internal, "a thread that listed the source panicked")
}

fn list_segments(root: &Path, segments: &[(BinlogKind, String)]) -> PortResult<Vec<SourceObject>> {
    let mut objects = Vec::new();
    for (kind, prefix) in segments {
        match kind {
            BinlogKind::Insert => {
                for field in directories(&root.join(prefix), |_| true)? {
                    list_logs(root, &format!("{prefix}/{field}"), &mut objects)?;
                }
            }
            BinlogKind::Delta => list_logs(root, prefix, &mut objects)?,
        }
    }
    Ok(objects)
}

fn list_logs(root: &Path, prefix: &str, objects: &mut Vec<SourceObject>) -> PortResult<()> {
    let directory = root.join(prefix);
    for entry in entries(&directory)? {
        let entry = entry.map_err(|error| from_io("list", &directory.display().to_string(), error))?;
        let name = entry.file_name();
        let Some(key) = name.to_str().and_then(|name| BinlogKey::parse(&format!("{prefix}/{name}"))) else {
            continue;
        };
        match entry.metadata() {
            Ok(metadata) if metadata.is_file() => objects.push(SourceObject {
                key,
                size_bytes: metadata.len(),
                fingerprint: fingerprint(&metadata),
            }),
            Ok(metadata) if metadata.is_dir() => tracing::warn!(%key, "passed over: not a regular file"),
            // Without it the backup would lack rows or deletes, and nobody would know.
            Ok(_) => return Err(refused(&entry.path())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(from_io("look at", &entry.path().display().to_string(), error)),
        }
    }
    Ok(())
}

/// Names of the directories in a directory that are wanted ids.
///
/// # Errors
/// `InvalidInput` for a link in the place of one: it is not followed, here as when files are opened, and what is behind it
/// would be missing.
fn directories(parent: &Path, wanted: impl Fn(i64) -> bool) -> PortResult<Vec<String>> {
    let failure = |error| from_io("list", &parent.display().to_string(), error);
    let mut found = Vec::new();
    for entry in entries(parent)? {
        let entry = entry.map_err(failure)?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        if !name.parse::<i64>().is_ok_and(&wanted) {
            continue;
        }
        let file_type = entry.file_type().map_err(failure)?;
        if file_type.is_dir() {
            found.push(name);
        } else if file_type.is_symlink() {
            return Err(refused(&entry.path()));
        }
    }
    Ok(found)
}

/// Entries of a directory; none when it does not exist: Milvus makes and removes them as it goes.
fn entries(directory: &Path) -> PortResult<impl Iterator<Item = io::Result<DirEntry>>> {
    match std::fs::read_dir(directory) {
        Ok(entries) => Ok(Some(entries).into_iter().flatten()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None.into_iter().flatten()),
        Err(error) => Err(from_io("list", &directory.display().to_string(), error)),
    }
}
