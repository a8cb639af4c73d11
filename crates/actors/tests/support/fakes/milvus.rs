//! Connections to Milvus: to servers that hold real rows, and to one that only shows a cut.

use super::gates::Gates;
use super::server::FakeServer;
use super::target::TargetConnection;
use async_trait::async_trait;
use milvault_domain::backup::BackupScope;
use milvault_domain::cluster::MilvusEndpoint;
use milvault_domain::milvus::{
    Capabilities, CollectionCut, Cut, DatabaseCut, LoadState, SegmentCut, ServerInfo, TimestampUnit,
};
use milvault_domain::ports::{
    MilvusCluster, MilvusConnector, MilvusTarget, PortError, PortErrorKind, PortResult,
};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};

pub struct FakeMilvus {
    /// What every server shows that [`FakeMilvus::servers`] does not have.
    pub cut: Mutex<Cut>,
    /// Servers with real rows, by uri.
    pub servers: Mutex<HashMap<String, Arc<FakeServer>>>,
    pub gates: Arc<Gates>,
}

impl FakeMilvus {
    pub fn new(cut: Cut, gates: Arc<Gates>) -> Self {
        Self { cut: cut.into(), servers: Mutex::default(), gates }
    }

    fn server(&self, endpoint: &MilvusEndpoint) -> Option<Arc<FakeServer>> {
        self.servers.lock().unwrap().get(&endpoint.uri).cloned()
    }
}

pub fn server() -> ServerInfo {
    ServerInfo {
        version: "v2.3.5".to_owned(),
        capabilities: Capabilities {
            verified: true,
            databases: true,
            gc_pause: false,
            l0_segments: false,
            import_end_timestamp: TimestampUnit::Milliseconds,
        },
    }
}

/// A collection whose segments are `collection_id * 100 + 0..segments`, ten rows each.
pub fn collection(collection_id: i64, name: &str, segments: i64) -> CollectionCut {
    CollectionCut {
        collection_id,
        name: name.to_owned(),
        description: String::new(),
        shard_count: 1,
        consistency_level: 2,
        schema_proto: vec![1, 2, 3],
        fields: vec![],
        dynamic_field: false,
        properties: vec![],
        partitions: vec![],
        indexes: vec![],
        aliases: vec![],
        load_state: LoadState::Loaded,
        replica_count: 1,
        segments: (0..segments)
            .map(|number| SegmentCut {
                segment_id: collection_id * 100 + number,
                partition_id: 1,
                row_count: 10,
            })
            .collect(),
    }
}

pub fn cut(collections: Vec<CollectionCut>) -> Cut {
    let database = DatabaseCut { name: "default".to_owned(), properties: vec![], collections };
    Cut { cut_at_ms: 1_790_000_000_123, server: server(), databases: vec![database], access_control: None }
}

#[async_trait]
impl MilvusConnector for FakeMilvus {
    async fn connect(&self, endpoint: &MilvusEndpoint) -> PortResult<Arc<dyn MilvusCluster>> {
        self.gates.pass("connect").await?;
        if let Some(server) = self.server(endpoint) {
            return Ok(Arc::new(TargetConnection::new(server)));
        }
        let connection = Connection {
            server: server(),
            cut: self.cut.lock().unwrap().clone(),
            gates: Arc::clone(&self.gates),
        };
        Ok(Arc::new(connection))
    }

    async fn connect_target(&self, endpoint: &MilvusEndpoint) -> PortResult<Arc<dyn MilvusTarget>> {
        self.gates.pass("connect_target").await?;
        let server = self.server(endpoint);
        let server = server.ok_or_else(|| PortError::new(PortErrorKind::Unavailable, "no such server"))?;
        Ok(Arc::new(TargetConnection::new(server)))
    }
}

struct Connection {
    server: ServerInfo,
    cut: Cut,
    gates: Arc<Gates>,
}

#[async_trait]
impl MilvusCluster for Connection {
    fn server(&self) -> &ServerInfo {
        &self.server
    }

    async fn take_cut(&self, scope: &BackupScope) -> PortResult<Cut> {
        self.gates.pass("cut").await?;
        let mut cut = self.cut.clone();
        for database in &mut cut.databases {
            let name = database.name.clone();
            database.collections.retain(|collection| scope.includes_collection(&name, &collection.name));
        }
        Ok(cut)
    }
}
