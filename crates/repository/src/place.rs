//! A place that holds a repository's files: a local directory or a prefix in an object store.
//!
//! The one port inside this crate. Files appear under their names complete or not at all, and are durable when the
//! call that made them returns. Paths are relative to the repository's root and come from [`crate::layout`] only.

mod buffer;
mod direct;
mod download;
mod local;
mod object;
mod sequential;

pub(crate) use buffer::{BufferPool, PooledBuffer};
pub(crate) use direct::{BufferedDirectFile, DirectFile, Readers};
pub(crate) use download::Download;
pub(crate) use local::{LocalPlace, count_files};
pub(crate) use object::{ObjectPlace, bare_tag};

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use milvault_domain::error::PortResult;
use std::ops::Range;

/// Requests for single files that are on the way at once.
const LOOKS_AT_ONCE: usize = 32;

/// What a place knows about a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FileFacts {
    /// Size.
    pub(crate) size_bytes: u64,
    /// When it was last written.
    pub(crate) modified_at: DateTime<Utc>,
    /// Entity tag without quotes, of stores that have one.
    pub(crate) tag: Option<Box<str>>,
}

/// A file of a listing.
#[derive(Debug, Clone)]
pub(crate) struct ListedFile {
    /// Path relative to the repository's root.
    pub(crate) path: String,
    /// What is known about it.
    pub(crate) facts: FileFacts,
}

/// What became of a file that was to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Creation {
    /// It was made.
    Created,
    /// A file of that name exists and was left as it is.
    Existed,
}

/// Whether a file may take the place of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Overwrite {
    /// An existing file stays. A store that ignores conditions may break this when two writers meet at one moment;
    /// names are chosen so that they would write the same bytes.
    Never,
    /// The new file takes its place: working notes, what counts for nothing before there is a manifest, and packs whose
    /// bytes are known to be damaged.
    Replace,
}

/// See the module.
#[async_trait]
pub(crate) trait Place: Send + Sync {
    /// Name of a file for people: with the bucket or the root before it.
    fn display(&self, path: &str) -> String;

    /// Looks at a file; `None` when there is none.
    async fn facts(&self, path: &str) -> PortResult<Option<FileFacts>>;

    /// Looks at several files; what is known about each comes in the order of the paths.
    async fn facts_of(&self, paths: Vec<String>) -> PortResult<Vec<Option<FileFacts>>> {
        let looks = stream::iter(paths).map(|path| async move { self.facts(&path).await });
        looks.buffered(LOOKS_AT_ONCE).try_collect().await
    }

    /// Reads a range into memory. The caller bounds it; a file that ends before the range does is `Corrupt`.
    async fn read(&self, path: &str, range: Range<u64>) -> PortResult<Bytes>;

    /// Reads a range piece by piece.
    async fn stream(
        &self,
        path: &str,
        range: Range<u64>,
    ) -> PortResult<BoxStream<'static, PortResult<Bytes>>>;

    /// Begins a file. Nothing is visible before [`PlaceWriter::finish`]; dropping the writer gives it up.
    async fn writer(&self, path: &str, overwrite: Overwrite) -> PortResult<Box<dyn PlaceWriter>>;

    /// Lists all files below a directory, in no order. A directory that does not exist has none.
    fn list(&self, directory: &str) -> BoxStream<'static, PortResult<ListedFile>>;

    /// Names of the directories in a directory, in no order. One that does not exist has none.
    async fn directories(&self, directory: &str) -> PortResult<Vec<String>>;

    /// Removes a file; one that does not exist is fine.
    async fn delete(&self, path: &str) -> PortResult<()>;

    /// Makes a small file.
    async fn create(&self, path: &str, bytes: Bytes, overwrite: Overwrite) -> PortResult<Creation> {
        let mut writer = self.writer(path, overwrite).await?;
        writer.write(bytes).await?;
        writer.finish().await
    }
}

/// A file being written.
#[async_trait]
pub(crate) trait PlaceWriter: Send {
    /// Appends bytes. Memory is bounded by a fixed number of parts.
    async fn write(&mut self, bytes: Bytes) -> PortResult<()>;

    /// Makes the file visible and durable.
    async fn finish(self: Box<Self>) -> PortResult<Creation>;
}
