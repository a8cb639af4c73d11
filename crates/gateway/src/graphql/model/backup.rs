//! Backups.

use super::checks::BackupVerification;
use super::cluster::Cluster;
use super::contents::{AccessControl, BackupDatabase};
use super::copies::BackupOrigin;
use super::job::Job;
use super::lifecycle::{BackupHold, BackupStorage};
use super::repository::Repository;
use crate::error::GatewayError;
use crate::graphql::access::ContextExt;
use crate::graphql::loaders::{
    ContentsOf, CopiesOf, HoldsOn, LastDrillOf, MakerOf, StorageIn, VerificationOf,
};
use crate::graphql::page::{self, NameConnection};
use crate::graphql::scalar::{Bytes, Int64, print_id};
use async_graphql::{ComplexObject, Context, Enum, ID, InputObject, SimpleObject};
use chrono::{DateTime, Utc};
use milvault_domain::backup as domain;
use milvault_domain::ids;
use milvault_domain::milvus::Cut;
use std::sync::Arc;

/// Kind of a backup, by its scope.
#[derive(Enum, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "domain::BackupType")]
pub(crate) enum BackupType {
    /// The whole cluster.
    Cluster,
    /// Chosen databases.
    Database,
    /// Chosen collections.
    Collection,
}

/// How a backup came to be.
#[derive(Enum, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "domain::CreationMethod")]
pub(crate) enum CreationMethod {
    /// Somebody asked for it.
    Manual,
    /// A schedule did.
    Auto,
}

/// Whether a backup can be used.
#[derive(Enum, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "domain::BackupStatus")]
pub(crate) enum BackupStatus {
    /// Its job is pending or at work. Nothing can be restored from it.
    Creating,
    /// Complete: its manifest was written, read back and checked.
    Available,
    /// Its job failed or was canceled.
    Failed,
    /// Past its retention or deleted.
    Deleted,
}

/// An immutable copy of a cluster, or of a part of it, at one point in time.
#[derive(SimpleObject)]
#[graphql(complex)]
pub(crate) struct Backup {
    /// Identity, `bkp_...`.
    pub(crate) id: ID,
    /// Project of its cluster.
    project_id: ID,
    /// The cluster it shows.
    cluster_id: ID,
    /// Name of the cluster when the backup was made.
    cluster_name: String,
    /// Where it lies.
    repository_id: ID,
    /// Name for people.
    name: String,
    /// Description for people.
    description: String,
    /// Kind, by its scope.
    #[graphql(name = "type")]
    kind: BackupType,
    /// What was asked for.
    scope: BackupScope,
    /// How it came to be.
    creation_method: CreationMethod,
    /// Whether it can be used.
    status: BackupStatus,
    /// Who asked for it.
    created_by: String,
    /// When it was asked for.
    created_at: DateTime<Utc>,
    /// When it became available.
    completed_at: Option<DateTime<Utc>>,
    /// When it ends by itself; null is never.
    expires_at: Option<DateTime<Utc>>,
    /// What it was copied from; null for a backup that was made of the cluster itself.
    copied_from: Option<BackupOrigin>,
    #[graphql(flatten)]
    facts: BackupFacts,
    #[graphql(skip)]
    keys: BackupKeys,
}

/// What is known of a backup once it is available.
#[derive(SimpleObject, Default)]
struct BackupFacts {
    /// The instant it shows the cluster at, by the cluster's own clock; null until it is available.
    cut_at: Option<DateTime<Utc>>,
    /// Version of the Milvus it was taken from; null until it is available.
    milvus_version: Option<String>,
    /// Sum of the sizes of its objects at the source; null until it is available.
    logical_bytes: Option<Bytes>,
    /// Bytes that it added to the repository, manifest included; null until it is available.
    newly_stored_bytes: Option<Bytes>,
    /// Number of objects; null until it is available.
    object_count: Option<Int64>,
    /// Objects that were in the repository already; null until it is available.
    reused_object_count: Option<Int64>,
    /// Rows of all segments, before deletes are applied; null until it is available.
    row_count: Option<Int64>,
    /// Number of collections; null until it is available.
    collection_count: Option<u32>,
}

/// Ids that resolvers need, typed.
struct BackupKeys {
    own: ids::BackupId,
    cluster: ids::ClusterId,
    repository: ids::RepositoryId,
}

/// What a backup was asked to hold. Both lists are empty for a whole cluster.
#[derive(SimpleObject)]
pub(crate) struct BackupScope {
    /// All collections of these databases.
    databases: Vec<String>,
    /// These collections.
    collections: Vec<CollectionName>,
}

/// A collection by its names.
#[derive(SimpleObject)]
pub(crate) struct CollectionName {
    /// Database.
    database: String,
    /// Collection.
    collection: String,
}

/// A collection by its names.
#[derive(InputObject)]
pub(crate) struct CollectionNameInput {
    /// Database.
    #[graphql(default = "default")]
    database: String,
    /// Collection.
    collection: String,
}

impl From<CollectionNameInput> for domain::CollectionName {
    fn from(name: CollectionNameInput) -> Self {
        Self { database: name.database, collection: name.collection }
    }
}

#[ComplexObject]
impl Backup {
    /// The cluster it shows; null when the cluster was removed, and for a backup found in an attached repository whose
    /// cluster is not registered here.
    async fn cluster(&self, context: &Context<'_>) -> Result<Option<Cluster>, GatewayError> {
        let found = context.records()?.load_one(self.keys.cluster).await?;
        Ok(context.caller()?.visible(found).map(Into::into))
    }

    /// Where it lies.
    async fn repository(&self, context: &Context<'_>) -> Result<Option<Repository>, GatewayError> {
        let found = context.records()?.load_one(self.keys.repository).await?;
        Ok(context.caller()?.visible(found).map(Into::into))
    }

    /// The job that makes or made it; null for a backup that was found in an attached repository.
    async fn job(&self, context: &Context<'_>) -> Result<Option<Job>, GatewayError> {
        let backend = context.backend()?;
        let found = context.records()?.load_one(MakerOf(self.keys.own)).await?;
        Ok(context.caller()?.visible(found).map(|record| Job::now(record, backend)))
    }

    /// Holds on it, ended ones included, newest first, at most 100.
    #[graphql(complexity = "100 + 10 * child_complexity")]
    async fn holds(&self, context: &Context<'_>) -> Result<Vec<BackupHold>, GatewayError> {
        let now = context.backend()?.service.now();
        let holds = context.records()?.load_one(HoldsOn(self.keys.own)).await?.unwrap_or_default();
        Ok(holds.into_iter().map(|hold| BackupHold::at(hold, now)).collect())
    }

    /// Its copies in other repositories that are not deleted, newest first, at most 100.
    #[graphql(complexity = "100 + 10 * child_complexity")]
    async fn copies(&self, context: &Context<'_>) -> Result<Vec<Self>, GatewayError> {
        let copies = context.records()?.load_one(CopiesOf(self.keys.own)).await?.unwrap_or_default();
        let caller = context.caller()?;
        Ok(copies.into_iter().filter_map(|copy| caller.visible(Some(copy))).map(Into::into).collect())
    }

    /// What verifies have found about it so far.
    async fn verification(&self, context: &Context<'_>) -> Result<BackupVerification, GatewayError> {
        let found = context.records()?.load_one(VerificationOf(self.keys.own)).await?;
        Ok(found.unwrap_or_default().into())
    }

    /// The newest drill of it; null when there was none, or it is too long ago.
    async fn last_drill(&self, context: &Context<'_>) -> Result<Option<Job>, GatewayError> {
        let backend = context.backend()?;
        let found = context.records()?.load_one(LastDrillOf(self.keys.own)).await?;
        Ok(context.caller()?.visible(found).map(|record| Job::now(record, backend)))
    }

    /// What it takes up in its repository; null unless it is available. Reads the manifests of all backups of its cluster
    /// there, so it is worked out only where it is asked for.
    #[graphql(complexity = "1_000 + child_complexity")]
    async fn storage(&self, context: &Context<'_>) -> Result<Option<BackupStorage>, GatewayError> {
        let (BackupStatus::Available, Some(Bytes(logical_bytes))) = (self.status, self.facts.logical_bytes)
        else {
            return Ok(None);
        };
        let key = StorageIn { cluster_id: self.keys.cluster, repository_id: self.keys.repository };
        let Some(uses) = context.records()?.load_one(key).await? else { return Ok(None) };
        Ok(uses?.get(&self.keys.own).map(|found| BackupStorage::new(logical_bytes, *found)))
    }

    /// Its databases with their collections, by name; null until it is available.
    #[graphql(complexity = "2_000 + page::complexity(first, child_complexity)")]
    async fn databases(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Databases wanted, 1 to 200; 50 by default.")] first: Option<i32>,
        #[graphql(desc = "The `endCursor` of the page before.")] after: Option<String>,
    ) -> Result<Option<NameConnection<BackupDatabase>>, GatewayError> {
        let Some(cut) = self.contents(context).await? else { return Ok(None) };
        let view = |index| BackupDatabase::new(Arc::clone(&cut), index);
        page::name_connection(&cut.databases, |database| &database.name, first, after.as_deref(), view)
            .map(Some)
    }

    /// Users, roles and grants at the cut; null for backups of less than a cluster, and where the server did not tell.
    #[graphql(complexity = "2_000 + child_complexity")]
    async fn access_control(&self, context: &Context<'_>) -> Result<Option<AccessControl>, GatewayError> {
        let cut = self.contents(context).await?;
        Ok(cut.and_then(|cut| cut.access_control.as_ref().map(Into::into)))
    }
}

impl Backup {
    async fn contents(&self, context: &Context<'_>) -> Result<Option<Arc<Cut>>, GatewayError> {
        context.records()?.load_one(ContentsOf(self.keys.own)).await
    }
}

impl From<domain::Backup> for Backup {
    fn from(record: domain::Backup) -> Self {
        Self {
            keys: BackupKeys { own: record.id, cluster: record.cluster_id, repository: record.repository_id },
            id: print_id(record.id),
            project_id: print_id(record.project_id),
            cluster_id: print_id(record.cluster_id),
            cluster_name: record.cluster_name,
            repository_id: print_id(record.repository_id),
            name: record.name,
            description: record.description,
            kind: record.scope.backup_type().into(),
            scope: record.scope.into(),
            creation_method: record.creation_method.into(),
            status: record.status.into(),
            created_by: record.created_by,
            created_at: record.created_at,
            completed_at: record.completed_at,
            expires_at: record.expires_at,
            copied_from: record.copied_from.map(Into::into),
            facts: record.facts.map(Into::into).unwrap_or_default(),
        }
    }
}

impl From<domain::BackupFacts> for BackupFacts {
    fn from(facts: domain::BackupFacts) -> Self {
        Self {
            cut_at: Some(facts.cut_at),
            milvus_version: Some(facts.milvus_version),
            logical_bytes: Some(Bytes(facts.logical_bytes)),
            newly_stored_bytes: Some(Bytes(facts.newly_stored_bytes)),
            object_count: Some(Int64(facts.object_count)),
            reused_object_count: Some(Int64(facts.reused_object_count)),
            row_count: Some(Int64(facts.row_count)),
            collection_count: Some(facts.collection_count),
        }
    }
}

impl From<&domain::CollectionName> for CollectionName {
    fn from(name: &domain::CollectionName) -> Self {
        Self { database: name.database.clone(), collection: name.collection.clone() }
    }
}

impl From<domain::BackupScope> for BackupScope {
    fn from(scope: domain::BackupScope) -> Self {
        let (databases, collections) = match scope {
            domain::BackupScope::Cluster => (Vec::new(), Vec::new()),
            domain::BackupScope::Databases(databases) => (databases, Vec::new()),
            domain::BackupScope::Collections(collections) => (Vec::new(), collections),
        };
        Self { databases, collections: collections.iter().map(Into::into).collect() }
    }
}
