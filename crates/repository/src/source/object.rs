//! A source in an object store.

use super::grouped::{self, Groups};
use super::{KeyLayout, changed, gone, too_large};
use crate::error::from_store;
use crate::place::{Download, bare_tag};
use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{BoxStream, StreamExt};
use milvault_domain::binlog::{BinlogKey, BinlogKind};
use milvault_domain::error::{PortError, PortErrorKind, PortResult};
use milvault_domain::object::{Fingerprint, SourceObject};
use milvault_domain::ports::{CheckFinding, READ_BYTES_MAX, SourceStore};
use object_store::path::Path;
use object_store::{GetOptions, ObjectMeta, ObjectStore};
use std::collections::HashSet;
use std::sync::Arc;

/// See the module.
#[derive(Clone)]
pub(crate) struct ObjectSource {
    store: Arc<dyn ObjectStore>,
    container: Arc<str>,
    prefix: Arc<str>,
    layout: KeyLayout,
}

impl ObjectSource {
    /// A source below a prefix. Nothing is contacted.
    pub(crate) fn new(store: Arc<dyn ObjectStore>, container: &str, prefix: &str, layout: KeyLayout) -> Self {
        Self { store, container: Arc::from(container), prefix: Arc::from(prefix), layout }
    }

    /// The key in the store under which a binlog lies.
    ///
    /// # Errors
    /// `NotFound` when its segment is not there, where the layout has to be looked up; errors of the store.
    pub(crate) async fn binlog(&self, key: &BinlogKey) -> PortResult<Path> {
        match &self.layout {
            KeyLayout::Milvus => self.key(&key.to_string()),
            KeyLayout::Grouped(keys) => {
                let list = async || {
                    // Where segments lie is asked here, not what is in them.
                    let (groups, _) = self.list_kind(key.kind, key.collection_id, &HashSet::new()).await?;
                    Ok(groups)
                };
                let path = keys.path(key, list).await?.ok_or_else(|| gone(key))?;
                self.key(&path)
            }
        }
    }

    /// The key of a path below the prefix.
    fn key(&self, relative: &str) -> PortResult<Path> {
        let separator = if self.prefix.is_empty() { "" } else { "/" };
        let key = format!("{}{separator}{relative}", self.prefix);
        Path::parse(&key).map_err(|error| {
            PortError::with_source(PortErrorKind::InvalidInput, format!("`{key}` cannot be a key"), error)
        })
    }

    /// The prefix of all insert logs.
    pub(crate) fn insert_logs(&self) -> PortResult<Path> {
        self.key(&format!("{}{}", self.layout.base(), BinlogKind::Insert.directory()))
    }

    /// Begins to read a listed file.
    ///
    /// # Errors
    /// `NotFound` when it is gone, `Changed` when it is not as it was listed.
    pub(crate) async fn read(
        &self,
        object: &SourceObject,
    ) -> PortResult<BoxStream<'static, PortResult<Bytes>>> {
        let options = match &object.fingerprint {
            Fingerprint::ETag(tag) => {
                GetOptions { if_match: Some(format!("\"{tag}\"")), ..GetOptions::default() }
            }
            Fingerprint::ModifiedAtNanos(_) => GetOptions::default(),
        };
        let key = self.binlog(&object.key).await?;
        let (shown, listed) = (self.display(&object.key.to_string()), object.clone());
        let failed = move |error| match error {
            object_store::Error::NotFound { .. } => gone(&listed.key),
            object_store::Error::Precondition { .. } => changed(&listed),
            error => from_store("read", &shown, error),
        };
        let answer = match self.store.get_opts(&key, options).await {
            Ok(answer) => answer,
            Err(error) => return Err(failed(error)),
        };
        // Stores that ignore the condition still tell what they are sending.
        if answer.meta.size != object.size_bytes || fingerprint(&answer.meta) != object.fingerprint {
            return Err(changed(object));
        }
        Ok(Download::new(&self.store, key, answer, failed).stream())
    }

    fn display(&self, relative: &str) -> String {
        let separator = if self.prefix.is_empty() { "" } else { "/" };
        format!("{}{separator}{}/{relative}", self.container, self.prefix)
    }

    /// Lists one kind of a collection's binlogs, with the groups they lie in where the layout has groups.
    async fn list_kind(
        &self,
        kind: BinlogKind,
        collection_id: i64,
        segment_ids: &HashSet<i64>,
    ) -> PortResult<(Groups, Vec<SourceObject>)> {
        let base = self.layout.base();
        let directory = format!("{base}{}/{collection_id}", kind.directory());
        let skip = if self.prefix.is_empty() { 0 } else { self.prefix.len() + 1 } + base.len();
        let (mut groups, mut objects) = (Groups::default(), Vec::new());
        let mut listing = self.store.list(Some(&self.key(&directory)?));
        while let Some(meta) = listing.next().await {
            let meta = meta.map_err(|error| from_store("list", &self.display(&directory), error))?;
            let Some(path) = meta.location.as_ref().get(skip..) else { continue };
            let key = match &self.layout {
                KeyLayout::Milvus => BinlogKey::parse(path),
                KeyLayout::Grouped(_) => match grouped::parse(path) {
                    Some((key, group)) => {
                        groups.note(&key, group)?;
                        Some(key)
                    }
                    None => None,
                },
            };
            let Some(key) = key.filter(|key| segment_ids.contains(&key.segment_id)) else { continue };
            objects.push(SourceObject { key, size_bytes: meta.size, fingerprint: fingerprint(&meta) });
        }
        Ok((groups, objects))
    }
}

fn fingerprint(meta: &ObjectMeta) -> Fingerprint {
    match &meta.e_tag {
        Some(tag) => Fingerprint::ETag(bare_tag(tag)),
        None => Fingerprint::ModifiedAtNanos(meta.last_modified.timestamp_nanos_opt().unwrap_or(0)),
    }
}

#[async_trait]
impl SourceStore for ObjectSource {
    async fn list_binlogs(
        &self,
        collection_id: i64,
        segment_ids: &HashSet<i64>,
    ) -> PortResult<Vec<SourceObject>> {
        let insert = self.list_kind(BinlogKind::Insert, collection_id, segment_ids);
        let delta = self.list_kind(BinlogKind::Delta, collection_id, segment_ids);
        let ((_, mut objects), (_, deltas)) = futures::try_join!(insert, delta)?;
        objects.extend(deltas);
        Ok(objects)
    }

    async fn list_delta_logs(
        &self,
        collection_id: i64,
        segment_ids: &HashSet<i64>,
    ) -> PortResult<Vec<SourceObject>> {
        Ok(self.list_kind(BinlogKind::Delta, collection_id, segment_ids).await?.1)
    }

    async fn read_binlog(&self, key: &BinlogKey) -> PortResult<Vec<u8>> {
        let failure = |error| match error {
            object_store::Error::NotFound { .. } => gone(key),
            error => from_store("read", &self.display(&key.to_string()), error),
        };
        let answer =
            self.store.get_opts(&self.binlog(key).await?, GetOptions::default()).await.map_err(failure)?;
        if READ_BYTES_MAX < answer.meta.size {
            return Err(too_large(key, answer.meta.size));
        }
        Ok(answer.bytes().await.map_err(failure)?.into())
    }

    async fn check(&self) -> Vec<CheckFinding> {
        let finding = |ok, message| CheckFinding { subject: String::from("storage"), ok, message };
        let place = self.display("");
        let place = place.trim_end_matches('/');
        let key = match self.insert_logs() {
            Ok(key) => key,
            Err(error) => return vec![finding(false, error.to_string())],
        };
        let first = self.store.list(Some(&key)).next().await;
        vec![match first {
            Some(Ok(_)) => finding(true, format!("`{place}` can be listed and holds binlogs")),
            Some(Err(error)) => finding(false, from_store("list", place, error).to_string()),
            None => finding(
                true,
                format!(
                    "`{place}` can be listed but has no `insert_log` below it: either nothing was flushed yet, or the \
                     bucket or prefix is not the one that Milvus uses"
                ),
            ),
        }]
    }
}
