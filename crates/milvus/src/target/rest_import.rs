//! Beginning an import over REST, as Milvus 2.4 and later would have it. Not verified against a live server.
//!
//! Every request for an import makes another one: Milvus takes no key by which it could know a repetition. So the
//! import is asked for once. Whether there is REST at the address is found out before, by a question that changes
//! nothing; and an import whose answer is lost is looked for among those of its collection, never asked for again.
//! The ids are those that the gRPC interface knows: both lead to the same call of the same part of the server.

use crate::call::Call;
use crate::error::{CallError, CallResult, Fault};
use crate::rest::{RestClient, RestFailure};
use milvus::proto::milvus::ImportRequest;
use serde::Serialize;
use serde_json::Value;
use std::collections::{BTreeMap, HashSet};
use std::time::Duration;
use tokio::sync::OnceCell;

const CREATE: &str = "/v2/vectordb/jobs/import/create";
const LIST: &str = "/v2/vectordb/jobs/import/list";
/// Later versions have it under a second name; this one is in all of them.
const PROGRESS: &str = "/v2/vectordb/jobs/import/get_progress";
/// Longest wait for an answer that changes nothing.
const LOOK_DEADLINE: Duration = Duration::from_secs(10);
/// Pauses before the looks for an import whose answer was lost. Milvus knows the files of a new one after about four
/// seconds, when it has taken it from its queue.
const PAUSES: [Duration; 4] =
    [Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(4), Duration::from_secs(8)];
/// Longest search for such an import.
const SEARCH_TIME_MAX: Duration = Duration::from_mins(1);
/// Imports that one look asks about. A collection has one for each group of segments, of which few are at work.
const JOBS_MAX: usize = 1_000;

/// Imports over REST, for one connection to a cluster.
pub(crate) struct RestImport {
    client: RestClient,
    /// Whether there is REST at the address, once that is known.
    served: OnceCell<bool>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CreateBody<'a> {
    db_name: &'a str,
    collection_name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    partition_name: &'a str,
    files: [&'a [String]; 1],
    options: BTreeMap<&'a str, &'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ListBody<'a> {
    db_name: &'a str,
    collection_name: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ProgressBody<'a> {
    db_name: &'a str,
    job_id: String,
}

impl RestImport {
    pub(crate) fn new(client: RestClient) -> Self {
        Self { client, served: OnceCell::new() }
    }

    /// Begins an import and tells its id. `None` when there is no REST at the address: nothing was begun, and gRPC is
    /// left, which these versions have too.
    pub(crate) async fn begin(&self, message: &ImportRequest) -> Option<CallResult<i64>> {
        if !*self.served.get_or_init(|| self.is_served(message)).await {
            return None;
        }
        match self.create(message).await {
            Ok(id) => Some(Ok(id)),
            Err(RestFailure::NotServed(reason)) => {
                tracing::info!(reason, "an import goes over gRPC, REST does not take it");
                None
            }
            Err(RestFailure::Refused(error)) => Some(Err(error)),
            Err(RestFailure::Unanswered(error)) => {
                tracing::warn!(%error, "looking for an import whose answer was lost");
                let found = tokio::time::timeout(SEARCH_TIME_MAX, self.find(message)).await;
                Some(found.ok().flatten().ok_or_else(|| lost(&error)))
            }
        }
    }

    /// Asks for the collection's imports. Anything but an answer speaks for gRPC.
    async fn is_served(&self, message: &ImportRequest) -> bool {
        let reason = match self.jobs(message).await {
            Ok(_) => return true,
            Err(RestFailure::NotServed(reason)) => reason,
            Err(RestFailure::Refused(error) | RestFailure::Unanswered(error)) => error.to_string(),
        };
        tracing::info!(reason, "imports go over gRPC, there is no REST at the address");
        false
    }

    async fn create(&self, message: &ImportRequest) -> Result<i64, RestFailure> {
        let body = CreateBody {
            db_name: &message.db_name,
            collection_name: &message.collection_name,
            partition_name: &message.partition_name,
            files: [&message.files],
            options: message.options.iter().map(|pair| (pair.key.as_str(), pair.value.as_str())).collect(),
        };
        let data = self.client.post(CREATE, &body, ImportRequest::DEADLINE).await?;
        job_id(&data).ok_or_else(|| {
            let error = CallError::new(Fault::Unavailable, CREATE, "the answer names no import");
            RestFailure::Unanswered(error)
        })
    }

    /// The collection's import of these files, whatever became of it. Milvus lists imports without their files, but
    /// shows for each what it reads, and nothing else is staged where these files are.
    async fn find(&self, message: &ImportRequest) -> Option<i64> {
        let place = message.files.first()?.trim_start_matches('/');
        let mut others = HashSet::new();
        for pause in PAUSES {
            tokio::time::sleep(pause).await;
            let jobs = self.jobs(message).await.unwrap_or_default();
            for id in jobs.into_iter().filter(|id| !others.contains(id)).take(JOBS_MAX).collect::<Vec<_>>() {
                let files = self.files_of(message, id).await.unwrap_or_default();
                if files.iter().any(|file| file.contains(place)) {
                    return Some(id);
                }
                // One that shows no files yet may be it.
                if !files.is_empty() {
                    others.insert(id);
                }
            }
        }
        None
    }

    /// Ids of the imports into the message's collection.
    async fn jobs(&self, message: &ImportRequest) -> Result<Vec<i64>, RestFailure> {
        let body = ListBody { db_name: &message.db_name, collection_name: &message.collection_name };
        let data = self.client.post(LIST, &body, LOOK_DEADLINE).await?;
        Ok(list(&data, "records").iter().filter_map(job_id).collect())
    }

    /// What an import reads.
    async fn files_of(&self, message: &ImportRequest, id: i64) -> Result<Vec<String>, RestFailure> {
        let body = ProgressBody { db_name: &message.db_name, job_id: id.to_string() };
        let data = self.client.post(PROGRESS, &body, LOOK_DEADLINE).await?;
        let name = |detail: &Value| detail.get("fileName").and_then(Value::as_str).map(str::to_owned);
        Ok(list(&data, "details").iter().filter_map(name).collect())
    }
}

fn list<'a>(data: &'a Value, key: &str) -> &'a [Value] {
    data.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// The id in an answer or in an entry of a list. Early servers of 2.4 spell the key in another way.
fn job_id(value: &Value) -> Option<i64> {
    let id = value.get("jobId").or_else(|| value.get("jobID"))?;
    id.as_i64().or_else(|| id.as_str()?.parse().ok())
}

fn lost(error: &CallError) -> CallError {
    let message = format!(
        "{}; whether the import was begun cannot be told, so it is not asked for again",
        error.message
    );
    CallError::new(Fault::Unavailable, error.method, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn ids_are_read_in_every_spelling() {
        assert_eq!(job_id(&json!({ "jobId": "446781855410077319" })), Some(446_781_855_410_077_319));
        assert_eq!(job_id(&json!({ "jobID": "7" })), Some(7));
        assert_eq!(job_id(&json!({ "jobId": 7 })), Some(7));
        for none in [json!(null), json!({}), json!({ "jobId": "x" }), json!([7])] {
            assert_eq!(job_id(&none), None);
        }
    }
}
