//! A cluster's storage in a local directory.

use super::{RESTORES, StagingTarget};
use crate::error::{from_io, from_join};
use crate::place::{BufferedDirectFile, Creation, PlaceWriter, Readers, count_files};
use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use milvault_domain::error::{PortError, PortErrorKind, PortResult};
use rustix::fs::OFlags;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::RwLock;

/// Pieces that are written at once. More only wait for the disk.
const PIECES_AT_ONCE: usize = 4;
/// Files up to this size are collected and written at once, under their name: their bytes are checked by then.
const WHOLE_BYTES: usize = 1 << 20;
/// Where larger files are written until they are checked. No import looks there.
const PARTIAL: &str = "partial";

/// Held for reading by every write that is going on, whichever target it is for.
static WRITES: RwLock<()> = RwLock::const_new(());

/// See the module.
#[derive(Clone)]
pub(crate) struct LocalTarget {
    root: Arc<Path>,
}

impl LocalTarget {
    /// A storage at an absolute path. Nothing is touched.
    pub(crate) fn new(root: &Path) -> Self {
        Self { root: Arc::from(root) }
    }
}

#[async_trait]
impl StagingTarget for LocalTarget {
    fn import_path(&self, relative_path: &str) -> String {
        self.root.join(relative_path).display().to_string()
    }

    fn pieces_at_once(&self) -> usize {
        PIECES_AT_ONCE
    }

    /// A root that does not exist is not made: it would be no Milvus's.
    async fn check(&self) -> PortResult<()> {
        let root = Arc::clone(&self.root);
        let found = tokio::task::spawn_blocking(move || root.is_dir()).await.map_err(from_join)?;
        if found {
            return Ok(());
        }
        Err(PortError::new(
            PortErrorKind::NotFound,
            format!(
                "the cluster's storage `{}` is not a directory here; it must be the one that Milvus has as its local \
                 storage path",
                self.root.display()
            ),
        ))
    }

    async fn writer(&self, directory: &str, key: &str) -> PortResult<Box<dyn PlaceWriter>> {
        let directory = self.root.join(directory);
        let temporary = directory.join(PARTIAL).join(format!("{:016x}", rand::random::<u64>()));
        Ok(Box::new(StagedWriter {
            path: directory.join(key),
            temporary,
            state: State::Collected(BytesMut::new()),
        }))
    }

    async fn remove(&self, directory: &str) -> PortResult<u64> {
        // A write goes on when nobody waits for it any more, and would put back what is removed here.
        drop(WRITES.write().await);
        let (root, directory) = (Arc::clone(&self.root), directory.to_owned());
        tokio::task::spawn_blocking(move || remove(&root, &directory)).await.map_err(from_join)?
    }
}

/// A file on its way.
struct StagedWriter {
    path: PathBuf,
    /// Where it is written if it is large.
    temporary: PathBuf,
    state: State,
}

enum State {
    /// All of it so far.
    Collected(BytesMut),
    /// Too large to be collected. Written past the page cache, as that costs a fifth of the processor time.
    Partial(BufferedDirectFile),
    /// A write has failed.
    GivenUp,
}

impl State {
    /// Gives the file its name.
    fn finish(self, target: &Path) -> io::Result<()> {
        match self {
            Self::Collected(whole) => create(target)?.write_all(&whole).inspect_err(|_| {
                // Half of a file must not be taken for the whole.
                let _ = std::fs::remove_file(target);
            }),
            Self::Partial(mut file) => in_directory(target, || file.finish_unsynced(target)),
            Self::GivenUp => Err(io::Error::other("writing it had failed")),
        }
    }
}

/// Times that a directory is made anew when another restore's cleanup was faster.
const MAKE_DIRECTORY_TRIES: usize = 3;

/// Does something in a directory that may have to be made.
fn in_directory<T>(path: &Path, mut work: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    let mut done = work();
    for _ in 0..MAKE_DIRECTORY_TRIES {
        match (&done, path.parent()) {
            (Err(error), Some(parent)) if error.kind() == io::ErrorKind::NotFound => {
                match std::fs::create_dir_all(parent) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    _ => done = work(),
                }
            }
            _ => return done,
        }
    }
    done
}

/// Milvus may run as another user, so the mode is what the umask leaves.
fn create(path: &Path) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW.bits().cast_signed();
    in_directory(path, || {
        OpenOptions::new().write(true).create(true).truncate(true).custom_flags(flags).open(path)
    })
}

#[async_trait]
impl PlaceWriter for StagedWriter {
    async fn write(&mut self, bytes: Bytes) -> PortResult<()> {
        let mut file = match std::mem::replace(&mut self.state, State::GivenUp) {
            State::Collected(mut collected) if collected.len() + bytes.len() <= WHOLE_BYTES => {
                collected.extend_from_slice(&bytes);
                self.state = State::Collected(collected);
                return Ok(());
            }
            State::Collected(collected) => {
                let temporary = self.temporary.clone();
                self.blocking(move |_| {
                    let mut file = BufferedDirectFile::create(temporary, Readers::All)?;
                    file.append(&collected).map(|()| file)
                })
                .await?
            }
            State::Partial(file) => file,
            State::GivenUp => return Err(self.error(io::Error::other("writing it had failed"))),
        };
        self.state = State::Partial(self.blocking(move |_| file.append(&bytes).map(|()| file)).await?);
        Ok(())
    }

    async fn finish(mut self: Box<Self>) -> PortResult<Creation> {
        let state = std::mem::replace(&mut self.state, State::GivenUp);
        self.blocking(move |path| state.finish(path)).await?;
        Ok(Creation::Created)
    }
}

impl StagedWriter {
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Path) -> io::Result<T> + Send + 'static,
    ) -> PortResult<T> {
        let path = self.path.clone();
        let writing = WRITES.read().await;
        // The guard comes after the result, so that a result nobody waits for is dropped first.
        let done = tokio::task::spawn_blocking(move || (work(&path), writing));
        let (done, _) = done.await.map_err(from_join)?;
        done.map_err(|error| self.error(error))
    }

    fn error(&self, error: io::Error) -> PortError {
        from_io("stage", &self.path.display().to_string(), error)
    }
}

/// Removes a restore's directory. What is a link on the way to it was not made by a restore.
fn remove(root: &Path, directory: &str) -> PortResult<u64> {
    let mut path = root.to_owned();
    for part in directory.split('/') {
        path.push(part);
        let shown = path.display().to_string();
        match std::fs::symlink_metadata(&path) {
            Ok(metadata) if metadata.is_dir() => {}
            Ok(_) => {
                return Err(PortError::new(
                    PortErrorKind::InvalidInput,
                    format!("`{shown}` is a link or a file; no restore has made that, so it is not removed"),
                ));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
            Err(error) => return Err(from_io("look at", &shown, error)),
        }
    }
    let shown = path.display().to_string();
    let files = count_files(&path).map_err(|error| from_io("list", &shown, error))?;
    match std::fs::remove_dir_all(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(from_io("remove", &shown, error)),
        _ => {
            // The directory that restores share goes with the last of them; one that is not empty stays.
            if path.parent().is_some_and(|parent| parent.ends_with(RESTORES)) {
                let _ = std::fs::remove_dir(root.join(RESTORES));
            }
            Ok(files)
        }
    }
}
