//! The calls this crate makes: one line each, with the answer's type and the deadline.

use crate::describe::DescribedCollection;
use milvus::proto::common::Status;
use milvus::proto::milvus::{
    AllocTimestampRequest, AllocTimestampResponse, AlterAliasRequest, AlterCollectionRequest,
    CreateAliasRequest, CreateCollectionRequest, CreateCredentialRequest, CreateDatabaseRequest,
    CreateIndexRequest, CreatePartitionRequest, CreateRoleRequest, DescribeCollectionRequest,
    DescribeDatabaseRequest, DescribeDatabaseResponse, DescribeIndexRequest, DescribeIndexResponse,
    DropAliasRequest, DropCollectionRequest, DropDatabaseRequest, FlushRequest, FlushResponse,
    GetFlushStateRequest, GetFlushStateResponse, GetImportStateRequest, GetImportStateResponse,
    GetLoadStateRequest, GetLoadStateResponse, GetPartitionStatisticsRequest, GetPartitionStatisticsResponse,
    GetPersistentSegmentInfoRequest, GetPersistentSegmentInfoResponse, GetReplicasRequest,
    GetReplicasResponse, GetVersionRequest, GetVersionResponse, ImportRequest, ImportResponse,
    ListAliasesRequest, ListAliasesResponse, ListCredUsersRequest, ListCredUsersResponse,
    ListDatabasesRequest, ListDatabasesResponse, ListImportTasksRequest, ListImportTasksResponse,
    LoadCollectionRequest, OperatePrivilegeRequest, OperateUserRoleRequest, ReleaseCollectionRequest,
    RenameCollectionRequest, SelectGrantRequest, SelectGrantResponse, SelectRoleRequest, SelectRoleResponse,
    ShowCollectionsRequest, ShowCollectionsResponse, ShowPartitionsRequest, ShowPartitionsResponse,
};
use std::time::Duration;

/// A request that knows its method, its deadline and its answer.
pub(crate) trait Call: prost::Message + Clone + 'static {
    /// What the server answers.
    type Answer: Answer;
    /// Name of the method, for messages.
    const METHOD: &'static str;
    /// Path of the method.
    const PATH: &'static str;
    /// Longest wait for one answer.
    const DEADLINE: Duration;
}

/// An answer that carries Milvus's own status.
pub(crate) trait Answer: prost::Message + Default + 'static {
    /// The status; Milvus leaves it out of some successful answers.
    fn status(&self) -> Option<&Status>;
}

macro_rules! calls {
    ($($method:literal: $request:ty => $answer:ty, $deadline_seconds:literal s;)*) => {$(
        impl Call for $request {
            type Answer = $answer;
            const METHOD: &'static str = $method;
            const PATH: &'static str = concat!("/milvus.proto.milvus.MilvusService/", $method);
            const DEADLINE: Duration = Duration::from_secs($deadline_seconds);
        }

        impl Answer for $answer {
            fn status(&self) -> Option<&Status> {
                self.status.as_ref()
            }
        }
    )*};
}

calls! {
    "GetVersion": GetVersionRequest => GetVersionResponse, 10 s;
    "AllocTimestamp": AllocTimestampRequest => AllocTimestampResponse, 10 s;
    "ListDatabases": ListDatabasesRequest => ListDatabasesResponse, 20 s;
    "DescribeDatabase": DescribeDatabaseRequest => DescribeDatabaseResponse, 20 s;
    "ShowCollections": ShowCollectionsRequest => ShowCollectionsResponse, 60 s;
    "DescribeCollection": DescribeCollectionRequest => DescribedCollection, 20 s;
    "ShowPartitions": ShowPartitionsRequest => ShowPartitionsResponse, 20 s;
    "DescribeIndex": DescribeIndexRequest => DescribeIndexResponse, 20 s;
    "ListAliases": ListAliasesRequest => ListAliasesResponse, 20 s;
    "GetLoadState": GetLoadStateRequest => GetLoadStateResponse, 20 s;
    "GetReplicas": GetReplicasRequest => GetReplicasResponse, 20 s;
    "ListCredUsers": ListCredUsersRequest => ListCredUsersResponse, 20 s;
    "SelectRole": SelectRoleRequest => SelectRoleResponse, 20 s;
    "SelectGrant": SelectGrantRequest => SelectGrantResponse, 20 s;
    "GetPersistentSegmentInfo": GetPersistentSegmentInfoRequest => GetPersistentSegmentInfoResponse, 60 s;
    "GetFlushState": GetFlushStateRequest => GetFlushStateResponse, 20 s;
    "Flush": FlushRequest => FlushResponse, 120 s;
    "GetPartitionStatistics": GetPartitionStatisticsRequest => GetPartitionStatisticsResponse, 20 s;
    // 2.3.5 takes half a minute to say that there is no such collection.
    "Import": ImportRequest => ImportResponse, 60 s;
    "GetImportState": GetImportStateRequest => GetImportStateResponse, 20 s;
    "ListImportTasks": ListImportTasksRequest => ListImportTasksResponse, 60 s;
}

impl Answer for Status {
    fn status(&self) -> Option<&Status> {
        Some(self)
    }
}

/// Calls that are answered with nothing but a status.
macro_rules! changes {
    ($($method:literal: $request:ty, $deadline_seconds:literal s;)*) => {$(
        impl Call for $request {
            type Answer = Status;
            const METHOD: &'static str = $method;
            const PATH: &'static str = concat!("/milvus.proto.milvus.MilvusService/", $method);
            const DEADLINE: Duration = Duration::from_secs($deadline_seconds);
        }
    )*};
}

changes! {
    "CreateDatabase": CreateDatabaseRequest, 60 s;
    "DropDatabase": DropDatabaseRequest, 60 s;
    "CreateCollection": CreateCollectionRequest, 60 s;
    "AlterCollection": AlterCollectionRequest, 60 s;
    "DropCollection": DropCollectionRequest, 60 s;
    "RenameCollection": RenameCollectionRequest, 60 s;
    "CreatePartition": CreatePartitionRequest, 60 s;
    "CreateAlias": CreateAliasRequest, 20 s;
    "AlterAlias": AlterAliasRequest, 20 s;
    "DropAlias": DropAliasRequest, 20 s;
    "CreateIndex": CreateIndexRequest, 60 s;
    "LoadCollection": LoadCollectionRequest, 60 s;
    "ReleaseCollection": ReleaseCollectionRequest, 60 s;
    "CreateCredential": CreateCredentialRequest, 20 s;
    "CreateRole": CreateRoleRequest, 20 s;
    "OperateUserRole": OperateUserRoleRequest, 20 s;
    "OperatePrivilege": OperatePrivilegeRequest, 20 s;
}
