//! Importing staged binlogs.
//!
//! Servers before 2.4 take two paths, the second empty when there are no deletes; later ones take as many paths as
//! there are, and over REST where they can be reached by it. The unit of `end_ts` changed too. What concerns 2.4 and
//! later is not verified against a live server.

use super::lookup;
use super::rest_import::RestImport;
use crate::call::Call;
use crate::client::Client;
use crate::error::{CallError, CallResult, Fault};
use backon::{BackoffBuilder, ExponentialBuilder};
use milvault_domain::backup::CollectionName;
use milvault_domain::error::{PortError, PortErrorKind, PortResult};
use milvault_domain::milvus::{Capabilities, ServerInfo, TimestampUnit};
use milvault_domain::ports::{ImportProgress, ImportRequest, ImportState};
use milvus::proto::common::{ImportState as ProtoImportState, KeyValuePair};
use milvus::proto::milvus::{
    GetImportStateRequest, GetImportStateResponse, GetVersionRequest, ImportRequest as ProtoImportRequest,
    ListImportTasksRequest,
};
use std::time::Duration;
use tokio::time::Instant;

/// Imports of a collection that are looked through for one whose answer was lost.
const TASKS_LISTED_MAX: i64 = 10_000;
/// Longest wait for imports into a collection that is to be dropped: one takes about two seconds.
const IDLE_TIME_MAX: Duration = Duration::from_secs(20);
const IDLE_POLL: Duration = Duration::from_millis(250);
/// What 2.3.5 says of an import that was at work when the server went down; those that waited go on by themselves.
const INTERRUPTED: &str = "service restarted";

/// Begins an import. Unlike other calls it must not be repeated blindly, every repetition imports the rows once more.
pub(crate) async fn begin(
    client: &Client,
    rest_import: Option<&RestImport>,
    server: &ServerInfo,
    request: &ImportRequest,
) -> PortResult<Vec<i64>> {
    let message = message(server, request)?;
    let mut pauses = ExponentialBuilder::default()
        .with_jitter()
        .with_min_delay(Duration::from_secs(1))
        .with_max_delay(Duration::from_secs(10))
        .with_max_times(8)
        .build();
    loop {
        let error = match begin_once(client, rest_import, &message).await {
            Ok(tasks) => return Ok(tasks),
            Err(error) => error,
        };
        let pause = pauses.next();
        match (error.fault, pause) {
            (Fault::RateLimited, Some(pause)) => tokio::time::sleep(pause).await,
            (Fault::Unavailable, Some(pause)) if tells_files(server.capabilities) => {
                // What is still under way in the server shall be in the list.
                tokio::time::sleep(pause).await;
                let begun = begun(client, request, &message).await?;
                if !begun.is_empty() {
                    return Ok(begun);
                }
            }
            _ if is_full(&error) => {
                let advice = format!("Milvus refused {error}; it works on too many imports, try again later");
                return Err(PortError::with_source(PortErrorKind::Unavailable, advice, error));
            }
            _ => return Err(refused(error)),
        }
    }
}

async fn begin_once(
    client: &Client,
    rest_import: Option<&RestImport>,
    message: &ProtoImportRequest,
) -> CallResult<Vec<i64>> {
    if let Some(rest_import) = rest_import
        && let Some(begun) = rest_import.begin(message).await
    {
        return Ok(vec![begun?]);
    }
    Ok(client.call_once(message.clone()).await?.tasks)
}

/// The servers before 2.4 tell of which files an import is, over gRPC.
fn tells_files(capabilities: Capabilities) -> bool {
    !capabilities.l0_segments
}

/// 2.4 and later refuse an import when there are too many, in words only.
fn is_full(error: &CallError) -> bool {
    error.fault == Fault::Other && error.message.contains("has reached the limit")
}

fn refused(error: CallError) -> PortError {
    // 2.3.5 hides this one.
    let not_found = error.message.contains("collection not found");
    error.refused_as(if not_found { PortErrorKind::NotFound } else { PortErrorKind::InvalidInput })
}

/// Imports of the same files into the same collection that have not failed.
async fn begun(
    client: &Client,
    request: &ImportRequest,
    message: &ProtoImportRequest,
) -> PortResult<Vec<i64>> {
    let Some(found) = lookup::lookup(client, &request.name).await? else {
        return Err(lookup::not_found(&request.name));
    };
    let list = ListImportTasksRequest {
        collection_name: request.name.collection.clone(),
        limit: TASKS_LISTED_MAX,
        db_name: request.name.database.clone(),
    };
    let files = message.files.join(",");
    let is_it = |task: &GetImportStateResponse| {
        task.collection_id == found.id
            && info(task, "files") == Some(files.as_str())
            && !matches!(
                task.state(),
                ProtoImportState::ImportFailed | ProtoImportState::ImportFailedAndCleaned
            )
    };
    let tasks = client.call(list).await?.tasks;
    Ok(tasks.iter().filter(|task| is_it(task)).map(|task| task.id).collect())
}

/// Waits until no import into a collection is at work, a bounded time. 2.3.5 works on one import at a time, and one whose
/// collection is dropped under it holds up all that come after it for minutes.
pub(crate) async fn wait_until_idle(client: &Client, name: &CollectionName, collection_id: i64) {
    let begun_at = Instant::now();
    while begun_at.elapsed() < IDLE_TIME_MAX {
        let list = ListImportTasksRequest {
            collection_name: name.collection.clone(),
            limit: TASKS_LISTED_MAX,
            db_name: name.database.clone(),
        };
        // Servers that do not have this call do not have that weakness either.
        let Ok(answer) = client.call(list).await else { return };
        let is_at_work = |task: &GetImportStateResponse| {
            task.collection_id == collection_id && read_progress(task).state == ImportState::Running
        };
        if !answer.tasks.iter().any(is_at_work) {
            return;
        }
        tokio::time::sleep(IDLE_POLL).await;
    }
    tracing::warn!(
        database = name.database,
        collection = name.collection,
        "an import is still at work in a collection that is dropped; it may hold up later imports"
    );
}

fn message(server: &ServerInfo, request: &ImportRequest) -> PortResult<ProtoImportRequest> {
    let deletes_only = request.insert_path.is_empty();
    let kind = if deletes_only { "l0_import" } else { "backup" };
    let option = |key: &str, value: String| KeyValuePair { key: key.to_owned(), value };
    Ok(ProtoImportRequest {
        db_name: request.name.database.clone(),
        collection_name: request.name.collection.clone(),
        partition_name: request.partition.clone(),
        files: files(server, request)?,
        options: vec![
            option(kind, String::from("true")),
            option("end_ts", end_timestamp(server.capabilities, request.cut_at_ms)?),
            // The space is needed in any case; a restore shall not end half-way because a quota is reached.
            option("skip_disk_quota_check", String::from("true")),
        ],
        ..Default::default()
    })
}

fn files(server: &ServerInfo, request: &ImportRequest) -> PortResult<Vec<String>> {
    let invalid = |message: String| Err(PortError::new(PortErrorKind::InvalidInput, message));
    let insert = request.insert_path.clone();
    let deletes_alone = server.capabilities.l0_segments;
    match (insert.is_empty(), request.delta_path.clone()) {
        (true, None) => invalid(String::from("an import needs a path of inserts or of deletes")),
        (true, Some(deletes)) if deletes_alone => Ok(vec![deletes]),
        (true, Some(_)) => {
            let message = format!("Milvus {} cannot import deletes without their rows", server.version);
            Err(PortError::new(PortErrorKind::Unsupported, message))
        }
        (false, _) if request.partition.is_empty() => {
            invalid(format!("the import of `{insert}` names no partition"))
        }
        (false, Some(deletes)) => Ok(vec![insert, deletes]),
        (false, None) if deletes_alone => Ok(vec![insert]),
        (false, None) => Ok(vec![insert, String::new()]),
    }
}

/// Later rows and deletes are left out, those of the very millisecond are in.
fn end_timestamp(capabilities: Capabilities, cut_at_ms: i64) -> PortResult<String> {
    let impossible = || {
        let message = format!("{cut_at_ms} is no instant that Milvus knows");
        PortError::new(PortErrorKind::InvalidInput, message)
    };
    let milliseconds = u64::try_from(cut_at_ms).map_err(|_| impossible())?;
    match capabilities.import_end_timestamp {
        TimestampUnit::Milliseconds => Ok(milliseconds.to_string()),
        TimestampUnit::Hybrid => {
            let next = milliseconds.checked_add(1).filter(|next| *next < 1 << 46).ok_or_else(impossible)?;
            Ok(((next << 18) - 1).to_string())
        }
    }
}

/// How far an import is.
pub(crate) async fn progress(client: &Client, import_id: i64) -> CallResult<ImportProgress> {
    // A server that starts again takes connections long before it serves them. The calls in one that was given up
    // meanwhile reach it canceled, which must not happen to the next one: `Client::call_once` says why. For the same
    // reason it is not repeated here.
    client.call(GetVersionRequest {}).await?;
    let answer = client.call_once(GetImportStateRequest { task: import_id }).await?;
    let progress = read_progress(&answer);
    match &progress.state {
        // Another import may bring the rows, so this failure is none of the rows or of the place they are staged in.
        ImportState::Failed(reason) if reason.contains(INTERRUPTED) => {
            let message = format!("the server was restarted while it was at work on import {import_id}");
            Err(CallError::new(Fault::Unavailable, GetImportStateRequest::METHOD, message))
        }
        _ => Ok(progress),
    }
}

fn read_progress(answer: &GetImportStateResponse) -> ImportProgress {
    let state = match answer.state() {
        ProtoImportState::ImportCompleted => ImportState::Completed,
        ProtoImportState::ImportFailed | ProtoImportState::ImportFailedAndCleaned => {
            let reason = info(answer, "failed_reason").filter(|reason| !reason.is_empty());
            ImportState::Failed(reason.unwrap_or("the server gives no reason").to_owned())
        }
        ProtoImportState::ImportPending
        | ProtoImportState::ImportStarted
        | ProtoImportState::ImportPersisted
        | ProtoImportState::ImportFlushed => ImportState::Running,
    };
    let percent = info(answer, "progress_percent").and_then(|percent| percent.parse::<u8>().ok());
    ImportProgress {
        percent: match state {
            ImportState::Completed => 100,
            _ => percent.unwrap_or(0).min(100),
        },
        state,
        row_count: u64::try_from(answer.row_count).unwrap_or(0),
    }
}

fn info<'a>(answer: &'a GetImportStateResponse, key: &str) -> Option<&'a str> {
    answer.infos.iter().find(|pair| pair.key == key).map(|pair| pair.value.as_str())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::versions::server_info;

    fn request(insert: &str, delta: Option<&str>) -> ImportRequest {
        ImportRequest {
            name: CollectionName { database: String::from("library"), collection: String::from("books") },
            partition: String::from("_default"),
            insert_path: insert.to_owned(),
            delta_path: delta.map(str::to_owned),
            cut_at_ms: 1_000,
        }
    }

    /// Files and options.
    type Sent = (Vec<String>, Vec<(String, String)>);

    fn sent(version: &str, request: &ImportRequest) -> Result<Sent, PortErrorKind> {
        let message = message(&server_info(version), request).map_err(|error| error.kind())?;
        assert_eq!((message.db_name.as_str(), message.collection_name.as_str()), ("library", "books"));
        let options = message.options.into_iter().map(|pair| (pair.key, pair.value)).collect();
        Ok((message.files, options))
    }

    #[test]
    fn paths_and_options_follow_the_version() {
        let hybrid = ((1_001_u64 << 18) - 1).to_string();
        let (rows, deletes) = ("s/insert_log/1/2/", "s/delta_log/1/2/");
        // version, inserts, deletes, files, first option, end_ts
        let table = [
            ("v2.3.5", rows, Some(deletes), vec![rows, deletes], "backup", "1000"),
            ("v2.3.5", rows, None, vec![rows, ""], "backup", "1000"),
            ("v2.4.1", rows, None, vec![rows], "backup", "1000"),
            ("v2.4.24", rows, Some(deletes), vec![rows, deletes], "backup", hybrid.as_str()),
            ("v2.6.0", "", Some(deletes), vec![deletes], "l0_import", hybrid.as_str()),
        ];
        for (version, insert, delta, files, kind, end_ts) in table {
            let (sent_files, options) = sent(version, &request(insert, delta)).unwrap();
            assert_eq!(sent_files, files, "{version}");
            let expected = [(kind, "true"), ("end_ts", end_ts), ("skip_disk_quota_check", "true")];
            assert_eq!(options, expected.map(|(key, value)| (key.to_owned(), value.to_owned())), "{version}");
        }
    }

    #[test]
    fn what_cannot_be_imported_is_refused_before_it_is_sent() {
        let deletes = Some("s/delta_log/1/-1/");
        assert_eq!(sent("v2.3.5", &request("", deletes)), Err(PortErrorKind::Unsupported));
        assert_eq!(sent("v2.6.0", &request("", None)), Err(PortErrorKind::InvalidInput));
        let nowhere = ImportRequest { partition: String::new(), ..request("s/insert_log/1/2/", None) };
        assert_eq!(sent("v2.3.5", &nowhere), Err(PortErrorKind::InvalidInput));
        let never = ImportRequest { cut_at_ms: -1, ..request("s/insert_log/1/2/", None) };
        assert_eq!(sent("v2.3.5", &never), Err(PortErrorKind::InvalidInput));
        let late = ImportRequest { cut_at_ms: i64::MAX, ..request("s/insert_log/1/2/", None) };
        assert_eq!(sent("v2.6.0", &late), Err(PortErrorKind::InvalidInput));
    }

    #[test]
    fn states_are_read() {
        let answer = |state: ProtoImportState, infos: &[(&str, &str)]| GetImportStateResponse {
            state: state.into(),
            row_count: 7,
            infos: infos
                .iter()
                .map(|(key, value)| KeyValuePair { key: (*key).to_owned(), value: (*value).to_owned() })
                .collect(),
            ..Default::default()
        };
        let persisted =
            read_progress(&answer(ProtoImportState::ImportPersisted, &[("progress_percent", "90")]));
        let expected = ImportProgress { state: ImportState::Running, percent: 90, row_count: 7 };
        assert_eq!(persisted, expected);
        let completed = read_progress(&answer(ProtoImportState::ImportCompleted, &[]));
        assert_eq!((completed.state, completed.percent), (ImportState::Completed, 100));
        let failed =
            read_progress(&answer(ProtoImportState::ImportFailed, &[("failed_reason", "no such file")]));
        assert_eq!(failed.state, ImportState::Failed(String::from("no such file")));
        let silent =
            read_progress(&answer(ProtoImportState::ImportFailedAndCleaned, &[("failed_reason", "")]));
        assert_eq!(silent.state, ImportState::Failed(String::from("the server gives no reason")));
    }
}
