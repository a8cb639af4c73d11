//! Reports of comparisons.

use super::backup::CollectionName;
use super::restore::PartitionRows;
use crate::error::GatewayError;
use crate::graphql::page;
use crate::graphql::scalar::Int64;
use async_graphql::{Object, SimpleObject};
use milvault_domain::restore as domain;
use std::sync::Arc;

/// Result of a comparison. Cheap to clone.
#[derive(Clone)]
pub(crate) struct CompareReport {
    report: Arc<domain::CompareReport>,
}

impl From<domain::CompareReport> for CompareReport {
    fn from(report: domain::CompareReport) -> Self {
        Self { report: Arc::new(report) }
    }
}

/// Result of comparing a target's collections with a backup.
#[Object]
#[allow(clippy::unused_async, reason = "the macro asks for async resolvers")]
impl CompareReport {
    /// Number of collections that were compared.
    async fn collection_count(&self) -> usize {
        self.report.collections.len()
    }

    /// Number of collections with differences.
    async fn differing_count(&self) -> usize {
        self.report.differing()
    }

    /// The collections, in the order of the restore's plan.
    #[graphql(complexity = "page::complexity(first, child_complexity)")]
    async fn collections(
        &self,
        #[graphql(desc = "Only those with differences.", default)] only_differing: bool,
        #[graphql(desc = "Collections wanted, 1 to 200; 50 by default.")] first: Option<i32>,
        #[graphql(desc = "How many to leave out at the beginning.")] skip: Option<i32>,
    ) -> Result<Vec<ComparedCollection>, GatewayError> {
        let compared = self.report.collections.iter();
        let chosen: Vec<_> =
            compared.filter(|collection| !only_differing || !collection.differences.is_empty()).collect();
        let range = page::slice(chosen.len(), first, skip)?;
        Ok(chosen[range].iter().map(|collection| (*collection).into()).collect())
    }
}

/// What was found about one collection.
#[derive(SimpleObject)]
pub(crate) struct ComparedCollection {
    /// Name in the backup.
    source: CollectionName,
    /// Name at the target.
    target: CollectionName,
    /// Rows by partition.
    partitions: Vec<PartitionRows>,
    /// Rows of which every field was compared.
    rows_compared_whole: Int64,
    /// What differs, in words, at most 20 entries; empty when nothing does.
    differences: Vec<String>,
}

impl From<&domain::ComparedCollection> for ComparedCollection {
    fn from(collection: &domain::ComparedCollection) -> Self {
        Self {
            source: (&collection.source).into(),
            target: (&collection.target).into(),
            partitions: collection.partitions.iter().map(Into::into).collect(),
            rows_compared_whole: Int64(collection.rows_compared_whole),
            differences: collection.differences.clone(),
        }
    }
}
