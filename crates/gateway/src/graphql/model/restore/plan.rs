//! What a restore will do.

use super::choice::RestoreAction;
use crate::error::GatewayError;
use crate::graphql::model::backup::CollectionName;
use crate::graphql::model::contents::Property;
use crate::graphql::page;
use crate::graphql::scalar::{Bytes, Int64};
use async_graphql::{Object, SimpleObject};
use chrono::{DateTime, Utc};
use milvault_domain::restore as domain;
use std::sync::Arc;

/// What a restore will do. Made before anything is touched.
#[derive(Clone)]
pub(crate) struct RestorePlan {
    plan: Arc<domain::RestorePlan>,
}

impl From<Arc<domain::RestorePlan>> for RestorePlan {
    fn from(plan: Arc<domain::RestorePlan>) -> Self {
        Self { plan }
    }
}

/// What a restore does, decided before anything is touched. It never changes afterwards: a restore that is continued
/// goes by the plan it began with.
#[Object]
#[allow(clippy::unused_async, reason = "the macro asks for async resolvers")]
impl RestorePlan {
    /// The instant that is restored, by the backed-up cluster's own clock.
    async fn cut_at(&self) -> Result<DateTime<Utc>, GatewayError> {
        DateTime::from_timestamp_millis(self.plan.cut_at_ms)
            .ok_or_else(|| GatewayError::internal("the cut of a restore plan is no time"))
    }

    /// Whether it can be carried out: there are no conflicts.
    async fn feasible(&self) -> bool {
        self.plan.conflicts.is_empty()
    }

    /// Bytes to be moved.
    async fn bytes(&self) -> Bytes {
        Bytes(self.plan.bytes())
    }

    /// Objects to be moved.
    async fn object_count(&self) -> Int64 {
        Int64(self.plan.object_count())
    }

    /// Databases of the target that are needed.
    #[graphql(complexity = "page::complexity(first, child_complexity)")]
    async fn databases(
        &self,
        #[graphql(desc = "Databases wanted, 1 to 200; 50 by default.")] first: Option<i32>,
        #[graphql(desc = "How many to leave out at the beginning.")] skip: Option<i32>,
    ) -> Result<Vec<DatabaseRestore>, GatewayError> {
        let range = page::slice(self.plan.databases.len(), first, skip)?;
        Ok(self.plan.databases[range].iter().map(Into::into).collect())
    }

    /// Number of collections in the plan, skipped ones included.
    async fn collection_count(&self) -> usize {
        self.plan.collections.len()
    }

    /// Collections, in the order of their names in the backup. The order never changes.
    #[graphql(complexity = "page::complexity(first, child_complexity)")]
    async fn collections(
        &self,
        #[graphql(desc = "Collections wanted, 1 to 200; 50 by default.")] first: Option<i32>,
        #[graphql(desc = "How many to leave out at the beginning.")] skip: Option<i32>,
    ) -> Result<Vec<CollectionRestore>, GatewayError> {
        let range = page::slice(self.plan.collections.len(), first, skip)?;
        Ok(self.plan.collections[range].iter().map(Into::into).collect())
    }

    /// Number of conflicts.
    async fn conflict_count(&self) -> usize {
        self.plan.conflicts.len()
    }

    /// Why it cannot be carried out; empty when it can.
    #[graphql(complexity = "page::complexity(first, child_complexity)")]
    async fn conflicts(
        &self,
        #[graphql(desc = "Conflicts wanted, 1 to 200; 50 by default.")] first: Option<i32>,
        #[graphql(desc = "How many to leave out at the beginning.")] skip: Option<i32>,
    ) -> Result<Vec<RestoreConflict>, GatewayError> {
        let range = page::slice(self.plan.conflicts.len(), first, skip)?;
        Ok(self.plan.conflicts[range].iter().map(Into::into).collect())
    }

    /// Users, roles and grants that are made; null when they were not asked for.
    async fn access_control(&self) -> Option<AccessPlan> {
        self.plan.access_control.as_ref().map(Into::into)
    }

    /// What a person should know before it is carried out.
    async fn warnings(&self) -> &[String] {
        &self.plan.warnings
    }
}

/// A database of the target.
#[derive(SimpleObject)]
pub(crate) struct DatabaseRestore {
    /// Name at the target.
    name: String,
    /// Whether it has to be created.
    create: bool,
    /// Properties it is created with.
    properties: Vec<Property>,
}

/// A collection to be restored.
#[derive(SimpleObject)]
pub(crate) struct CollectionRestore {
    /// Name in the backup.
    source: CollectionName,
    /// Name at the target.
    target: CollectionName,
    /// What is done.
    action: RestoreAction,
    /// Partitions whose rows are restored.
    partitions: Vec<String>,
    /// Number of shards.
    shard_count: i32,
    /// Whether its indexes are defined and built.
    build_indexes: bool,
    /// Replicas to load; 0 leaves it out of memory.
    replica_count: u32,
    /// Aliases it gets.
    aliases: Vec<String>,
    /// Objects to be imported.
    object_count: Int64,
    /// Their bytes.
    bytes: Bytes,
    /// Rows in them before deletes and the cut are applied: an upper limit of the rows restored.
    stored_row_count: Int64,
}

/// A name of the target that is taken.
#[derive(SimpleObject)]
pub(crate) struct RestoreConflict {
    /// Database at the target.
    database: String,
    /// Collection or alias at the target.
    name: String,
    /// What is in the way, and what to do.
    reason: String,
}

/// Users, roles and grants to be made. What exists at the target stays as it is.
#[derive(SimpleObject)]
pub(crate) struct AccessPlan {
    /// Users that are made.
    users: Vec<String>,
    /// Users of the backup that are not made because no password was given: Milvus does not give passwords out, so a
    /// backup has none.
    users_without_password: Vec<String>,
    /// Roles that are made.
    roles: Vec<String>,
    /// Number of grants that are made.
    grant_count: Int64,
}

impl From<&domain::DatabaseRestore> for DatabaseRestore {
    fn from(database: &domain::DatabaseRestore) -> Self {
        Self {
            name: database.name.clone(),
            create: database.create,
            properties: database.properties.iter().map(Into::into).collect(),
        }
    }
}

impl From<&domain::CollectionRestore> for CollectionRestore {
    fn from(collection: &domain::CollectionRestore) -> Self {
        Self {
            source: (&collection.source).into(),
            target: (&collection.target).into(),
            action: collection.action.into(),
            partitions: collection.partitions.clone(),
            shard_count: collection.shard_count,
            build_indexes: collection.build_indexes,
            replica_count: collection.replica_count,
            aliases: collection.aliases.clone(),
            object_count: Int64(collection.object_count),
            bytes: Bytes(collection.bytes),
            stored_row_count: Int64(collection.stored_row_count),
        }
    }
}

impl From<&domain::RestoreConflict> for RestoreConflict {
    fn from(conflict: &domain::RestoreConflict) -> Self {
        Self {
            database: conflict.database.clone(),
            name: conflict.name.clone(),
            reason: conflict.reason.clone(),
        }
    }
}

impl From<&domain::AccessPlan> for AccessPlan {
    fn from(plan: &domain::AccessPlan) -> Self {
        Self {
            users: plan.users.clone(),
            users_without_password: plan.users_without_password.clone(),
            roles: plan.roles.clone(),
            grant_count: Int64(plan.grant_count),
        }
    }
}
