//! Changes whose answer is lost: what was done must not be done twice, nor be given up.

use crate::service::{Mishap, ScriptedMilvus, connect_target};
use milvault_domain::backup::CollectionName;
use milvault_domain::error::PortErrorKind;
use milvault_domain::ports::{ImportRequest, ImportState as ProgressState};
use milvus::proto::common::{ImportState, KeyValuePair};
use tonic::Status;

fn name(collection: &str) -> CollectionName {
    CollectionName { database: String::from("default"), collection: collection.to_owned() }
}

fn import(collection: &str, directory: &str) -> ImportRequest {
    ImportRequest {
        name: name(collection),
        partition: String::from("_default"),
        insert_path: format!("{directory}/insert_log/1/50/"),
        delta_path: None,
        cut_at_ms: 1_000_000,
    }
}

#[tokio::test]
async fn an_import_whose_answer_is_lost_is_found_and_not_repeated() {
    let milvus = ScriptedMilvus::with_collections(&["a", "b"]);
    let target = connect_target(&milvus).await;
    let first = target.import(&import("a", "x")).await.unwrap();
    milvus.state().mishaps = [Mishap::After].into();
    let second = target.import(&import("a", "y")).await.unwrap();
    assert_eq!((first, second), (vec![1], vec![2]));
    assert_eq!(milvus.state().imports.len(), 2);

    // The same files into another collection are another import.
    milvus.state().mishaps = [Mishap::Before].into();
    assert_eq!(target.import(&import("b", "y")).await.unwrap(), [3]);
    // One that failed is no reason not to try again.
    milvus.state().imports[2].set_state(ImportState::ImportFailed);
    milvus.state().mishaps = [Mishap::Before].into();
    assert_eq!(target.import(&import("b", "y")).await.unwrap(), [4]);
}

#[tokio::test]
async fn an_import_is_not_repeated_where_it_cannot_be_found() {
    let milvus = ScriptedMilvus::with_collections(&["a"]);
    milvus.state().version = Some("v2.4.9");
    let target = connect_target(&milvus).await;
    milvus.state().mishaps = [Mishap::After].into();
    let error = target.import(&import("a", "x")).await.unwrap_err();
    assert_eq!(error.kind(), PortErrorKind::Unavailable, "{error}");
    assert_eq!(milvus.state().imports.len(), 1);
}

#[tokio::test]
async fn refused_imports_are_told_apart() {
    let milvus = ScriptedMilvus::with_collections(&["a"]);
    let target = connect_target(&milvus).await;
    milvus.state().mishaps = [Mishap::Refused(8, "slow down")].into();
    assert_eq!(target.import(&import("a", "x")).await.unwrap(), [1]);
    for (reason, kind) in [
        ("collection not found[database=default][collection=a]", PortErrorKind::NotFound),
        ("the number of jobs has reached the limit", PortErrorKind::Unavailable),
        ("unsupported file type", PortErrorKind::InvalidInput),
    ] {
        milvus.state().mishaps = [Mishap::Refused(65535, reason)].into();
        let error = target.import(&import("a", "x")).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
    }
    assert_eq!(milvus.state().imports.len(), 1);
}

#[tokio::test]
async fn an_import_that_a_restart_has_ended_is_no_failure_of_its_rows() {
    let milvus = ScriptedMilvus::with_collections(&["a"]);
    let target = connect_target(&milvus).await;
    let import_id = target.import(&import("a", "x")).await.unwrap()[0];
    let fails_for = |reason: &str| {
        let reason = KeyValuePair { key: String::from("failed_reason"), value: reason.to_owned() };
        let found = &mut milvus.state().imports[0];
        found.set_state(ImportState::ImportFailed);
        found.infos = vec![reason];
    };
    fails_for("task failed, service restarted");
    let error = target.import_progress(import_id).await.unwrap_err();
    assert_eq!(error.kind(), PortErrorKind::Unavailable, "{error}");
    fails_for("no such file");
    let progress = target.import_progress(import_id).await.unwrap();
    assert_eq!(progress.state, ProgressState::Failed(String::from("no such file")));
}

#[tokio::test]
async fn a_server_that_does_not_serve_yet_is_not_asked_for_an_import() {
    let milvus = ScriptedMilvus::with_collections(&["a"]);
    let target = connect_target(&milvus).await;
    let import_id = target.import(&import("a", "x")).await.unwrap()[0];
    let away = || Status::unavailable("starting");
    milvus.state().failures = std::iter::repeat_with(away).take(100).collect();
    let error = target.import_progress(import_id).await.unwrap_err();
    assert_eq!((error.kind(), milvus.state().import_looks), (PortErrorKind::Unavailable, 0), "{error}");
    milvus.state().failures.clear();
    target.import_progress(import_id).await.unwrap();
    assert_eq!(milvus.state().import_looks, 1);
}

#[tokio::test]
async fn a_rename_whose_answer_is_lost_has_happened() {
    let milvus = ScriptedMilvus::with_collections(&["a"]);
    let target = connect_target(&milvus).await;
    milvus.state().mishaps = [Mishap::After].into();
    target.rename_collection(&name("a"), "b").await.unwrap();
    milvus.state().mishaps = [Mishap::Before].into();
    target.rename_collection(&name("b"), "c").await.unwrap();
    assert!(milvus.state().collections.contains_key("c"));

    milvus.state().mishaps = [Mishap::Refused(65535, "no")].into();
    let error = target.rename_collection(&name("c"), "d").await.unwrap_err();
    assert_eq!(error.kind(), PortErrorKind::InvalidInput, "{error}");
}
