//! Backups of the catalog: files of their own below `catalog/`, which nothing else refers to.

use crate::layout;
use crate::place::{Overwrite, Place, PlaceWriter};
use async_trait::async_trait;
use bytes::Bytes;
use futures::TryStreamExt;
use futures::stream::BoxStream;
use milvault_domain::error::{PortError, PortErrorKind, PortResult};
use milvault_domain::ports::{ByteSink, ByteSource, FileSink};

/// A file being written.
struct Writer(Box<dyn PlaceWriter>);

#[async_trait]
impl ByteSink for Writer {
    async fn write(&mut self, bytes: Vec<u8>) -> PortResult<()> {
        self.0.write(Bytes::from(bytes)).await
    }
}

#[async_trait]
impl FileSink for Writer {
    async fn finish(self: Box<Self>) -> PortResult<()> {
        self.0.finish().await.map(drop)
    }
}

/// A file being read.
struct Reader(BoxStream<'static, PortResult<Bytes>>);

#[async_trait]
impl ByteSource for Reader {
    async fn read(&mut self) -> PortResult<Option<Vec<u8>>> {
        Ok(self.0.try_next().await?.map(|bytes| bytes.to_vec()))
    }
}

/// Begins a backup of the catalog.
pub(crate) async fn create(place: &dyn Place, name: &str) -> PortResult<Box<dyn FileSink>> {
    Ok(Box::new(Writer(place.writer(&layout::catalog_backup(name), Overwrite::Never).await?)))
}

/// Names of all backups of catalogs.
pub(crate) async fn list(place: &dyn Place) -> PortResult<Vec<String>> {
    let files: Vec<_> = place.list(layout::CATALOG).try_collect().await?;
    let mut names: Vec<_> = files
        .iter()
        .filter_map(|file| file.path.strip_prefix(layout::CATALOG)?.strip_prefix('/').map(str::to_owned))
        .collect();
    names.sort_unstable();
    Ok(names)
}

/// Begins to read a backup of the catalog.
pub(crate) async fn open(place: &dyn Place, name: &str) -> PortResult<Box<dyn ByteSource>> {
    let path = layout::catalog_backup(name);
    let missing =
        || PortError::new(PortErrorKind::NotFound, format!("`{}` does not exist", place.display(&path)));
    let size_bytes = place.facts(&path).await?.ok_or_else(missing)?.size_bytes;
    Ok(Box::new(Reader(place.stream(&path, 0..size_bytes).await?)))
}

/// Removes a backup of the catalog.
pub(crate) async fn remove(place: &dyn Place, name: &str) -> PortResult<()> {
    place.delete(&layout::catalog_backup(name)).await
}
