//! A client for filling a Milvus.

use milvault_domain::backup::CollectionName;
use milvault_domain::cluster::{MilvusAuth, MilvusEndpoint};
use milvault_domain::error::{PortErrorKind, PortResult};
use milvault_domain::ports::{MilvusCluster, MilvusConnector, MilvusTarget, SecretSource};
use milvault_domain::secret::{Secret, SecretValue};
use milvault_milvus::MilvusGrpcConnector;
use milvus::proto::common::{KeyValuePair, Status};
use milvus::proto::milvus::milvus_service_client::MilvusServiceClient;
use milvus::proto::milvus::*;
use milvus::proto::schema::*;
use prost::Message;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};
use tonic::transport::Channel;

pub(crate) const DIMENSION: i64 = 8;

/// Reads a setting of these tests.
pub(crate) fn setting(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("set {name}; see the head of tests/live/main.rs"))
}

/// A name that no other test run uses.
pub(crate) fn unique(prefix: &str) -> String {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let millis = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis();
    format!("{prefix}_{millis}_{}", COUNTER.fetch_add(1, Ordering::Relaxed))
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

pub(crate) async fn connect(uri: &str, auth: MilvusAuth) -> PortResult<Arc<dyn MilvusCluster>> {
    let endpoint = MilvusEndpoint { uri: uri.to_owned(), auth, ca_pem: None, server_name: None };
    MilvusGrpcConnector::new(Arc::new(GivenSecrets)).connect(&endpoint).await
}

pub(crate) async fn connect_target(uri: &str, auth: MilvusAuth) -> Arc<dyn MilvusTarget> {
    let endpoint = MilvusEndpoint { uri: uri.to_owned(), auth, ca_pem: None, server_name: None };
    let connector = MilvusGrpcConnector::new(Arc::new(GivenSecrets));
    // Milvus's proxy hears of a grant a moment after it was made.
    for _ in 0..50 {
        match connector.connect_target(&endpoint).await {
            Err(error) if error.kind() == PortErrorKind::PermissionDenied => {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            target => return target.unwrap(),
        }
    }
    panic!("{uri}: the user may not even look");
}

/// The Milvus without authentication, to be changed.
pub(crate) async fn target() -> Arc<dyn MilvusTarget> {
    connect_target(&setting("MILVAULT_TEST_MILVUS_URI"), MilvusAuth::None).await
}

pub(crate) fn collection_name(database: &str, collection: &str) -> CollectionName {
    CollectionName { database: database.to_owned(), collection: collection.to_owned() }
}

#[derive(Clone)]
pub(crate) struct Server {
    client: MilvusServiceClient<Channel>,
}

pub(crate) fn ok(status: Option<Status>) {
    let status = status.unwrap_or_default();
    assert_eq!(status.code, 0, "{}", status.reason);
}

pub(crate) fn pair(key: &str, value: &str) -> KeyValuePair {
    KeyValuePair { key: key.to_owned(), value: value.to_owned() }
}

pub(crate) fn key_field(name: &str) -> FieldSchema {
    FieldSchema {
        name: name.to_owned(),
        is_primary_key: true,
        data_type: DataType::Int64.into(),
        ..Default::default()
    }
}

pub(crate) fn vector_field(name: &str) -> FieldSchema {
    FieldSchema {
        name: name.to_owned(),
        data_type: DataType::FloatVector.into(),
        type_params: vec![pair("dim", &DIMENSION.to_string())],
        ..Default::default()
    }
}

impl Server {
    pub(crate) async fn open() -> Self {
        let channel =
            Channel::from_shared(setting("MILVAULT_TEST_MILVUS_URI")).unwrap().connect().await.unwrap();
        Self { client: MilvusServiceClient::new(channel) }
    }

    pub(crate) fn raw(&self) -> MilvusServiceClient<Channel> {
        self.client.clone()
    }

    pub(crate) async fn create_database(&self, name: &str) {
        let request = CreateDatabaseRequest { db_name: name.to_owned(), ..Default::default() };
        ok(Some(self.raw().create_database(request).await.unwrap().into_inner()));
    }

    pub(crate) async fn create(&self, request: CreateCollectionRequest, schema: CollectionSchema) {
        let request = CreateCollectionRequest { schema: schema.encode_to_vec(), ..request };
        ok(Some(self.raw().create_collection(request).await.unwrap().into_inner()));
    }

    /// A collection with an int64 key `id` and a vector `v`.
    pub(crate) async fn create_simple(&self, database: &str, name: &str, shards: i32) {
        let schema = CollectionSchema {
            name: name.to_owned(),
            fields: vec![key_field("id"), vector_field("v")],
            ..Default::default()
        };
        let request = CreateCollectionRequest {
            db_name: database.to_owned(),
            collection_name: name.to_owned(),
            shards_num: shards,
            ..Default::default()
        };
        self.create(request, schema).await;
    }

    pub(crate) async fn drop_collection(&self, database: &str, name: &str) {
        let request = DropCollectionRequest {
            db_name: database.to_owned(),
            collection_name: name.to_owned(),
            ..Default::default()
        };
        ok(Some(self.raw().drop_collection(request).await.unwrap().into_inner()));
    }

    pub(crate) async fn rename(&self, database: &str, from: &str, to: &str) {
        let request = RenameCollectionRequest {
            db_name: database.to_owned(),
            old_name: from.to_owned(),
            new_name: to.to_owned(),
            new_db_name: database.to_owned(),
            ..Default::default()
        };
        ok(Some(self.raw().rename_collection(request).await.unwrap().into_inner()));
    }

    pub(crate) async fn insert(&self, database: &str, name: &str, ids: &[i64]) {
        let vectors = ids.iter().flat_map(|id| (0..DIMENSION).map(move |_| unit_fraction(*id))).collect();
        let key = FieldData {
            r#type: DataType::Int64.into(),
            field_name: String::from("id"),
            field: Some(field_data::Field::Scalars(ScalarField {
                data: Some(scalar_field::Data::LongData(LongArray { data: ids.to_vec() })),
                ..Default::default()
            })),
            ..Default::default()
        };
        let vector = FieldData {
            r#type: DataType::FloatVector.into(),
            field_name: String::from("v"),
            field: Some(field_data::Field::Vectors(VectorField {
                dim: DIMENSION,
                data: Some(vector_field::Data::FloatVector(FloatArray { data: vectors })),
                ..Default::default()
            })),
            ..Default::default()
        };
        self.insert_columns(database, name, "", vec![key, vector], ids.len()).await;
    }

    /// Inserts rows of any schema; an empty partition is the default one.
    pub(crate) async fn insert_columns(
        &self,
        database: &str,
        name: &str,
        partition: &str,
        columns: Vec<FieldData>,
        rows: usize,
    ) {
        let request = InsertRequest {
            db_name: database.to_owned(),
            collection_name: name.to_owned(),
            partition_name: partition.to_owned(),
            fields_data: columns,
            num_rows: u32::try_from(rows).unwrap(),
            ..Default::default()
        };
        ok(self.raw().insert(request).await.unwrap().into_inner().status);
    }

    pub(crate) async fn delete(&self, database: &str, name: &str, ids: &[i64]) {
        self.delete_where(database, name, &format!("id in {ids:?}")).await;
    }

    pub(crate) async fn delete_where(&self, database: &str, name: &str, expression: &str) {
        let request = DeleteRequest {
            db_name: database.to_owned(),
            collection_name: name.to_owned(),
            expr: expression.to_owned(),
            ..Default::default()
        };
        ok(self.raw().delete(request).await.unwrap().into_inner().status);
    }

    pub(crate) async fn flush(&self, database: &str, name: &str) {
        let request = FlushRequest {
            db_name: database.to_owned(),
            collection_names: vec![name.to_owned()],
            ..Default::default()
        };
        ok(self.raw().flush(request).await.unwrap().into_inner().status);
    }

    pub(crate) async fn compact(&self, collection_id: i64) {
        let request = ManualCompactionRequest { collection_id, ..Default::default() };
        ok(self.raw().manual_compaction(request).await.unwrap().into_inner().status);
    }

    pub(crate) async fn collection_id(&self, database: &str, name: &str) -> i64 {
        let request = DescribeCollectionRequest {
            db_name: database.to_owned(),
            collection_name: name.to_owned(),
            ..Default::default()
        };
        let answer = self.raw().describe_collection(request).await.unwrap().into_inner();
        ok(answer.status);
        answer.collection_id
    }

    pub(crate) async fn index(&self, database: &str, name: &str) {
        let request = CreateIndexRequest {
            db_name: database.to_owned(),
            collection_name: name.to_owned(),
            field_name: String::from("v"),
            index_name: String::from("v_index"),
            extra_params: vec![pair("index_type", "FLAT"), pair("metric_type", "L2"), pair("params", "{}")],
            ..Default::default()
        };
        ok(Some(self.raw().create_index(request).await.unwrap().into_inner()));
    }

    pub(crate) async fn load(&self, database: &str, name: &str) {
        let request = LoadCollectionRequest {
            db_name: database.to_owned(),
            collection_name: name.to_owned(),
            replica_number: 1,
            ..Default::default()
        };
        ok(Some(self.raw().load_collection(request).await.unwrap().into_inner()));
        loop {
            let request = GetLoadStateRequest {
                db_name: database.to_owned(),
                collection_name: name.to_owned(),
                ..Default::default()
            };
            let answer = self.raw().get_load_state(request).await.unwrap().into_inner();
            if answer.state() == milvus::proto::common::LoadState::Loaded {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// All keys of a loaded collection, read in windows of keys.
    pub(crate) async fn keys(&self, database: &str, name: &str, below: i64) -> BTreeSet<i64> {
        const WINDOW: u32 = 10_000;
        let mut keys = BTreeSet::new();
        let mut from = 0;
        while from < below {
            let to = from + i64::from(WINDOW);
            let request = QueryRequest {
                db_name: database.to_owned(),
                collection_name: name.to_owned(),
                expr: format!("id >= {from} and id < {to}"),
                output_fields: vec![String::from("id")],
                ..Default::default()
            };
            let answer = self.raw().query(request).await.unwrap().into_inner();
            ok(answer.status);
            for field in answer.fields_data {
                if let Some(field_data::Field::Scalars(ScalarField {
                    data: Some(scalar_field::Data::LongData(data)),
                    ..
                })) = field.field
                {
                    let before = keys.len();
                    keys.extend(&data.data);
                    assert_eq!(keys.len(), before + data.data.len(), "a key came twice");
                }
            }
            from = to;
        }
        keys
    }
}

/// Some number between 0 and 1 for a key.
fn unit_fraction(id: i64) -> f32 {
    f32::from(u16::try_from(id % 1000).unwrap()) / 1000.0
}

/// Directory where Milvus keeps its files.
pub(crate) fn storage() -> PathBuf {
    PathBuf::from(setting("MILVAULT_TEST_MILVUS_STORAGE"))
}
