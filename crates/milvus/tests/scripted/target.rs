//! Changes whose answer is lost: what was done must not be done twice, nor be given up.

use crate::service::{Mishap, ScriptedMilvus, connect_target};
use milvault_domain::backup::CollectionName;
use milvault_domain::error::PortErrorKind;
use milvault_domain::ports::ImportRequest;
use milvus::proto::common::ImportState;

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
