//! A local directory as a place.

use super::buffer::BufferPool;
use super::direct::{BufferedDirectFile, Readers, make_directory, sync_directory};
use super::sequential::SequentialFile;
use super::{Creation, FileFacts, ListedFile, Overwrite, Place, PlaceWriter};
use crate::error::{from_io, from_join};
use crate::layout;
use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::stream::{self, BoxStream, StreamExt};
use milvault_domain::error::{PortError, PortErrorKind, PortResult};
use std::fs::{File, Metadata};
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

/// Pieces in which files are read: large enough that the cost per call vanishes.
const READ_BYTES: usize = 2 << 20;
/// Buffers of all streams of a place together.
const READ_BUFFERS: usize = 12;
/// Files that one thread looks at: going to it takes longer than a look, and a network's disk answers several threads
/// at once.
const LOOKS_PER_THREAD: usize = 32;
/// Files of a listing that are handed over at once.
const LIST_BATCH: usize = 1000;

/// See the module.
#[derive(Clone)]
pub(crate) struct LocalPlace {
    root: Arc<Path>,
    read_buffers: Arc<BufferPool>,
}

impl LocalPlace {
    /// A place at an absolute path. Nothing is touched.
    pub(crate) fn new(root: &Path) -> Self {
        Self { root: Arc::from(root), read_buffers: BufferPool::new(READ_BUFFERS, READ_BYTES) }
    }

    /// Where a file of the repository lies.
    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    async fn blocking<T: Send + 'static>(
        &self,
        action: &'static str,
        path: &str,
        work: impl FnOnce(&Path) -> io::Result<T> + Send + 'static,
    ) -> PortResult<T> {
        let full = self.path(path);
        tokio::task::spawn_blocking(move || {
            work(&full).map_err(|error| from_io(action, &full.display().to_string(), error))
        })
        .await
        .map_err(from_join)?
    }
}

#[async_trait]
impl Place for LocalPlace {
    fn display(&self, path: &str) -> String {
        self.path(path).display().to_string()
    }

    async fn facts(&self, path: &str) -> PortResult<Option<FileFacts>> {
        self.blocking("look at", path, look_at).await
    }

    async fn facts_of(&self, paths: Vec<String>) -> PortResult<Vec<Option<FileFacts>>> {
        let looks: Vec<_> = paths
            .chunks(LOOKS_PER_THREAD)
            .map(|paths| {
                let paths: Vec<PathBuf> = paths.iter().map(|path| self.path(path)).collect();
                tokio::task::spawn_blocking(move || {
                    let look = |path: PathBuf| {
                        look_at(&path).map_err(|error| from_io("look at", &path.display().to_string(), error))
                    };
                    paths.into_iter().map(look).collect::<PortResult<Vec<_>>>()
                })
            })
            .collect();
        let mut found = Vec::with_capacity(paths.len());
        for look in looks {
            found.extend(look.await.map_err(from_join)??);
        }
        Ok(found)
    }

    async fn read(&self, path: &str, range: Range<u64>) -> PortResult<Bytes> {
        let short = self.display(path);
        let length = usize::try_from(range.end.saturating_sub(range.start)).map_err(|_| too_short(&short))?;
        let read = self
            .blocking("read", path, move |path| {
                let file = File::open(path)?;
                // The file's own size bounds the memory, whatever the range says.
                if file.metadata()?.len() < range.end {
                    return Ok(None);
                }
                let mut bytes = vec![0; length];
                file.read_exact_at(&mut bytes, range.start)?;
                Ok(Some(bytes))
            })
            .await?;
        read.map(Bytes::from).ok_or_else(|| too_short(&short))
    }

    async fn stream(
        &self,
        path: &str,
        range: Range<u64>,
    ) -> PortResult<BoxStream<'static, PortResult<Bytes>>> {
        let length = range.end.saturating_sub(range.start);
        let file =
            Arc::new(self.blocking("read", path, move |path| SequentialFile::open(path, length)).await?);
        let shown = self.display(path);
        let buffers = Arc::clone(&self.read_buffers);
        let pieces = stream::try_unfold(range, move |range| {
            let (file, buffers, shown) = (Arc::clone(&file), Arc::clone(&buffers), shown.clone());
            async move {
                if range.is_empty() {
                    return Ok(None);
                }
                let next = range.clone();
                let read = tokio::task::spawn_blocking(move || file.read(&buffers, next));
                let piece = read.await.map_err(from_join)?.map_err(|error| from_io("read", &shown, error))?;
                if piece.is_empty() {
                    return Err(too_short(&shown));
                }
                let start = range.start + piece.len() as u64;
                Ok(Some((piece, start..range.end)))
            }
        });
        Ok(pieces.boxed())
    }

    async fn writer(&self, path: &str, overwrite: Overwrite) -> PortResult<Box<dyn PlaceWriter>> {
        let label = path.rsplit('/').next().unwrap_or("file");
        let temporary = self.path(&layout::temporary(label));
        let file = self
            .blocking("write", path, move |_| BufferedDirectFile::create(temporary, Readers::Group))
            .await
            .map_err(gone_root)?;
        Ok(Box::new(LocalWriter { file: Some(file), place: self.clone(), path: path.to_owned(), overwrite }))
    }

    fn list(&self, directory: &str) -> BoxStream<'static, PortResult<ListedFile>> {
        let (root, start) = (Arc::clone(&self.root), self.path(directory));
        let (sender, receiver) = tokio::sync::mpsc::channel(2);
        tokio::task::spawn_blocking(move || {
            let mut batch = Vec::new();
            let walked = walk(&root, &start, &mut |file| {
                batch.push(Ok(file));
                LIST_BATCH <= batch.len() && sender.blocking_send(std::mem::take(&mut batch)).is_err()
            });
            if let Err(Unlisted(directory, error)) = walked {
                batch.push(Err(from_io("list", &directory.display().to_string(), error)));
            }
            // A receiver that is gone has seen enough.
            let _ = sender.blocking_send(batch);
        });
        stream::unfold(receiver, |mut receiver| async move { Some((receiver.recv().await?, receiver)) })
            .flat_map(stream::iter)
            .boxed()
    }

    async fn directories(&self, directory: &str) -> PortResult<Vec<String>> {
        self.blocking("list", directory, |path| {
            let entries = match std::fs::read_dir(path) {
                Ok(entries) => entries,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
                Err(error) => return Err(error),
            };
            let mut names = Vec::new();
            for entry in entries {
                let entry = entry?;
                if entry.file_type()?.is_dir()
                    && let Ok(name) = entry.file_name().into_string()
                {
                    names.push(name);
                }
            }
            Ok(names)
        })
        .await
    }

    async fn delete(&self, path: &str) -> PortResult<()> {
        self.blocking("remove", path, |path| match std::fs::remove_file(path) {
            Ok(()) => path.parent().map_or(Ok(()), sync_directory),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        })
        .await
    }
}

impl LocalPlace {
    /// Makes the root directory if it is not there.
    pub(crate) async fn make_root(&self) -> PortResult<()> {
        self.blocking("make the directory", "", make_directory).await
    }
}

/// Number of files below a directory. Links are counted, not followed.
pub(crate) fn count_files(directory: &Path) -> io::Result<u64> {
    let mut files = 0;
    walk(directory, directory, &mut |_| {
        files += 1;
        false
    })
    .map_err(|Unlisted(_, error)| error)?;
    Ok(files)
}

fn look_at(path: &Path) -> io::Result<Option<FileFacts>> {
    match std::fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_file() => Ok(Some(facts(&metadata))),
        Ok(_) => Err(io::Error::other("it is not a regular file")),
        // A file where a directory would be holds nothing either.
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn facts(metadata: &Metadata) -> FileFacts {
    let modified_at = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
    FileFacts { size_bytes: metadata.len(), modified_at: DateTime::<Utc>::from(modified_at), tag: None }
}

fn too_short(path: &str) -> PortError {
    PortError::new(
        PortErrorKind::Corrupt,
        format!("`{path}` is shorter than it must be; it may be truncated"),
    )
}

/// A directory that could not be listed, and why.
struct Unlisted(PathBuf, io::Error);

/// What file systems keep at their root for themselves, readable for nobody else.
const LOST_FOUND: &str = "lost+found";

/// Visits all regular files below a directory until `visit` gives `true`. Links are not followed.
fn walk(root: &Path, start: &Path, visit: &mut impl FnMut(ListedFile) -> bool) -> Result<(), Unlisted> {
    let mut directories = vec![start.to_owned()];
    while let Some(directory) = directories.pop() {
        let failed = |error| Unlisted(directory.clone(), error);
        let entries = match std::fs::read_dir(&directory) {
            Ok(entries) => entries,
            // Never made, or removed since its name was read.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(failed(error)),
        };
        for entry in entries {
            let entry = entry.map_err(failed)?;
            let metadata = match entry.metadata() {
                Ok(metadata) => metadata,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(failed(error)),
            };
            if metadata.is_dir() {
                if directory != root || entry.file_name() != LOST_FOUND {
                    directories.push(entry.path());
                }
            } else {
                let path = entry.path();
                let relative = path.strip_prefix(root).unwrap_or(&path);
                let path = relative.to_string_lossy().into_owned();
                if visit(ListedFile { path, facts: facts(&metadata) }) {
                    return Ok(());
                }
            }
        }
    }
    Ok(())
}

struct LocalWriter {
    /// `None` once a write has failed.
    file: Option<BufferedDirectFile>,
    place: LocalPlace,
    path: String,
    overwrite: Overwrite,
}

#[async_trait]
impl PlaceWriter for LocalWriter {
    async fn write(&mut self, bytes: Bytes) -> PortResult<()> {
        let mut file = self.file.take().ok_or_else(|| given_up(&self.path))?;
        let work = move |_: &Path| file.append(&bytes).map(|()| file);
        self.file = Some(self.place.blocking("write", &self.path, work).await.map_err(gone_root)?);
        Ok(())
    }

    async fn finish(mut self: Box<Self>) -> PortResult<Creation> {
        let file = self.file.take().ok_or_else(|| given_up(&self.path))?;
        let overwrite = self.overwrite;
        let work = move |target: &Path| file.finish(target, overwrite);
        self.place.blocking("write", &self.path, work).await.map_err(gone_root)
    }
}

/// A write that found no directory: somebody takes the place away. `NotFound` would mean that what is read is gone.
fn gone_root(error: PortError) -> PortError {
    if error.kind() == PortErrorKind::NotFound {
        return PortError::with_source(PortErrorKind::Unavailable, error.to_string(), error);
    }
    error
}

fn given_up(path: &str) -> PortError {
    PortError::new(PortErrorKind::Internal, format!("writing `{path}` went on after it had failed"))
}
