//! A source in a local directory.

use super::{changed, gone};
use crate::error::{from_io, from_join};
use async_trait::async_trait;
use milvault_domain::binlog::{BinlogKey, BinlogKind};
use milvault_domain::error::{PortError, PortErrorKind, PortResult};
use milvault_domain::object::{Fingerprint, SourceObject};
use milvault_domain::ports::{CheckFinding, SourceStore};
use rustix::fs::{Advice, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use std::collections::HashSet;
use std::fs::{DirEntry, File, Metadata};
use std::io;
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
}

impl LocalSource {
    /// A source at an absolute path. Nothing is touched.
    pub(crate) fn new(root: &Path) -> Self {
        Self { root: Arc::from(root) }
    }

    /// Opens the directory for reading files below it. For blocking threads.
    pub(crate) fn open(&self) -> PortResult<SourceDirectory> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(&*self.root, flags, Mode::empty())
            .map_err(|errno| from_io("open the source", &self.root.display().to_string(), errno.into()))?;
        Ok(SourceDirectory { directory, root: Arc::clone(&self.root) })
    }
}

/// An open source directory. Files are found below it and nowhere else: no link is followed.
pub(crate) struct SourceDirectory {
    directory: OwnedFd,
    root: Arc<Path>,
}

impl SourceDirectory {
    /// Opens a listed file.
    ///
    /// # Errors
    /// `NotFound` when it is gone, `Changed` when it is not a regular file any more.
    pub(crate) fn open(&self, object: &SourceObject) -> PortResult<File> {
        let key = object.key.to_string();
        // A pipe must not make the open wait for a writer.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let opened = match rustix::fs::openat2(&self.directory, key.as_str(), flags, Mode::empty(), resolve) {
            // Kernels before 5.6, and sandboxes that do not know the call.
            Err(Errno::NOSYS | Errno::PERM) => {
                rustix::fs::openat(&self.directory, key.as_str(), flags, Mode::empty())
            }
            other => other,
        };
        let file = match opened {
            Ok(file) => File::from(file),
            Err(Errno::NOENT | Errno::NOTDIR) => return Err(gone(object)),
            Err(Errno::LOOP | Errno::XDEV) => return Err(self.refused(&key)),
            Err(errno) => return Err(self.error(&key, errno.into())),
        };
        if ADVISE_FROM_BYTES <= object.size_bytes {
            // Advice that is not taken changes nothing.
            let _ = rustix::fs::fadvise(&file, 0, NonZeroU64::new(object.size_bytes), Advice::Sequential);
        }
        Ok(file)
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
        PortError::new(
            PortErrorKind::InvalidInput,
            format!(
                "`{}` is a symbolic link or no regular file, or leads through a link; such files are not backed up",
                self.root.join(key).display()
            ),
        )
    }
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
        let root = Arc::clone(&self.root);
        let segment_ids = segment_ids.clone();
        let listing = tokio::task::spawn_blocking(move || list(&root, collection_id, &segment_ids));
        listing.await.map_err(from_join)?
    }

    async fn check(&self) -> Vec<CheckFinding> {
        let root = Arc::clone(&self.root);
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
fn list(root: &Path, collection_id: i64, segment_ids: &HashSet<i64>) -> PortResult<Vec<SourceObject>> {
    let mut segments = Vec::new();
    for kind in [BinlogKind::Insert, BinlogKind::Delta] {
        let prefix = format!("{}/{collection_id}", kind.directory());
        for partition in directories(&root.join(&prefix))? {
            let prefix = format!("{prefix}/{partition}");
            for segment in directories(&root.join(&prefix))? {
                if segment.parse().is_ok_and(|id: i64| segment_ids.contains(&id)) {
                    segments.push((kind, format!("{prefix}/{segment}")));
                }
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

fn panicked() -> PortError {
    PortError::new(PortErrorKind::Internal, "a thread that listed the source panicked")
}

fn list_segments(root: &Path, segments: &[(BinlogKind, String)]) -> PortResult<Vec<SourceObject>> {
    let mut objects = Vec::new();
    for (kind, prefix) in segments {
        match kind {
            BinlogKind::Insert => {
                for field in directories(&root.join(prefix))? {
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
            Ok(_) => tracing::warn!(%key, "passed over: not a regular file"),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(from_io("look at", &entry.path().display().to_string(), error)),
        }
    }
    Ok(())
}

/// Names of the directories in a directory. Links are not followed, here as when files are opened.
fn directories(parent: &Path) -> PortResult<Vec<String>> {
    let failure = |error| from_io("list", &parent.display().to_string(), error);
    let mut found = Vec::new();
    for entry in entries(parent)? {
        let entry = entry.map_err(failure)?;
        if entry.file_type().map_err(failure)?.is_dir()
            && let Ok(name) = entry.file_name().into_string()
        {
            found.push(name);
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
