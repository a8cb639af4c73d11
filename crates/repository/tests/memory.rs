//! The contract of repositories on an object store in memory, reached through this server.

mod support;

use milvault_repository::create_in_memory;
use support::{Lab, LocalTestSource, contract, repository_id, stores};

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_in_memory_keeps_the_contract() {
    contract::run(async || Lab {
        stores: stores(),
        source: Box::new(LocalTestSource::new()),
        repository: create_in_memory(repository_id(1)).await.unwrap_or_else(|error| panic!("{error}")),
        directory: None,
        root: None,
    })
    .await;
}
