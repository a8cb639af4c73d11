//! A small Milvus: one database, collections with one partition and segments that never change unless the script
//! says so.

use milvault_domain::cluster::{MilvusAuth, MilvusEndpoint};
use milvault_domain::error::PortResult;
use milvault_domain::ports::{MilvusCluster, MilvusConnector, MilvusTarget, SecretSource};
use milvault_domain::secret::{Secret, SecretValue};
use milvault_milvus::MilvusGrpcConnector;
use milvus::proto::common::{KeyValuePair, SegmentState, Status as MilvusStatus};
use milvus::proto::milvus::milvus_service_server::{MilvusService, MilvusServiceServer};
use milvus::proto::milvus::*;
use milvus::proto::schema::{CollectionSchema, LongArray};
use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{Identity, Server, ServerTlsConfig};
use tonic::{Request, Response, Status, async_trait};

/// What happens at a flush, besides flushing.
pub(crate) enum AtFlush {
    Nothing,
    /// The collection is gone before the flush.
    Drop(&'static str),
    /// All segments of the collection become one with a new id, before the flush.
    Compact(&'static str),
    /// The collection gets another name before the flush.
    Rename(&'static str, &'static str),
    /// The collection gets another name as soon as it is flushed.
    RenameAfter(&'static str, &'static str),
    /// The collection gets another partition with one segment, before the flush.
    NewPartition(&'static str),
    /// The server asks for fewer flushes.
    RateLimit,
}

/// How an import or a rename goes wrong.
pub(crate) enum Mishap {
    /// The connection breaks before the server does it.
    Before,
    /// The connection breaks when it is done.
    After,
    /// The server refuses, with this code and reason.
    Refused(i32, &'static str),
}

#[derive(Clone)]
pub(crate) struct Collection {
    pub(crate) id: i64,
    pub(crate) segments: Vec<i64>,
    /// Further partitions: id, time of creation, segment.
    pub(crate) partitions: Vec<(i64, u64, i64)>,
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) collections: HashMap<String, Collection>,
    pub(crate) at_flush: VecDeque<AtFlush>,
    /// gRPC failures of the next calls of `GetVersion`.
    pub(crate) failures: VecDeque<Status>,
    pub(crate) flushes: usize,
    pub(crate) credentials: Vec<Option<String>>,
    /// What happens to the next imports and renames.
    pub(crate) mishaps: VecDeque<Mishap>,
    pub(crate) imports: Vec<GetImportStateResponse>,
    /// Calls of `GetImportState`.
    pub(crate) import_looks: usize,
    /// Instead of 2.3.5.
    pub(crate) version: Option<&'static str>,
    clock: u64,
}

#[derive(Clone, Default)]
pub(crate) struct ScriptedMilvus {
    state: Arc<Mutex<State>>,
}

/// Hybrid timestamp of the first answer of the clock.
const CLOCK_START_MS: u64 = 1_000_000;
const PARTITION: i64 = 50;
pub(crate) const ROWS: i64 = 10;

fn not_found() -> MilvusStatus {
    MilvusStatus { code: 100, reason: String::from("collection not found"), ..Default::default() }
}

impl ScriptedMilvus {
    pub(crate) fn with_collections(names: &[&str]) -> Self {
        let milvus = Self::default();
        for (name, id) in names.iter().zip(1..) {
            let collection = Collection { id, segments: vec![id * 100, id * 100 + 1], partitions: vec![] };
            milvus.state().collections.insert((*name).to_owned(), collection);
        }
        milvus
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Serves on a free port until the test ends.
    pub(crate) async fn serve(&self, tls: Option<Identity>) -> SocketAddr {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut server = Server::builder();
        if let Some(identity) = tls {
            let _ = rustls::crypto::ring::default_provider().install_default();
            server = server.tls_config(ServerTlsConfig::new().identity(identity)).unwrap();
        }
        let serving = server
            .add_service(MilvusServiceServer::new(self.clone()))
            .serve_with_incoming(TcpListenerStream::new(listener));
        tokio::spawn(serving);
        address
    }

    pub(crate) async fn connected(&self) -> Arc<dyn MilvusCluster> {
        let address = self.serve(None).await;
        connect(&endpoint(&format!("http://{address}"))).await.unwrap()
    }
}

pub(crate) async fn connect_target(milvus: &ScriptedMilvus) -> Arc<dyn MilvusTarget> {
    let address = milvus.serve(None).await;
    connect_target_at(&endpoint(&format!("http://{address}"))).await
}

pub(crate) async fn connect_target_at(endpoint: &MilvusEndpoint) -> Arc<dyn MilvusTarget> {
    MilvusGrpcConnector::new(Arc::new(GivenSecrets)).connect_target(endpoint).await.unwrap()
}

pub(crate) fn endpoint(uri: &str) -> MilvusEndpoint {
    MilvusEndpoint { uri: uri.to_owned(), auth: MilvusAuth::None, ca_pem: None, server_name: None }
}

pub(crate) async fn connect(endpoint: &MilvusEndpoint) -> PortResult<Arc<dyn MilvusCluster>> {
    MilvusGrpcConnector::new(Arc::new(GivenSecrets)).connect(endpoint).await
}

struct GivenSecrets;

impl SecretSource for GivenSecrets {
    fn reveal(&self, secret: &Secret) -> PortResult<SecretValue> {
        match secret {
            Secret::Value(value) => Ok(value.clone()),
            other => panic!("these tests use no {other:?}"),
        }
    }
}

type Answer<T> = Result<Response<T>, Status>;

impl State {
    pub(crate) fn begin_import(&mut self, request: &ImportRequest) -> i64 {
        let id = i64::try_from(self.imports.len()).unwrap() + 1;
        let files = KeyValuePair { key: String::from("files"), value: request.files.join(",") };
        self.imports.push(GetImportStateResponse {
            id,
            collection_id: self.collections.get(&request.collection_name).unwrap().id,
            infos: vec![files],
            ..Default::default()
        });
        id
    }

    fn rename(&mut self, request: &RenameCollectionRequest) -> MilvusStatus {
        let Some(collection) = self.collections.remove(&request.old_name) else { return not_found() };
        self.collections.insert(request.new_name.clone(), collection);
        MilvusStatus::default()
    }
}

fn broken() -> Status {
    Status::unavailable("the connection broke")
}

#[async_trait]
impl MilvusService for ScriptedMilvus {
    async fn get_version(&self, request: Request<GetVersionRequest>) -> Answer<GetVersionResponse> {
        let mut state = self.state();
        let credentials = request.metadata().get("authorization");
        state.credentials.push(credentials.map(|value| value.to_str().unwrap().to_owned()));
        match state.failures.pop_front() {
            Some(failure) => Err(failure),
            None => Ok(Response::new(GetVersionResponse {
                version: state.version.unwrap_or("v2.3.5").to_owned(),
                ..Default::default()
            })),
        }
    }

    async fn list_databases(&self, _: Request<ListDatabasesRequest>) -> Answer<ListDatabasesResponse> {
        let db_names = vec![String::from("default")];
        Ok(Response::new(ListDatabasesResponse { db_names, ..Default::default() }))
    }

    async fn alloc_timestamp(&self, _: Request<AllocTimestampRequest>) -> Answer<AllocTimestampResponse> {
        let mut state = self.state();
        state.clock += 1;
        // Three answers share a millisecond, as with the real clock.
        let timestamp = ((CLOCK_START_MS + state.clock / 3) << 18) | (state.clock % 3);
        Ok(Response::new(AllocTimestampResponse { timestamp, ..Default::default() }))
    }

    async fn show_collections(&self, _: Request<ShowCollectionsRequest>) -> Answer<ShowCollectionsResponse> {
        let state = self.state();
        let mut answer = ShowCollectionsResponse::default();
        for (name, collection) in &state.collections {
            answer.collection_names.push(name.clone());
            answer.collection_ids.push(collection.id);
            answer.created_timestamps.push(1 << 18);
        }
        Ok(Response::new(answer))
    }

    async fn describe_collection(
        &self,
        request: Request<DescribeCollectionRequest>,
    ) -> Answer<DescribeCollectionResponse> {
        let request = request.into_inner();
        let state = self.state();
        let found = state
            .collections
            .iter()
            .find(|(name, other)| **name == request.collection_name || other.id == request.collection_id);
        Ok(Response::new(match found {
            Some((name, collection)) => DescribeCollectionResponse {
                collection_id: collection.id,
                schema: Some(CollectionSchema { name: name.clone(), ..Default::default() }),
                ..Default::default()
            },
            None => DescribeCollectionResponse { status: Some(not_found()), ..Default::default() },
        }))
    }

    async fn show_partitions(
        &self,
        request: Request<ShowPartitionsRequest>,
    ) -> Answer<ShowPartitionsResponse> {
        let mut answer = ShowPartitionsResponse {
            partition_names: vec![String::from("_default")],
            partition_i_ds: vec![PARTITION],
            created_timestamps: vec![1 << 18],
            ..Default::default()
        };
        let state = self.state();
        let collection = state.collections.get(&request.into_inner().collection_name);
        for (id, created_at, _) in collection.iter().flat_map(|collection| &collection.partitions) {
            answer.partition_names.push(format!("partition_{id}"));
            answer.partition_i_ds.push(*id);
            answer.created_timestamps.push(*created_at);
        }
        Ok(Response::new(answer))
    }

    async fn describe_index(&self, _: Request<DescribeIndexRequest>) -> Answer<DescribeIndexResponse> {
        let status = Some(MilvusStatus { code: 700, ..Default::default() });
        Ok(Response::new(DescribeIndexResponse { status, ..Default::default() }))
    }

    async fn get_load_state(&self, _: Request<GetLoadStateRequest>) -> Answer<GetLoadStateResponse> {
        Ok(Response::new(GetLoadStateResponse::default()))
    }

    async fn get_persistent_segment_info(
        &self,
        request: Request<GetPersistentSegmentInfoRequest>,
    ) -> Answer<GetPersistentSegmentInfoResponse> {
        let state = self.state();
        let Some(collection) = state.collections.get(&request.into_inner().collection_name) else {
            let answer = GetPersistentSegmentInfoResponse { status: Some(not_found()), ..Default::default() };
            return Ok(Response::new(answer));
        };
        let info = |(partition_id, segment_id)| PersistentSegmentInfo {
            segment_id,
            collection_id: collection.id,
            partition_id,
            num_rows: ROWS,
            state: SegmentState::Flushed.into(),
            ..Default::default()
        };
        let segments = collection.segments.iter().map(|id| (PARTITION, *id));
        let later = collection.partitions.iter().map(|(partition, _, segment)| (*partition, *segment));
        let infos = segments.chain(later).map(info).collect();
        Ok(Response::new(GetPersistentSegmentInfoResponse { infos, ..Default::default() }))
    }

    async fn flush(&self, request: Request<FlushRequest>) -> Answer<FlushResponse> {
        let name = request.into_inner().collection_names.remove(0);
        let mut state = self.state();
        state.flushes += 1;
        let mut renamed_after = None;
        match state.at_flush.pop_front() {
            Some(AtFlush::RenameAfter(from, to)) => renamed_after = Some((from, to)),
            None | Some(AtFlush::Nothing) => {}
            Some(AtFlush::Drop(dropped)) => {
                state.collections.remove(dropped);
            }
            Some(AtFlush::Compact(compacted)) => {
                let collection = state.collections.get_mut(compacted).unwrap();
                collection.segments = vec![collection.segments.iter().max().unwrap() + 1];
            }
            Some(AtFlush::Rename(from, to)) => {
                let collection = state.collections.remove(from).unwrap();
                state.collections.insert(to.to_owned(), collection);
            }
            Some(AtFlush::NewPartition(parted)) => {
                let created_at = (CLOCK_START_MS + state.clock / 3) << 18;
                let partitions = &mut state.collections.get_mut(parted).unwrap().partitions;
                let number = i64::try_from(partitions.len()).unwrap();
                partitions.push((PARTITION + 1 + number, created_at, 9_000 + number));
            }
            Some(AtFlush::RateLimit) => {
                let status = Some(MilvusStatus { code: 8, ..Default::default() });
                return Ok(Response::new(FlushResponse { status, ..Default::default() }));
            }
        }
        let Some(collection) = state.collections.get(&name) else {
            return Ok(Response::new(FlushResponse { status: Some(not_found()), ..Default::default() }));
        };
        let later = collection.partitions.iter().map(|(_, _, segment)| *segment);
        let segments = LongArray { data: collection.segments.iter().copied().chain(later).collect() };
        if let Some((from, to)) = renamed_after {
            let collection = state.collections.remove(from).unwrap();
            state.collections.insert(to.to_owned(), collection);
        }
        Ok(Response::new(FlushResponse {
            flush_coll_seg_i_ds: HashMap::from([(name.clone(), segments)]),
            coll_flush_ts: HashMap::from([(name, u64::MAX)]),
            ..Default::default()
        }))
    }

    async fn get_flush_state(&self, _: Request<GetFlushStateRequest>) -> Answer<GetFlushStateResponse> {
        Ok(Response::new(GetFlushStateResponse { flushed: true, ..Default::default() }))
    }

    async fn import(&self, request: Request<ImportRequest>) -> Answer<ImportResponse> {
        let request = request.into_inner();
        let mut state = self.state();
        let mishap = state.mishaps.pop_front();
        let mut answer = ImportResponse::default();
        match mishap {
            Some(Mishap::Before) => return Err(broken()),
            Some(Mishap::Refused(code, reason)) => {
                let reason = reason.to_owned();
                answer.status = Some(MilvusStatus { code, reason, ..Default::default() });
            }
            Some(Mishap::After) => {
                state.begin_import(&request);
                return Err(broken());
            }
            None => answer.tasks = vec![state.begin_import(&request)],
        }
        Ok(Response::new(answer))
    }

    async fn list_import_tasks(&self, _: Request<ListImportTasksRequest>) -> Answer<ListImportTasksResponse> {
        let tasks = self.state().imports.clone();
        Ok(Response::new(ListImportTasksResponse { tasks, ..Default::default() }))
    }

    async fn get_import_state(
        &self,
        request: Request<GetImportStateRequest>,
    ) -> Answer<GetImportStateResponse> {
        let id = request.into_inner().task;
        let mut state = self.state();
        state.import_looks += 1;
        let found = state.imports.iter().find(|import| import.id == id);
        found.cloned().map(Response::new).ok_or_else(|| Status::not_found("no such import"))
    }

    async fn rename_collection(&self, request: Request<RenameCollectionRequest>) -> Answer<MilvusStatus> {
        let request = request.into_inner();
        let mut state = self.state();
        match state.mishaps.pop_front() {
            Some(Mishap::Before) => Err(broken()),
            Some(Mishap::After) => {
                state.rename(&request);
                Err(broken())
            }
            Some(Mishap::Refused(code, reason)) => {
                let reason = reason.to_owned();
                Ok(Response::new(MilvusStatus { code, reason, ..Default::default() }))
            }
            None => Ok(Response::new(state.rename(&request))),
        }
    }

    async fn drop_alias(&self, _: Request<DropAliasRequest>) -> Answer<MilvusStatus> {
        Ok(Response::new(MilvusStatus::default()))
    }
}
