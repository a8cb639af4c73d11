//! What backup tools ask a Milvus for: ids, segments, imports.

use super::{MilvusClient, check, pairs};
use anyhow::bail;
use milvus::proto::common::ImportState;
use milvus::proto::milvus as api;

impl MilvusClient {
    /// Milvus's id of a collection.
    ///
    /// # Errors
    /// It does not exist, or the server does not answer.
    pub async fn collection_id(&self, collection: &str) -> anyhow::Result<i64> {
        Ok(self.describe(collection).await?.collection_id)
    }

    /// All that Milvus says about a collection's making.
    ///
    /// # Errors
    /// It does not exist, or the server does not answer.
    pub async fn describe(&self, collection: &str) -> anyhow::Result<api::DescribeCollectionResponse> {
        let request = api::DescribeCollectionRequest {
            db_name: self.database.clone(),
            collection_name: collection.to_owned(),
            ..Default::default()
        };
        let answer = self.service.clone().describe_collection(request).await?.into_inner();
        check(answer.status.as_ref(), &format!("describe {collection}"))?;
        Ok(answer)
    }

    /// A collection's segments that are written to files.
    ///
    /// # Errors
    /// It does not exist, or the server does not answer.
    pub async fn segments(&self, collection: &str) -> anyhow::Result<Vec<api::PersistentSegmentInfo>> {
        let request = api::GetPersistentSegmentInfoRequest {
            db_name: self.database.clone(),
            collection_name: collection.to_owned(),
            ..Default::default()
        };
        let answer = self.service.clone().get_persistent_segment_info(request).await?.into_inner();
        check(answer.status.as_ref(), &format!("list the segments of {collection}"))?;
        Ok(answer.infos)
    }

    /// A collection's partitions with Milvus's ids.
    ///
    /// # Errors
    /// It does not exist, or the server does not answer.
    pub async fn partitions(&self, collection: &str) -> anyhow::Result<Vec<(String, i64)>> {
        let request = api::ShowPartitionsRequest {
            db_name: self.database.clone(),
            collection_name: collection.to_owned(),
            ..Default::default()
        };
        let answer = self.service.clone().show_partitions(request).await?.into_inner();
        check(answer.status.as_ref(), &format!("show the partitions of {collection}"))?;
        Ok(answer.partition_names.into_iter().zip(answer.partition_i_ds).collect())
    }

    /// Imports binlogs into a partition as Milvus's backup tools do: the directories of insert and delta logs, whose
    /// children are segments, and the time after which rows are left out. Returns the server's tasks.
    ///
    /// # Errors
    /// The server refuses, or does not answer.
    pub async fn import(
        &self,
        collection: &str,
        partition: &str,
        directories: [&str; 2],
        end_ms: i64,
    ) -> anyhow::Result<Vec<i64>> {
        let request = api::ImportRequest {
            db_name: self.database.clone(),
            collection_name: collection.to_owned(),
            partition_name: partition.to_owned(),
            files: directories.map(str::to_owned).to_vec(),
            options: pairs(&[
                ("backup", "true"),
                ("end_ts", &end_ms.to_string()),
                ("skip_disk_quota_check", "true"),
            ]),
            ..Default::default()
        };
        let answer = self.service.clone().import(request).await?.into_inner();
        check(answer.status.as_ref(), &format!("import into {collection}"))?;
        Ok(answer.tasks)
    }

    /// Whether an import is complete.
    ///
    /// # Errors
    /// It failed, or the server does not answer.
    pub async fn import_is_complete(&self, task: i64) -> anyhow::Result<bool> {
        let request = api::GetImportStateRequest { task };
        let answer = self.service.clone().get_import_state(request).await?.into_inner();
        check(answer.status.as_ref(), "get import state")?;
        match answer.state() {
            ImportState::ImportCompleted => Ok(true),
            ImportState::ImportFailed | ImportState::ImportFailedAndCleaned => {
                bail!("import {task} failed: {:?}", answer.infos)
            }
            _ => Ok(false),
        }
    }
}
