//! A live Milvus.

use crate::backup::BackupScope;
use crate::cluster::MilvusEndpoint;
use crate::error::PortResult;
use crate::milvus::{Cut, ServerInfo};
use crate::ports::MilvusTarget;
use async_trait::async_trait;
use std::sync::Arc;

/// Opens connections to Milvus servers.
#[async_trait]
pub trait MilvusConnector: Send + Sync {
    /// Connects and authenticates.
    ///
    /// # Errors
    /// `Unavailable` when the server cannot be reached in time, `PermissionDenied` for wrong credentials,
    /// `InvalidInput` for an endpoint that cannot be right.
    async fn connect(&self, endpoint: &MilvusEndpoint) -> PortResult<Arc<dyn MilvusCluster>>;

    /// Connects for a restore.
    ///
    /// # Errors
    /// As for [`Self::connect`].
    async fn connect_target(&self, endpoint: &MilvusEndpoint) -> PortResult<Arc<dyn MilvusTarget>>;
}

/// A connected Milvus cluster.
#[async_trait]
pub trait MilvusCluster: Send + Sync {
    /// Version and capabilities, as found when connecting.
    fn server(&self) -> &ServerInfo;

    /// Fixes one instant for all collections of the scope and returns what the cluster consists of at it. After this
    /// returns, all rows of the cut are in binlog files. The cluster keeps serving; nothing is locked.
    ///
    /// Everything acknowledged before the call is in the cut. Collections that are created, dropped or renamed while
    /// it is taken, and compactions that make it ambiguous, lead to another attempt, a bounded number of times.
    ///
    /// # Errors
    /// `NotFound` names a database or collection of the scope that does not exist. `Changed` when the cluster would
    /// not hold still for any attempt. Others as for connecting.
    async fn take_cut(&self, scope: &BackupScope) -> PortResult<Cut>;
}
