//! Opens connections and answers for a connected cluster.

use crate::client::Client;
use crate::error::{CallError, Fault};
use crate::rest::RestClient;
use crate::target::RestImport;
use crate::{channel, cut, versions};
use async_trait::async_trait;
use milvault_domain::backup::BackupScope;
use milvault_domain::cluster::MilvusEndpoint;
use milvault_domain::error::{PortError, PortErrorKind, PortResult};
use milvault_domain::milvus::{Cut, ServerInfo};
use milvault_domain::ports::{MilvusCluster, MilvusConnector, MilvusTarget, SecretSource};
use milvus::proto::milvus::{GetVersionRequest, ListDatabasesRequest};
use std::sync::Arc;

/// Connects to Milvus over gRPC. Nothing is kept between connections; credentials are fetched for each.
pub struct MilvusGrpcConnector {
    secrets: Arc<dyn SecretSource>,
}

impl MilvusGrpcConnector {
    /// A connector that fetches tokens and passwords from `secrets`.
    #[must_use]
    pub fn new(secrets: Arc<dyn SecretSource>) -> Self {
        // A build with two providers in it makes rustls panic at the first connection unless one is chosen. Where
        // one is chosen already, that one stays.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Self { secrets }
    }
}

#[async_trait]
impl MilvusConnector for MilvusGrpcConnector {
    async fn connect(&self, endpoint: &MilvusEndpoint) -> PortResult<Arc<dyn MilvusCluster>> {
        Ok(Arc::new(self.open(endpoint).await?))
    }

    async fn connect_target(&self, endpoint: &MilvusEndpoint) -> PortResult<Arc<dyn MilvusTarget>> {
        let mut cluster = self.open(endpoint).await?;
        if versions::rest_import(&cluster.server) {
            cluster.rest_import = self.rest_import(endpoint);
        }
        Ok(Arc::new(cluster))
    }
}

impl MilvusGrpcConnector {
    async fn open(&self, endpoint: &MilvusEndpoint) -> PortResult<ConnectedCluster> {
        let authorization = channel::authorization(&endpoint.auth, self.secrets.as_ref())?;
        let client = Client::new(channel::open(endpoint).await?, authorization);
        let version = client
            .call(GetVersionRequest {})
            .await
            .map_err(|error| first_call_error(endpoint, error))?
            .version;
        let server = versions::server_info(&version);
        if server.capabilities.databases {
            // Some servers tell their version to anybody: this is the first call that needs the credentials.
            client
                .call(ListDatabasesRequest::default())
                .await
                .map_err(|error| first_call_error(endpoint, error))?;
        }
        tracing::debug!(uri = %endpoint.uri, version, verified = server.capabilities.verified, "connected to Milvus");
        Ok(ConnectedCluster { client, rest_import: None, server, secrets: Arc::clone(&self.secrets) })
    }

    fn rest_import(&self, endpoint: &MilvusEndpoint) -> Option<RestImport> {
        match RestClient::new(endpoint, self.secrets.as_ref()) {
            Ok(client) => Some(RestImport::new(client)),
            Err(reason) => {
                tracing::info!(uri = %endpoint.uri, reason, "imports go over gRPC, REST cannot be used");
                None
            }
        }
    }
}

/// The first calls also meet servers that are not Milvus, or speak TLS where none was expected.
fn first_call_error(endpoint: &MilvusEndpoint, error: CallError) -> PortError {
    let uri = &endpoint.uri;
    match error.fault {
        Fault::Unimplemented | Fault::Other => {
            let message = format!(
                "what answers at {uri} is not a Milvus that can be used: {error}; check the address and port"
            );
            PortError::with_source(PortErrorKind::Unavailable, message, error)
        }
        Fault::Unavailable if uri.starts_with("http://") => PortError::from(error)
            .context(format!("no Milvus answers at {uri} (if it speaks TLS, use `https://`)")),
        _ => PortError::from(error).context(uri),
    }
}

/// A connection, for reading and for changing.
pub(crate) struct ConnectedCluster {
    pub(crate) client: Client,
    /// For servers that take imports over REST; the others, and all where it cannot be used, take them over gRPC.
    pub(crate) rest_import: Option<RestImport>,
    pub(crate) server: ServerInfo,
    /// For the passwords of users that are made.
    pub(crate) secrets: Arc<dyn SecretSource>,
}

#[async_trait]
impl MilvusCluster for ConnectedCluster {
    fn server(&self) -> &ServerInfo {
        &self.server
    }

    async fn take_cut(&self, scope: &BackupScope) -> PortResult<Cut> {
        cut::take(&self.client, &self.server, scope).await
    }
}
