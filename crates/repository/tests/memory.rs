//! The contract of repositories on an object store in memory, reached through this server.

mod support;

use milvault_repository::create_in_memory;
use support::{Lab, LocalTestSource, TestSource, contract, repository_id, staging, stores};

async fn lab_in_memory() -> Lab {
    Lab {
        stores: stores(),
        source: Box::new(LocalTestSource::new()),
        repository: create_in_memory(repository_id(1)).await.unwrap_or_else(|error| panic!("{error}")),
        directory: None,
        root: None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_in_memory_keeps_the_contract() {
    contract::run(lab_in_memory).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn staging_from_memory_to_a_disk_keeps_the_contract() {
    staging::run(lab_in_memory, async || Box::new(LocalTestSource::new()) as Box<dyn TestSource>).await;
}
