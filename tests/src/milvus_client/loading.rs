//! Collections in memory.

use super::{MilvusClient, check, wait_until};
use milvus::proto::common::LoadState;
use milvus::proto::milvus as api;

impl MilvusClient {
    /// Loads a collection into memory and waits until it can be searched.
    ///
    /// # Errors
    /// The server refuses, or it is not loaded in time.
    pub async fn load(&self, collection: &str) -> anyhow::Result<()> {
        let request = api::LoadCollectionRequest {
            db_name: self.database.clone(),
            collection_name: collection.to_owned(),
            replica_number: 1,
            ..Default::default()
        };
        let status = self.service.clone().load_collection(request).await?.into_inner();
        check(Some(&status), &format!("load {collection}"))?;
        wait_until(&format!("{collection} is loaded"), || async {
            let request = api::GetLoadingProgressRequest {
                db_name: self.database.clone(),
                collection_name: collection.to_owned(),
                ..Default::default()
            };
            let answer = self.service.clone().get_loading_progress(request).await?.into_inner();
            check(answer.status.as_ref(), "get loading progress")?;
            Ok(answer.progress == 100)
        })
        .await
    }

    /// Takes a collection out of memory. One that is not in it is no error for Milvus.
    ///
    /// # Errors
    /// The server refuses, or does not answer.
    pub async fn release(&self, collection: &str) -> anyhow::Result<()> {
        let request = api::ReleaseCollectionRequest {
            db_name: self.database.clone(),
            collection_name: collection.to_owned(),
            ..Default::default()
        };
        let status = self.service.clone().release_collection(request).await?.into_inner();
        check(Some(&status), &format!("release {collection}"))
    }

    /// Whether a collection can be searched.
    ///
    /// # Errors
    /// The server refuses, or does not answer.
    pub async fn is_loaded(&self, collection: &str) -> anyhow::Result<bool> {
        let request = api::GetLoadStateRequest {
            db_name: self.database.clone(),
            collection_name: collection.to_owned(),
            ..Default::default()
        };
        let answer = self.service.clone().get_load_state(request).await?.into_inner();
        check(answer.status.as_ref(), &format!("get the load state of {collection}"))?;
        Ok(answer.state() == LoadState::Loaded)
    }
}
