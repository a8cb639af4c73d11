//! Cuts of a cluster that does not hold still.

use crate::service::{AtFlush, ScriptedMilvus};
use milvault_domain::backup::{BackupScope, CollectionName};
use milvault_domain::error::PortErrorKind;
use milvault_domain::milvus::Cut;

fn segments(cut: &Cut) -> Vec<(&str, Vec<i64>)> {
    let of_collection = |(_, collection): (_, &milvault_domain::milvus::CollectionCut)| {
        collection.segments.iter().map(|segment| segment.segment_id).collect()
    };
    cut.collections().map(|named| (named.1.name.as_str(), of_collection(named))).collect()
}

fn only(name: &str) -> BackupScope {
    let name = CollectionName { database: String::from("default"), collection: name.to_owned() };
    BackupScope::Collections(vec![name])
}

#[tokio::test]
async fn a_quiet_cluster_takes_one_attempt() {
    let milvus = ScriptedMilvus::with_collections(&["a", "b"]);
    let cut = milvus.connected().await.take_cut(&BackupScope::Cluster).await.unwrap();
    assert_eq!(segments(&cut), [("a", vec![100, 101]), ("b", vec![200, 201])]);
    assert_eq!((cut.row_count(), milvus.state().flushes), (40, 2));
    // The clock began within millisecond 1,000,000; the boundary is the next one.
    assert_eq!(cut.cut_at_ms, 1_000_000);
    // This server does not know users; that is no reason to fail.
    assert_eq!(cut.access_control, None);
}

#[tokio::test]
async fn a_compaction_leads_to_another_attempt() {
    let milvus = ScriptedMilvus::with_collections(&["a"]);
    milvus.state().at_flush = [AtFlush::Compact("a")].into();
    let cut = milvus.connected().await.take_cut(&BackupScope::Cluster).await.unwrap();
    assert_eq!(segments(&cut), [("a", vec![102])]);
    assert_eq!(milvus.state().flushes, 2);
}

#[tokio::test]
async fn endless_compaction_is_reported_as_change() {
    let milvus = ScriptedMilvus::with_collections(&["a"]);
    milvus.state().at_flush = (0..50).map(|_| AtFlush::Compact("a")).collect();
    let error = milvus.connected().await.take_cut(&BackupScope::Cluster).await.unwrap_err();
    assert_eq!(error.kind(), PortErrorKind::Changed);
    assert!(error.to_string().contains("`default.a` was compacted"), "{error}");
    assert_eq!(milvus.state().flushes, 6);
}

#[tokio::test]
async fn a_partition_that_is_made_while_the_cut_is_taken_is_left_out() {
    let milvus = ScriptedMilvus::with_collections(&["a"]);
    milvus.state().at_flush = (0..50).map(|_| AtFlush::NewPartition("a")).collect();
    let connected = milvus.connected().await;
    let cut = connected.take_cut(&BackupScope::Cluster).await.unwrap();
    assert_eq!(segments(&cut), [("a", vec![100, 101])]);
    assert_eq!(milvus.state().flushes, 1, "no attempt is void");
    // The next cut has it, and not the one that is made meanwhile.
    let cut = connected.take_cut(&BackupScope::Cluster).await.unwrap();
    assert_eq!(segments(&cut), [("a", vec![100, 101, 9_000])]);
    let partitions = cut.collections().map(|(_, collection)| collection.partitions.len());
    assert_eq!(partitions.collect::<Vec<_>>(), [2]);
}

#[tokio::test]
async fn collections_that_are_dropped_all_the_time_are_left_out() {
    let milvus = ScriptedMilvus::with_collections(&["a", "b", "c"]);
    let mut script = vec![AtFlush::Drop("b"), AtFlush::Nothing];
    script.extend([AtFlush::Nothing, AtFlush::Drop("c"), AtFlush::Nothing]);
    milvus.state().at_flush = script.into();
    let cut = milvus.connected().await.take_cut(&BackupScope::Cluster).await.unwrap();
    assert_eq!(segments(&cut).first(), Some(&("a", vec![100, 101])));
    assert!(segments(&cut).iter().all(|(name, _)| *name != "b"), "{:?}", segments(&cut));
}

#[tokio::test]
async fn a_collection_that_was_asked_for_and_is_gone_is_not_found() {
    let milvus = ScriptedMilvus::with_collections(&["a"]);
    milvus.state().at_flush = [AtFlush::Drop("a")].into();
    let error = milvus.connected().await.take_cut(&only("a")).await.unwrap_err();
    assert_eq!(error.kind(), PortErrorKind::NotFound);
    assert!(error.to_string().contains("no collection `a` in database `default`"), "{error}");
}

#[tokio::test]
async fn a_flush_follows_a_renamed_collection() {
    let milvus = ScriptedMilvus::with_collections(&["a"]);
    milvus.state().at_flush = [AtFlush::Rename("a", "z")].into();
    let cut = milvus.connected().await.take_cut(&BackupScope::Cluster).await.unwrap();
    // Under the name that it had when the boundary was drawn.
    assert_eq!(segments(&cut), [("a", vec![100, 101])]);
    assert_eq!(milvus.state().flushes, 2);
}

#[tokio::test]
async fn a_flush_counts_although_its_name_is_gone_at_once() {
    let milvus = ScriptedMilvus::with_collections(&["a"]);
    milvus.state().at_flush = [AtFlush::RenameAfter("a", "z")].into();
    let cut = milvus.connected().await.take_cut(&BackupScope::Cluster).await.unwrap();
    assert_eq!(segments(&cut), [("a", vec![100, 101])]);
    assert_eq!(milvus.state().flushes, 1);
}

#[tokio::test]
async fn a_limited_rate_is_met_with_patience() {
    let milvus = ScriptedMilvus::with_collections(&["a"]);
    milvus.state().at_flush = [AtFlush::RateLimit].into();
    let cut = milvus.connected().await.take_cut(&BackupScope::Cluster).await.unwrap();
    assert_eq!(cut.row_count(), 20);
}
