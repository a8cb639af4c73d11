//! What the demo asks of Milvault, through the public GraphQL API only.

use crate::graphql_client::GraphqlClient;
use anyhow::{Context as _, bail};
use futures::StreamExt as _;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::path::Path;

/// Fields of a job that the demo shows.
const JOB_FIELDS: &str = "id state phase failure progress { percent bytesDone bytesTotal bytesReused objectsDone \
                          objectsTotal objectsReused bytesPerSecond }";

/// The API as the demo uses it.
pub(crate) struct Api {
    client: GraphqlClient,
}

/// A job as an event shows it.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JobView {
    /// Identity.
    pub id: String,
    /// `PENDING`, `IN_PROGRESS`, ...
    pub state: String,
    /// What it is doing.
    pub phase: Option<String>,
    /// Why it failed.
    pub failure: Option<String>,
    /// How far it is.
    pub progress: ProgressView,
}

/// How far a job is.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProgressView {
    /// Whole percent.
    pub percent: u8,
    /// Bytes dealt with, reused ones included.
    pub bytes_done: u64,
    /// Bytes to deal with, reused ones included.
    pub bytes_total: u64,
    /// Bytes that were there already.
    pub bytes_reused: u64,
    /// Objects dealt with.
    pub objects_done: u64,
    /// Objects to deal with.
    pub objects_total: u64,
    /// Objects that were there already.
    pub objects_reused: u64,
    /// Present speed.
    pub bytes_per_second: Option<u64>,
}

/// A backup that has ended.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BackupView {
    /// Identity.
    pub id: String,
    /// Name.
    pub name: String,
    /// `AVAILABLE`, `FAILED`, ...
    pub status: String,
    /// The instant it shows the cluster at.
    pub cut_at: Option<String>,
    /// Size of its objects.
    pub logical_bytes: Option<u64>,
    /// What it added to the repository.
    pub newly_stored_bytes: Option<u64>,
    /// Its objects.
    pub object_count: Option<u64>,
    /// Of those, how many were there already.
    pub reused_object_count: Option<u64>,
    /// Rows of its segments, before deletes.
    pub row_count: Option<u64>,
    /// Collections.
    pub collection_count: Option<u64>,
}

/// What a verify found.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VerifyView {
    /// Objects looked at.
    pub objects_checked: u64,
    /// Bytes read and hashed.
    pub bytes_read: u64,
    /// How many failures.
    pub failure_count: u64,
    /// The first of them.
    pub failures: Vec<Value>,
}

/// A backup that was asked for.
#[derive(Debug, Clone)]
pub(crate) struct Started {
    /// The backup.
    pub backup_id: String,
    /// The job that makes it.
    pub job_id: String,
}

impl Api {
    /// An API behind a client.
    #[must_use]
    pub(crate) const fn new(client: GraphqlClient) -> Self {
        Self { client }
    }

    /// Makes a directory into a repository and returns its id.
    ///
    /// # Errors
    /// The API answers with an error, or not at all.
    pub(crate) async fn register_repository(&self, path: &Path) -> anyhow::Result<String> {
        let document = "mutation($input: RegisterRepositoryInput!) {
            registerRepository(input: $input) { repository { id } } }";
        let input = json!({ "name": "demo", "storage": { "local": { "path": path } } });
        self.ask(document, json!({ "input": input }), "/registerRepository/repository/id").await
    }

    /// Registers the cluster and returns its id.
    ///
    /// # Errors
    /// The API answers with an error, or not at all.
    pub(crate) async fn register_cluster(
        &self,
        name: &str,
        uri: &str,
        storage: &Path,
        repository_id: &str,
    ) -> anyhow::Result<String> {
        let document = "mutation($input: RegisterClusterInput!) {
            registerCluster(input: $input) { cluster { id } } }";
        let input = json!({
            "name": name, "uri": uri, "repositoryId": repository_id,
            "storage": { "local": { "path": storage } },
        });
        self.ask(document, json!({ "input": input }), "/registerCluster/cluster/id").await
    }

    /// Has the cluster checked; returns what was found, a line each.
    ///
    /// # Errors
    /// Something is wrong with the cluster, or the API does not answer.
    pub(crate) async fn check_cluster(&self, cluster_id: &str) -> anyhow::Result<Vec<String>> {
        #[derive(Deserialize)]
        struct Finding {
            subject: String,
            ok: bool,
            message: String,
        }
        let document = "mutation($input: CheckClusterInput!) {
            checkCluster(input: $input) { ok findings { subject ok message } } }";
        let variables = json!({ "input": { "clusterId": cluster_id } });
        let findings: Vec<Finding> = self.ask(document, variables, "/checkCluster/findings").await?;
        if let Some(bad) = findings.iter().find(|finding| !finding.ok) {
            bail!("the cluster's {} is not fine: {}", bad.subject, bad.message);
        }
        Ok(findings.into_iter().map(|finding| format!("{}: {}", finding.subject, finding.message)).collect())
    }

    /// Asks for a backup of the whole cluster.
    ///
    /// # Errors
    /// The API answers with an error, or not at all.
    pub(crate) async fn create_backup(&self, cluster_id: &str, name: &str) -> anyhow::Result<Started> {
        let document = "mutation($input: CreateBackupInput!) {
            createBackup(input: $input) { backup { id } job { id } } }";
        let variables = json!({ "input": { "clusterId": cluster_id, "name": name } });
        let payload: Value = self.ask(document, variables, "/createBackup").await?;
        let id = |of: &str| payload[of]["id"].as_str().unwrap_or_default().to_owned();
        Ok(Started { backup_id: id("backup"), job_id: id("job") })
    }

    /// Asks for a restore; returns the job.
    ///
    /// # Errors
    /// The API answers with an error, or not at all.
    pub(crate) async fn restore_backup(&self, input: Value) -> anyhow::Result<String> {
        let document =
            "mutation($input: RestoreBackupInput!) { restoreBackup(input: $input) { job { id } } }";
        self.ask(document, json!({ "input": input }), "/restoreBackup/job/id").await
    }

    /// Asks for every byte of a backup to be checked; returns the job.
    ///
    /// # Errors
    /// The API answers with an error, or not at all.
    pub(crate) async fn verify_backup(&self, backup_id: &str) -> anyhow::Result<String> {
        let document = "mutation($input: VerifyBackupInput!) { verifyBackup(input: $input) { job { id } } }";
        let variables = json!({ "input": { "backupId": backup_id, "level": "CONTENT" } });
        self.ask(document, variables, "/verifyBackup/job/id").await
    }

    /// Follows a job by its events until it has ended, and returns what it ended as.
    ///
    /// # Errors
    /// The subscription breaks off.
    pub(crate) async fn follow_job(
        &self,
        job_id: &str,
        mut on_event: impl FnMut(&JobView),
    ) -> anyhow::Result<JobView> {
        let document =
            format!("subscription($jobId: ID!) {{ jobUpdated(jobId: $jobId) {{ {JOB_FIELDS} }} }}");
        let mut events = self.client.subscribe(&document, json!({ "jobId": job_id })).await?;
        while let Some(event) = events.next().await {
            let job: JobView = serde_json::from_value(event?["jobUpdated"].take())?;
            on_event(&job);
            if matches!(job.state.as_str(), "SUCCESSFUL" | "FAILED" | "CANCELED") {
                return Ok(job);
            }
        }
        bail!("the events of {job_id} ended before the job did")
    }

    /// A backup.
    ///
    /// # Errors
    /// The API answers with an error, or not at all.
    pub(crate) async fn backup(&self, backup_id: &str) -> anyhow::Result<BackupView> {
        let document = "query($id: ID!) { backup(id: $id) {
            id name status cutAt logicalBytes newlyStoredBytes objectCount reusedObjectCount rowCount
            collectionCount } }";
        self.ask(document, json!({ "id": backup_id }), "/backup").await
    }

    /// The report of a verify.
    ///
    /// # Errors
    /// The API answers with an error, or not at all.
    pub(crate) async fn verify_report(&self, job_id: &str) -> anyhow::Result<VerifyView> {
        let document = "query($id: ID!) { job(id: $id) { verifyReport {
            objectsChecked bytesRead failureCount failures { file key reason } } } }";
        self.ask(document, json!({ "id": job_id }), "/job/verifyReport").await
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        document: &str,
        variables: Value,
        pointer: &str,
    ) -> anyhow::Result<T> {
        let mut data = self.client.request(document, variables).await?;
        let part = data.pointer_mut(pointer).with_context(|| format!("the answer has no {pointer}"))?;
        serde_json::from_value(part.take())
            .with_context(|| format!("the answer's {pointer} is of another shape"))
    }
}
