//! Opens sources, repositories and the ways between them.

use crate::backups::packs::PackSizes;
use crate::connect::{Connection, ObjectConnection, connect, connect_s3};
use crate::copy::{
    ByteLimit, CopyRequests, InStore, RepositoryCopier, ServerSide, Source, StreamedCopies, TransferCopier,
    same_store,
};
use crate::error::from_store;
use crate::foreign;
use crate::layout;
use crate::marker::{self, Marker};
use crate::place::{LocalPlace, ObjectPlace, Place};
use crate::probe::probe;
use crate::repository::FileRepository;
use crate::source::{GroupedKeys, KeyLayout, LocalSource, ObjectSource};
use crate::stage::{InStoreCopies, LocalTarget, ObjectTarget, RepositoryStager, StagingTarget};
use async_trait::async_trait;
use futures::{StreamExt, TryStreamExt};
use milvault_domain::error::{PortError, PortErrorKind, PortResult};
use milvault_domain::ids::RepositoryId;
use milvault_domain::milvus::Cut;
use milvault_domain::object::StoredObject;
use milvault_domain::ports::{
    AttachedRepository, BackupRepository, Copier, ForeignBackup, SecretSource, SourceStore, Stager, Stores,
    WantedDirectories,
};
use milvault_domain::repository::StoreCapabilities;
use milvault_domain::storage::{S3Storage, SourceLayout, StorageConfig};
use object_store::{ObjectStore, ObjectStoreExt};
use std::sync::Arc;

/// All kinds of storage that Milvault knows.
pub struct RepositoryStores {
    secrets: Arc<dyn SecretSource>,
}

impl RepositoryStores {
    /// Secrets named by configurations are fetched from `secrets` when something is opened.
    #[must_use]
    pub fn new(secrets: Arc<dyn SecretSource>) -> Self {
        Self { secrets }
    }

    fn connect(&self, storage: &StorageConfig) -> PortResult<Connection> {
        connect(storage, self.secrets.as_ref())
    }

    /// The server-side way, where source and repository share a store that can do it.
    async fn server_side(
        &self,
        source: &StorageConfig,
        layout: KeyLayout,
        repository: &FileRepository,
        limit: Option<Arc<ByteLimit>>,
    ) -> PortResult<Option<ServerSide>> {
        let (StorageConfig::S3(source), Connection::Object(connection)) = (source, &repository.connection)
        else {
            return Ok(None);
        };
        let Some(destination) = &connection.s3 else {
            return Ok(None);
        };
        if !repository.capabilities.server_side_copy || !same_store(source, &destination.config) {
            return Ok(None);
        }
        // The store reads the source on behalf of whoever signs the request: the repository's credentials.
        let config = S3Storage {
            bucket: source.bucket.clone(),
            prefix: source.prefix.clone(),
            ..destination.config.clone()
        };
        let reader = connect_s3(&config, self.secrets.as_ref())?;
        let prefix = source.prefix.trim_matches('/');
        let reading = ObjectSource::new(Arc::clone(&reader.store) as Arc<_>, "s3", prefix, layout);
        if let Err(error) = can_read(reader.store.as_ref(), &reading).await {
            tracing::warn!(
                repository_id = %repository.id,
                source = %format!("s3://{}/{prefix}", source.bucket),
                %error,
                "the repository's credentials cannot read the source: bytes go through this server; permit reading to let the store copy"
            );
            return Ok(None);
        }
        let place = object_place(connection, repository.capabilities);
        let multipart_copy = repository.capabilities.multipart_copy;
        let requests = CopyRequests::new(destination, &source.bucket, multipart_copy)?.limited_to(limit);
        Ok(Some(ServerSide::new(requests, place, reading)))
    }

    /// The way inside the store from a repository to a cluster's storage, where both share one that can do it.
    async fn in_store(
        &self,
        repository: &FileRepository,
        target: &ObjectConnection,
    ) -> PortResult<Option<InStoreCopies>> {
        let who = "the cluster's storage credentials";
        let found = self.copies_from(repository, target, repository.capabilities, who).await?;
        let target = object_place(target, StoreCapabilities::default());
        Ok(found.map(|(requests, place)| InStoreCopies::new(requests, place, target)))
    }

    /// The way inside the store from one repository to another, where both share one that can do it.
    async fn between(
        &self,
        from: &FileRepository,
        to: &FileRepository,
        limit: Option<Arc<ByteLimit>>,
    ) -> PortResult<Option<InStore>> {
        let Connection::Object(target) = &to.connection else { return Ok(None) };
        let who = "the credentials of the repository that is copied to";
        let found = self.copies_from(from, target, to.capabilities, who).await?;
        let to = object_place(target, to.capabilities);
        Ok(found.map(|(requests, from)| InStore { requests: requests.limited_to(limit), from, to }))
    }

    /// Requests that copy out of a repository into a place of the same store, and the repository as they name it.
    async fn copies_from(
        &self,
        repository: &FileRepository,
        target: &ObjectConnection,
        capabilities: StoreCapabilities,
        who: &'static str,
    ) -> PortResult<Option<(CopyRequests, ObjectPlace)>> {
        let (Connection::Object(from), Some(to)) = (&repository.connection, &target.s3) else {
            return Ok(None);
        };
        let Some(s3) = &from.s3 else { return Ok(None) };
        if !capabilities.server_side_copy || !same_store(&s3.config, &to.config) {
            return Ok(None);
        }
        // The store reads the repository on behalf of whoever signs the request.
        let config = S3Storage {
            bucket: s3.config.bucket.clone(),
            prefix: s3.config.prefix.clone(),
            ..to.config.clone()
        };
        let reader = connect_s3(&config, self.secrets.as_ref())?;
        let place = object_place(from, repository.capabilities);
        let marker = place.key(layout::MARKER)?;
        if let Err(error) = reader.store.head(&marker).await {
            tracing::warn!(
                repository_id = %repository.id,
                error = %from_store("read", marker.as_ref(), error),
                "{who} cannot read the repository: bytes go through this server; permit reading to let the store copy"
            );
            return Ok(None);
        }
        let requests = CopyRequests::new(to, &config.bucket, capabilities.multipart_copy)?;
        Ok(Some((requests, place)))
    }
}

/// One for all copies, whether the store makes them or this server.
fn byte_limit(bytes_per_second: Option<u64>) -> Option<Arc<ByteLimit>> {
    bytes_per_second.map(|limit| Arc::new(ByteLimit::new(limit)))
}

/// A repository that these stores opened.
fn ours(repository: &Arc<dyn BackupRepository>) -> PortResult<&FileRepository> {
    repository.as_any().downcast_ref::<FileRepository>().ok_or_else(|| {
        PortError::new(PortErrorKind::InvalidInput, "the repository was not opened by these stores")
    })
}

fn key_layout(layout: &SourceLayout) -> PortResult<KeyLayout> {
    Ok(match layout {
        SourceLayout::Milvus => KeyLayout::Milvus,
        SourceLayout::MilvusBackup { directory } => {
            KeyLayout::Grouped(Arc::new(GroupedKeys::new(directory)?))
        }
    })
}

/// Tries to look at the first binlog. A source without any has nothing to copy.
async fn can_read(store: &dyn ObjectStore, source: &ObjectSource) -> PortResult<()> {
    let prefix = source.insert_logs()?;
    match store.list(Some(&prefix)).next().await {
        None => Ok(()),
        Some(Err(error)) => Err(from_store("list", prefix.as_ref(), error)),
        Some(Ok(first)) => store
            .head(&first.location)
            .await
            .map(drop)
            .map_err(|error| from_store("read", first.location.as_ref(), error)),
    }
}

fn object_source(connection: &ObjectConnection, layout: KeyLayout) -> ObjectSource {
    ObjectSource::new(Arc::clone(&connection.store), &connection.container, &connection.prefix, layout)
}

fn object_place(connection: &ObjectConnection, capabilities: StoreCapabilities) -> ObjectPlace {
    let store = Arc::clone(&connection.store);
    ObjectPlace::new(store, &connection.container, &connection.prefix, capabilities.conditional_put)
}

/// What a connection leads to, for reading.
fn place(connection: &Connection) -> Arc<dyn Place> {
    match connection {
        Connection::Local(root) => Arc::new(LocalPlace::new(root)),
        Connection::Object(connection) => Arc::new(object_place(connection, StoreCapabilities::default())),
    }
}

fn repository(id: RepositoryId, connection: Connection, capabilities: StoreCapabilities) -> FileRepository {
    let (place, local): (Arc<dyn Place>, _) = match &connection {
        Connection::Local(root) => {
            let place = LocalPlace::new(root);
            (Arc::new(place.clone()), Some(place))
        }
        Connection::Object(connection) => (Arc::new(object_place(connection, capabilities)), None),
    };
    FileRepository { id, place, connection, local, capabilities, pack_sizes: PackSizes::default() }
}

/// Refuses a place that is a repository or holds anything else.
async fn refuse_unless_empty(place: &dyn Place) -> PortResult<()> {
    let shown = place.display("");
    if let Some(marker) = marker::read(place).await? {
        return Err(PortError::new(
            PortErrorKind::Conflict,
            format!("`{shown}` already is repository {}", marker.repository_id),
        ));
    }
    let mut files = place.list("");
    while let Some(file) = files.try_next().await? {
        // What an earlier attempt left when it was cut off while it probed.
        if file.path.starts_with(layout::TEMPORARY) {
            continue;
        }
        return Err(PortError::new(
            PortErrorKind::Conflict,
            format!(
                "`{shown}` is not empty (it holds `{}`); choose an empty place for a repository",
                file.path
            ),
        ));
    }
    Ok(())
}

async fn create(id: RepositoryId, connection: Connection) -> PortResult<(FileRepository, StoreCapabilities)> {
    let mut new = repository(id, connection, StoreCapabilities::default());
    if let Some(local) = &new.local {
        local.make_root().await?;
    }
    refuse_unless_empty(new.place.as_ref()).await?;
    let capabilities = probe(&new.connection, new.place.as_ref()).await?;
    new = repository(id, new.connection, capabilities);
    marker::write(new.place.as_ref(), &Marker::new(id, capabilities)).await?;
    Ok((new, capabilities))
}

/// Makes a repository that lives in memory as long as it is referenced: for tests of whoever uses repositories.
///
/// # Errors
/// None in practice.
pub async fn create_in_memory(id: RepositoryId) -> PortResult<Arc<dyn BackupRepository>> {
    let connection = ObjectConnection {
        store: Arc::new(object_store::memory::InMemory::new()),
        container: String::from("memory:"),
        prefix: String::new(),
        s3: None,
    };
    let (repository, _) = create(id, Connection::Object(Box::new(connection))).await?;
    Ok(Arc::new(repository))
}

#[async_trait]
impl Stores for RepositoryStores {
    async fn open_source(
        &self,
        storage: &StorageConfig,
        layout: &SourceLayout,
    ) -> PortResult<Arc<dyn SourceStore>> {
        let layout = key_layout(layout)?;
        Ok(match self.connect(storage)? {
            Connection::Local(root) => Arc::new(LocalSource::new(&root, layout)),
            Connection::Object(connection) => Arc::new(object_source(&connection, layout)),
        })
    }

    async fn list_foreign_backups(
        &self,
        storage: &StorageConfig,
        wanted: &WantedDirectories,
    ) -> PortResult<Vec<ForeignBackup>> {
        foreign::list(place(&self.connect(storage)?).as_ref(), wanted).await
    }

    async fn read_foreign_backup(&self, storage: &StorageConfig, directory: &str) -> PortResult<Cut> {
        let layout = SourceLayout::MilvusBackup { directory: directory.to_owned() };
        let binlogs = self.open_source(storage, &layout).await?;
        foreign::read(place(&self.connect(storage)?).as_ref(), directory, binlogs.as_ref()).await
    }

    async fn attach_repository(&self, storage: &StorageConfig) -> PortResult<AttachedRepository> {
        let place = place(&self.connect(storage)?);
        let shown = place.display("");
        let Some(marker) = marker::read(place.as_ref()).await? else {
            return Err(PortError::new(
                PortErrorKind::NotFound,
                format!("there is no repository at `{shown}`: it has no `{}`", layout::MARKER),
            ));
        };
        let repository_id = marker.repository_id.parse().map_err(|error| {
            PortError::with_source(
                PortErrorKind::Corrupt,
                format!("`{}` names no repository", place.display(layout::MARKER)),
                error,
            )
        })?;
        Ok(AttachedRepository { repository_id, capabilities: marker.capabilities })
    }

    async fn open_stager(
        &self,
        repository: Arc<dyn BackupRepository>,
        target: &StorageConfig,
        max_bytes_per_second: Option<u64>,
    ) -> PortResult<Arc<dyn Stager>> {
        let repository = ours(&repository)?;
        let limit = byte_limit(max_bytes_per_second);
        let (target, in_store): (Arc<dyn StagingTarget>, _) = match self.connect(target)? {
            Connection::Local(root) => (Arc::new(LocalTarget::new(&root)), None),
            Connection::Object(connection) => {
                let place = object_place(&connection, StoreCapabilities::default());
                let in_store = self.in_store(repository, &connection).await?;
                let store = Arc::clone(&connection.store);
                (Arc::new(ObjectTarget::new(place, store, &connection.prefix)), in_store)
            }
        };
        let place = Arc::clone(&repository.place);
        Ok(Arc::new(RepositoryStager::new(place, target, in_store, limit)))
    }

    async fn create_repository(
        &self,
        repository_id: RepositoryId,
        storage: &StorageConfig,
    ) -> PortResult<StoreCapabilities> {
        let (_, capabilities) = create(repository_id, self.connect(storage)?).await?;
        Ok(capabilities)
    }

    async fn open_repository(
        &self,
        repository_id: RepositoryId,
        storage: &StorageConfig,
        capabilities: StoreCapabilities,
    ) -> PortResult<Arc<dyn BackupRepository>> {
        let opened = repository(repository_id, self.connect(storage)?, capabilities);
        opened.confirm().await?;
        opened.remove_stale_files().await;
        Ok(Arc::new(opened))
    }

    async fn open_copier(
        &self,
        source: &StorageConfig,
        layout: &SourceLayout,
        repository: Arc<dyn BackupRepository>,
        max_bytes_per_second: Option<u64>,
    ) -> PortResult<Arc<dyn Copier>> {
        let layout = key_layout(layout)?;
        let repository = ours(&repository)?;
        let limit = byte_limit(max_bytes_per_second);
        let place = Arc::clone(&repository.place);
        let streamed = |source| {
            RepositoryCopier::new(
                Arc::clone(&place),
                StreamedCopies::new(source, Arc::clone(&place), limit.clone()),
            )
        };
        let copier = match self.connect(source)? {
            Connection::Local(root) => {
                let local = LocalSource::new(&root, layout.clone());
                let copier = streamed(Source::Local(local.clone()));
                match &repository.local {
                    Some(to) => copier.with_local(&local, to.clone(), limit.clone()).await?,
                    None => copier,
                }
            }
            Connection::Object(connection) => {
                streamed(Source::Object(object_source(&connection, layout.clone())))
            }
        };
        Ok(match self.server_side(source, layout, repository, limit.clone()).await? {
            Some(server_side) => Arc::new(copier.with_server_side(server_side)),
            None => Arc::new(copier),
        })
    }

    async fn open_backup_copier(
        &self,
        source: Arc<dyn BackupRepository>,
        objects: &[StoredObject],
        repository: Arc<dyn BackupRepository>,
        max_bytes_per_second: Option<u64>,
    ) -> PortResult<Arc<dyn Copier>> {
        let (from, to) = (ours(&source)?, ours(&repository)?);
        let limit = byte_limit(max_bytes_per_second);
        let in_store = self.between(from, to, limit.clone()).await?;
        let (from, to) = (Arc::clone(&from.place), Arc::clone(&to.place));
        Ok(Arc::new(TransferCopier::new(from, to, objects, in_store, limit)))
    }
}
