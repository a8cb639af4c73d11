//! Restores: what was asked for, what is planned, what has become of it.

pub(crate) mod choice;
pub(crate) mod input;
pub(crate) mod plan;
mod request;

use super::backup::CollectionName;
use crate::error::GatewayError;
use crate::graphql::page::{self, PlanConnection};
use crate::graphql::scalar::{Int64, print_id};
use async_graphql::{ID, Object, SimpleObject};
use choice::{CompareDepth, ConflictPolicy, IndexChoice, LoadChoice, RestoreAction, RestoreStep};
use milvault_domain::restore as domain;
use plan::RestorePlan;
use request::{AccessRestore, CollectionRename, DatabaseRename, RestoreItem};
use std::sync::Arc;

/// A restore or drill. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Restore {
    request: Arc<domain::RestoreRequest>,
    plan: Option<Arc<domain::RestorePlan>>,
    collections: Arc<[domain::RestoredCollection]>,
    warnings: Arc<[String]>,
}

impl From<domain::Restore> for Restore {
    fn from(record: domain::Restore) -> Self {
        Self {
            request: Arc::new(record.request),
            plan: record.plan.map(Arc::new),
            collections: record.collections.into(),
            warnings: record.warnings.into(),
        }
    }
}

/// A restore or drill: what was asked for, what is planned, what has become of it. Passwords are never shown.
#[Object]
#[allow(clippy::unused_async, reason = "the macro asks for async resolvers")]
impl Restore {
    /// The backup.
    async fn backup_id(&self) -> ID {
        print_id(self.request.backup_id)
    }

    /// The cluster that its rows are given back to.
    async fn target_cluster_id(&self) -> ID {
        print_id(self.request.target_cluster_id)
    }

    /// Whether the target must hold no collections before.
    async fn new_cluster(&self) -> bool {
        self.request.selection == domain::RestoreSelection::NewCluster
    }

    /// The parts of the backup that were chosen; null for everything.
    async fn items(&self) -> Option<Vec<RestoreItem>> {
        match &self.request.selection {
            domain::RestoreSelection::NewCluster | domain::RestoreSelection::Everything => None,
            domain::RestoreSelection::Chosen(items) => Some(items.iter().map(Into::into).collect()),
        }
    }

    /// Databases that are called otherwise at the target.
    async fn database_names(&self) -> Vec<DatabaseRename> {
        self.request.names.databases.iter().map(Into::into).collect()
    }

    /// Collections that are called otherwise at the target.
    async fn collection_names(&self) -> Vec<CollectionRename> {
        self.request.names.collections.iter().map(Into::into).collect()
    }

    /// Appended to the names of all collections that have no name of their own in `collectionNames`; may be empty.
    async fn suffix(&self) -> &str {
        &self.request.names.suffix
    }

    /// What is done when a name is taken.
    async fn conflict_policy(&self) -> ConflictPolicy {
        self.request.conflict.into()
    }

    /// Number of shards of the restored collections; null is as in the backup.
    async fn shard_count(&self) -> Option<i32> {
        self.request.shard_count
    }

    /// Which collections are loaded afterwards.
    async fn load(&self) -> LoadChoice {
        self.request.load.into()
    }

    /// What becomes of indexes.
    async fn indexes(&self) -> IndexChoice {
        self.request.indexes.into()
    }

    /// How users, roles and grants are restored; null when they are not.
    async fn access_control(&self) -> Option<AccessRestore> {
        self.request.access_control.as_ref().map(Into::into)
    }

    /// How thoroughly rows are compared with the backup before a collection gets its name.
    async fn compare(&self) -> CompareDepth {
        self.request.compare.into()
    }

    /// The job whose restore this one continues; null when it continues none.
    async fn continues_job_id(&self) -> Option<ID> {
        self.request.continues.map(print_id)
    }

    /// What is done; null until it is planned.
    async fn plan(&self) -> Option<RestorePlan> {
        self.plan.clone().map(Into::into)
    }

    /// How many collections of the plan are how far. Steps that no collection is at are left out.
    async fn steps(&self) -> Vec<RestoreStepCount> {
        const STEPS: [domain::RestoreStep; 7] = [
            domain::RestoreStep::Waiting,
            domain::RestoreStep::Created,
            domain::RestoreStep::Compared,
            domain::RestoreStep::Done,
            domain::RestoreStep::Skipped,
            domain::RestoreStep::Failed,
            domain::RestoreStep::Undone,
        ];
        let count = |step| self.collections.iter().filter(|collection| collection.step == step).count();
        STEPS
            .into_iter()
            .map(|step| RestoreStepCount { step: step.into(), collection_count: count(step) })
            .filter(|counted| counted.collection_count > 0)
            .collect()
    }

    /// What has become of the plan's collections, in the plan's order; empty until it is planned.
    #[graphql(complexity = "page::complexity(first, child_complexity)")]
    async fn collections(
        &self,
        #[graphql(desc = "Only those at one of these steps.")] steps: Option<Vec<RestoreStep>>,
        #[graphql(desc = "Collections wanted, 1 to 200; 50 by default.")] first: Option<i32>,
        #[graphql(desc = "The `endCursor` of the page before.")] after: Option<String>,
    ) -> Result<PlanConnection<RestoredCollection>, GatewayError> {
        let planned = self.plan.as_ref().map_or(&[][..], |plan| &plan.collections);
        let both: Vec<_> = planned.iter().zip(&*self.collections).collect();
        let wanted = |position: &usize| {
            let step: RestoreStep = both[*position].1.step.into();
            steps.as_ref().is_none_or(|steps| steps.contains(&step))
        };
        let positions: Vec<usize> = (0..both.len()).filter(wanted).collect();
        let view = |position: usize| RestoredCollection::new(both[position].0, both[position].1);
        page::plan_connection(&positions, first, after.as_deref(), view)
    }

    /// What could not be done besides, in words.
    async fn warnings(&self) -> &[String] {
        &self.warnings
    }
}

/// A number of collections that are equally far.
#[derive(SimpleObject)]
pub(crate) struct RestoreStepCount {
    /// How far.
    step: RestoreStep,
    /// How many.
    collection_count: usize,
}

/// What has become of a collection of a restore.
#[derive(SimpleObject)]
pub(crate) struct RestoredCollection {
    /// Name in the backup.
    source: CollectionName,
    /// Name at the target.
    target: CollectionName,
    /// Name at the target until its rows were compared with the backup, in the same database.
    working_name: String,
    /// What is done.
    action: RestoreAction,
    /// How far it is.
    step: RestoreStep,
    /// Milvus's id of the new collection, once it is created.
    target_collection_id: Option<ID>,
    /// Milvus's id of the collection whose place it took.
    replaced_collection_id: Option<ID>,
    /// Name under which the replaced collection is kept, in the same database; null once it is dropped, and when none
    /// was replaced.
    replaced_kept_as: Option<String>,
    /// Rows by partition, once they were compared.
    partitions: Vec<PartitionRows>,
    /// Why it is not there.
    failure: Option<String>,
    /// What could not be restored although the rows are there.
    warnings: Vec<String>,
}

/// Rows of a partition, in the backup at the cut and at the target.
#[derive(SimpleObject)]
pub(crate) struct PartitionRows {
    /// Partition.
    partition: String,
    /// Rows at the cut, deletes applied.
    expected: Int64,
    /// Rows at the target.
    found: Int64,
}

impl RestoredCollection {
    fn new(plan: &domain::CollectionRestore, state: &domain::RestoredCollection) -> Self {
        let replaced = state.replaced.as_ref();
        Self {
            source: (&plan.source).into(),
            target: (&plan.target).into(),
            working_name: plan.working_name.clone(),
            action: plan.action.into(),
            step: state.step.into(),
            target_collection_id: state.target_collection_id.map(print_id),
            replaced_collection_id: replaced.map(|replaced| print_id(replaced.collection_id)),
            replaced_kept_as: replaced.and_then(|replaced| replaced.kept_as.clone()),
            partitions: state.partitions.iter().map(Into::into).collect(),
            failure: state.failure.clone(),
            warnings: state.warnings.clone(),
        }
    }
}

impl From<&domain::PartitionRows> for PartitionRows {
    fn from(rows: &domain::PartitionRows) -> Self {
        Self { partition: rows.partition.clone(), expected: Int64(rows.expected), found: Int64(rows.found) }
    }
}
