//! A source in an object store.

use super::{changed, gone};
use crate::error::from_store;
use crate::place::bare_tag;
use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{BoxStream, StreamExt, TryStreamExt};
use milvault_domain::binlog::{BinlogKey, BinlogKind};
use milvault_domain::error::{PortError, PortErrorKind, PortResult};
use milvault_domain::object::{Fingerprint, SourceObject};
use milvault_domain::ports::{CheckFinding, SourceStore};
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
}

impl ObjectSource {
    /// A source below a prefix. Nothing is contacted.
    pub(crate) fn new(store: Arc<dyn ObjectStore>, container: &str, prefix: &str) -> Self {
        Self { store, container: Arc::from(container), prefix: Arc::from(prefix) }
    }

    /// The key of a source file in the store.
    pub(crate) fn key(&self, relative: &str) -> PortResult<Path> {
        let separator = if self.prefix.is_empty() { "" } else { "/" };
        let key = format!("{}{separator}{relative}", self.prefix);
        Path::parse(&key).map_err(|error| {
            PortError::with_source(PortErrorKind::InvalidInput, format!("`{key}` cannot be a key"), error)
        })
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
        let answer = match self.store.get_opts(&self.key(&object.key.to_string())?, options).await {
            Ok(answer) => answer,
            Err(object_store::Error::NotFound { .. }) => return Err(gone(object)),
            Err(object_store::Error::Precondition { .. }) => return Err(changed(object)),
            Err(error) => return Err(from_store("read", &self.display(&object.key.to_string()), error)),
        };
        // Stores that ignore the condition still tell what they are sending.
        if answer.meta.size != object.size_bytes || fingerprint(&answer.meta) != object.fingerprint {
            return Err(changed(object));
        }
        let shown = self.display(&object.key.to_string());
        Ok(answer.into_stream().map_err(move |error| from_store("read", &shown, error)).boxed())
    }

    fn display(&self, relative: &str) -> String {
        let separator = if self.prefix.is_empty() { "" } else { "/" };
        format!("{}{separator}{}/{relative}", self.container, self.prefix)
    }

    async fn list_kind(
        &self,
        kind: BinlogKind,
        collection_id: i64,
        segment_ids: &HashSet<i64>,
    ) -> PortResult<Vec<SourceObject>> {
        let directory = format!("{}/{collection_id}", kind.directory());
        let skip = if self.prefix.is_empty() { 0 } else { self.prefix.len() + 1 };
        let mut objects = Vec::new();
        let mut listing = self.store.list(Some(&self.key(&directory)?));
        while let Some(meta) = listing.next().await {
            let meta = meta.map_err(|error| from_store("list", &self.display(&directory), error))?;
            let key = meta.location.as_ref().get(skip..).and_then(BinlogKey::parse);
            if let Some(key) = key.filter(|key| segment_ids.contains(&key.segment_id)) {
                objects.push(SourceObject { key, size_bytes: meta.size, fingerprint: fingerprint(&meta) });
            }
        }
        Ok(objects)
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
        let (mut objects, deltas) = futures::try_join!(insert, delta)?;
        objects.extend(deltas);
        Ok(objects)
    }

    async fn check(&self) -> Vec<CheckFinding> {
        let finding = |ok, message| CheckFinding { subject: String::from("storage"), ok, message };
        let place = self.display("");
        let place = place.trim_end_matches('/');
        let key = match self.key(BinlogKind::Insert.directory()) {
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
