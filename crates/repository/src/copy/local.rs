//! The fast way: from a local directory into packs in a local directory.
//!
//! Per pack one thread reads and hashes, another writes past the page cache. Files are read straight into the aligned
//! buffers that are written, so a byte is touched twice: by the read and by the hash.

use super::limit::ByteLimit;
use crate::backups::packs::stored_objects;
use crate::error::{from_format, from_io, from_join};
use crate::layout;
use crate::place::{BufferPool, DirectFile, LocalPlace, Overwrite, PooledBuffer, Readers};
use crate::source::{LocalSource, SourceDirectory, changed};
use milvault_domain::error::{PortError, PortErrorKind, PortResult};
use milvault_domain::manifest::{PackEntry, encode_pack_tail};
use milvault_domain::object::{ContentHash, PackId, StoredObject};
use milvault_domain::plan::PlannedObject;
use milvault_domain::progress::ProgressCounters;
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use tokio::sync::mpsc;

/// Size of a buffer, and of a write.
const BUFFER_BYTES: usize = 4 << 20;
/// What is read at once: little enough to be in the processor's cache still when it is hashed.
const READ_BYTES: usize = 256 << 10;
/// Buffers of all copies of a copier together: 64 MiB.
const BUFFERS: usize = 16;
/// Reports of progress that may wait to be counted.
const REPORTS: usize = 64;

/// Copies packs between two local directories.
pub(super) struct LocalPacks {
    directory: Arc<SourceDirectory>,
    place: LocalPlace,
    buffers: Arc<BufferPool>,
    limit: Option<Arc<ByteLimit>>,
}

impl LocalPacks {
    /// Opens the source.
    ///
    /// # Errors
    /// The source directory cannot be opened.
    pub(super) async fn open(
        source: &LocalSource,
        place: LocalPlace,
        limit: Option<Arc<ByteLimit>>,
    ) -> PortResult<Self> {
        let source = source.clone();
        let opened = tokio::task::spawn_blocking(move || source.open()).await.map_err(from_join)?;
        Ok(Self {
            directory: Arc::new(opened?),
            place,
            buffers: BufferPool::new(BUFFERS, BUFFER_BYTES),
            limit,
        })
    }

    /// Writes a pack. Dropping the future makes the threads stop at the next block and remove what they wrote.
    pub(super) async fn write(
        &self,
        pack_id: PackId,
        objects: &[PlannedObject],
        overwrite: Overwrite,
        progress: &ProgressCounters,
    ) -> PortResult<Vec<StoredObject>> {
        let (reports, mut counted) = mpsc::channel(REPORTS);
        let job = PackJob {
            directory: Arc::clone(&self.directory),
            place: self.place.clone(),
            buffers: Arc::clone(&self.buffers),
            limit: self.limit.clone(),
            pack_id,
            objects: objects.to_vec(),
            overwrite,
            reports,
        };
        let running = tokio::task::spawn_blocking(move || job.run());
        let mut attempt_bytes = 0;
        while let Some(bytes) = counted.recv().await {
            progress.add_bytes(bytes);
            progress.add_through_server(bytes);
            attempt_bytes += bytes;
        }
        let written = running.await.map_err(from_join).flatten();
        match written {
            Ok(objects) => {
                for _ in &objects {
                    progress.add_object();
                }
                Ok(objects)
            }
            Err(error) => {
                progress.take_back_bytes(attempt_bytes);
                Err(error)
            }
        }
    }
}

/// One pack, on its own threads.
struct PackJob {
    directory: Arc<SourceDirectory>,
    place: LocalPlace,
    buffers: Arc<BufferPool>,
    limit: Option<Arc<ByteLimit>>,
    pack_id: PackId,
    objects: Vec<PlannedObject>,
    overwrite: Overwrite,
    /// Closed when nobody waits for the pack any more.
    reports: mpsc::Sender<u64>,
}

impl PackJob {
    fn run(self) -> PortResult<Vec<StoredObject>> {
        let temporary: PathBuf = self.place.path(&layout::temporary(&self.pack_id.to_string()));
        let shown = temporary.display().to_string();
        let mut file =
            DirectFile::create(temporary, Readers::Group).map_err(|error| self.write_error(&shown, error))?;
        let (full, written) = std::sync::mpsc::sync_channel::<PooledBuffer>(1);
        let (read, appended) = std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                for mut buffer in written {
                    file.append(buffer.padded())?;
                }
                Ok(())
            });
            let read = Filler { job: &self, buffer: self.buffers.take(), full }.fill();
            (read, writer.join())
        });
        // A failed write is the cause, the reader's complaint about a closed channel its effect.
        match appended {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(self.write_error(&shown, error)),
            Err(_) => {
                return Err(PortError::new(PortErrorKind::Internal, "the thread that wrote a pack panicked"));
            }
        }
        let (entries, length_bytes) = read?;
        let target = self.place.path(&layout::pack(self.pack_id));
        file.finish(length_bytes, &target, self.overwrite)
            .map_err(|error| self.write_error(&target.display().to_string(), error))?;
        Ok(stored_objects(self.pack_id, &self.objects, &entries))
    }

    fn stopped(&self) -> bool {
        self.reports.is_closed()
    }

    fn write_error(&self, path: &str, error: io::Error) -> PortError {
        let needed: u64 = self.objects.iter().map(|object| object.source.size_bytes).sum();
        let error = from_io("write", path, error);
        if error.kind() == PortErrorKind::StorageFull {
            return error.context(format!("a pack of {needed} bytes does not fit into the repository"));
        }
        error
    }
}

/// Reads the objects of a pack into buffers and hands on the full ones.
struct Filler<'a> {
    job: &'a PackJob,
    buffer: PooledBuffer,
    full: SyncSender<PooledBuffer>,
}

impl Filler<'_> {
    fn fill(mut self) -> PortResult<(Vec<PackEntry>, u64)> {
        let mut entries = Vec::with_capacity(self.job.objects.len());
        let mut offset_bytes = 0;
        let mut unreported_bytes = 0;
        for object in &self.job.objects {
            let hash = self.object(object, &mut unreported_bytes)?;
            let stored_bytes = object.source.size_bytes;
            entries.push(PackEntry { id: object.id, offset_bytes, stored_bytes, hash });
            offset_bytes += stored_bytes;
        }
        self.report(&mut unreported_bytes)?;
        let pack = self.job.place.path(&layout::pack(self.job.pack_id));
        let tail =
            encode_pack_tail(&entries).map_err(|error| from_format(&pack.display().to_string(), error))?;
        self.append(&tail)?;
        if 0 < self.buffer.filled() {
            let last = self.buffer;
            self.full.send(last).map_err(|_| canceled())?;
        }
        Ok((entries, offset_bytes + tail.len() as u64))
    }

    fn object(&mut self, object: &PlannedObject, unreported_bytes: &mut u64) -> PortResult<ContentHash> {
        let source = &object.source;
        let directory = &self.job.directory;
        let mut file = directory.open(source)?;
        let mut hasher = blake3::Hasher::new();
        let mut left_bytes = source.size_bytes;
        while 0 < left_bytes {
            let space = self.buffer.unfilled();
            let length = usize::try_from(left_bytes).unwrap_or(usize::MAX).min(space.len()).min(READ_BYTES);
            let read = match file.read(&mut space[..length]) {
                Ok(0) => return Err(changed(source)),
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(directory.error(&source.key.to_string(), error)),
            };
            hasher.update(&space[..read]);
            self.buffer.advance(read);
            left_bytes -= read as u64;
            *unreported_bytes += read as u64;
            if self.buffer.unfilled().is_empty() {
                self.hand_on()?;
                self.report(unreported_bytes)?;
            }
        }
        directory.confirm(&file, source)?;
        Ok(ContentHash::from_bytes(*hasher.finalize().as_bytes()))
    }

    fn append(&mut self, mut bytes: &[u8]) -> PortResult<()> {
        while !bytes.is_empty() {
            let space = self.buffer.unfilled();
            let length = space.len().min(bytes.len());
            space[..length].copy_from_slice(&bytes[..length]);
            self.buffer.advance(length);
            bytes = &bytes[length..];
            if self.buffer.unfilled().is_empty() {
                self.hand_on()?;
            }
        }
        Ok(())
    }

    fn hand_on(&mut self) -> PortResult<()> {
        // The full buffer goes first: whoever waits for a free one must hold none that is not on its way out.
        let full = std::mem::replace(&mut self.buffer, PooledBuffer::none(&self.job.buffers));
        self.full.send(full).map_err(|_| canceled())?;
        self.buffer = self.job.buffers.take();
        Ok(())
    }

    /// Counts bytes, waits for the limit, and notices that nobody wants the pack any more.
    fn report(&self, unreported_bytes: &mut u64) -> PortResult<()> {
        let bytes = std::mem::take(unreported_bytes);
        if let Some(limit) = &self.job.limit {
            limit.wait_blocking(bytes, || self.job.stopped());
        }
        self.job.reports.blocking_send(bytes).map_err(|_| canceled())
    }
}

fn canceled() -> PortError {
    PortError::new(PortErrorKind::Canceled, "the copy was stopped")
}
