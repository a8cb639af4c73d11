//! A client for filling a Milvus.

use milvault_domain::cluster::{MilvusAuth, MilvusEndpoint};
use milvault_domain::error::PortResult;
use milvault_domain::ports::{MilvusCluster, MilvusConnector, MilvusTarget, SecretSource};
use milvault_domain::secret::{Secret, SecretValue};
use milvault_milvus::MilvusGrpcConnector;
use milvus::proto::common::Status;
use milvus::proto::milvus::milvus_service_client::MilvusServiceClient;
use milvus::proto::milvus::{
    CreateCollectionRequest, CreatePartitionRequest, DeleteRequest, FlushRequest, InsertRequest,
    UpsertRequest,
};
use milvus::proto::schema::{CollectionSchema, FieldData};
use prost::Message;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;
use tonic::transport::Channel;

/// Reads a setting of these tests.
pub(crate) fn setting(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("set {name}; see the head of tests/binlog_live/main.rs"))
}

/// A name that no other test run uses.
pub(crate) fn unique(prefix: &str) -> String {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let millis = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis();
    format!("{prefix}_{millis}_{}", COUNTER.fetch_add(1, Ordering::Relaxed))
}

struct NoSecrets;

impl SecretSource for NoSecrets {
    fn reveal(&self, secret: &Secret) -> PortResult<SecretValue> {
        panic!("these tests use no {secret:?}")
    }
}

#[derive(Clone)]
pub(crate) struct Server {
    client: MilvusServiceClient<Channel>,
}

fn ok(status: Option<Status>) {
    let status = status.unwrap_or_default();
    assert_eq!(status.code, 0, "{}", status.reason);
}

fn endpoint() -> MilvusEndpoint {
    let uri = setting("MILVAULT_TEST_MILVUS_URI");
    MilvusEndpoint { uri, auth: MilvusAuth::None, ca_pem: None, server_name: None }
}

impl Server {
    pub(crate) async fn open() -> Self {
        let channel = Channel::from_shared(endpoint().uri).unwrap().connect().await.unwrap();
        Self { client: MilvusServiceClient::new(channel) }
    }

    pub(crate) async fn cluster(&self) -> Arc<dyn MilvusCluster> {
        MilvusGrpcConnector::new(Arc::new(NoSecrets)).connect(&endpoint()).await.unwrap()
    }

    pub(crate) async fn target(&self) -> Arc<dyn MilvusTarget> {
        MilvusGrpcConnector::new(Arc::new(NoSecrets)).connect_target(&endpoint()).await.unwrap()
    }

    pub(crate) async fn create(&self, schema: CollectionSchema, partition: &str) {
        let collection_name = schema.name.clone();
        let request = CreateCollectionRequest {
            collection_name: collection_name.clone(),
            schema: schema.encode_to_vec(),
            shards_num: 2,
            ..Default::default()
        };
        ok(Some(self.client.clone().create_collection(request).await.unwrap().into_inner()));
        let request = CreatePartitionRequest {
            collection_name,
            partition_name: partition.to_owned(),
            ..Default::default()
        };
        ok(Some(self.client.clone().create_partition(request).await.unwrap().into_inner()));
    }

    pub(crate) async fn insert(&self, name: &str, partition: &str, columns: Vec<FieldData>, rows: u32) {
        let request = InsertRequest {
            collection_name: name.to_owned(),
            partition_name: partition.to_owned(),
            fields_data: columns,
            num_rows: rows,
            ..Default::default()
        };
        ok(self.client.clone().insert(request).await.unwrap().into_inner().status);
    }

    pub(crate) async fn upsert(&self, name: &str, partition: &str, columns: Vec<FieldData>, rows: u32) {
        let request = UpsertRequest {
            collection_name: name.to_owned(),
            partition_name: partition.to_owned(),
            fields_data: columns,
            num_rows: rows,
            ..Default::default()
        };
        ok(self.client.clone().upsert(request).await.unwrap().into_inner().status);
    }

    pub(crate) async fn delete(&self, name: &str, expression: String) {
        let request =
            DeleteRequest { collection_name: name.to_owned(), expr: expression, ..Default::default() };
        ok(self.client.clone().delete(request).await.unwrap().into_inner().status);
    }

    /// Seals what is growing; returns before it is written.
    pub(crate) async fn flush(&self, name: &str) {
        let request = FlushRequest { collection_names: vec![name.to_owned()], ..Default::default() };
        ok(self.client.clone().flush(request).await.unwrap().into_inner().status);
    }
}
