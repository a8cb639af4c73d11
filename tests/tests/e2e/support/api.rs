//! Milvault's public API as the tests use it: answers stay JSON, so that a test reads what a client would.

use anyhow::{Context as _, Result, bail, ensure};
use futures::StreamExt as _;
use milvault_tests::graphql_client::{GraphqlClient, GraphqlError, Subscription};
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;

/// Time after which a test gives up on something that comes by itself. No assertion on speed.
pub(crate) const PATIENCE: Duration = Duration::from_mins(4);

/// Everything that a job tells.
const JOB_FIELDS: &str = "id type state phase description createdBy createdAt startedAt endedAt failure attempt backupId \
     progress { percent bytesDone bytesTotal bytesReused bytesThroughServer objectsDone objectsTotal objectsReused \
     bytesPerSecond remainingSeconds } history { at state phase reason } \
     verifyReport { level objectsChecked bytesRead failureCount failures { file key reason } hashesRecorded }";

/// What has become of a restore's collections.
const RESTORE_FIELDS: &str = "restore { warnings collections(first: 100) { nodes { source { database collection } target { database \
     collection } workingName action step failure warnings partitions { partition expected found } } } } \
     compareReport { collections { source { collection } differences rowsComparedWhole } }";

const BACKUP_FIELDS: &str = "id name type status creationMethod cutAt milvusVersion logicalBytes newlyStoredBytes \
     objectCount reusedObjectCount rowCount collectionCount createdBy expiresAt scope { databases collections { database \
     collection } }";

/// A client with the owner's key.
#[derive(Clone)]
pub(crate) struct Api {
    client: GraphqlClient,
}

/// A backup that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Started {
    pub(crate) backup_id: String,
    pub(crate) job_id: String,
}

/// Whether a job in this state has ended.
pub(crate) fn is_final(job: &Value) -> bool {
    matches!(job["state"].as_str(), Some("SUCCESSFUL" | "FAILED" | "CANCELED"))
}

impl Api {
    pub(crate) const fn new(client: GraphqlClient) -> Self {
        Self { client }
    }

    /// Any request.
    pub(crate) async fn request(&self, document: &str, variables: Value) -> Result<Value, GraphqlError> {
        self.client.request(document, variables).await
    }

    /// Who is asking; any answer shows that the server is up.
    pub(crate) async fn viewer(&self) -> Result<Value, GraphqlError> {
        self.request("{ viewer { name } }", json!({})).await
    }

    pub(crate) async fn register_repository(
        &self,
        name: &str,
        storage: &Value,
    ) -> Result<String, GraphqlError> {
        let document = "mutation($input: RegisterRepositoryInput!) {
            registerRepository(input: $input) { repository { id } } }";
        let input = json!({ "input": { "name": name, "storage": storage } });
        let answer = self.request(document, input).await?;
        Ok(text(&answer["registerRepository"]["repository"]["id"]).to_owned())
    }

    pub(crate) async fn register_local_repository(
        &self,
        name: &str,
        path: &Path,
    ) -> Result<String, GraphqlError> {
        self.register_repository(name, &json!({ "local": { "path": path } })).await
    }

    /// Registers a cluster; the fields of `more` win over the defaults.
    pub(crate) async fn register_cluster(
        &self,
        uri: &str,
        storage: &Value,
        repository_id: &str,
        more: Value,
    ) -> Result<String, GraphqlError> {
        let document =
            "mutation($input: RegisterClusterInput!) { registerCluster(input: $input) { cluster { id } } }";
        let input = with(
            json!({ "name": "cluster", "uri": uri, "storage": storage, "repositoryId": repository_id }),
            more,
        );
        let answer = self.request(document, json!({ "input": input })).await?;
        Ok(text(&answer["registerCluster"]["cluster"]["id"]).to_owned())
    }

    /// Changes fields of a cluster.
    pub(crate) async fn update_cluster(&self, cluster_id: &str, more: Value) -> Result<(), GraphqlError> {
        let document =
            "mutation($input: UpdateClusterInput!) { updateCluster(input: $input) { cluster { id } } }";
        let input = with(json!({ "clusterId": cluster_id }), more);
        self.request(document, json!({ "input": input })).await.map(|_| ())
    }

    /// What `checkCluster` answers: `ok` and `findings`.
    pub(crate) async fn check_cluster(&self, cluster_id: &str) -> Result<Value, GraphqlError> {
        let document = "mutation($input: CheckClusterInput!) {
            checkCluster(input: $input) { ok findings { subject ok message } } }";
        let mut answer = self.request(document, json!({ "input": { "clusterId": cluster_id } })).await?;
        Ok(answer["checkCluster"].take())
    }

    /// Asks for a backup; the fields of `more` go into the input.
    pub(crate) async fn create_backup(&self, cluster_id: &str, more: Value) -> Result<Started, GraphqlError> {
        let document = "mutation($input: CreateBackupInput!) {
            createBackup(input: $input) { backup { id } job { id } } }";
        let input = with(json!({ "clusterId": cluster_id }), more);
        let answer = self.request(document, json!({ "input": input })).await?;
        let made = &answer["createBackup"];
        Ok(Started {
            backup_id: text(&made["backup"]["id"]).to_owned(),
            job_id: text(&made["job"]["id"]).to_owned(),
        })
    }

    /// Makes a backup of some databases and waits until it is available. Returns backup and job.
    pub(crate) async fn back_up(&self, cluster_id: &str, databases: &[&str]) -> Result<(Value, Value)> {
        let started = self.create_backup(cluster_id, json!({ "scope": { "databases": databases } })).await?;
        self.await_available(&started).await
    }

    /// Waits until a backup is available. Returns backup and job.
    pub(crate) async fn await_available(&self, started: &Started) -> Result<(Value, Value)> {
        let job = self.await_end(&started.job_id).await?;
        ensure!(job["state"] == "SUCCESSFUL", "the backup did not succeed: {job}");
        let backup = self.backup(&started.backup_id).await?;
        ensure!(backup["status"] == "AVAILABLE", "the job succeeded and the backup is not there: {backup}");
        Ok((backup, job))
    }

    /// Waits for the end of a job, by its events; returns it.
    pub(crate) async fn await_end(&self, job_id: &str) -> Result<Value> {
        let mut events = self.watch(job_id).await?;
        let last = async {
            let mut last = None;
            while let Some(event) = events.next().await {
                last = Some(event?["jobUpdated"].take());
            }
            last.context("no event at all")
        };
        let last = tokio::time::timeout(PATIENCE, last)
            .await
            .with_context(|| format!("job {job_id} does not end"))??;
        ensure!(is_final(&last), "the events ended before the job did: {last}");
        self.job(job_id).await
    }

    /// Events of a job.
    pub(crate) async fn watch(&self, job_id: &str) -> Result<Subscription, GraphqlError> {
        let document = format!("subscription($id: ID!) {{ jobUpdated(jobId: $id) {{ {JOB_FIELDS} }} }}");
        self.client.subscribe(&document, json!({ "id": job_id })).await
    }

    /// Events of all jobs of a cluster.
    pub(crate) async fn watch_cluster(&self, cluster_id: &str) -> Result<Subscription, GraphqlError> {
        let document = format!("subscription($id: ID) {{ jobUpdates(clusterId: $id) {{ {JOB_FIELDS} }} }}");
        self.client.subscribe(&document, json!({ "id": cluster_id })).await
    }

    /// A job; null when there is none.
    pub(crate) async fn job(&self, job_id: &str) -> Result<Value> {
        let document = format!("query($id: ID!) {{ job(id: $id) {{ {JOB_FIELDS} }} }}");
        Ok(self.request(&document, json!({ "id": job_id })).await?["job"].take())
    }

    /// A backup; null when there is none.
    pub(crate) async fn backup(&self, backup_id: &str) -> Result<Value> {
        let document = format!("query($id: ID!) {{ backup(id: $id) {{ {BACKUP_FIELDS} }} }}");
        Ok(self.request(&document, json!({ "id": backup_id })).await?["backup"].take())
    }

    /// Stops a job.
    pub(crate) async fn cancel(&self, job_id: &str) -> Result<Value, GraphqlError> {
        let document = "mutation($input: CancelJobInput!) { cancelJob(input: $input) { job { id state } } }";
        let mut answer = self.request(document, json!({ "input": { "jobId": job_id } })).await?;
        Ok(answer["cancelJob"]["job"].take())
    }

    /// What a restore would do.
    pub(crate) async fn plan_restore(&self, input: Value) -> Result<Value, GraphqlError> {
        let document = "query($input: RestoreBackupInput!) { planRestore(input: $input) { cutAt bytes objectCount warnings
            databases { name create } conflicts { database name reason }
            collections { source { database collection } target { database collection } action partitions shardCount
            replicaCount aliases objectCount bytes storedRowCount } } }";
        let mut answer = self.request(document, json!({ "input": input })).await?;
        Ok(answer["planRestore"].take())
    }

    /// Asks for a restore; returns the job's id.
    pub(crate) async fn start_restore(&self, input: Value) -> Result<String, GraphqlError> {
        self.start_job("restoreBackup", "RestoreBackupInput", input).await
    }

    /// Restores and waits for the end; returns the job with what has become of its collections.
    pub(crate) async fn restore(&self, input: Value) -> Result<Value> {
        let job_id = self.start_restore(input).await?;
        self.await_restore(&job_id).await
    }

    /// Restores and fails unless it succeeded.
    pub(crate) async fn restore_ok(&self, input: Value) -> Result<Value> {
        let job = self.restore(input).await?;
        ensure!(job["state"] == "SUCCESSFUL", "the restore did not succeed: {job}");
        Ok(job)
    }

    /// Waits for the end of a restore; returns it with what has become of its collections.
    pub(crate) async fn await_restore(&self, job_id: &str) -> Result<Value> {
        self.await_end(job_id).await?;
        let document = format!("query($id: ID!) {{ job(id: $id) {{ {JOB_FIELDS} {RESTORE_FIELDS} }} }}");
        Ok(self.request(&document, json!({ "id": job_id })).await?["job"].take())
    }

    /// Any mutation whose payload has a job; returns the job's id.
    pub(crate) async fn start_job(
        &self,
        mutation: &str,
        input_type: &str,
        input: Value,
    ) -> Result<String, GraphqlError> {
        let document =
            format!("mutation($input: {input_type}!) {{ {mutation}(input: $input) {{ job {{ id }} }} }}");
        let answer = self.request(&document, json!({ "input": input })).await?;
        Ok(text(&answer[mutation]["job"]["id"]).to_owned())
    }

    /// Checks every byte of a backup and returns the job, however it ended.
    pub(crate) async fn verify(&self, backup_id: &str) -> Result<Value> {
        let document = "mutation($input: VerifyBackupInput!) { verifyBackup(input: $input) { job { id } } }";
        let input = json!({ "input": { "backupId": backup_id, "level": "CONTENT" } });
        let answer = self.request(document, input).await?;
        self.await_end(text(&answer["verifyBackup"]["job"]["id"])).await
    }

    /// Checks every byte of a backup and fails when anything is wrong.
    pub(crate) async fn verify_ok(&self, backup_id: &str) -> Result<Value> {
        let job = self.verify(backup_id).await?;
        if job["state"] != "SUCCESSFUL" || job["verifyReport"]["failureCount"] != 0 {
            bail!("the verify of {backup_id} found something: {job}");
        }
        Ok(job)
    }
}

fn with(mut base: Value, more: Value) -> Value {
    if let (Some(base), Value::Object(more)) = (base.as_object_mut(), more) {
        base.extend(more);
    }
    base
}

/// A text of an answer; empty when it is none.
pub(crate) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// A number of an answer; 0 when it is none.
pub(crate) fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_default()
}
