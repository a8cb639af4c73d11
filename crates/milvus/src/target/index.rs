//! Indexes.

use super::database::pairs;
use crate::client::Client;
use crate::describe::properties;
use crate::error::{CallResult, Fault};
use milvault_domain::backup::CollectionName;
use milvault_domain::error::{PortError, PortErrorKind, PortResult};
use milvault_domain::milvus::IndexDescription;
use milvus::proto::common::IndexState;
use milvus::proto::milvus::{CreateIndexRequest, DescribeIndexRequest, IndexDescription as DescribedIndex};

/// Defines an index; the server builds it.
pub(crate) async fn create(
    client: &Client,
    name: &CollectionName,
    index: &IndexDescription,
) -> PortResult<()> {
    let is_equal = |other: &DescribedIndex| {
        other.index_name == index.name
            && other.field_name == index.field_name
            && properties(other.params.clone()) == index.params
    };
    if described(client, name).await?.iter().any(is_equal) {
        return Ok(());
    }
    let request = CreateIndexRequest {
        db_name: name.database.clone(),
        collection_name: name.collection.clone(),
        field_name: index.field_name.clone(),
        index_name: index.name.clone(),
        extra_params: pairs(&index.params),
        ..Default::default()
    };
    match client.call(request).await {
        Ok(_) => Ok(()),
        Err(error) => Err(error.refused_as(PortErrorKind::InvalidInput)),
    }
}

/// Whether every segment has all indexes.
pub(crate) async fn built(client: &Client, name: &CollectionName) -> PortResult<bool> {
    let indexes = described(client, name).await?;
    if let Some(failed) = indexes.iter().find(|index| index.state() == IndexState::Failed) {
        let message = format!(
            "Milvus could not build index `{}` on field `{}` of `{}.{}`: {}",
            failed.index_name,
            failed.field_name,
            name.database,
            name.collection,
            failed.index_state_fail_reason
        );
        return Err(PortError::new(PortErrorKind::InvalidInput, message));
    }
    Ok(indexes.iter().all(is_built))
}

/// 2.3.5 says `Finished` from the first moment on; only the numbers of rows tell.
fn is_built(index: &DescribedIndex) -> bool {
    index.state() == IndexState::Finished
        && index.pending_index_rows == 0
        && index.indexed_rows >= index.total_rows
}

async fn described(client: &Client, name: &CollectionName) -> CallResult<Vec<DescribedIndex>> {
    let request = DescribeIndexRequest {
        db_name: name.database.clone(),
        collection_name: name.collection.clone(),
        ..Default::default()
    };
    match client.call(request).await {
        Ok(answer) => Ok(answer.index_descriptions),
        Err(error) if error.fault == Fault::Nothing => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn built_means_every_row() {
        let index = DescribedIndex {
            state: IndexState::Finished.into(),
            indexed_rows: 10,
            total_rows: 10,
            ..Default::default()
        };
        assert!(is_built(&index));
        assert!(!is_built(&DescribedIndex { indexed_rows: 9, ..index.clone() }));
        assert!(!is_built(&DescribedIndex { pending_index_rows: 1, ..index.clone() }));
        assert!(!is_built(&DescribedIndex { state: IndexState::InProgress.into(), ..index.clone() }));
        // As 2.3.5 answered right after the index was defined, 9 s before it was built.
        let answered =
            DescribedIndex { indexed_rows: 0, total_rows: 40_000, pending_index_rows: 40_000, ..index };
        assert!(!is_built(&answered));
    }
}
