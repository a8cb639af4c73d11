//! A prefix in an object store as a place.

use super::{Creation, Download, FileFacts, ListedFile, Overwrite, Place, PlaceWriter};
use crate::error::{from_store, from_store_write};
use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::stream::{BoxStream, StreamExt};
use milvault_domain::error::{PortError, PortErrorKind, PortResult};
use object_store::path::Path;
use object_store::{
    GetOptions, GetRange, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutOptions,
    PutPayload,
};
use std::ops::Range;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;

/// Size of a part of an upload. Stores refuse parts below 5 MiB, and 10,000 parts are the most they take.
const PART_BYTES: usize = 8 << 20;
/// Parts that one upload has on the way at once.
const PARTS_IN_FLIGHT: usize = 3;
/// Parts that all uploads of a place hold in memory together: 96 MiB.
const PARTS_IN_MEMORY: usize = 12;
/// Parts after which the part size doubles, three times at most: 10,000 parts hold more than 450 GiB that way.
const PARTS_PER_SIZE: usize = 1000;
/// Times that the part size doubles.
const DOUBLINGS_MAX: usize = 3;

/// See the module.
#[derive(Clone)]
pub(crate) struct ObjectPlace {
    store: Arc<dyn ObjectStore>,
    /// Container for people: `s3://bucket`.
    container: Arc<str>,
    prefix: Arc<str>,
    conditional_put: bool,
    parts_in_memory: Arc<Semaphore>,
}

impl ObjectPlace {
    /// A place below a prefix. Nothing is contacted. `conditional_put` states that the store refuses to overwrite
    /// when asked not to.
    pub(crate) fn new(
        store: Arc<dyn ObjectStore>,
        container: &str,
        prefix: &str,
        conditional_put: bool,
    ) -> Self {
        Self {
            store,
            container: Arc::from(container),
            prefix: Arc::from(prefix.trim_matches('/')),
            conditional_put,
            parts_in_memory: Arc::new(Semaphore::new(PARTS_IN_MEMORY)),
        }
    }

    /// The key of a file in the store.
    pub(crate) fn key(&self, path: &str) -> PortResult<Path> {
        let separator = if self.prefix.is_empty() || path.is_empty() { "" } else { "/" };
        let key = format!("{}{separator}{path}", self.prefix);
        // Parsed, not converted: a conversion would escape characters that the prefix may well contain.
        Path::parse(&key).map_err(|error| {
            PortError::with_source(
                PortErrorKind::InvalidInput,
                format!("`{key}` cannot be a key of an object store; correct the prefix"),
                error,
            )
        })
    }

    fn error(&self, action: &str, path: &str, error: object_store::Error) -> PortError {
        from_store(action, &self.display(path), error)
    }

    fn write_error(&self, path: &str, error: object_store::Error) -> PortError {
        from_store_write(&self.display(path), error)
    }

    /// A failure to read up to `end`. Stores answer a range that lies beyond the file as if the request were wrong.
    async fn read_error(&self, path: &str, end: u64, error: object_store::Error) -> PortError {
        let error = self.error("read", path, error);
        if error.kind() != PortErrorKind::Unavailable {
            return error;
        }
        match self.facts(path).await {
            Ok(Some(facts)) if facts.size_bytes < end => self.too_short(path),
            _ => error,
        }
    }

    fn too_short(&self, path: &str) -> PortError {
        PortError::new(
            PortErrorKind::Corrupt,
            format!("`{}` is shorter than it must be; it may be truncated", self.display(path)),
        )
    }
}

#[async_trait]
impl Place for ObjectPlace {
    fn display(&self, path: &str) -> String {
        let separator = if self.prefix.is_empty() { "" } else { "/" };
        format!("{}{separator}{}/{path}", self.container, self.prefix)
    }

    async fn facts(&self, path: &str) -> PortResult<Option<FileFacts>> {
        match self.store.head(&self.key(path)?).await {
            Ok(meta) => Ok(Some(facts(&meta))),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.error("look at", path, error)),
        }
    }

    async fn read(&self, path: &str, range: Range<u64>) -> PortResult<Bytes> {
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        let length = range.end - range.start;
        let bytes = match self.store.get_range(&self.key(path)?, range.clone()).await {
            Ok(bytes) => bytes,
            Err(error) => return Err(self.read_error(path, range.end, error).await),
        };
        if bytes.len() as u64 != length {
            return Err(self.too_short(path));
        }
        Ok(bytes)
    }

    async fn stream(
        &self,
        path: &str,
        range: Range<u64>,
    ) -> PortResult<BoxStream<'static, PortResult<Bytes>>> {
        if range.is_empty() {
            return Ok(futures::stream::empty().boxed());
        }
        let end = range.end;
        let options = GetOptions { range: Some(GetRange::Bounded(range)), ..GetOptions::default() };
        let key = self.key(path)?;
        let answer = match self.store.get_opts(&key, options).await {
            Ok(answer) => answer,
            Err(error) => return Err(self.read_error(path, end, error).await),
        };
        let shown = self.display(path);
        let failed = move |error| match error {
            // A damaged pack that is written anew meanwhile: whoever begins again reads one file, not parts of two.
            object_store::Error::Precondition { .. } => PortError::with_source(
                PortErrorKind::Unavailable,
                format!("`{shown}` was replaced while it was read"),
                error,
            ),
            error => from_store("read", &shown, error),
        };
        Ok(Download::new(&self.store, key, answer, failed).stream())
    }

    async fn writer(&self, path: &str, overwrite: Overwrite) -> PortResult<Box<dyn PlaceWriter>> {
        Ok(Box::new(ObjectWriter {
            key: self.key(path)?,
            path: path.to_owned(),
            place: self.clone(),
            overwrite,
            part: BytesMut::new(),
            part_permits: Vec::new(),
            length_bytes: 0,
            parts_sent: 0,
            upload: None,
            in_flight: JoinSet::new(),
        }))
    }

    fn list(&self, directory: &str) -> BoxStream<'static, PortResult<ListedFile>> {
        let key = match self.key(directory) {
            Ok(key) => key,
            Err(error) => return futures::stream::once(async { Err(error) }).boxed(),
        };
        let shown = self.display(directory);
        let skip = if self.prefix.is_empty() { 0 } else { self.prefix.len() + 1 };
        let listing = self.store.list(Some(&key));
        listing
            .filter_map(move |file| {
                let file = match file {
                    // Consoles make an empty object under the name of the prefix itself, and show it as a folder.
                    Ok(meta) => meta
                        .location
                        .as_ref()
                        .get(skip..)
                        .filter(|path| !path.is_empty())
                        .map(|path| Ok(ListedFile { path: path.to_owned(), facts: facts(&meta) })),
                    Err(error) => Some(Err(from_store("list", &shown, error))),
                };
                std::future::ready(file)
            })
            .boxed()
    }

    async fn directories(&self, directory: &str) -> PortResult<Vec<String>> {
        let key = self.key(directory)?;
        let listed = self.store.list_with_delimiter(Some(&key)).await;
        let listed = listed.map_err(|error| self.error("list", directory, error))?;
        let name = |path: &Path| path.filename().map(str::to_owned);
        Ok(listed.common_prefixes.iter().filter_map(name).collect())
    }

    async fn delete(&self, path: &str) -> PortResult<()> {
        match self.store.delete(&self.key(path)?).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(self.error("remove", path, error)),
        }
    }
}

/// An entity tag without what HTTP puts around it.
pub(crate) fn bare_tag(tag: &str) -> Box<str> {
    tag.trim_start_matches("W/").trim_matches('"').into()
}

fn facts(meta: &ObjectMeta) -> FileFacts {
    FileFacts {
        size_bytes: meta.size,
        modified_at: meta.last_modified,
        tag: meta.e_tag.as_deref().map(bare_tag),
    }
}

/// Collects parts. A file of one part is put in one request, which can be conditional; longer ones become multipart
/// uploads, which no store's library makes conditional: those look for an existing file first.
struct ObjectWriter {
    key: Path,
    path: String,
    place: ObjectPlace,
    overwrite: Overwrite,
    part: BytesMut,
    /// Permits for the memory of `part`.
    part_permits: Vec<OwnedSemaphorePermit>,
    /// All that was written.
    length_bytes: u64,
    parts_sent: usize,
    upload: Option<Upload>,
    in_flight: JoinSet<object_store::Result<()>>,
}

/// A multipart upload that is taken back when it is dropped unfinished: stores keep (and bill) such parts for ever.
struct Upload {
    inner: Option<Box<dyn MultipartUpload>>,
}

impl Drop for Upload {
    fn drop(&mut self) {
        if let (Some(mut upload), Ok(runtime)) = (self.inner.take(), tokio::runtime::Handle::try_current()) {
            runtime.spawn(async move {
                if let Err(error) = upload.abort().await {
                    tracing::warn!(%error, "an unfinished upload could not be taken back; the bucket's lifecycle rule has to remove it");
                }
            });
        }
    }
}

impl ObjectWriter {
    /// Grows with the upload, so that the number of parts stays below what stores take.
    fn part_bytes(&self) -> usize {
        PART_BYTES << (self.parts_sent / PARTS_PER_SIZE).min(DOUBLINGS_MAX)
    }

    async fn send_part(&mut self) -> PortResult<()> {
        if self.upload.is_none() {
            let begun = self.place.store.put_multipart(&self.key).await;
            let inner = begun.map_err(|error| self.place.write_error(&self.path, error))?;
            self.upload = Some(Upload { inner: Some(inner) });
        }
        while PARTS_IN_FLIGHT <= self.in_flight.len() {
            self.join_part().await?;
        }
        let payload = PutPayload::from(self.part.split().freeze());
        let permits = std::mem::take(&mut self.part_permits);
        if let Some(upload) = self.upload.as_mut().and_then(|upload| upload.inner.as_mut()) {
            let sent = upload.put_part(payload);
            self.parts_sent += 1;
            self.in_flight.spawn(async move {
                let result = sent.await;
                drop(permits);
                result
            });
        }
        Ok(())
    }

    async fn join_part(&mut self) -> PortResult<()> {
        match self.in_flight.join_next().await {
            Some(Ok(Err(error))) => Err(self.place.write_error(&self.path, error)),
            Some(Err(error)) => Err(crate::error::from_join(error)),
            Some(Ok(Ok(()))) | None => Ok(()),
        }
    }

    /// Completes the upload. When the answer is lost, the library asks again, and the store does not know the upload
    /// any more: whether it was completed shows in what lies under the name.
    async fn complete(&mut self, before: Option<&FileFacts>) -> PortResult<()> {
        let Some(upload) = self.upload.as_mut().and_then(|upload| upload.inner.as_mut()) else {
            return Ok(());
        };
        match upload.complete().await {
            Ok(_) => Ok(()),
            Err(error @ object_store::Error::NotFound { .. }) => {
                let found = self.place.facts(&self.path).await?;
                let complete = found.as_ref().is_some_and(|found| found.size_bytes == self.length_bytes);
                if complete && found.as_ref() != before {
                    return Ok(());
                }
                Err(self.place.write_error(&self.path, error))
            }
            Err(error) => Err(self.place.write_error(&self.path, error)),
        }
    }

    async fn put_whole(&mut self) -> PortResult<Creation> {
        let conditional = self.overwrite == Overwrite::Never && self.place.conditional_put;
        if self.overwrite == Overwrite::Never && !conditional && self.place.facts(&self.path).await?.is_some()
        {
            return Ok(Creation::Existed);
        }
        let mode = if conditional { PutMode::Create } else { PutMode::Overwrite };
        let payload = PutPayload::from(self.part.split().freeze());
        match self.place.store.put_opts(&self.key, payload, PutOptions::from(mode)).await {
            Ok(_) => Ok(Creation::Created),
            Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. })
                if conditional =>
            {
                Ok(Creation::Existed)
            }
            Err(error) => Err(self.place.write_error(&self.path, error)),
        }
    }
}

#[async_trait]
impl PlaceWriter for ObjectWriter {
    async fn write(&mut self, mut bytes: Bytes) -> PortResult<()> {
        self.length_bytes += bytes.len() as u64;
        while !bytes.is_empty() {
            if self.part_permits.is_empty() {
                // One permit stands for one part of the first size; the rare larger parts weigh as many as exist.
                let weight = (self.part_bytes() / PART_BYTES).clamp(1, PARTS_IN_MEMORY);
                let weight = u32::try_from(weight).unwrap_or(1);
                let permits = Arc::clone(&self.place.parts_in_memory).acquire_many_owned(weight).await;
                self.part_permits.extend(permits);
            }
            let space = self.part_bytes() - self.part.len();
            let piece = bytes.split_to(space.min(bytes.len()));
            self.part.extend_from_slice(&piece);
            if self.part.len() == self.part_bytes() {
                self.send_part().await?;
            }
        }
        Ok(())
    }

    async fn finish(mut self: Box<Self>) -> PortResult<Creation> {
        if self.upload.is_none() {
            return self.put_whole().await;
        }
        if !self.part.is_empty() {
            self.send_part().await?;
        }
        while !self.in_flight.is_empty() {
            self.join_part().await?;
        }
        let before = self.place.facts(&self.path).await?;
        if self.overwrite == Overwrite::Never && before.is_some() {
            return Ok(Creation::Existed);
        }
        self.complete(before.as_ref()).await?;
        // Nothing is left to take back.
        if let Some(upload) = self.upload.as_mut() {
            upload.inner = None;
        }
        Ok(Creation::Created)
    }
}
